"""Statistics of sessions, asked for all at once and given in order."""

from __future__ import annotations

from pyiscsi.errors import DaemonError, IpcError
from pyiscsi.ops.requests import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiscsi.ops.context import Context
    from pyiscsi.sysfs.sessions import Session

TIMEOUT_S = 60.0


class SessionStats:
    """Counters of one session, name to value in the order they are printed."""

    __slots__ = ("counters", "custom", "session")

    def __init__(self, session: Session, answer: dict[str, object]) -> None:
        self.session = session
        self.counters = _numbers(answer.get("counters"))
        self.custom = _numbers(answer.get("custom"))


def _numbers(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(name): number for name, number in value.items() if isinstance(number, int)}


def session_stats(
    context: Context, found: Sequence[Session], *, timeout_s: float | None = TIMEOUT_S
) -> Iterator[SessionStats]:
    """Statistics of each session in turn; the first that fails ends it with DaemonError or
    IpcError. `timeout_s` bounds the wait for each answer.
    """
    pending = [(session, send(context, "stats", {"sid": session.sid})) for session in found]
    for session, request in pending:
        try:
            answer = request.client.wait(request.request_id, timeout_s)
        except (DaemonError, IpcError):
            context.drop_client()
            raise
        yield SessionStats(session, answer)
