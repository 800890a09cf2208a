"""The daemon's memory follows its sessions and goes with them; make soak measures it at length."""

from __future__ import annotations

import pytest

from tests.kernel import machine
from tests.kernel.checks import memory
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

SESSIONS = (1, 20)
WARM_UP, ROUNDS, AT_ONCE = 2, 3, 10
PER_SESSION_KIB = 64
LEFT_KIB = 256
"""What the allocator may keep for itself after all rounds: less than 9 KiB a session."""


def test_memory(idle_lab: Lab) -> None:
    """Less than 64 KiB a session; what was used for sessions is used again for the next ones."""
    lab = idle_lab
    memory.prepare(lab)
    one, many = memory.after_sessions(lab, SESSIONS)
    each = (many - one) / (SESSIONS[1] - SESSIONS[0])
    before = memory.after_cycles(lab, AT_ONCE, WARM_UP)
    after = memory.after_cycles(lab, AT_ONCE, ROUNDS)
    machine.figure(
        f"iscsid: {one} KiB with a session, {each:.0f} KiB for each more; "
        f"{after - before:+} KiB after {ROUNDS * AT_ONCE} logins and logouts"
    )
    assert each < PER_SESSION_KIB
    assert after - before < LEFT_KIB
