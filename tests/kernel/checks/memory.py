"""What the daemon's memory is measured with: sessions without disks, logged in and out at once."""

from __future__ import annotations

from pathlib import Path

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

IQN = "iqn.2026-11.test:memory"
PORTAL = "127.0.0.1:3260"
NO_SCAN = "node.session.scan = manual"


def prepare(lab: Lab) -> None:
    """A target without a disk, its record, and a daemon that has just started."""
    lio.create_target(IQN, [PORTAL], luns=0)
    lab.start(NO_SCAN)
    lab.discover()


def resident(lab: Lab) -> int:
    """KiB of the daemon that are in memory."""
    assert lab.daemon.process is not None
    lines = Path(f"/proc/{lab.daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def log_in(lab: Lab, count: int) -> None:
    """As many sessions in all."""
    lab.set(IQN, {"node.session.nr_sessions": count})
    lab.adm(f"-m node -T {IQN} -l", 0)
    assert len(machine.session_ids()) == count


def log_out(lab: Lab) -> None:
    """All sessions."""
    lab.adm(f"-m node -T {IQN} -u", 0)
    assert machine.session_ids() == []


def after_sessions(lab: Lab, counts: tuple[int, ...]) -> list[int]:
    """KiB after each number of sessions, growing; all are logged out in the end."""
    found = []
    for count in counts:
        log_in(lab, count)
        found.append(resident(lab))
    log_out(lab)
    return found


def after_cycles(lab: Lab, at_once: int, rounds: int) -> int:
    """KiB when so many sessions were logged in and out so many times."""
    for _ in range(rounds):
        log_in(lab, at_once)
        log_out(lab)
    return resident(lab)
