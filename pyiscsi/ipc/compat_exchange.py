"""One request and one response over open-iscsi's management socket, from the commands' end.

Its daemon is a single thread that a slow name lookup or a dying disk can hold up for minutes, and
it tells neither its release nor the size of its structs (usr/mgmt_ipc.c).
"""

from __future__ import annotations

import errno
import sys

from pyiscsi import __version__
from pyiscsi.errors import DaemonError, ExitCode, IpcError
from pyiscsi.ipc import stream, structs
from pyiscsi.ipc.structs import Command, Request, Response
from pyiscsi.ipc.structs_layout import LAYOUT_MASTER, known_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pyiscsi.ipc.structs_layout import Layout

ASK_AFTER_S = 30.0
"""Without an answer, until the daemon is asked something else to see whether it lives."""
ANSWER_WITHIN_S = 300.0
"""Longer than the kernel may take to remove the disks of an unreachable target."""
REST_WITHIN_S = 30.0
"""From the first byte of a response to its last; they are written at once."""


class NotListening(IpcError):
    exit_code = ExitCode.DAEMON_NOT_CONNECTED


class ForeignSocket(IpcError):
    """An ordinary user took the name, so no daemon has it."""

    exit_code = ExitCode.DAEMON_NOT_CONNECTED


class UnknownRelease(IpcError):
    """The daemon's structs are not of a size we know."""

    exit_code = ExitCode.INVALID_REQUEST

    def __init__(self, seen: str) -> None:
        super().__init__(
            f"iscsiadm {__version__} knows open-iscsi's requests of {known_sizes()} bytes and "
            f"answers of {structs.RESPONSE_SIZE}; {seen}"
        )


def connect(name: str, until: float) -> socket.socket:
    """Raises NotListening, ForeignSocket, IpcError 20."""
    try:
        connection = stream.connect(f"\0{name}", until)
    except OSError as error:
        kind = NotListening if error.errno in stream.NOT_LISTENING else IpcError
        raise kind(stream.unreachable(error), ExitCode.DAEMON_NOT_CONNECTED) from error
    pid, uid = stream.peer(connection)
    if uid not in _trusted():
        connection.close()
        refused = PermissionError(errno.EPERM, "")
        raise ForeignSocket(
            f"{stream.unreachable(refused)} @{name} belongs to process {pid} of user {uid}"
        )
    return connection


def _trusted() -> tuple[int, int]:
    """An abstract name has no owner: any user may take it while no daemon has it, and would be
    told the passwords of a login. So root's only, or our own.
    """
    import os

    return 0, os.geteuid()


def write(connection: socket.socket, request: Request, layout: Layout, until: float) -> None:
    """Raises IpcError 18 or 33, InvalidArgument for what the layout has no room for."""
    sys.audit("pyiscsi.struct", request.command, request.sid, request.record, layout.size)
    try:
        stream.send(connection, structs.encode_request(request, layout), until)
    except (BrokenPipeError, ConnectionResetError):
        # A daemon that refuses us closes before we have spoken; its reason can be read.
        return
    except OSError as error:
        raise IpcError(
            f"got write error (-1/{error.errno}) on cmd {request.command}, daemon died?"
        ) from error


def read(connection: socket.socket, command: int, until: float) -> Response:
    """The response, which has begun to come. Raises DaemonError, IpcError 18 or 33, UnknownRelease.

    `until`: for its first byte.
    """
    data = b""
    while len(data) < structs.RESPONSE_SIZE:
        if not stream.is_readable(until, connection):
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)
        try:
            piece = stream.receive(connection, structs.RESPONSE_SIZE - len(data))
        except IpcError:
            if not data:
                raise
            piece = b""
        if not piece and data:
            raise UnknownRelease(f"this iscsid answered {len(data)} bytes")
        if not piece:
            raise IpcError("read error (0/0), daemon died?")
        if not data:
            until = stream.now() + REST_WITHIN_S
        data += piece
    response = Response(data)
    sys.audit("pyiscsi.response", response.command, response.error)
    if response.error:
        status = response.error if response.error > 0 else ExitCode.DAEMON_COMMUNICATION
        raise DaemonError("", status)
    if response.command != command:
        raise IpcError(f"iscsid answered command {response.command} in place of {command}")
    return response


def exchange(name: str, request: Request, until: float) -> Response:
    with connect(name, until) as connection:
        write(connection, request, LAYOUT_MASTER, until)
        return read(connection, request.command, until)


def await_answer(name: str, connection: socket.socket) -> None:
    """Wait for a response to begin, for as long as the daemon answers others.

    Raises IpcError 33, or what exchange() does.
    """
    while not stream.is_readable(stream.now() + ASK_AFTER_S, connection):
        until = stream.now() + ANSWER_WITHIN_S
        with connect(name, until) as other:
            write(other, Request(Command.CONFIG_FILE), LAYOUT_MASTER, until)
            if not stream.is_readable(until, connection, other):
                raise IpcError(
                    f"iscsid has not answered for {ANSWER_WITHIN_S:.0f} seconds",
                    ExitCode.REQUEST_TIMED_OUT,
                )


def fits(name: str, layout: Layout, until: float) -> bool:
    """Whether the daemon's requests are of this layout's size; False when they are shorter.

    It leaves what is too long unread, and closing then resets the connection. Of what is too
    short it waits for the rest, so we end our side: it closes without an answer, and is not of
    that size. Raises UnknownRelease then, and otherwise what exchange() does.
    """
    with connect(name, until) as connection:
        write(connection, Request(Command.CONFIG_FILE), layout, until)
        _end_writing(connection)
        if _is_at_end(connection, until):
            raise UnknownRelease(f"this iscsid takes no request of {layout.size} bytes")
        read(connection, Command.CONFIG_FILE, until)
        try:
            more = connection.recv(1) if stream.is_readable(until, connection) else None
        except ConnectionResetError:
            return False
    if more is None:
        raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)
    if more:
        raise UnknownRelease("this iscsid's answers are longer")
    return True


def _end_writing(connection: socket.socket) -> None:
    import socket

    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # closed already, as by a daemon that refuses us


def _is_at_end(connection: socket.socket, until: float) -> bool:
    """Whether a clean end comes in place of a response."""
    import socket

    if not stream.is_readable(until, connection):
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return False
