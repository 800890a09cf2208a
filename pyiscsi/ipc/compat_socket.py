"""The daemon's place on open-iscsi's management socket: an abstract name, anybody may take it."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable

from pyiscsi.errors import PyIscsiError
from pyiscsi.ipc import stream

_RETRY_S = 0.1


class NameTaken(PyIscsiError):
    """Somebody has the name."""


def address(name: str) -> str:
    """The socket address: a NUL and the name, without one at its end."""
    return f"\0{name}"


def choose(passed: Iterable[tuple[str, socket.socket]], name: str) -> socket.socket | None:
    """The socket among those systemd passed that has the name."""
    wanted = address(name).encode()
    return next((sock for _, sock in passed if sock.getsockname() == wanted), None)


def bind(name: str) -> socket.socket:
    """A socket with the name, not yet listening. Raises NameTaken, PyIscsiError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(name))
    except OSError as error:
        listener.close()
        kind = NameTaken if error.errno == errno.EADDRINUSE else PyIscsiError
        raise kind(f"Can not bind IPC socket @{name}: {error.strerror or error}") from error
    return listener


def holder(name: str, patience_s: float) -> tuple[int, int] | None:
    """Process and user who listen under the name; blocks.

    None when nobody accepts us: the name's owner may be about to listen, or unwilling to.
    """
    until = stream.now() + patience_s
    while True:
        try:
            with stream.connect(address(name), until) as connection:
                return stream.peer(connection)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED or stream.now() >= until:
                return None
        time.sleep(_RETRY_S)
