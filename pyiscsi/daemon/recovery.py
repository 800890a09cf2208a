"""When to try a failed connection again: pure functions and tables, no clock, no I/O.

A portal that refuses or drops connections is asked again soon and often, a target that answers
"no" less and less often (open-iscsi asks every 3 s for ever, usr/initiator.c). Randomness comes
from the caller.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from pyiscsi.errors import (
    ExitCode,
    LoginFailed,
    ProtocolError,
    PyIscsiError,
    TransportError,
)

AUTHORIZATION_DETAILS = frozenset({1, 2})
"""Status details of class 2 that mean wrong or missing credentials (RFC 7143 §11.13.5)."""


class Cause(enum.Enum):
    """Why an attempt failed, as far as the next one depends on it."""

    REFUSED = "no connection"
    DROPPED = "connection closed during login"
    SILENT = "no answer in time"
    TARGET = "target error"
    REJECTED = "rejected by the target"
    LOCAL = "kernel refused"
    UNRESOLVED = "name not resolved"
    NO_DEVICE = "network device not ready"


@dataclass(frozen=True, slots=True)
class Pace:
    first_s: float
    cap_s: float
    """The delay doubles from `first_s` to this."""


_PACES = {
    Cause.REFUSED: Pace(0.5, 3.0),
    Cause.DROPPED: Pace(0.2, 3.0),
    Cause.SILENT: Pace(0.2, 1.0),  # the attempt itself has waited
    Cause.TARGET: Pace(1.0, 3.0),
    Cause.REJECTED: Pace(2.0, 30.0),
    Cause.LOCAL: Pace(1.0, 5.0),
    Cause.UNRESOLVED: Pace(1.0, 10.0),
    Cause.NO_DEVICE: Pace(1.0, 10.0),  # news of an address ends the delay
}
_JITTER = 0.25

_FINAL_CODES = {
    # What an initial login ends with when its time is up; open-iscsi's codes, which scripts know.
    # The other causes keep the code of their error.
    Cause.REFUSED: ExitCode.TRANSPORT_TIMEOUT,
    Cause.DROPPED: ExitCode.PDU_TIMEOUT,
    Cause.TARGET: ExitCode.TRANSPORT_TIMEOUT,
    Cause.LOCAL: ExitCode.INTERNAL,
    Cause.NO_DEVICE: ExitCode.TRANSPORT_TIMEOUT,
}


class AttemptFailed(Exception):
    """One attempt to reach full feature phase failed; `error` is what the user may see."""

    def __init__(self, cause: Cause, error: PyIscsiError, *, fatal: bool = False) -> None:
        super().__init__(str(error))
        self.cause = cause
        self.error = error
        self.fatal = fatal
        """Whether an initial login ends at once. A session in recovery never gives up for it."""


def delay_s(cause: Cause, attempt: int, random: float) -> float:
    """Seconds to wait after failure number `attempt` (from 1); `random` is within 0..1.

    The jitter only shortens, so the cap is a promise: a portal that is back is found within it.
    """
    pace = _PACES[cause]
    full = min(pace.cap_s, pace.first_s * 2.0 ** min(attempt - 1, 16))
    return full * (1.0 - _JITTER * random)


class Retries:
    """Counts the failures of one login or recovery and spaces the attempts."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.count = 0
        self.delay_s = 0.0
        self._random = random
        self._cause: Cause | None = None
        self._streak = 0
        self._seen: set[str] = set()

    def note(self, cause: Cause, text: str) -> bool:
        """Record one failure; returns whether its text is news."""
        self._streak = self._streak + 1 if cause is self._cause else 1
        self._cause = cause
        self.count += 1
        self.delay_s = delay_s(cause, self._streak, self._random())
        news = text not in self._seen
        self._seen.add(text)
        return news

    @property
    def is_milestone(self) -> bool:
        """10, 100, 1000 ... failures: worth a line though there is nothing new."""
        return self.count >= 10 and str(self.count).rstrip("0") == "1"


def final_error(failure: AttemptFailed) -> PyIscsiError:
    """What the caller of an initial login gets: open-iscsi's status for this kind of failure."""
    if failure.fatal or failure.cause not in _FINAL_CODES:
        return failure.error
    return TransportError(str(failure.error), _FINAL_CODES[failure.cause])


def rejection(status_class: int, status_detail: int) -> tuple[Cause, int]:
    """Cause and exit status of a Login Response that is neither success nor redirect.

    Class 2 is the initiator's fault (24 when the credentials are), class 3 the target's; an
    unknown class is as final as class 2 (RFC 7143 §11.13.5).
    """
    if status_class == 3:
        return Cause.TARGET, ExitCode.LOGIN
    if status_class == 2 and status_detail in AUTHORIZATION_DETAILS:
        return Cause.REJECTED, ExitCode.LOGIN_AUTH_FAILED
    return Cause.REJECTED, ExitCode.FATAL_LOGIN


def failed_login(error: PyIscsiError, *, retryable: bool) -> AttemptFailed:
    """Judge what the login machine reported: by status class when the target gave one."""
    if isinstance(error, LoginFailed) and error.status_class >= 0:
        cause, code = rejection(error.status_class, error.status_detail)
        judged = LoginFailed(str(error), code, error.status_class, error.status_detail)
        return AttemptFailed(cause, judged, fatal=cause is Cause.REJECTED)
    if isinstance(error, ProtocolError):
        error = LoginFailed(str(error), ExitCode.FATAL_LOGIN)
    cause = Cause.DROPPED if retryable else Cause.REJECTED
    return AttemptFailed(cause, error, fatal=not retryable)


def gives_up(attempts: int, reopen_max: int) -> bool:
    """Whether a session in recovery is dropped after `attempts` failures (node.session.reopen_max).

    0 means never; as in open-iscsi, one more attempt than the setting says is made.
    """
    return 0 < reopen_max < attempts
