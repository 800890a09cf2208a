"""Exceptions of all rooms; each carries the exit status a program ends with.

This module is imported by every command, so it must not import anything.
"""

from __future__ import annotations


class ExitCode:
    """Exit statuses and IPC error codes (open-iscsi include/iscsi_err.h)."""

    SUCCESS = 0
    GENERIC = 1
    SESSION_NOT_FOUND = 2
    NO_MEMORY = 3
    TRANSPORT = 4
    LOGIN = 5
    DATABASE = 6
    INVALID = 7
    TRANSPORT_TIMEOUT = 8
    INTERNAL = 9
    LOGOUT = 10
    PDU_TIMEOUT = 11
    TRANSPORT_NOT_FOUND = 12
    ACCESS = 13
    TRANSPORT_CAPS = 14
    SESSION_EXISTS = 15
    INVALID_REQUEST = 16
    ISNS_UNAVAILABLE = 17
    DAEMON_COMMUNICATION = 18
    FATAL_LOGIN = 19
    DAEMON_NOT_CONNECTED = 20
    NO_OBJECTS_FOUND = 21
    SYSFS_LOOKUP = 22
    HOST_NOT_FOUND = 23
    LOGIN_AUTH_FAILED = 24
    ISNS_QUERY = 25
    ISNS_REGISTRATION = 26
    NOT_SUPPORTED = 27
    BUSY = 28
    AGAIN = 29
    UNKNOWN_DISCOVERY_TYPE = 30
    CHILD_TERMINATED = 31
    SESSION_NOT_CONNECTED = 32
    REQUEST_TIMED_OUT = 33


_TEXTS = (
    "",
    "unknown error",
    "session not found",
    "no available memory",
    "encountered connection failure",
    "encountered iSCSI login failure",
    "encountered iSCSI database failure",
    "invalid parameter",
    "connection timed out",
    "internal error",
    "encountered iSCSI logout failure",
    "iSCSI PDU timed out",
    "iSCSI driver not found. Please make sure it is loaded, and retry the operation",
    "daemon access denied",
    "iSCSI driver does not support requested capability.",
    "session exists",
    "Unknown request",
    "iSNS service not supported",
    "could not communicate to iscsid",
    "encountered non-retryable iSCSI login failure",
    "could not connect to iscsid",
    "no objects found",
    "sysfs lookup failure",
    "host not found",
    "iSCSI login failed due to authorization failure",
    "iSNS query failed",
    "iSNS registration failed",
    "operation not supported",
    "device or resource in use",
    "operation failed but retry may succeed",
    "unknown discovery type",
    "child process terminated",
    "target likely not connected",
    "iscsid request timed out",
)


def error_text(code: int) -> str:
    """The fixed sentence for an exit status, as open-iscsi prints it after the number."""
    if 0 <= code < len(_TEXTS):
        return _TEXTS[code]
    return f"invalid error code {code}"


class PyIscsiError(Exception):
    """Base of all errors a user can meet.

    `str()` is one line for the user, without a program name; an empty message falls back to the
    exit status's own text. `exit_code` may be given per instance where one class has several.
    """

    exit_code = ExitCode.GENERIC

    def __init__(self, message: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return self.args[0] or error_text(self.exit_code)


class InvalidArgument(PyIscsiError):
    exit_code = ExitCode.INVALID


class NoObjectsFound(PyIscsiError):
    exit_code = ExitCode.NO_OBJECTS_FOUND


class SessionNotFound(PyIscsiError):
    exit_code = ExitCode.SESSION_NOT_FOUND


class SessionExists(PyIscsiError):
    exit_code = ExitCode.SESSION_EXISTS


class SysfsError(PyIscsiError):
    exit_code = ExitCode.SYSFS_LOOKUP


class AccessDenied(PyIscsiError):
    exit_code = ExitCode.ACCESS


class NotSupported(PyIscsiError):
    exit_code = ExitCode.NOT_SUPPORTED


class Busy(PyIscsiError):
    exit_code = ExitCode.BUSY


class LogoutFailed(PyIscsiError):
    exit_code = ExitCode.LOGOUT


class RecordError(PyIscsiError):
    """A record file or the record database failed. `path` and `line` say where, when known."""

    exit_code = ExitCode.DATABASE

    def __init__(
        self, message: str = "", path: str = "", line: int = 0, exit_code: int | None = None
    ) -> None:
        super().__init__(message, exit_code)
        self.path = path
        self.line = line


class TransportError(PyIscsiError):
    """Connecting or talking to a portal or to the kernel failed (4; 8 timed out; 12 no driver)."""

    exit_code = ExitCode.TRANSPORT


class PduTimeout(PyIscsiError):
    exit_code = ExitCode.PDU_TIMEOUT


class ProtocolError(PyIscsiError):
    """The iSCSI protocol was broken; never raised itself."""


class LocalProtocolError(ProtocolError):
    """We were asked to do what the protocol forbids in this state: a bug or a wrong setting."""

    exit_code = ExitCode.INTERNAL


class RemoteProtocolError(ProtocolError):
    """The target broke the protocol; its connection ends."""

    exit_code = ExitCode.LOGIN


class LoginFailed(PyIscsiError):
    """The target refused a login, or its answer made login impossible.

    `status_class`, `status_detail`: RFC 7143 §11.13.5, or -1 where the refusal is our own.
    """

    exit_code = ExitCode.FATAL_LOGIN

    def __init__(
        self,
        message: str = "",
        exit_code: int | None = None,
        status_class: int = -1,
        status_detail: int = -1,
    ) -> None:
        super().__init__(message, exit_code)
        self.status_class = status_class
        self.status_detail = status_detail


class LoggedOut(LoginFailed):
    """Somebody logged out while the login was on its way."""


class IsnsError(PyIscsiError):
    """An iSNS server was asked in vain: 25 for a query, 26 for a registration.

    `status`: what it answered (RFC 4171 §5.4), 0 when there was no answer to use.
    """

    exit_code = ExitCode.ISNS_QUERY

    def __init__(self, message: str = "", exit_code: int | None = None, status: int = 0) -> None:
        super().__init__(message, exit_code)
        self.status = status


class IpcError(PyIscsiError):
    """Talking to iscsid failed: 20 not reachable, 18 broken off, 33 no answer in time."""

    exit_code = ExitCode.DAEMON_COMMUNICATION


class DaemonError(PyIscsiError):
    """iscsid answered a request with an error; `messages` are lines it wants the user to see."""

    def __init__(self, message: str, exit_code: int, messages: tuple[str, ...] = ()) -> None:
        super().__init__(message, exit_code)
        self.messages = messages
