"""Connecting to whichever iscsid runs: ours on its native socket, else open-iscsi's on its own."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, IpcError
from pyiscsi.ipc.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.env import Env
    from pyiscsi.ipc.compat_client import CompatClient, Discover
    from pyiscsi.ipc.conversation import Conversation

    Hook = Callable[[], None]


class _OtherStarted(Exception):
    """What was started is open-iscsi's daemon."""

    def __init__(self, client: CompatClient) -> None:
        super().__init__()
        self.client = client


def connect(
    env: Env,
    *,
    startup: Callable[[], None] | None = None,
    timeout: float | None = None,
    discover: Discover | None = None,
) -> Conversation:
    """A client of the daemon that runs.

    `startup` is run once when neither listens, and may start either. `timeout` bounds the first
    exchange (seconds), `discover` is for a daemon that does not discover. Raises what
    Client.connect does when neither listens in the end, IpcError and DaemonError otherwise.
    """

    def other() -> CompatClient | None:
        from pyiscsi.ipc import compat_client

        return compat_client.find(env, timeout=timeout, discover=discover)

    # First without starting anything: a daemon of either kind comes before a new one.
    hooks = [None] if startup is None else [None, _then(startup, other)]
    while True:
        try:
            return Client.connect(env, startup=hooks.pop(0), timeout=timeout)
        except _OtherStarted as started:
            return started.client
        except IpcError as error:
            if error.exit_code != ExitCode.DAEMON_NOT_CONNECTED:
                raise
            found = other() if not hooks else _unless_foreign(other)
            if found is not None:
                return found
            if not hooks:
                raise


def _then(startup: Callable[[], None], other: Callable[[], CompatClient | None]) -> Hook:
    """The startup command, after which open-iscsi's daemon is not waited for any longer."""

    def start() -> None:
        startup()
        found = _unless_foreign(other)
        if found is not None:
            raise _OtherStarted(found)

    return start


def _unless_foreign(other: Callable[[], CompatClient | None]) -> CompatClient | None:
    """An ordinary user who took the name does not keep a daemon from being started."""
    from pyiscsi.ipc.compat_exchange import ForeignSocket

    try:
        return other()
    except ForeignSocket:
        return None
