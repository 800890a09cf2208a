"""The commands' end of the native socket: blocking, every wait bounded or explicitly not.

Nothing but our own modules is imported until a connection is made.
"""

from __future__ import annotations

import errno

from pyiscsi import __version__
from pyiscsi.errors import ExitCode, IpcError
from pyiscsi.ipc import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pyiscsi.env import Env
    from pyiscsi.ipc.messages import Message

PROGRAM = "iscsiadm"

HELLO_TIMEOUT_S = 30.0
"""A socket-activated daemon starts while its first client waits; booting machines are slow."""

STARTUP_WAIT_S = 5.0
"""How long a daemon may take to listen after its startup command returned (open-iscsi: 1 s)."""

_RETRY_S = 0.05
_CHUNK = 1 << 16
_NOT_LISTENING = (errno.ENOENT, errno.ECONNREFUSED)


class Client:
    """One conversation with iscsid.

    Requests may be sent one after another and their replies awaited in any order. Any error
    leaves the connection unusable except DaemonError, the daemon's own answer.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._scanned = 0
        self._next_id = 1
        self._replies: dict[int, Message] = {}
        self._on_event: dict[int, Callable[[Message], None]] = {}

    @classmethod
    def connect(
        cls,
        env: Env,
        *,
        startup: Callable[[], None] | None = None,
        timeout: float | None = None,
    ) -> Client:
        """Connect and exchange hellos.

        `startup` is run once when nobody listens; the daemon then has STARTUP_WAIT_S seconds.
        `timeout` bounds the hello (seconds; None: HELLO_TIMEOUT_S). Raises IpcError with status
        20 (13 without permission) when there is no connection, 16 when the daemon is of another
        release, 18 or 33 when it breaks off or stays silent; DaemonError when it refuses us.
        """
        connection = _open(env.socket_path, startup)
        client = cls(connection)
        try:
            client._greet()
            answer = client._read(_deadline(HELLO_TIMEOUT_S if timeout is None else timeout))
            messages.check_hello(answer, PROGRAM, __version__)
        except BaseException:
            client.close()
            raise
        return client

    def send(
        self,
        op: str,
        args: Message | None = None,
        timeout: float | None = None,
        on_event: Callable[[Message], None] | None = None,
    ) -> int:
        """Send a request and return its id. `timeout` (seconds) is the daemon's deadline for it."""
        request_id = self._next_id
        self._next_id += 1
        if on_event is not None:
            self._on_event[request_id] = on_event
        self._write(messages.request(request_id, op, args or {}, timeout))
        return request_id

    def wait(self, request_id: int, timeout: float | None = None) -> Message:
        """The result of a request. Raises DaemonError, or IpcError 18 or 33 (`timeout` seconds)."""
        deadline = _deadline(timeout)
        while request_id not in self._replies:
            self._take(self._read(deadline))
        answer = self._replies.pop(request_id)
        self._on_event.pop(request_id, None)
        result = answer.get("ok")
        if not isinstance(result, dict):
            raise messages.error_of(answer)
        return result

    def request(
        self, op: str, args: Message | None = None, timeout: float | None = None
    ) -> Message:
        """Send and wait; `timeout` bounds both the daemon and the wait."""
        return self.wait(self.send(op, args, timeout), timeout)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _greet(self) -> None:
        try:
            self._write(messages.hello(PROGRAM, __version__))
        except IpcError as error:
            # A daemon that refuses us may close before we have spoken; its reason can be read.
            if not isinstance(error.__cause__, ConnectionError):
                raise

    def _take(self, message: Message) -> None:
        request_id = message.get("id")
        if not isinstance(request_id, int):
            # Without an id it concerns the connection: iscsid is about to close it.
            raise messages.error_of(message)
        if "event" in message:
            handler = self._on_event.get(request_id)
            if handler is not None:
                handler(message["event"])
        else:
            self._replies[request_id] = message

    def _write(self, message: Message) -> None:
        data = messages.encode(message)
        self._socket.settimeout(HELLO_TIMEOUT_S)
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error
        except OSError as error:
            what = message.get("op", "hello")
            raise IpcError(
                f"got write error (-1/{error.errno}) on cmd {what}, daemon died?"
            ) from error

    def _read(self, deadline: float | None) -> Message:
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._scanned = 0
                return messages.decode(line)
            self._scanned = len(self._buffer)
            self._buffer += self._receive(deadline)

    def _receive(self, deadline: float | None) -> bytes:
        remaining = None if deadline is None else deadline - _now()
        if remaining is not None and remaining <= 0:
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)
        self._socket.settimeout(remaining)
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError as error:
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error
        except OSError as error:
            raise IpcError(f"read error (-1/{error.errno}), daemon died?") from error
        if not data:
            raise IpcError("read error (0/0), daemon died?")
        return data


def _now() -> float:
    import time

    return time.monotonic()


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else _now() + timeout


def _try(path: str) -> socket.socket | int:
    """A connected socket, or the errno that prevented it."""
    import socket
    import struct

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A daemon whose backlog is full would block connect() for as long as it hangs, and with
    # settimeout() connect() would fail at once in place of waiting for its turn.
    limit = struct.pack("@ll", int(HELLO_TIMEOUT_S), 0)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.connect(path)
    except BlockingIOError:
        connection.close()
        return errno.ETIMEDOUT
    except OSError as error:
        connection.close()
        return error.errno or errno.EINVAL
    return connection


def _open(path: str, startup: Callable[[], None] | None) -> socket.socket:
    import time

    outcome = _try(path)
    if isinstance(outcome, int) and outcome in _NOT_LISTENING and startup is not None:
        startup()
        deadline = _now() + STARTUP_WAIT_S
        outcome = _try(path)
        while isinstance(outcome, int) and outcome in _NOT_LISTENING and _now() < deadline:
            time.sleep(_RETRY_S)
            outcome = _try(path)
    if isinstance(outcome, int):
        denied = outcome in (errno.EACCES, errno.EPERM)
        raise IpcError(
            f"can not connect to iSCSI daemon ({_shown(outcome)})!",
            ExitCode.ACCESS if denied else ExitCode.DAEMON_NOT_CONNECTED,
        )
    return outcome


def _shown(number: int) -> int:
    """A missing socket file is to users what a refused connection is: no daemon."""
    return errno.ECONNREFUSED if number == errno.ENOENT else number
