"""Node records: `nodes/<target>/<address>,<port>,<tpgt>/<iface>` and the old flat form.

Names say what exists, so listing opens no record; contents are read only where they are needed.
Behaviour follows open-iscsi usr/idbm.c; what differs is in docs/deviations.md.
"""

from __future__ import annotations

import os
import stat

from pyiscsi.errors import ExitCode, InvalidArgument, RecordError
from pyiscsi.names import ANY_PORT, UNKNOWN_TPGT, NodeKey, Pattern, check_path_component
from pyiscsi.records.database import Database, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyiscsi.env import Env
    from pyiscsi.records.node_bulk import Outcome
    from pyiscsi.records.record import Record

_ANY = Pattern()


class NodeStore(Store):
    """The node records below `env.db_root`.

    `problems` collects lines about damaged and stray files; `exit_code` is what a listing should
    end with because of them. Give stores that work together the same `database`.
    """

    __slots__ = ("_root",)

    def __init__(self, env: Env, database: Database | None = None) -> None:
        super().__init__(env, database)
        self._root = f"{env.db_root}/nodes"

    # Names

    def keys(
        self,
        pattern: Pattern = _ANY,
        *,
        resolve: bool = False,
        ordered: bool = True,
        checked: bool = True,
    ) -> list[NodeKey]:
        """Keys of the records that match, bytewise by target, portal directory and iface.

        No record is opened (an old flat file is, for its iface); empty files are moved away,
        unless `checked` is off, for those who read all they get and will meet them.
        `resolve`: an address also matches one that resolves to the same. Without `ordered` they
        come as the directories have them, which is the order open-iscsi logs in and deletes in.
        """
        found: list[NodeKey] = []
        match = _AddressMatch(pattern.address, resolve)
        for target in self._targets(pattern.target, ordered):
            for name in self._list(f"{self._root}/{target}", ordered):
                portal = split_portal(name)
                if portal is None:
                    continue
                address, port, tag = portal
                if pattern.port not in (ANY_PORT, port) or not match(address):
                    continue
                if tag is None:
                    key = NodeKey(target, address, port)
                    found += self._flat_record(f"{self._root}/{target}/{name}", key, pattern.iface)
                else:
                    ifaces = self._ifaces(f"{self._root}/{target}/{name}", tag, ordered, checked)
                    found += [
                        NodeKey(target, address, port, int(tag), iface)
                        for iface in ifaces
                        if pattern.iface in ("", iface)
                    ]
        return found

    def _targets(self, wanted: str, ordered: bool) -> list[str]:
        if wanted:
            return [wanted] if is_component(wanted) else []
        return self._list(self._root, ordered, _target_names)

    def _list(
        self,
        path: str,
        ordered: bool,
        choose: Callable[[str, list[str]], list[str]] | None = None,
        find: Callable[[str], list[str]] | None = None,
    ) -> list[str]:
        try:
            names = (find or os.listdir)(path)
            names = choose(path, names) if choose else usable_names(names)
            return sorted_names(names) if ordered else names
        except NotADirectoryError:
            self._database.report(f"Got ENOTDIR error when scandir {path}", ExitCode.GENERIC)
        except FileNotFoundError:
            pass
        except OSError as error:
            from pyiscsi.records.files import failure

            raise failure(path, error) from error
        return []

    def _ifaces(self, path: str, tag: str, ordered: bool, checked: bool) -> list[str]:
        """Names of the records in a portal directory."""
        tpgt = _decimal(tag)
        if tpgt is None or tpgt < 0:
            line = f"iface iter could not read dir {path}."
            self._database.report(line, ExitCode.DATABASE)
            return []
        plain: set[str] = set()
        names = self._list(path, ordered, find=None if checked else lambda p: _names(p, plain))
        return [name for name in names if name in plain or self._is_record(f"{path}/{name}")]

    def _flat_record(self, path: str, key: NodeKey, iface: str) -> list[NodeKey]:
        if os.path.isdir(path) or not self._is_record(path):
            return []
        try:
            name = self.read(key)["iface.iscsi_ifacename"]
            key.iface = name if is_component(name) else key.iface
        except RecordError as error:
            self._database.report(str(error), error.exit_code)
            return []
        return [key] if iface in ("", key.iface) else []

    def _is_record(self, path: str) -> bool:
        """Whether a name found in the tree stands for a record; an empty file is moved away."""
        try:
            status = os.stat(path)
            if status.st_size or not stat.S_ISREG(status.st_mode):
                return stat.S_ISREG(status.st_mode)
            self.read_path(path)
        except OSError as error:
            if not os.path.lexists(path):  # deleted since it was listed
                return False
            line = f"Failed to open {path} using read mode: {error.errno} {error.strerror}"
            self._database.report(line, ExitCode.DATABASE)
            return False
        except RecordError as error:
            self._database.report(str(error), error.exit_code)
            return False
        return True

    # Contents

    def path(self, key: NodeKey) -> str:
        """The file of a record. Raises InvalidArgument for names that are no path component."""
        check_path_component(key.target, "target name")
        check_path_component(key.address, "address")
        check_path_component(key.iface, "iface name")
        if key.address[0] == ".":  # listings leave such directories alone
            raise InvalidArgument(f"Invalid address {key.address!r}.")
        return _portal_path(self._root, key) + ("" if key.tpgt == UNKNOWN_TPGT else f"/{key.iface}")

    def read_path(self, path: str) -> Record:
        from pyiscsi.records.schema import NODE

        return self._database.read(NODE, path)

    def read(self, key: NodeKey) -> Record:
        """The record; its identity is that of its path.

        Raises RecordError; a torn file is moved away first.
        """
        return self.identified(self.read_path(self.path(key)), key)

    def peek(self, key: NodeKey) -> Record | None:
        """What the file says; None when it is torn or can't be read, which `read` then tells."""
        from pyiscsi.records.files import read
        from pyiscsi.records.schema import NODE
        from pyiscsi.records.text import is_torn

        path = self.path(key)
        try:
            data = read(path)
        except RecordError:
            return None
        return None if is_torn(data) else self._database.parse(NODE, path, data)

    @staticmethod
    def identified(record: Record, key: NodeKey) -> Record:
        """The record with the identity that its path has, whatever it says itself."""
        values = record.values
        values["node.name"] = key.target
        values["node.conn[0].address"] = key.address
        values["node.conn[0].port"] = str(key.port)
        values["node.tpgt"] = str(key.tpgt)
        if key.tpgt != UNKNOWN_TPGT:
            values["iface.iscsi_ifacename"] = key.iface
        return record

    def records(
        self, pattern: Pattern = _ANY, *, resolve: bool = False, ordered: bool = True
    ) -> Iterator[Record]:
        """Matching records in the order of keys(); unreadable ones become `problems`.

        One that somebody has deleted since it was listed is left out.
        """
        for key in self.keys(pattern, resolve=resolve, ordered=ordered, checked=False):
            try:
                yield self.read(key)
            except RecordError as error:
                from pyiscsi.records.files import has_vanished

                if not has_vanished(error):
                    self._database.report(str(error), error.exit_code)

    # Changes

    def add(self, record: Record) -> None:
        """Write a record and its back link, in place of an older one. See node_write.add."""
        from pyiscsi.records import node_write

        node_write.add(self, record)

    def add_all(self, records: Sequence[Record]) -> Iterator[tuple[Record, Outcome]]:
        """add() for some hundred records; yields the outcome of each. See node_bulk.add."""
        from pyiscsi.records import node_bulk

        return node_bulk.add(self, records)

    def update(self, key: NodeKey, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Set values in one record, all or none; returns warning lines.

        Raises InvalidArgument, perhaps of several lines, when a name or value is refused, and
        RecordError; the file is then as it was.
        """
        from pyiscsi.records.edit import apply

        with self._database.lock:
            record = self.read(key)
            lines = apply(record, pairs)
            self._database.write(record, self.path(key))
        return lines

    def update_all(
        self, keys: Sequence[NodeKey], pairs: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[NodeKey, Outcome]]:
        """update() for many records; yields the outcome of each. See node_bulk.update."""
        from pyiscsi.records import node_bulk

        return node_bulk.update(self, keys, pairs)

    def delete(self, key: NodeKey) -> None:
        """Remove link, file and the directories that are then empty. Raises RecordError."""
        from pyiscsi.records import node_write

        node_write.delete(self, key)

    def delete_all(self, keys: Sequence[NodeKey]) -> Iterator[tuple[NodeKey, Outcome]]:
        """delete() for many records; yields the outcome of each. See node_bulk.delete."""
        from pyiscsi.records import node_bulk

        return node_bulk.delete(self, keys)


def _portal_path(root: str, key: NodeKey) -> str:
    flat = f"{root}/{key.target}/{key.address},{key.port}"
    return flat if key.tpgt == UNKNOWN_TPGT else f"{flat},{key.tpgt}"


def portal_path(root: str, key: NodeKey) -> str:
    """`<root>/nodes/<target>/<portal>`: what back links point at."""
    return _portal_path(f"{root}/nodes", key)


def split_portal(name: str) -> tuple[str, int, str | None] | None:
    """Address, port and tpgt text of a portal directory; tpgt None for the flat form."""
    address, comma, rest = name.partition(",")
    port, tagged, tpgt = rest.partition(",")
    number = _decimal(port)
    if not comma or number is None or address in ("", ".", ".."):
        return None
    return address, number, tpgt if tagged else None


def _decimal(text: str) -> int | None:
    """A number written as we and open-iscsi write it, or None: `01` names another directory."""
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(text) if len(text) < 12 and str(int(text)) == text else None


def is_component(name: str) -> bool:
    """Whether a name may be shown and used as part of a path."""
    try:
        check_path_component(name, "name")
    except InvalidArgument:
        return False
    return True


def _names(path: str, plain: set[str]) -> list[str]:
    """Names in a directory; `plain` gets those of regular files, which need no system call."""
    with os.scandir(path) as entries:
        found = [(entry.name, entry.is_file(follow_symlinks=False)) for entry in entries]
    plain.update(name for name, is_file in found if is_file)
    return [name for name, _ in found]


def usable_names(names: list[str]) -> list[str]:
    """Without what editors leave behind and names that would garble a terminal."""
    return [
        name
        for name in names
        if name[0] != "." and name[-1] != "~" and (name.isprintable() or is_component(name))
    ]


def _target_names(path: str, names: list[str]) -> list[str]:
    """Editors leave files, so a directory is a target's whatever its name."""
    usable = usable_names(names)
    if len(usable) == len(names):
        return usable
    others = set(names).difference(usable)
    return usable + [n for n in others if is_component(n) and os.path.isdir(f"{path}/{n}")]


def sorted_names(names: list[str]) -> list[str]:
    """Bytewise."""
    return sorted(names) if all(map(str.isascii, names)) else sorted(names, key=os.fsencode)


class _AddressMatch:
    """Whether a record's address is the wanted one: the same text or, if asked, the same host."""

    __slots__ = ("_cache", "_resolve", "_wanted")

    def __init__(self, wanted: str, resolve: bool) -> None:
        self._wanted = wanted
        self._resolve = resolve
        self._cache: dict[str, str] = {}

    def __call__(self, address: str) -> bool:
        if not self._wanted or self._wanted == address:
            return True
        if not self._resolve or (_is_dotted_quad(address) and _is_dotted_quad(self._wanted)):
            return False
        found = self._first(address)
        return bool(found) and found == self._first(self._wanted)

    def _first(self, host: str) -> str:
        """The first address a name resolves to, "" for none (usr/iscsi_util.c does the same)."""
        if host not in self._cache:
            import _socket  # the enums of `socket` cost the command milliseconds

            try:
                # As bytes, or the IDNA codec is loaded for every name.
                name = host.encode() if host.isascii() else host
                found = _socket.getaddrinfo(name, None, type=_socket.SOCK_STREAM)
                self._cache[host] = str(found[0][4][0])
            except (OSError, ValueError):
                self._cache[host] = ""
        return self._cache[host]


def _is_dotted_quad(text: str) -> bool:
    """An IPv4 address in its one canonical form: different texts are different addresses."""
    parts = text.split(".")
    return len(parts) == 4 and all(_decimal(part) is not None for part in parts)
