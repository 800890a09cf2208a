"""The daemon may run the disk it lives on: its recovery opens no file, loads no module."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:own"
NAMED = "iqn.2026-11.test:named"
PORTAL = "127.0.0.1:3260"
HOST = "own-disk.test"
AWAY_S = 8.0
"""Longer than Time2Wait and several pauses between attempts."""
LOCKED_SHARE = 0.9

_OPEN = re.compile(r'(?:open|openat|openat2|creat)\(.*?"((?:[^"\\]|\\.)*)"')
_ALLOWED = ("/sys/", "/proc/")


@contextmanager
def traced(lab: Lab, log: Path) -> Iterator[None]:
    """What the daemon opens and executes goes to `log` while the block runs."""
    assert lab.daemon.process is not None
    pid = lab.daemon.process.pid
    words = ["strace", "-f", "-e", "trace=open,openat,openat2,creat,execve", "-o", str(log)]
    with subprocess.Popen([*words, "-p", str(pid)], stderr=subprocess.DEVNULL) as strace:
        status = Path(f"/proc/{pid}/status")
        machine.wait_until(lambda: "TracerPid:\t0" not in status.read_text(), "strace looks on")
        try:
            yield
        finally:
            strace.terminate()


def opened(log: Path) -> list[str]:
    """Every path that was opened, and every program that was started."""
    text = log.read_text(errors="replace")
    return _OPEN.findall(text) + re.findall(r"execve\(.*", text)


def outside(paths: list[str]) -> list[str]:
    """Those that lie on a disk."""
    return [path for path in paths if not path.startswith(_ALLOWED)]


def restart_targets(sids: list[int], *names: str) -> None:
    """Take the targets away for AWAY_S and wait until every session is back with its disk."""
    for name in names:
        lio.set_enabled(name, False)
    machine.wait_until(
        lambda: all(machine.session_value(sid, "state") == "FAILED" for sid in sids),
        "all sessions have lost their targets",
    )
    time.sleep(AWAY_S)
    for name in names:
        lio.set_enabled(name, True)
    machine.wait_until(
        lambda: all(machine.session_value(sid, "state") == "LOGGED_IN" for sid in sids),
        "all sessions are back",
    )


def await_quiet(lab: Lab, count: int) -> None:
    """Until the devices were brought back after so many recoveries."""
    machine.wait_until(
        lambda: lab.daemon.text().count("is operational after recovery") == count, "recovered"
    )
    time.sleep(2)


def test_recovery_opens_no_file(lab: Lab, tmp_path: Path) -> None:
    """D-057: a full restart of the targets; one session's portal is a name."""
    log = tmp_path / "calls"
    lab.shell(f"cp /etc/hosts {tmp_path}/hosts && echo 127.0.0.1 {HOST} >> {tmp_path}/hosts")
    lab.shell(f"mount --bind {tmp_path}/hosts /etc/hosts", "umount /etc/hosts")
    lio.create_target(IQN, [PORTAL])
    lio.create_target(NAMED, ["127.0.0.1:3261"])
    lab.discover()
    lab.adm(f"-m node -o delete -T {NAMED}", 0)
    lab.adm(f"-m node -o new -T {NAMED} -p {HOST}:3261,1", 0)
    lab.login(IQN)
    lab.login(NAMED)
    sids = machine.session_ids()
    assert len(sids) == 2
    before = {sid: machine.disks(sid) for sid in sids}
    with traced(lab, log):
        restart_targets(sids, IQN, NAMED)
        await_quiet(lab, 2)
    paths = opened(log)
    assert [path for path in paths if path.startswith("/sys/")], "strace saw nothing at all"
    assert outside(paths) == []
    assert {sid: machine.disks(sid) for sid in sids} == before
    attempts = re.findall(r"after recovery \((\d+) attempts\)", lab.daemon.text())
    assert min(map(int, attempts)) > 2


def test_a_restarted_daemon_recovers_without_files(lab: Lab, tmp_path: Path) -> None:
    """D-057: one that has only taken the session over is as independent."""
    log = tmp_path / "calls"
    lio.create_target(IQN, [PORTAL])
    lab.discover()
    lab.login(IQN)
    lab.daemon.kill()
    lab.daemon.start()
    machine.wait_until(lambda: "taken over" in lab.daemon.text(), "the session is taken over")
    with traced(lab, log):
        restart_targets(machine.session_ids(), IQN)
        await_quiet(lab, 1)
    paths = opened(log)
    assert [path for path in paths if path.startswith("/sys/")], "strace saw nothing at all"
    assert outside(paths) == []


def _kilobytes(process: int, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_all_it_has_is_in_memory(lab: Lab) -> None:
    """D-091: what is resident is locked, after logins as before them."""
    assert lab.daemon.process is not None
    process = lab.daemon.process.pid
    lio.create_target(IQN, [PORTAL])
    lab.discover()
    lab.login(IQN)
    locked, resident = (_kilobytes(process, name) for name in ("VmLck", "VmRSS"))
    machine.figure(f"iscsid with a session: {resident} KiB resident, {locked} KiB locked")
    assert locked > LOCKED_SHARE * resident
    swapped = _kilobytes(process, "VmSwap")
    assert swapped == 0
