"""Sessions as the kernel shows them (drivers/scsi/scsi_transport_iscsi.c).

A Session reads an attribute when it is first asked for and keeps the value, so a listing of many
sessions costs only the files it prints.
"""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument, SysfsError
from pyiscsi.names import ANY_PORT, DEFAULT_IFACE
from pyiscsi.sysfs.transports import name_from_driver
from pyiscsi.sysfs.tree import numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiscsi.names import NodeKey, Pattern
    from pyiscsi.sysfs.tree import SysfsTree

SESSIONS = "class/iscsi_session"
CONNECTIONS = "class/iscsi_connection"
HOSTS = "class/iscsi_host"

_DEVICE_TREES = ("/devices/", "/subsystem/", "/module/", "/bus/", "/class/", "/block/")
"""Below which open-iscsi takes every directory for a device (usr/sysfs.c)."""

_KERNEL_CREATED = -1
"""`creator` of sessions a driver made by itself (flash or firmware)."""


class _Text:
    """A text attribute of a session, read once; None where the kernel has no value."""

    def __init__(self, base: str, name: str) -> None:
        self.base = base
        self.name = name
        self.slot = ""

    def __set_name__(self, _owner: type, slot: str) -> None:
        self.slot = slot

    def __get__(self, session: Session | None, _owner: type) -> str | None:
        if session is None:
            return None
        text = session.tree.read(f"{session.base(self.base)}/{self.name}")
        session.__dict__[self.slot] = text
        return text


class _Number:
    """As _Text for a number; `off` is -1."""

    def __init__(self, base: str, name: str) -> None:
        self.base = base
        self.name = name
        self.slot = ""

    def __set_name__(self, _owner: type, slot: str) -> None:
        self.slot = slot

    def __get__(self, session: Session | None, _owner: type) -> int | None:
        if session is None:
            return None
        number = session.tree.read_int(f"{session.base(self.base)}/{self.name}")
        session.__dict__[self.slot] = number
        return number


