"""The commands' end of open-iscsi's management socket: our iscsiadm drives its iscsid.

It has the methods of ipc.client.Client, so that what a command does is the same with either
daemon; each request travels on a connection of its own (usr/iscsid_req.c).
"""

from __future__ import annotations

import errno

from pyiscsi.errors import DaemonError, ExitCode, IpcError
from pyiscsi.ipc import compat_socket, structs
from pyiscsi.ipc.structs import Command, Request, Response
from pyiscsi.ipc.structs_layout import LAYOUT_2_1_8, LAYOUT_2_1_11, LAYOUT_MASTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from pyiscsi.env import Env
    from pyiscsi.ipc.messages import Message
    from pyiscsi.ipc.structs_layout import Layout

    Discover = Callable[[Message, Message], Message]
    """(result of `config`, arguments of `discover`) to the result of `discover`."""

CONNECT_TIMEOUT_S = 30.0
"""For a daemon that is started by its socket, or has its hands full."""
WRITE_TIMEOUT_S = 30.0

_NOT_LISTENING = (errno.ECONNREFUSED, errno.ENOENT)


def find(
    env: Env,
    environ: Mapping[str, str],
    *,
    timeout: float | None = None,
    discover: Discover | None = None,
) -> CompatClient | None:
    """A client of the open-iscsi daemon of this machine; None when none is listening.

    `discover` carries discoveries out, which that daemon leaves to its clients.
    Raises DaemonError when it refuses us (13), IpcError when it does not talk as one should.
    """
    name = compat_socket.name_for(env, environ)
    if not name:
        return None
    try:
        return CompatClient.connect(name, timeout, discover=discover)
    except NotListening:
        return None


class NotListening(IpcError):
    exit_code = ExitCode.DAEMON_NOT_CONNECTED


