"""make soak: the daemon's memory with 300 sessions and after 1,000 logins, beside open-iscsi's."""

from __future__ import annotations

import pytest

from tests.kernel import machine
from tests.kernel.checks import memory
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

SESSIONS = (1, 50, 300)
WARM_UP, ROUNDS, AT_ONCE, PARTS = 4, 5, 50, 4
CYCLES = PARTS * ROUNDS * AT_ONCE
PER_SESSION_KIB = 64
LEFT_KIB = 128
"""What the allocator may keep of the last part's 250 logins: half a KiB each."""


def measure(lab: Lab, name: str) -> tuple[float, int]:
    """Print one daemon's figures; KiB for each session, and what the last part's cycles left."""
    memory.prepare(lab)
    sizes = memory.after_sessions(lab, SESSIONS)
    each = (sizes[-1] - sizes[0]) / (SESSIONS[-1] - SESSIONS[0])
    before = memory.after_cycles(lab, AT_ONCE, WARM_UP)
    after = [memory.after_cycles(lab, AT_ONCE, ROUNDS) for _ in range(PARTS)]
    words = ", ".join(f"{count}: {size}" for count, size in zip(SESSIONS, sizes, strict=True))
    machine.figure(
        f"{name}: resident KiB by sessions {words} ({each:.1f} each); after {CYCLES} logins and "
        f"logouts {after[-1]}, before {before}, on the way {after[:-1]}"
    )
    return each, after[-1] - after[-2]


def test_memory_of_many(idle_lab: Lab) -> None:
    """Less than 64 KiB a session, nothing for a cycle; open-iscsi's figures are only shown."""
    each, left = measure(idle_lab, "iscsid")
    idle_lab.daemon.kill()
    machine.clean_up(idle_lab.daemon)
    try:
        with machine.using("debian"):
            measure(idle_lab, "open-iscsi's")
    except AssertionError as error:
        machine.figure(f"open-iscsi's: not measured: {str(error).splitlines()[0]}")
    finally:
        machine.clean_up(idle_lab.daemon)
    assert each < PER_SESSION_KIB
    assert left < LEFT_KIB