class Session:
    """One session of the kernel; making the object reads nothing.

    Times are in seconds, lengths in bytes. `recovery_tmo` is -1 where the kernel says `off`.
    Secrets (`password`, `password_in`) are readable by root only and never part of repr().
    """

    targetname = _Text(SESSIONS, "targetname")
    tpgt_raw = _Number(SESSIONS, "tpgt")
    state = _Text(SESSIONS, "state")
    creator = _Number(SESSIONS, "creator")
    target_state = _Text(SESSIONS, "target_state")
    target_id = _Number(SESSIONS, "target_id")
    username = _Text(SESSIONS, "username")
    password = _Text(SESSIONS, "password")
    username_in = _Text(SESSIONS, "username_in")
    password_in = _Text(SESSIONS, "password_in")
    recovery_tmo = _Number(SESSIONS, "recovery_tmo")
    abort_tmo = _Number(SESSIONS, "abort_tmo")
    lu_reset_tmo = _Number(SESSIONS, "lu_reset_tmo")
    tgt_reset_tmo = _Number(SESSIONS, "tgt_reset_tmo")
    first_burst_len = _Number(SESSIONS, "first_burst_len")
    max_burst_len = _Number(SESSIONS, "max_burst_len")
    immediate_data = _Number(SESSIONS, "immediate_data")
    initial_r2t = _Number(SESSIONS, "initial_r2t")
    max_outstanding_r2t = _Number(SESSIONS, "max_outstanding_r2t")
    erl = _Number(SESSIONS, "erl")
    data_pdu_in_order = _Number(SESSIONS, "data_pdu_in_order")
    data_seq_in_order = _Number(SESSIONS, "data_seq_in_order")
    raw_ifacename = _Text(SESSIONS, "ifacename")
    raw_initiatorname = _Text(SESSIONS, "initiatorname")

    raw_address = _Text(CONNECTIONS, "address")
    raw_port = _Number(CONNECTIONS, "port")
    raw_persistent_address = _Text(CONNECTIONS, "persistent_address")
    raw_persistent_port = _Number(CONNECTIONS, "persistent_port")
    header_digest = _Number(CONNECTIONS, "header_digest")
    data_digest = _Number(CONNECTIONS, "data_digest")
    max_recv_dlength = _Number(CONNECTIONS, "max_recv_dlength")
    max_xmit_dlength = _Number(CONNECTIONS, "max_xmit_dlength")
    exp_statsn = _Number(CONNECTIONS, "exp_statsn")
    ping_tmo = _Number(CONNECTIONS, "ping_tmo")
    connection_state = _Text(CONNECTIONS, "state")

    ipaddress = _Text(HOSTS, "ipaddress")
    hwaddress = _Text(HOSTS, "hwaddress")
    netdev = _Text(HOSTS, "netdev")
    host_initiatorname = _Text(HOSTS, "initiatorname")

    def __init__(self, tree: SysfsTree, sid: int) -> None:
        self.tree = tree
        self.sid = sid

    def __repr__(self) -> str:
        return f"Session({self.sid}, {self.targetname!r})"

    def base(self, kind: str) -> str:
        """Directory of the session, its connection or its host."""
        if kind == SESSIONS:
            return f"{SESSIONS}/session{self.sid}"
        if kind == CONNECTIONS:
            return f"{CONNECTIONS}/connection{self.sid}:0"
        return f"{HOSTS}/host{self.host_no if self.host_no is not None else ''}"

    @property
    def target(self) -> str:
        return self.targetname or ""

    @property
    def tpgt(self) -> int:
        return -1 if self.tpgt_raw is None else self.tpgt_raw

    @property
    def address(self) -> str:
        """Where the connection goes now; the configured address while there is no connection."""
        return self.raw_address or self.raw_persistent_address or ""

    @property
    def persistent_address(self) -> str:
        """The configured address, as text of the record."""
        return self.raw_persistent_address or self.raw_address or ""

    @property
    def port(self) -> int:
        return _first(self.raw_port, self.raw_persistent_port)

    @property
    def persistent_port(self) -> int:
        return _first(self.raw_persistent_port, self.raw_port)

    @property
    def ifacename(self) -> str:
        return self.raw_ifacename or DEFAULT_IFACE

    @property
    def initiatorname(self) -> str:
        return self.raw_initiatorname or self.host_initiatorname or ""

    @property
    def is_flash(self) -> bool:
        """Made by a driver, not by a daemon."""
        return self.creator == _KERNEL_CREATED

    @property
    def host_no(self) -> int | None:
        """SCSI host above the session; None when the session is gone."""
        if "host" not in self.__dict__:
            self.__dict__["host"] = self._find_host()
        number: int | None = self.__dict__["host"]
        return number

    def _find_host(self) -> int | None:
        path = self.base(SESSIONS)
        where = self.tree.link(path) or self.tree.real(path)
        for part in reversed(where.split("/")):
            number = numbered(part, "host")
            if number is not None:
                return number
        return None

    @property
    def transport(self) -> str:
        """Transport name; empty when the host's driver is unknown."""
        if "transport_name" not in self.__dict__:
            driver = self.tree.read(f"class/scsi_host/host{self.host_no}/proc_name")
            self.__dict__["transport_name"] = name_from_driver(driver)
        return str(self.__dict__["transport_name"])


def _first(*numbers: int | None) -> int:
    return next((number for number in numbers if number is not None), ANY_PORT)


def session_ids(tree: SysfsTree) -> list[int]:
    """Ids of all sessions in the original's order, that of the names as text: 1, 10, 2."""
    found = (numbered(name, "session") for name in tree.names(SESSIONS))
    return [sid for sid in found if sid is not None]


def sessions(tree: SysfsTree) -> list[Session]:
    """All sessions whose identity can be read; one that is just going away is left out."""
    all_of_them = (Session(tree, sid) for sid in session_ids(tree))
    return [session for session in all_of_them if _has_identity(session)]


def _has_identity(session: Session) -> bool:
    return session.targetname is not None and bool(session.persistent_address)


