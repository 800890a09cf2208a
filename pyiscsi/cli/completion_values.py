"""What the values of options can be, for completing them in a shell.

Words come from tables, names from the directories of the database and of sysfs. Nothing is written,
locked, asked over a socket or resolved.
"""

from __future__ import annotations

from pyiscsi.cli.getopt import ATTACHED_VALUE, NO_VALUE, PROBLEM, scan
from pyiscsi.names import format_portal, parse_portal_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pyiscsi.cli.getopt import OptionRow
    from pyiscsi.env import Env
    from pyiscsi.records.schema import Kind

    Value = tuple[str, str]
    """A word, and what it means (may be empty)."""
    Source = Callable[["Line"], Iterable[Value]]

_NAMES = frozenset("%+,-./:=@[]_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""What a shell takes as it stands. Names of anything else are not offered: a shell might run it."""


class Line:
    """The words of a command before the unfinished one, as getopt reads them.

    `awaited`: letter of the option whose value is being typed, "" if none. `ended`: what follows
    is no option any more.
    """

    __slots__ = ("awaited", "ended", "env", "tokens")

    def __init__(
        self, words: Sequence[str], rows: Sequence[OptionRow], env: Env, *, posix: bool = False
    ) -> None:
        self.env = env
        self.tokens = scan(words, rows, posix=posix)
        self.awaited = _awaited(words, self.tokens[-1].offender, rows) if self.tokens else ""
        more = scan([*words, "-?"], rows, posix=posix)
        self.ended = not self.awaited and len(more) == len(self.tokens)

    def last(self, letter: str) -> str:
        """The last value of an option; "" without one."""
        found = [token.value for token in self.tokens if token.letter == letter]
        return found[-1] if found else ""

    def letters(self) -> set[str]:
        """Letters of the options there are."""
        return {token.letter for token in self.tokens if token.letter != PROBLEM}


def _awaited(words: Sequence[str], offender: str, rows: Sequence[OptionRow]) -> str:
    kinds = {row[1]: row[2] for row in rows}
    kind = kinds.get(offender, NO_VALUE)
    after_equals_only = kind == ATTACHED_VALUE and words[-1].startswith("--")
    return "" if kind == NO_VALUE or after_equals_only else offender


class Program:
    """What completion has to know of a command.

    `rows`: an option table; rows begin with long name, letter and kind; modes, metavar and help
    may follow. `values`: by option letter. `files`: letters whose value is a path, with what it
    must begin with. `repeatable`: letters offered again. `first`: what the first word, no option,
    can be; for such programs options end at the next word that is none.
    """

    __slots__ = ("files", "first", "repeatable", "rows", "values")

    def __init__(
        self,
        rows: Sequence[tuple[Any, ...]],
        values: Mapping[str, Source],
        *,
        files: Mapping[str, str] | None = None,
        repeatable: str = "",
        first: Source | None = None,
    ) -> None:
        self.rows = rows
        self.values = values
        self.files = files or {}
        self.repeatable = repeatable
        self.first = first


def program(name: str) -> Program | None:
    """None for a command there is no completion for."""
    make = _PROGRAMS.get(name)
    return make() if make else None


def usable(values: Iterable[Value], start: str) -> Iterator[Value]:
    """Each value once that begins so and that a shell takes as it stands."""
    seen = set()
    for value, text in values:
        if value.startswith(start) and value not in seen and _NAMES.issuperset(value):
            seen.add(value)
            yield value, text


def _words(*words: str) -> Source:
    return lambda _line: [(word, "") for word in words]


def _by_mode(table: Mapping[str, Sequence[str]]) -> Source:
    return lambda line: [(word, "") for word in table.get(line.last("m"), ())]


# ---- names of the database and of the kernel --------------------------------


def _targets(line: Line) -> Iterator[Value]:
    """Those that have a record with the portal of -p, if there is one on the line."""
    from pyiscsi.records import listing

    wanted = parse_portal_argument(line.last("p"))
    if wanted is None or not wanted[0]:
        yield from ((name, "") for name in listing.targets(line.env.db_root))
        return
    for name, address, port in listing.portals(line.env.db_root):
        if address == wanted[0] and wanted[1] in (-1, port):
            yield name, ""


def _portals(line: Line) -> Iterator[Value]:
    """Of node records in node mode, of discovery records in the discovery modes."""
    if line.last("m") in ("discovery", "discoverydb"):
        for address, port in _discovered(line):
            yield format_portal(address, port), ""
        return
    from pyiscsi.records import listing

    for name, address, port in listing.portals(line.env.db_root, line.last("T")):
        yield format_portal(address, port), "" if line.last("T") else name


def _discovered(line: Line) -> list[tuple[str, int]]:
    from pyiscsi.records.discovery import DiscoveryStore
    from pyiscsi.records.schema import ISNS, SENDTARGETS

    kind = ISNS if line.last("t") == "isns" else SENDTARGETS
    return DiscoveryStore(line.env).addresses(kind)


def _ifaces(line: Line) -> Iterator[Value]:
    from pyiscsi.records.ifaces import BUILT_IN, IfaceStore

    for name in [*IfaceStore(line.env).names(), *BUILT_IN]:
        yield name, ""


def _sessions(line: Line) -> Iterator[Value]:
    from pyiscsi.sysfs.sessions import SESSIONS, session_ids
    from pyiscsi.sysfs.tree import SysfsTree

    tree = SysfsTree(line.env.sysfs_root)
    for sid in sorted(session_ids(tree)):
        yield str(sid), tree.read(f"{SESSIONS}/session{sid}/targetname") or ""


def _hosts(line: Line) -> Iterator[Value]:
    from pyiscsi.sysfs.hosts import host_numbers, transport_of_host
    from pyiscsi.sysfs.tree import SysfsTree

    tree = SysfsTree(line.env.sysfs_root)
    for number in sorted(host_numbers(tree)):
        yield str(number), transport_of_host(tree, number) or ""


# ---- settings ---------------------------------------------------------------

_TRANSPORT = "iface.transport_name"


def _kind(line: Line) -> Kind | None:
    """The kind of record that -n and -v of a mode are about."""
    from pyiscsi.records import schema

    if line.last("m") in ("discovery", "discoverydb"):
        return schema.ISNS if line.last("t") == "isns" else schema.SENDTARGETS
    kinds = {"node": schema.NODE, "session": schema.NODE, "iface": schema.IFACE}
    return kinds.get(line.last("m"))


def _keys(line: Line) -> Iterator[Value]:
    """Node records take no iface settings but the transport."""
    kind = _kind(line)
    if kind is None:
        return
    own_ifaces = line.last("m") == "iface"
    for key in kind.file_order("ipv4", line.env.record_format):
        if kind.fields[key].can_update and (
            own_ifaces or key == _TRANSPORT or not key.startswith("iface.")
        ):
            yield key, ""


def _allowed(line: Line) -> Iterator[Value]:
    """The words a setting knows, for that of the last -n."""
    from pyiscsi.transports import TABLE

    kind = _kind(line)
    key = line.last("n")
    field = kind.fields.get(key) if kind else None
    words = TABLE if key == _TRANSPORT else (field and field.allowed) or ()
    yield from ((word, "") for word in words)


def _assignments(line: Line) -> Iterator[Value]:
    """`NAME=` of every node setting, for iscsistart -P."""
    from pyiscsi.records.schema import NODE

    for key in NODE.file_order("ipv4", line.env.record_format):
        yield f"{key}=", ""


# ---- programs ---------------------------------------------------------------

_STARTUP = ("all", "automatic", "manual", "onboot")
_DEBUG = _words(*map(str, range(9)))
_EDIT = ("new", "delete", "update", "show")
_OPS = {
    "discovery": (*_EDIT, "nonpersistent"),
    "discoverydb": (*_EDIT, "nonpersistent"),
    "node": _EDIT,
    "session": _EDIT,
    "iface": (*_EDIT, "apply", "applyall"),
    "host": (*_EDIT, "login", "logout"),
}
_LEVELS = {
    "discovery": "01",
    "discoverydb": "01",
    "node": "01",
    "session": "0123",
    "iface": "01",
    "host": "01234",
}
_SUBMODES = {"iface": ("ping",), "host": ("chap", "flashnode", "stats")}
_TYPES = dict.fromkeys(("discovery", "discoverydb"), ("sendtargets", "st", "isns", "fw"))

_ISCSIADM: dict[str, Source] = {
    "m": lambda _line: _modes(),
    "o": _by_mode(_OPS),
    "t": _by_mode(_TYPES),
    "C": _by_mode(_SUBMODES),
    "P": _by_mode(_LEVELS),
    "A": _words("ipv4", "ipv6"),
    "L": _words(*_STARTUP),
    "U": _words(*_STARTUP[:-1]),
    "k": _words("0"),
    "d": _DEBUG,
    "p": _portals,
    "T": _targets,
    "I": _ifaces,
    "H": _hosts,
    "r": _sessions,
    "n": _keys,
    "v": _allowed,
}


def _modes() -> list[Value]:
    from pyiscsi.cli.options import OPTIONS

    return [(mode, "") for mode in OPTIONS[0][3]]


def _iscsiadm() -> Program:
    from pyiscsi.cli.options import OPTIONS

    return Program(OPTIONS, _ISCSIADM, files={"r": "/"}, repeatable="Ionv")


def _iscsid() -> Program:
    from pyiscsi.cli.iscsid import OPTIONS

    return Program(OPTIONS, {"d": _DEBUG}, files=dict.fromkeys("cip", ""))


def _iscsistart() -> Program:
    from pyiscsi.cli.iscsistart import OPTIONS

    values = {"d": _DEBUG, "t": _boot_targets, "a": _boot_addresses, "P": _assignments}
    return Program(OPTIONS, values, files={"c": ""}, repeatable="P")


def _boot_targets(line: Line) -> Iterator[Value]:
    from pyiscsi.records import listing

    for name in listing.targets(line.env.db_root):
        yield name, ""


def _boot_addresses(line: Line) -> Iterator[Value]:
    from pyiscsi.records import listing

    for _, address, _ in listing.portals(line.env.db_root, line.last("t")):
        yield address, ""


def _iscsi_iname() -> Program:
    from pyiscsi.cli.iscsi_iname import OPTIONS

    return Program(OPTIONS, {})


def _iscsi_discovery() -> Program:
    from pyiscsi.cli.iscsi_discovery import OPTIONS

    values = {"t": _words("tcp", "iser"), "p": _discovery_ports}
    return Program(OPTIONS, values, first=_discovery_addresses)


def _discovery_addresses(line: Line) -> list[Value]:
    return [(address, "") for address, _ in _discovered(line)]


def _discovery_ports(line: Line) -> list[Value]:
    return [(str(port), "") for _, port in _discovered(line)]


def _iscsi_gen_initiatorname() -> Program:
    from pyiscsi.cli.iscsi_gen_initiatorname import OPTIONS

    return Program(OPTIONS, {})


_PROGRAMS: dict[str, Callable[[], Program]] = {
    "iscsiadm": _iscsiadm,
    "iscsid": _iscsid,
    "iscsistart": _iscsistart,
    "iscsi-iname": _iscsi_iname,
    "iscsi_discovery": _iscsi_discovery,
    "iscsi-gen-initiatorname": _iscsi_gen_initiatorname,
}
