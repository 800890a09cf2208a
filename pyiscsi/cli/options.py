"""iscsiadm's command line: the option table, what each mode allows, and the values found.

Options act in the order given, as in open-iscsi's usr/iscsiadm.c: -k -o -H -r -I -x -V and -h are
judged (or executed) when met, and `-m` checks the whole line against its mode when it is met.
"""

from __future__ import annotations

from pyiscsi.cli.getopt import ATTACHED_VALUE, NO_VALUE, PROBLEM, VALUE, scan, shown_program
from pyiscsi.errors import ExitCode, InvalidArgument, PyIscsiError
from pyiscsi.names import IFACE_NAME_MAX, leading_number, parse_portal_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyiscsi.cli.getopt import Token
    from pyiscsi.cli.report import Output
    from pyiscsi.env import Env

_ALL = ("discovery", "discoverydb", "node", "session", "iface", "host", "fw")
_NOT_FW = ("discovery", "discoverydb", "node", "session", "iface", "host")
_FIND = ("discovery", "discoverydb")
_FIND_NODE = ("discovery", "discoverydb", "node")
_NODE_SESSION = ("node", "session")

OPTIONS = (
    # name, letter, kind, modes that allow it, metavar, help
    ("mode", "m", VALUE, _ALL, "MODE", "what the command is about"),
    ("portal", "p", VALUE, _FIND_NODE, "IP[:PORT][,TPGT]", "portal of a target or server"),
    ("targetname", "T", VALUE, ("node",), "NAME", "target name"),
    ("interface", "I", VALUE, (*_FIND_NODE, "iface"), "IFACE", "iface record; repeatable"),
    ("op", "o", VALUE, _NOT_FW, "OPERATION", "new, delete, update, show or nonpersistent"),
    ("type", "t", VALUE, (*_FIND, "host"), "TYPE", "discovery type: st, isns or fw"),
    ("name", "n", VALUE, _ALL, "KEY", "record key to change; goes with -v"),
    ("value", "v", VALUE, _ALL, "VALUE", "its new value; goes with -n"),
    ("host", "H", VALUE, ("iface", "host"), "HOST|MAC", "SCSI host number or MAC address"),
    ("sid", "r", VALUE, ("session",), "SID|PATH", "session, by id or by a path in sysfs"),
    ("rescan", "R", NO_VALUE, _NODE_SESSION, "", "look for new and changed LUNs"),
    ("print", "P", VALUE, _NOT_FW, "LEVEL", "how much to print"),
    ("discover", "D", NO_VALUE, _FIND, "", "discover with the stored record"),
    ("login", "l", NO_VALUE, (*_FIND_NODE, "fw"), "", "log in"),
    ("loginall", "L", VALUE, ("node",), "STARTUP", "log in to all, automatic, manual or onboot"),
    ("logout", "u", NO_VALUE, _NODE_SESSION, "", "log out"),
    ("logoutall", "U", VALUE, ("node",), "STARTUP", "log out of all, automatic or manual"),
    ("stats", "s", NO_VALUE, _NODE_SESSION, "", "print session statistics"),
    ("killiscsid", "k", VALUE, (), "PRIORITY", "stop iscsid (priority 0)"),
    ("debug", "d", VALUE, _ALL, "LEVEL", "print debugging lines, 0 to 8"),
    ("show", "S", NO_VALUE, (*_FIND_NODE, "session"), "", "print secrets unmasked"),
    ("version", "V", NO_VALUE, (), "", "print the version"),
    ("help", "h", NO_VALUE, (), "", "print the forms of the command"),
    ("submode", "C", VALUE, ("iface", "host"), "SUBMODE", "ping, chap, flashnode or stats"),
    ("ip", "a", VALUE, ("iface",), "IP", "address to ping"),
    ("packetsize", "b", VALUE, ("iface",), "BYTES", "size of a ping"),
    ("count", "c", VALUE, ("iface",), "N", "number of pings"),
    ("interval", "i", VALUE, ("session", "iface"), "SECONDS", "pause between pings"),
    ("index", "x", VALUE, ("host",), "INDEX", "entry of a host's table"),
    ("portal_type", "A", ATTACHED_VALUE, ("host",), "TYPE", "ipv4 or ipv6"),
    ("no_wait", "W", NO_VALUE, ("node", "fw"), "", "do not wait for logins to end"),
)

OP_NONE = 0
OP_NEW = 0x1
OP_DELETE = 0x2
OP_UPDATE = 0x4
OP_SHOW = 0x8
OP_NONPERSISTENT = 0x10
OP_APPLY = 0x20
OP_APPLYALL = 0x40
OP_LOGIN = 0x80
OP_LOGOUT = 0x100

_OPS = {
    "new": OP_NEW,
    "delete": OP_DELETE,
    "update": OP_UPDATE,
    "show": OP_SHOW,
    "nonpersistent": OP_NONPERSISTENT,
    "apply": OP_APPLY,
    "applyall": OP_APPLYALL,
    "login": OP_LOGIN,
    "logout": OP_LOGOUT,
}
_TYPES = {"st": "sendtargets"} | {name: name for name in ("sendtargets", "isns", "fw", "slp")}
_SUBMODES = ("ping", "chap", "flashnode", "stats")
_PORTAL_TYPES = ("ipv4", "ipv6")

