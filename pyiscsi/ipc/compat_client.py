"""The commands' end of open-iscsi's management socket: our iscsiadm drives its iscsid.

It has the methods of ipc.client.Client, so that what a command does is the same with either
daemon; each request travels on a connection of its own (usr/iscsid_req.c).
"""

from __future__ import annotations

from pyiscsi.errors import DaemonError, ExitCode
from pyiscsi.ipc import compat_exchange, stream, structs
from pyiscsi.ipc.compat_exchange import NotListening, UnknownRelease
from pyiscsi.ipc.conversation import Conversation
from pyiscsi.ipc.structs import Command, Request, Response
from pyiscsi.ipc.structs_layout import LAYOUT_2_1_8, LAYOUT_2_1_11, LAYOUT_MASTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pyiscsi.env import Env
    from pyiscsi.ipc.messages import Message
    from pyiscsi.ipc.structs_layout import Layout

    Discover = Callable[[Message, Message], Message]
    """(result of `config`, arguments of `discover`) to the result of `discover`."""

    Answer = Callable[[float | None], Message]
    """Waits for the answer to a request, until a moment if there is one."""

QUESTION_TIMEOUT_S = 60.0
"""For what the daemon answers at once, and commands have set no limit for."""


def find(
    env: Env, *, timeout: float | None = None, discover: Discover | None = None
) -> CompatClient | None:
    """A client of the open-iscsi daemon of this machine; None when none is listening.

    `discover` carries discoveries out, which that daemon leaves to its clients.
    Raises DaemonError when it refuses us (13), IpcError when it does not talk as one should.
    """
    if not env.compat_socket:
        return None
    try:
        return CompatClient.connect(env.compat_socket, timeout, discover=discover)
    except NotListening:
        return None


