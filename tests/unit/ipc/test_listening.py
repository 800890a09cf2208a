"""What both servers share."""

from __future__ import annotations

import pytest

from pyiscsi.ipc.listening import QUIET_S, Refusals


def test_refused_users_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """D-003: the first is told at once, the others as a number when it is time again."""
    now = 100.0
    refusals = Refusals(lambda: now)
    for uid in (1000, 1000, 1001):
        refusals.note(uid)
    assert caplog.messages == ["Unauthorized user with UID=1000"]
    now += QUIET_S
    refusals.note(1002)
    refusals.note(1002)
    assert caplog.messages[1:] == [
        "2 more requests of unauthorized users", "Unauthorized user with UID=1002"
    ]  # fmt: skip
    refusals.flush()
    refusals.flush()
    assert caplog.messages[3:] == ["1 more requests of unauthorized users"]