TRY_LINE = "Try `iscsiadm --help' for more information.\n"
_MAX_HOST = 0xFFFFFFFF
_BLANKS = " \t\n\v\f\r"


class Done(Exception):
    """An option said all there is to say; the command ends with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Options:
    """What a command line asks for. `None`, -1 and the empty list mean not given.

    `op`: OP_ bits. `kill_priority`: -k. `loginall` and `logoutall` hold the startup mode asked for.
    `host_no` is 0 when -H is absent, as in the original.
    """

    __slots__ = (
        "count", "debug", "discover", "has_type", "host_no", "ifaces", "index", "interval", "ip",
        "kill_priority", "login", "loginall", "logout", "logoutall", "mode", "no_wait", "op",
        "packetsize", "params", "port", "portal_address", "portal_type", "print_level", "rescan",
        "show", "sid", "stats", "submode", "targetname", "tpgt", "type",
    )  # fmt: skip

    def __init__(self) -> None:
        self.mode: str | None = None
        self.submode: str | None = None
        self.op = OP_NONE
        self.portal_address: str | None = None
        self.port = -1
        self.tpgt = -1
        self.targetname: str | None = None
        self.ifaces: list[str] = []
        self.type: str | None = None
        self.has_type = False
        self.params: list[tuple[str, str]] = []
        self.host_no = 0
        self.sid: int | None = None
        self.print_level = -1
        self.discover = self.login = self.logout = self.rescan = self.stats = False
        self.show = self.no_wait = False
        self.loginall: str | None = None
        self.logoutall: str | None = None
        self.debug = 0
        self.ip: str | None = None
        self.packetsize = 32
        self.count = 1
        self.interval = 0
        self.index: int | None = None
        self.portal_type: str | None = None
        self.kill_priority: int | None = None


def leading_int(text: str) -> int:
    """atoi(): blanks, a sign, digits; 0 without digits, wrapped to 32 bits."""
    value = max(-(1 << 63), min(leading_number(text), (1 << 63) - 1)) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def _leading_u64(text: str) -> int | None:
    """strtoull(text, 10): a minus sign wraps; None where it sets ERANGE."""
    value = leading_number(text)
    return value & 0xFFFFFFFFFFFFFFFF if abs(value) <= 0xFFFFFFFFFFFFFFFF else None


def parse(argv: Sequence[str], env: Env, out: Output, *, posix: bool = False) -> Options:
    """Read a command line; argv[0] is the program, as it shows in getopt's complaints.

    posix: POSIXLY_CORRECT is set. Raises Done and PyIscsiError.
    """
    rows = [row[:3] for row in OPTIONS]
    return _Reader(argv[0], scan(argv[1:], rows, posix=posix), env, out).read()


class _Reader:
    """One pass over the tokens of a command line."""

    def __init__(self, program: str, tokens: list[Token], env: Env, out: Output) -> None:
        self.program = program
        self.tokens = tokens
        self.env = env
        self.output = out
        self.options = Options()
        self.name: str | None = None
        self.value: str | None = None
        self.startup = ""
        self.all_of: set[str] = set()

    def read(self) -> Options:
        offender = ""
        for token in self.tokens:
            if token.letter == PROBLEM:
                self._complain(token)
                offender = token.offender
                continue
            attribute, convert = _ATTRIBUTES.get(token.letter, (None, None))
            if attribute and convert:
                setattr(self.options, attribute, convert(token.value))
            else:
                _ACTIONS[token.letter](self, token.value)
        if offender:
            raise InvalidArgument(f"unrecognized character '{offender}'")
        if "L" in self.all_of:
            self.options.loginall = self.startup
        if "U" in self.all_of:
            self.options.logoutall = self.startup
        return self.options

    def _complain(self, token: Token) -> None:
        import os

        program = shown_program(self.program, os.environ.get("PATH"))
        self.output.complain(f"{program}: {token.problem}\n")

    def mode(self, value: str) -> None:
        if value not in _ALL:
            raise InvalidArgument("mode -1 is not yet supported")
        self.options.mode = value
        allowed = {row[1] for row in OPTIONS if value in row[3]}
        for token in self.tokens:
            if token.letter not in allowed:
                if token.letter == PROBLEM:
                    self._complain(token)
                shown = "discovery" if value == "discoverydb" else value
                raise InvalidArgument(
                    f"{shown} mode: option '-{token.letter}' is not allowed/supported"
                )

    def portal(self, value: str) -> None:
        options = self.options
        parsed = parse_portal_argument(value)
        if parsed is None:
            options.portal_address = None
            return
        options.portal_address, port, options.tpgt = parsed
        if port != -1:
            options.port = port  # else that of an earlier -p stays, as in the original
        shown = f"ip {parsed[0]}, port {options.port}, tgpt {options.tpgt}"
        self.output.debug(2, shown)

    def iface(self, value: str) -> None:
        if not 1 <= len(value.encode("utf-8", "surrogateescape")) <= IFACE_NAME_MAX:
            self.output.out(
                f"Invalid iface name {value}. Must be from 1 to {IFACE_NAME_MAX} characters."
            )
            raise Done(ExitCode.INVALID)
        self.options.ifaces.append(value)

    def op(self, value: str) -> None:
        self.options.op |= _OPS.get(value, OP_NONE)
        if self.options.op == OP_NONE:
            raise InvalidArgument(f"can not recognize operation: '{value}'")

    def type(self, value: str) -> None:
        self.options.type = _TYPES.get(value)
        self.options.has_type = True

    def key(self, value: str) -> None:
        self.name = value
        self._pair()

    def key_value(self, value: str) -> None:
        self.value = value
        self._pair()

    def _pair(self) -> None:
        if self.name is not None and self.value is not None:
            self.options.params.append((self.name, self.value))
            self.name = self.value = None

    def host(self, value: str) -> None:
        if ":" in value:
            self.options.host_no = _host_of_mac(self.env, value)
            return
        number = _leading_u64(value)
        if number is None or number > _MAX_HOST:
            raise InvalidArgument(f"Invalid host no {value}. Numerical result out of range.")
        self.options.host_no = number

    def sid(self, value: str) -> None:
        self.options.sid = _session_of(self.env, value)

    def loginall(self, value: str) -> None:
        self.startup = value
        self.all_of.add("L")

    def logoutall(self, value: str) -> None:
        self.startup = value
        self.all_of.add("U")

    def kill(self, value: str) -> None:
        priority = leading_int(value)
        if priority < 0:
            raise InvalidArgument(
                f"Invalid killiscsid priority {priority} "
                "Priority must be greater than or equal to zero."
            )
        self.options.kill_priority = priority

    def debug(self, value: str) -> None:
        self.options.debug = self.output.debug_level = leading_int(value)

    def index(self, value: str) -> None:
        number = _leading_u64(value)
        if number is None:
            raise InvalidArgument(f"Invalid index {value}. Numerical result out of range.")
        self.options.index = number

    def version(self, _value: str) -> None:
        from pyiscsi import INTERFACE_VERSION

        self.output.out(f"iscsiadm version {INTERFACE_VERSION}")
        raise Done(ExitCode.SUCCESS)

    def help(self, _value: str) -> None:
        from pyiscsi.cli.help import USAGE

        self.output.out_lines(USAGE)
        raise Done(ExitCode.SUCCESS)


def _yes(_value: str) -> bool:
    return True


_ATTRIBUTES: dict[str, tuple[str, Callable[[str], object]]] = {
    "T": ("targetname", str),
    "P": ("print_level", leading_int),
    "R": ("rescan", _yes),
    "D": ("discover", _yes),
    "l": ("login", _yes),
    "u": ("logout", _yes),
    "s": ("stats", _yes),
    "S": ("show", _yes),
    "W": ("no_wait", _yes),
    "a": ("ip", str),
    "b": ("packetsize", leading_int),
    "c": ("count", leading_int),
    "i": ("interval", leading_int),
    "C": ("submode", lambda value: value if value in _SUBMODES else None),
    "A": ("portal_type", lambda value: value if value in _PORTAL_TYPES else None),
}

_ACTIONS: dict[str, Callable[[_Reader, str], None]] = {
    "m": _Reader.mode,
    "p": _Reader.portal,
    "I": _Reader.iface,
    "o": _Reader.op,
    "t": _Reader.type,
    "n": _Reader.key,
    "v": _Reader.key_value,
    "H": _Reader.host,
    "r": _Reader.sid,
    "L": _Reader.loginall,
    "U": _Reader.logoutall,
    "k": _Reader.kill,
    "d": _Reader.debug,
    "x": _Reader.index,
    "V": _Reader.version,
    "h": _Reader.help,
}


def _session_of(env: Env, text: str) -> int:
    """-r: a positive number, or a directory of a session or of something below one in sysfs."""
    import os
    import stat

    body = text.lstrip(_BLANKS).removeprefix("+")
    if body.isascii() and body.isdigit() and leading_number(body) > 0:
        return leading_number(body)
    try:
        found = os.lstat(text).st_mode
    except (OSError, ValueError):
        raise PyIscsiError(f"{text} is an invalid session ID or path") from None
    if not (stat.S_ISDIR(found) or stat.S_ISLNK(found)):
        raise PyIscsiError(f"{text} is not a directory")
    from pyiscsi.sysfs.sessions import sid_from_path
    from pyiscsi.sysfs.tree import SysfsTree

    try:
        return sid_from_path(SysfsTree(env.sysfs_root), text)
    except PyIscsiError as error:
        raise InvalidArgument(f"{error}\ninvalid sid '{text}'") from error


def _host_of_mac(env: Env, mac: str) -> int:
    from pyiscsi.sysfs.hosts import find_host
    from pyiscsi.sysfs.tree import SysfsTree

    number = find_host(SysfsTree(env.sysfs_root), hwaddress=mac)
    if number is None:
        raise InvalidArgument("Could not match MAC to host.")
    return number
