"""A command's end of a socket to iscsid: every wait on it ends.

Moments are those of now(). Loaded by commands, so it does without the socket module, which takes as
long to load as the interpreter itself.
"""

from __future__ import annotations

import errno

from pyiscsi.errors import ExitCode, IpcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

CONNECT_TIMEOUT_S = 30.0
"""A socket-activated daemon starts while its first client waits; booting machines are slow."""

WRITE_TIMEOUT_S = 30.0
"""For the daemon to take a request."""

NOT_LISTENING = (errno.ENOENT, errno.ECONNREFUSED)

_LEAST_S = 0.001


def now() -> float:
    import time

    return time.monotonic()


def after(seconds: float | None) -> float | None:
    return None if seconds is None else now() + seconds


def connect(address: str, until: float) -> socket.socket:
    """Raises OSError; ETIMEDOUT when the daemon's backlog stays full."""
    import _socket
    import _struct

    connection = _new()
    # Not settimeout(): on a full backlog that fails at once in place of waiting for its turn.
    seconds, rest = divmod(max(until - now(), _LEAST_S), 1)
    limit = _struct.pack("@ll", int(seconds), int(rest * 1e6))
    try:
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        connection.connect(address)
    except BlockingIOError as error:
        connection.close()
        raise TimeoutError(errno.ETIMEDOUT, "iscsid accepts no connection") from error
    except OSError:
        connection.close()
        raise
    return connection


def _new() -> socket.socket:
    """A socket that `with` closes; only the standard module's has more to it."""
    import _socket

    class Connection(_socket.socket):
        def __enter__(self) -> Connection:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    return Connection(_socket.AF_UNIX, _socket.SOCK_STREAM)  # type: ignore[return-value]


def peer(sock: socket.socket) -> tuple[int, int]:
    """Process and user at the other end, as they were at its connect() or listen()."""
    import socket
    import struct

    ucred = struct.Struct("iII")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size)
    pid, uid, _ = ucred.unpack(raw)
    return pid, uid


def unreachable(error: OSError) -> str:
    """A missing socket file is to users what a refused connection is: no daemon."""
    number = error.errno or errno.EINVAL  # a name that is too long has none
    if number == errno.ENOENT:
        number = errno.ECONNREFUSED
    return f"can not connect to iSCSI daemon ({number})!"


def send(connection: socket.socket, data: bytes, until: float) -> None:
    """Raises OSError, IpcError 33."""
    connection.settimeout(max(until - now(), _LEAST_S))
    try:
        connection.sendall(data)
    except TimeoutError as error:
        raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error


def is_readable(until: float, *connections: socket.socket) -> bool:
    """Wait for something to read on one of them; whether it came in time."""
    import select

    waiting = select.poll()
    for connection in connections:
        waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(max(until - now(), 0) * 1000))


def receive(connection: socket.socket, size: int) -> bytes:
    """What is there to read, nothing at the end. Raises IpcError 18 when the connection broke."""
    try:
        return connection.recv(size)
    except OSError as error:
        raise IpcError(f"read error (-1/{error.errno}), daemon died?") from error
