"""Back-off and judgement of failures."""

from __future__ import annotations

import pytest

from pyiscsi.daemon.recovery import (
    AttemptFailed,
    Cause,
    Retries,
    delay_s,
    failed_login,
    final_error,
    gives_up,
)
from pyiscsi.errors import (
    ExitCode,
    LoginFailed,
    PduTimeout,
    PyIscsiError,
    RemoteProtocolError,
    TransportError,
)


@pytest.mark.parametrize("cause", Cause)
def test_delays_grow_to_a_cap_and_are_never_zero(cause: Cause) -> None:
    """D-039: never a busy loop, whatever the failure."""
    delays = [delay_s(cause, attempt, 0.0) for attempt in range(1, 40)]
    assert delays == sorted(delays)
    assert delays[-1] == delays[-2]
    assert min(delays) >= 0.2


@pytest.mark.parametrize("cause", [Cause.REFUSED, Cause.SILENT, Cause.DROPPED, Cause.TARGET])
def test_a_portal_that_is_back_is_found_within_three_seconds(cause: Cause) -> None:
    """D-052: the cap of the causes that a broken link or a target that starts has."""
    assert max(delay_s(cause, attempt, 0.0) for attempt in range(1, 1000)) <= 3.0


def test_jitter_only_shortens() -> None:
    full = delay_s(Cause.TARGET, 3, 0.0)
    assert delay_s(Cause.TARGET, 3, 1.0) < delay_s(Cause.TARGET, 3, 0.5) < full


def test_a_rejected_session_is_tried_less_and_less_often() -> None:
    assert delay_s(Cause.REJECTED, 20, 0.0) == 30.0


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (AttemptFailed(Cause.REFUSED, TransportError("refused")), ExitCode.TRANSPORT_TIMEOUT),
        (AttemptFailed(Cause.SILENT, PduTimeout()), ExitCode.PDU_TIMEOUT),
        (AttemptFailed(Cause.SILENT, TransportError("", 8)), ExitCode.TRANSPORT_TIMEOUT),
        (AttemptFailed(Cause.DROPPED, TransportError("closed")), ExitCode.PDU_TIMEOUT),
        (AttemptFailed(Cause.TARGET, LoginFailed("busy", 5)), ExitCode.TRANSPORT_TIMEOUT),
        (AttemptFailed(Cause.LOCAL, TransportError("no")), ExitCode.INTERNAL),
        (AttemptFailed(Cause.UNRESOLVED, TransportError("dns"), fatal=True), ExitCode.TRANSPORT),
    ],
)
def test_status_of_a_login_that_gave_up(failure: AttemptFailed, code: int) -> None:
    """D-036, D-039, D-040: open-iscsi's statuses."""
    error = final_error(failure)
    assert error.exit_code == code
    assert str(error) == str(failure.error)


@pytest.mark.parametrize(
    ("status", "code", "fatal"),
    [
        ((2, 0), ExitCode.FATAL_LOGIN, True),
        ((2, 1), ExitCode.LOGIN_AUTH_FAILED, True),
        ((2, 2), ExitCode.LOGIN_AUTH_FAILED, True),
        ((2, 3), ExitCode.FATAL_LOGIN, True),
        ((2, 11), ExitCode.FATAL_LOGIN, True),
        ((3, 0), ExitCode.LOGIN, False),
        ((3, 2), ExitCode.LOGIN, False),
        ((4, 0), ExitCode.FATAL_LOGIN, True),
        ((255, 255), ExitCode.FATAL_LOGIN, True),
    ],
)
def test_status_classes(status: tuple[int, int], code: int, fatal: bool) -> None:
    """D-036, D-037: class and detail to exit status."""
    failure = failed_login(LoginFailed("text", 5, *status), retryable=True)
    assert (failure.error.exit_code, failure.fatal) == (code, fatal)


@pytest.mark.parametrize(
    ("error", "retryable", "code"),
    [
        (RemoteProtocolError("nonsense"), False, ExitCode.FATAL_LOGIN),
        (LoginFailed("mutual CHAP failed", 19), False, ExitCode.FATAL_LOGIN),
        (LoginFailed("text", 5), True, ExitCode.LOGIN),
    ],
)
def test_failures_without_a_status(error: PyIscsiError, retryable: bool, code: int) -> None:
    failure = failed_login(error, retryable=retryable)
    assert (failure.error.exit_code, failure.fatal) == (code, not retryable)


def test_retries_count_and_tell_news() -> None:
    retries = Retries(lambda: 0.0)
    assert retries.note(Cause.REFUSED, "refused")
    first = retries.delay_s
    assert not retries.note(Cause.REFUSED, "refused")
    assert retries.delay_s > first
    assert retries.note(Cause.SILENT, "silent")
    retries.note(Cause.REFUSED, "refused")
    assert (retries.delay_s, retries.count) == (first, 4)


@pytest.mark.parametrize(
    ("failures", "reopen_max", "over"),
    [(1, 0, False), (10**6, 0, False), (3, 3, False), (4, 3, True)],
)
def test_reopen_max(failures: int, reopen_max: int, over: bool) -> None:
    """D-053: 0 is for ever; open-iscsi makes one attempt more than the setting says."""
    assert gives_up(failures, reopen_max) is over
