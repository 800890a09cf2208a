"""What happens while a command logs in, out or rescans; the command turns each into lines."""

from __future__ import annotations

from pyiscsi.errors import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.names import NodeKey
    from pyiscsi.sysfs.sessions import Session


class LoginRequested:
    """A login is about to be asked for. `multiple`: one of several sessions of this record."""

    __slots__ = ("key", "multiple")

    def __init__(self, key: NodeKey, multiple: bool) -> None:
        self.key = key
        self.multiple = multiple


class LoginSucceeded:
    __slots__ = ("key",)

    def __init__(self, key: NodeKey) -> None:
        self.key = key


class LoginFailed:
    """`lines` come from the daemon or tell why it could not be asked."""

    __slots__ = ("code", "key", "lines", "text")

    def __init__(self, key: NodeKey, code: int, lines: tuple[str, ...] = ()) -> None:
        self.key = key
        self.code = code
        self.text = error_text(code)
        self.lines = lines


class LoginPresent:
    """A record has as many sessions as it asks for."""

    __slots__ = ("iface", "present", "requested")

    def __init__(self, iface: str, requested: int, present: int) -> None:
        self.iface = iface
        self.requested = requested
        self.present = present


class LeadingIfaceFailed:
    """Not every leading login worked through this iface; the next one is tried."""

    __slots__ = ("iface",)

    def __init__(self, iface: str) -> None:
        self.iface = iface


class LeadingLoginsMissing:
    """Some leading-login portal has no session through any iface."""

    __slots__ = ()


class PortalsMissed:
    """A group of logins ended and not all of them worked."""

    __slots__ = ()


class LogoutRequested:
    __slots__ = ("session",)

    def __init__(self, session: Session) -> None:
        self.session = session


class LogoutSucceeded:
    __slots__ = ("session",)

    def __init__(self, session: Session) -> None:
        self.session = session


class LogoutFailed:
    __slots__ = ("code", "lines", "session", "text")

    def __init__(self, session: Session, code: int, lines: tuple[str, ...] = ()) -> None:
        self.session = session
        self.code = code
        self.text = error_text(code)
        self.lines = lines


class RescanStarted:
    __slots__ = ("session",)

    def __init__(self, session: Session) -> None:
        self.session = session


class RescanFailed:
    __slots__ = ("line", "session")

    def __init__(self, session: Session, line: str) -> None:
        self.session = session
        self.line = line


LoginEvent = (
    LoginRequested
    | LoginSucceeded
    | LoginFailed
    | LoginPresent
    | LeadingIfaceFailed
    | LeadingLoginsMissing
    | PortalsMissed
)
LogoutEvent = LogoutRequested | LogoutSucceeded | LogoutFailed
RescanEvent = RescanStarted | RescanFailed
