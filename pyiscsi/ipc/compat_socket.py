"""The address of open-iscsi's management socket, and the daemon's listener on it.

Loaded by commands, so socket is imported only when it is used.
"""

from __future__ import annotations

from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping

NAME = "ISCSIADM_ABSTRACT_NAMESPACE"
BACKLOG = 32
_VARIABLE = "PYISCSI_COMPAT_SOCKET"
_NONE = "none"


def name_for(env: Env, environ: Mapping[str, str]) -> str:
    """The abstract name (without its NUL) of this installation; "" is none.

    PYISCSI_COMPAT_SOCKET names another one, or `none`. An installation with a native socket of
    its own must not meet the machine's real one, so it has none unless the variable says so.
    """
    given = environ.get(_VARIABLE, "")
    if given:
        return "" if given == _NONE else given
    return NAME if env.socket_path == Env().socket_path else ""


def address(name: str) -> str:
    """The socket address: a NUL and the name, without one at its end."""
    return f"\0{name}"


def choose(passed: Iterable[tuple[str, socket.socket]], name: str) -> socket.socket | None:
    """The socket among those systemd passed that has the name."""
    wanted = address(name).encode()
    return next((sock for _, sock in passed if sock.getsockname() == wanted), None)


def bind(name: str) -> socket.socket:
    """A socket with the name, not yet listening.

    Raises PyIscsiError; another daemon, ours or open-iscsi's, is the usual reason.
    """
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(name))
    except OSError as error:
        listener.close()
        raise PyIscsiError(f"Can not bind IPC socket @{name}: {error.strerror}") from error
    return listener