def session(tree: SysfsTree, sid: int) -> Session:
    """The session with this id. Raises SysfsError (22) with the original's lines if there is none.

    The 5 in the text is the original's code for the failed read.
    """
    found = Session(tree, sid)
    if not _has_identity(found):
        raise SysfsError(
            f"could not read session targetname: 5\nCould not get session info for sid {sid}"
        )
    return found


def matches(session: Session, pattern: Pattern, *, resolve: bool = True) -> bool:
    """Whether -T, -p and -I select this session (open-iscsi iscsi_match_session).

    The portal compared is the configured one. `resolve`: a name and an address that differ as
    text are also compared by what they resolve to; never done for two numeric addresses.
    """
    return (
        (not pattern.target or session.target == pattern.target)
        and (not pattern.iface or session.ifacename == pattern.iface)
        and pattern.port in (ANY_PORT, session.persistent_port)
        and is_same_address(session.persistent_address, pattern.address, resolve=resolve)
    )


def uses(session: Session, key: NodeKey, transport: str = "") -> bool:
    """Whether this session was made from the record `key`, whose iface uses `transport`.

    Ifaces other than `default` must also agree in transport where the record names one.
    """
    return (
        session.target == key.target
        and session.persistent_port == key.port
        and session.ifacename == key.iface
        and (key.iface == DEFAULT_IFACE or transport in ("", session.transport))
        and is_same_address(session.persistent_address, key.address)
    )


def is_in_use(tree: SysfsTree, key: NodeKey) -> bool:
    """Whether a running session uses this record."""
    return any(uses(found, key) for found in sessions(tree))


def by_target(found: Iterable[Session]) -> dict[str, list[Session]]:
    """Sessions grouped by target name, for looking up many records."""
    groups: dict[str, list[Session]] = {}
    for one in found:
        groups.setdefault(one.target, []).append(one)
    return groups


def is_same_address(mine: str, wanted: str, *, resolve: bool = True) -> bool:
    """Whether two addresses are equal as text, as numbers or, with `resolve`, once resolved.

    An empty `wanted` matches anything.
    """
    if not wanted or mine == wanted:
        return True
    if not resolve or (_is_dotted_quad(mine) and _is_dotted_quad(wanted)):
        return False
    first, second = _packed(mine), _packed(wanted)
    if first is None or second is None:
        first = first or _resolved(mine)
        second = second or _resolved(wanted)
    return first is not None and first == second


def _is_dotted_quad(address: str) -> bool:
    """An IPv4 address in the one usual spelling; equal ones are equal as text."""
    parts = address.split(".")
    return len(parts) == 4 and all(
        part.isascii() and part.isdigit() and str(int(part)) == part for part in parts
    )


def is_numeric_address(address: str) -> bool:
    """Whether this is an IPv4 or IPv6 address rather than a name."""
    return _packed(address) is not None


def _packed(address: str) -> bytes | None:
    """A numeric address as bytes; None for a name or an address with a zone."""
    import _socket  # the enums of `socket` cost the command milliseconds

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
    return None


def _resolved(name: str) -> bytes | None:
    import _socket

    try:
        # As bytes, or the IDNA codec is loaded for every name.
        host = name.encode() if name.isascii() else name
        found = _socket.getaddrinfo(host, None, type=_socket.SOCK_STREAM)
    except (OSError, ValueError):
        return None
    address = str(found[0][4][0])
    return _packed(address) or address.encode()


def sid_from_path(tree: SysfsTree, path: str) -> int:
    """The session a sysfs directory belongs to: that directory or its nearest parent session.

    `path` is absolute, below the tree's root or below /sys. Raises InvalidArgument (7).
    """
    inside = next(
        (path[len(root) :] for root in (tree.root, "/sys") if f"{path}/".startswith(f"{root}/")),
        path,
    )
    real = tree.real(inside.lstrip("/"))
    for part in reversed(real.split("/")):
        sid = numbered(part, "session")
        if sid is not None and tree.exists(f"{SESSIONS}/{part}"):
            return sid
    if inside.startswith(_DEVICE_TREES):
        raise InvalidArgument(f"Unable to find sid in path {path}")
    raise InvalidArgument(f"Could not get dev for {inside}. Possible sysfs incompatibility.")
