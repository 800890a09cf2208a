"""The commands' end of the native socket: blocking, every wait bounded.

A request may take as long as it must, but meanwhile the daemon has to show that it lives. Nothing
but our own modules is imported until a connection is made.
"""

from __future__ import annotations

import errno
import sys

from pyiscsi import __version__
from pyiscsi.errors import ExitCode, IpcError
from pyiscsi.ipc import messages, stream
from pyiscsi.ipc.conversation import Conversation
from pyiscsi.ipc.messages import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pyiscsi.env import Env
    from pyiscsi.ipc.messages import Message

PROGRAM = "iscsiadm"

STARTUP_WAIT_S = 5.0
"""How long a daemon may take to listen after its startup command returned (open-iscsi: 1 s)."""

PING_AFTER_S = 10.0
"""Without a reply, until the daemon is asked whether it lives."""
PONG_WITHIN_S = 60.0
"""Its event loop never stands still as long, however busy the machine is."""

WINDOW = 2048
"""Requests on their way; more wait for replies, so that pings are always read (server.Limits)."""

ANSWER_LINE_MAX = 128 << 20
"""Bytes of one reply; a discovery through ten ifaces, each at its limit, has about as much."""
_GREETING_LINE_MAX = 1 << 16
_SEEN_MAX = 40

_RETRY_S = 0.05
_CHUNK = 1 << 16


def is_running(env: Env) -> bool:
    """Whether our iscsid runs. Connecting would start it, where systemd holds its socket."""
    import fcntl
    import os
    import struct

    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        lock = os.open(f"{env.socket_path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = fcntl.fcntl(lock, fcntl.F_GETLK, wanted)
    except OSError:
        return False
    finally:
        os.close(lock)
    kind: int = struct.unpack("hhqqi", found)[0]
    return kind != fcntl.F_UNLCK


class Client(Conversation):
    """One conversation with iscsid.

    Requests may be sent one after another and their replies awaited in any order. Any error
    except DaemonError, the daemon's own answer, ends the conversation: whatever is tried
    afterwards raises it again.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._scanned = 0
        self._line_max = _GREETING_LINE_MAX
        self._next_id = 1
        self._open: set[int] = set()
        self._replies: dict[int, Message] = {}
        self._on_event: dict[int, Callable[[Message], None]] = {}
        self._ping: int | None = None
        self._check_at = 0.0
        self._failure: IpcError | None = None

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
        `timeout` bounds connection and hello (seconds; None: stream.CONNECT_TIMEOUT_S). Raises
        IpcError with status 20 (13 without permission) when there is no connection, 16 when the
        daemon is of another release, 18 or 33 when it breaks off or stays silent; DaemonError
        when it refuses us.
        """
        limit = stream.CONNECT_TIMEOUT_S if timeout is None else timeout
        connection, until = _open(env.socket_path, startup, limit)
        client = cls(connection)
        try:
            client._greet(until)
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
        while len(self._open) >= WINDOW:
            self._hear(None)
        request_id = self._send(op, args or {}, timeout)
        self._open.add(request_id)
        if on_event is not None:
            self._on_event[request_id] = on_event
        return request_id

    def wait(self, request_id: int, timeout: float | None = None) -> Message:
        """The result of a request. Raises DaemonError, or IpcError 18 or 33.

        `timeout`: seconds; None: for as long as the daemon shows that it lives.
        """
        until = stream.after(timeout)
        while request_id not in self._replies:
            self._hear(until)
        answer = self._replies.pop(request_id)
        self._on_event.pop(request_id, None)
        result = answer.get("ok")
        if not isinstance(result, dict):
            raise messages.error_of(answer)
        return result

    def close(self) -> None:
        self._socket.close()

    def _greet(self, until: float) -> None:
        try:
            self._write(messages.hello(PROGRAM, __version__), until)
        except IpcError as error:
            # A daemon that refuses us may close before we have spoken; its reason can be read.
            if not isinstance(error.__cause__, ConnectionError):
                raise
        line = self._read_line(until)
        if line is None:
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)
        try:
            answer = messages.decode(line)
            sys.audit("pyiscsi.answer", answer)
            messages.check_hello(answer, PROGRAM, __version__)
        except Malformed as error:
            raise Malformed(
                f"{PROGRAM} {__version__} speaks protocol {messages.PROTOCOL}; iscsid does not, "
                f"it began with {line[:_SEEN_MAX].decode('latin-1')!a}"
            ) from error
        self._line_max = ANSWER_LINE_MAX

    def _send(self, op: str, args: Message, timeout: float | None = None) -> int:
        request_id = self._next_id
        self._next_id += 1
        with _Remembering(self):
            until = stream.now() + stream.WRITE_TIMEOUT_S
            self._write(messages.request(request_id, op, args, timeout), until)
        return request_id

    def _hear(self, until: float | None) -> None:
        """Take one message, or none in time: then the daemon is asked whether it lives.

        With `until` it is a failure at once.
        """
        with _Remembering(self):
            end = self._check_at if until is None else until
            line = self._read_line(end)
            is_reply = line is not None and self._take(messages.decode(line))
            if is_reply or stream.now() < end:
                return
            if until is not None:
                raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)
            self._check()

    def _check(self) -> None:
        """Only replies are signs of life: events, or half a line, might go on for ever."""
        if self._ping is not None:
            raise IpcError(
                f"iscsid has not answered for {PONG_WITHIN_S:.0f} seconds",
                ExitCode.REQUEST_TIMED_OUT,
            )
        if self._check_at:
            self._ping = self._send("ping", {})
        self._lives()

    def _lives(self) -> None:
        waiting = PING_AFTER_S if self._ping is None else PONG_WITHIN_S
        self._check_at = stream.now() + waiting

    def _take(self, message: Message) -> bool:
        """Whether it was a reply."""
        sys.audit("pyiscsi.answer", message)
        request_id = message.get("id")
        if not isinstance(request_id, int):
            # Without an id it concerns the connection: iscsid is about to close it.
            raise messages.error_of(message)
        if "event" in message:
            handler = self._on_event.get(request_id)
            if handler is not None:
                handler(message["event"])
            return False
        if request_id == self._ping:
            self._ping = None
        elif request_id in self._open:
            self._open.discard(request_id)
            self._replies[request_id] = message
        else:
            raise Malformed(f"iscsid answered request {request_id}, which nobody made")
        self._lives()
        return True

    def _write(self, message: Message, until: float) -> None:
        sys.audit("pyiscsi.request", message)
        try:
            stream.send(self._socket, messages.encode(message), until)
        except OSError as error:
            what = message.get("op", "hello")
            raise IpcError(
                f"got write error (-1/{error.errno}) on cmd {what}, daemon died?"
            ) from error

    def _read_line(self, until: float) -> bytes | None:
        """The next message; None when it has not come whole in time."""
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._scanned = 0
                return line
            self._scanned = len(self._buffer)
            if self._scanned > self._line_max:
                raise Malformed(f"message is longer than {self._line_max} bytes")
            if not stream.is_readable(until, self._socket):
                return None
            data = stream.receive(self._socket, _CHUNK)
            if not data:
                raise IpcError("read error (0/0), daemon died?")
            self._buffer += data


