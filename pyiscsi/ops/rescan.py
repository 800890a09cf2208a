"""Rescanning: sessions side by side, so that a dead target delays no other. Needs no daemon."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, PyIscsiError
from pyiscsi.ops import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from pyiscsi.ops.events import RescanEvent
    from pyiscsi.sysfs.sessions import Session

    Report = Callable[[RescanEvent], None]

DEADLINE_S = 300.0
"""A scan of a dead target ends by itself with replacement_timeout (120 s by default)."""


class _Scan:
    """One session's rescan in a thread; `error` is what went wrong, when it is over."""

    def __init__(self, session: Session, work: Callable[[Session], None]) -> None:
        import threading

        self.session = session
        self.error: PyIscsiError | None = None
        self._work = work
        self.thread: threading.Thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._work(self.session)
        except PyIscsiError as error:
            self.error = error


def rescan_all(
    found: Sequence[Session],
    report: Report,
    *,
    deadline_s: float = DEADLINE_S,
    work: Callable[[Session], None] | None = None,
) -> int:
    """Rescan these sessions; reports them in the given order. Returns the first error's status,
    8 for a session that was not done within `deadline_s` seconds of the start.
    """
    from time import monotonic

    from pyiscsi.sysfs.devices import rescan

    scans = [_Scan(session, work or rescan) for session in found]
    for scan in scans:
        report(events.RescanStarted(scan.session))
        scan.thread.start()
    end = monotonic() + deadline_s
    status = 0
    for scan in scans:
        scan.thread.join(max(0.0, end - monotonic()))
        failed = _outcome(scan, report)
        status = status or failed
    return status


def _outcome(scan: _Scan, report: Report) -> int:
    if scan.thread.is_alive():
        report(events.RescanFailed(scan.session, "no answer from the target"))
        return ExitCode.TRANSPORT_TIMEOUT
    if scan.error is None:
        return 0
    report(events.RescanFailed(scan.session, str(scan.error)))
    return scan.error.exit_code
