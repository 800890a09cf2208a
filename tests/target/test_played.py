"""Every behaviour in the table is played by some test."""

from __future__ import annotations

from tests.kernel.checks.test_logout_states import STATES
from tests.kernel.checks.test_misbehaving import COURSES, DISCOVERY_STATUS, LOGIN_STATUS
from tests.target.behaviours import BEHAVIOURS, DISCOVERY, LOGIN, SESSION
from tests.target.test_discovery import EXPECTED


def test_tables_of_outcomes_are_whole() -> None:
    """None is left out, none of them has lost its behaviour."""
    assert set(EXPECTED) == {*LOGIN, *DISCOVERY}
    assert set(LOGIN_STATUS) == {*LOGIN}
    assert set(DISCOVERY_STATUS) == {*DISCOVERY}
    led_to = {state.behaviour for state in STATES.values()}
    assert {*SESSION} <= {*COURSES, *led_to}
    assert {*COURSES, *led_to} <= {*BEHAVIOURS}