class CompatClient(Conversation):
    """Requests to a daemon behind an abstract socket; they may be awaited in any order.

    `is_newest`: whether the daemon took a request of the newest layout as a whole.
    """

    def __init__(self, name: str, *, is_newest: bool, discover: Discover | None = None) -> None:
        self._name = name
        self._discover = discover
        self._layout: Layout | None = LAYOUT_MASTER if is_newest else None
        self._next_id = 1
        self._limit = stream.WRITE_TIMEOUT_S
        self._open: dict[int, Answer] = {}
        self._sockets: dict[int, socket.socket] = {}

    @classmethod
    def connect(
        cls, name: str, timeout: float | None = None, *, discover: Discover | None = None
    ) -> CompatClient:
        """Ask a daemon a first question; `timeout` (seconds) bounds its answer.

        Raises NotListening, DaemonError, IpcError (16 for an unknown release; 18, 20, 33).
        """
        limit = stream.CONNECT_TIMEOUT_S if timeout is None else timeout
        newest = compat_exchange.fits(name, LAYOUT_MASTER, stream.now() + limit)
        return cls(name, is_newest=newest, discover=discover)

    def send(
        self,
        op: str,
        args: Message | None = None,
        timeout: float | None = None,
        on_event: Callable[[Message], None] | None = None,
    ) -> int:
        """Send a request and return its id; `timeout` bounds the sending alone, and there are no
        events.

        Raises DaemonError 27 for an operation the daemon does not know, IpcError (16 for an
        unknown release; 18, 20, 33).
        """
        request_id = self._next_id
        self._next_id += 1
        starter = _OPERATIONS.get(op)
        if starter is None:
            raise DaemonError(f"open-iscsi's iscsid has no operation {op}", ExitCode.NOT_SUPPORTED)
        self._limit = stream.WRITE_TIMEOUT_S if timeout is None else timeout
        self._open[request_id] = starter(self, request_id, args or {})
        return request_id

    def wait(self, request_id: int, timeout: float | None = None) -> Message:
        """The result of a request. Raises DaemonError, or IpcError 16, 18 or 33.

        `timeout`: seconds; None: for as long as the daemon answers others.
        """
        try:
            return self._open.pop(request_id)(stream.after(timeout))
        finally:
            connection = self._sockets.pop(request_id, None)
            if connection is not None:
                connection.close()

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()
        self._sockets.clear()
        self._open.clear()

    @property
    def layout(self) -> Layout:
        """The daemon's; found out when the first login needs it. Raises UnknownRelease."""
        if self._layout is None:
            self._layout = _layout_of(self._name, stream.now() + stream.CONNECT_TIMEOUT_S)
        return self._layout

    # One method for each operation: sends, and returns what reads the answer.

    def _begin(self, request_id: int, request: Request) -> Callable[[float | None], Response]:
        # Only a login must be of the daemon's own size: of the rest it reads what it knows, and
        # one that is too short would stop it.
        layout = self.layout if request.command in structs.WITH_RECORD else LAYOUT_MASTER
        until = stream.now() + self._limit
        connection = compat_exchange.connect(self._name, until)
        self._sockets[request_id] = connection
        compat_exchange.write(connection, request, layout, until)

        def read(until: float | None) -> Response:
            if until is None:
                compat_exchange.await_answer(self._name, connection)
                until = stream.now()
            return compat_exchange.read(connection, request.command, until)

        return read

    def _login(self, request_id: int, args: Message) -> Answer:
        request = Request(
            Command.SESSION_LOGIN, 0, args["record"], multiple=bool(args.get("multiple"))
        )
        read = self._begin(request_id, request)
        return lambda until: _nothing(read(until))

    def _logout(self, request_id: int, args: Message) -> Answer:
        read = self._begin(request_id, Request(Command.SESSION_LOGOUT, args["sid"]))
        return lambda until: _nothing(read(until))

    def _stats(self, request_id: int, args: Message) -> Answer:
        read = self._begin(request_id, Request(Command.SESSION_STATS, args["sid"]))

        def result(until: float | None) -> Message:
            response = read(until)
            return {"counters": response.counters, "custom": response.custom}

        return result

    def _stop(self, request_id: int, args: Message) -> Answer:
        read = self._begin(request_id, Request(Command.IMMEDIATE_STOP))
        return lambda until: _nothing(read(until))

    def _config(self, request_id: int, args: Message) -> Answer:
        commands = {
            "config_file": Command.CONFIG_FILE,
            "initiator_name": Command.CONFIG_INAME,
            "initiator_alias": Command.CONFIG_IALIAS,
        }

        def result(until: float | None) -> Message:
            limit = _limited(until)
            return {
                name: compat_exchange.exchange(self._name, Request(command), limit).text
                for name, command in commands.items()
            }

        return result

    def _discovery(self, request_id: int, args: Message) -> Answer:
        ask = self._config(request_id, {})
        discover = self._discover
        if discover is None:
            raise DaemonError("open-iscsi's iscsid does not discover", ExitCode.NOT_SUPPORTED)
        return lambda until: discover(ask(until), args)

    def _session_info(self, request_id: int, args: Message) -> Answer:
        """Sessions the daemon has no answer for are left out."""

        def result(until: float | None) -> Message:
            limit = _limited(until)
            found = {}
            for sid in args["sids"]:
                request = Request(Command.SESSION_INFO, sid)
                try:
                    response = compat_exchange.exchange(self._name, request, limit)
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


def _nothing(response: Response) -> Message:
    return {}


def _limited(until: float | None) -> float:
    return stream.now() + QUESTION_TIMEOUT_S if until is None else until


def _layout_of(name: str, until: float) -> Layout:
    """Of a daemon whose requests are shorter than the newest. Raises UnknownRelease."""
    for layout in (LAYOUT_2_1_11, LAYOUT_2_1_8):
        if compat_exchange.fits(name, layout, until):
            return layout
    raise UnknownRelease("this iscsid takes only shorter requests")