class _Remembering:
    """Keeps the error that ends a conversation, and raises it when somebody goes on with it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> None:
        if self._client._failure is not None:
            raise self._client._failure

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, IpcError):
            self._client._failure = error


def _open(
    path: str, startup: Callable[[], None] | None, limit: float
) -> tuple[socket.socket, float]:
    """A connection, and until when its greeting may take."""
    import time

    until = stream.now() + limit
    outcome = _try(path, until)
    if isinstance(outcome, OSError) and _is_nobody(outcome) and startup is not None:
        startup()
        up = stream.now() + STARTUP_WAIT_S
        until = up + limit
        outcome = _try(path, up)
        while isinstance(outcome, OSError) and _is_nobody(outcome) and stream.now() < up:
            time.sleep(_RETRY_S)
            outcome = _try(path, up)
    if isinstance(outcome, OSError):
        denied = outcome.errno in (errno.EACCES, errno.EPERM)
        raise IpcError(
            stream.unreachable(outcome),
            ExitCode.ACCESS if denied else ExitCode.DAEMON_NOT_CONNECTED,
        ) from outcome
    return outcome, until


def _try(path: str, until: float) -> socket.socket | OSError:
    try:
        return stream.connect(path, until)
    except OSError as error:
        return error


def _is_nobody(error: OSError) -> bool:
    return error.errno in stream.NOT_LISTENING