class CompatClient:
    """Requests to a daemon behind an abstract socket; they may be awaited in any order.

    `is_newest`: whether the daemon took a request of the newest layout as a whole.
    """

    def __init__(self, name: str, *, is_newest: bool, discover: Discover | None = None) -> None:
        self._name = name
        self._discover = discover
        self._layout: Layout | None = LAYOUT_MASTER if is_newest else None
        self._next_id = 1
        self._open: dict[int, Callable[[float | None], Message]] = {}
        self._sockets: dict[int, socket.socket] = {}

    @classmethod
    def connect(
        cls, name: str, timeout: float | None = None, *, discover: Discover | None = None
    ) -> CompatClient:
        """Ask a daemon a first question. Raises NotListening, DaemonError, IpcError (18, 33)."""
        limit = CONNECT_TIMEOUT_S if timeout is None else timeout
        newest = _takes_all(name, LAYOUT_MASTER, limit)
        return cls(name, is_newest=newest, discover=discover)

    def send(
        self,
        op: str,
        args: Message | None = None,
        timeout: float | None = None,
        on_event: Callable[[Message], None] | None = None,
    ) -> int:
        """Send a request and return its id; this protocol has neither deadlines nor events.

        Raises DaemonError 27 for an operation the daemon does not know, IpcError (18, 20, 33).
        """
        request_id = self._next_id
        self._next_id += 1
        starter = _OPERATIONS.get(op)
        if starter is None:
            raise DaemonError(f"open-iscsi's iscsid has no operation {op}", ExitCode.NOT_SUPPORTED)
        self._open[request_id] = starter(self, request_id, args or {})
        return request_id

    def wait(self, request_id: int, timeout: float | None = None) -> Message:
        """The result of a request. Raises DaemonError, or IpcError 18 or 33 (`timeout` seconds)."""
        deadline = None if timeout is None else _now() + timeout
        try:
            return self._open.pop(request_id)(deadline)
        finally:
            connection = self._sockets.pop(request_id, None)
            if connection is not None:
                connection.close()

    def request(
        self, op: str, args: Message | None = None, timeout: float | None = None
    ) -> Message:
        return self.wait(self.send(op, args, timeout), timeout)

    def close(self) -> None:
        """Leave; the daemon carries on with what it was asked to do."""
        for connection in self._sockets.values():
            connection.close()
        self._sockets.clear()
        self._open.clear()

    def __enter__(self) -> CompatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def layout(self) -> Layout:
        """The daemon's; found out when the first login needs it."""
        if self._layout is None:
            takes = _takes_all(self._name, LAYOUT_2_1_11, CONNECT_TIMEOUT_S)
            self._layout = LAYOUT_2_1_11 if takes else LAYOUT_2_1_8
        return self._layout

    # One method for each operation: sends, and returns what reads the answer.

    def _begin(self, request_id: int, request: Request) -> Callable[[float | None], Response]:
        # Only a login must be of the daemon's own size: of the rest it reads what it knows, and
        # one that is too short would stop it.
        layout = self.layout if request.command in structs.WITH_RECORD else LAYOUT_MASTER
        connection = _open(self._name)
        self._sockets[request_id] = connection
        _write(connection, request.command, structs.encode_request(request, layout))
        return lambda deadline: _read(connection, request.command, deadline)

    def _login(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        request = Request(
            Command.SESSION_LOGIN, 0, args["record"], multiple=bool(args.get("multiple"))
        )
        read = self._begin(request_id, request)
        return lambda deadline: _nothing(read(deadline))

    def _logout(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        read = self._begin(request_id, Request(Command.SESSION_LOGOUT, args["sid"]))
        return lambda deadline: _nothing(read(deadline))

    def _stats(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        read = self._begin(request_id, Request(Command.SESSION_STATS, args["sid"]))

        def result(deadline: float | None) -> Message:
            response = read(deadline)
            return {"counters": response.counters, "custom": response.custom}

        return result

    def _stop(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        read = self._begin(request_id, Request(Command.IMMEDIATE_STOP))
        return lambda deadline: _nothing(read(deadline))

    def _config(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        commands = {
            "config_file": Command.CONFIG_FILE,
            "initiator_name": Command.CONFIG_INAME,
            "initiator_alias": Command.CONFIG_IALIAS,
        }

        def result(deadline: float | None) -> Message:
            return {
                name: _exchange(self._name, Request(command), deadline).text
                for name, command in commands.items()
            }

        return result

    def _discovery(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        ask = self._config(request_id, {})
        discover = self._discover
        if discover is None:
            raise DaemonError("open-iscsi's iscsid does not discover", ExitCode.NOT_SUPPORTED)
        return lambda deadline: discover(ask(deadline), args)

    def _session_info(self, request_id: int, args: Message) -> Callable[[float | None], Message]:
        """Sessions the daemon has no answer for are left out."""

        def result(deadline: float | None) -> Message:
            found = {}
            for sid in args["sids"]:
                try:
                    response = _exchange(self._name, Request(Command.SESSION_INFO, sid), deadline)
                except DaemonError:
                    continue
                connection, internal = response.states
                found[str(sid)] = {"connection": connection, "internal": internal}
            return {"sessions": found}

        return result


_OPERATIONS = {
    "config": CompatClient._config,
    "discover": CompatClient._discovery,
    "login": CompatClient._login,
    "logout": CompatClient._logout,
    "session_info": CompatClient._session_info,
    "stats": CompatClient._stats,
    "stop": CompatClient._stop,
}


def _now() -> float:
    import time

    return time.monotonic()


def _nothing(response: Response) -> Message:
    return {}


def _open(name: str) -> socket.socket:
    import socket
    import struct

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not settimeout(): on a full backlog that fails at once in place of waiting for its turn.
        limit = struct.pack("@ll", int(CONNECT_TIMEOUT_S), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.connect(compat_socket.address(name))
        _check_owner(connection)
    except OSError as error:
        connection.close()
        number = errno.ETIMEDOUT if isinstance(error, BlockingIOError) else error.errno or 0
        kind = NotListening if number in _NOT_LISTENING else IpcError
        raise kind(
            f"can not connect to iSCSI daemon ({number})!", ExitCode.DAEMON_NOT_CONNECTED
        ) from error
    return connection


def _check_owner(connection: socket.socket) -> None:
    """Raises PermissionError unless the listener is root's or our own.

    An abstract name has no owner: any user may take it while no daemon has it, and would be
    told the passwords of a login.
    """
    import os
    import socket
    import struct

    ucred = struct.Struct("iII")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size)
    if ucred.unpack(raw)[1] not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "the socket of iscsid belongs to another user")


def _write(connection: socket.socket, command: int, data: bytes) -> None:
    connection.settimeout(WRITE_TIMEOUT_S)
    try:
        connection.sendall(data)
    except TimeoutError as error:
        raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error
    except (BrokenPipeError, ConnectionResetError):
        # A daemon that refuses us closes before we have spoken; its reason can be read.
        return
    except OSError as error:
        raise IpcError(
            f"got write error (-1/{error.errno}) on cmd {command}, daemon died?"
        ) from error


def _read(connection: socket.socket, command: int, deadline: float | None) -> Response:
    data = b""
    while len(data) < structs.RESPONSE_SIZE:
        data += _receive(connection, structs.RESPONSE_SIZE - len(data), deadline)
    response = Response(data)
    if response.error:
        status = response.error if response.error > 0 else ExitCode.DAEMON_COMMUNICATION
        raise DaemonError("", status)
    if response.command != command:
        raise IpcError(f"iscsid answered command {response.command} in place of {command}")
    return response


def _receive(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    remaining = None if deadline is None else deadline - _now()
    if remaining is not None and remaining <= 0:
        raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)
    connection.settimeout(remaining)
    try:
        data = connection.recv(size)
    except TimeoutError as error:
        raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error
    except OSError as error:
        raise IpcError(f"read error (-1/{error.errno}), daemon died?") from error
    if not data:
        raise IpcError("read error (0/0), daemon died?")
    return data


def _exchange(name: str, request: Request, deadline: float | None) -> Response:
    with _open(name) as connection:
        _write(connection, request.command, structs.encode_request(request, LAYOUT_MASTER))
        return _read(connection, request.command, deadline)


def _takes_all(name: str, layout: Layout, limit_s: float) -> bool:
    """Whether a request of this layout is no longer than the daemon's own.

    A daemon with a shorter one leaves the rest unread, and closing then resets the connection.
    Layouts must be tried from the longest on: too short a request stops the daemon.
    """
    deadline = _now() + limit_s
    with _open(name) as connection:
        data = structs.encode_request(Request(Command.CONFIG_FILE), layout)
        _write(connection, Command.CONFIG_FILE, data)
        _read(connection, Command.CONFIG_FILE, deadline)
        connection.settimeout(max(deadline - _now(), 0.001))
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return False
        except TimeoutError as error:
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error
