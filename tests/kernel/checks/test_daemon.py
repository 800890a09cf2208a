"""The daemon as a process."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:one"
PORTALS = ["127.0.0.1:3260"]

PF_MEMALLOC_NOIO = 0x00080000
"""What PR_SET_IO_FLUSHER sets (include/linux/sched.h)."""


def _status(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _flags(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[6])


def test_process(lab: Lab) -> None:
    """D-091: nice, OOM score, locked memory, IO_FLUSHER, open files, and the name."""
    assert lab.daemon.process is not None
    process = lab.daemon.process.pid
    proc = Path(f"/proc/{process}")
    machine.wait_until(lambda: os.getpriority(os.PRIO_PROCESS, process) == -10, "nice is -10")
    machine.wait_until(
        lambda: int((proc / "oom_score_adj").read_text()) == -1000, "protected from the OOM killer"
    )
    assert (proc / "comm").read_text() == "iscsid\n"
    machine.wait_until(lambda: int(_status(process)["VmLck"].split()[0]) > 0, "memory is locked")
    machine.wait_until(lambda: _flags(process) & PF_MEMALLOC_NOIO, "it is an IO_FLUSHER")
    limits = (proc / "limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["16384", "16384"]


def test_terminate_leaves_sessions(lab: Lab) -> None:
    """SIGTERM ends the daemon with status 0; the session and its disk stay."""
    lio.create_target(IQN, PORTALS)
    lab.discover()
    lab.login(IQN)
    sid = lab.only_session()
    assert lab.daemon.stop(signal.SIGTERM) == 0
    assert machine.session_value(sid, "state") == "LOGGED_IN"
    disk = f"/dev/{machine.disks(sid)[0]}"
    assert machine.run(f"dd if={disk} of=/dev/null bs=1M count=1 iflag=direct").rc == 0


def test_stop_command(lab: Lab) -> None:
    """`iscsiadm -k 0` ends the daemon."""
    lab.adm("-k 0", 0)
    assert lab.daemon.process is not None
    assert lab.daemon.process.wait(60) == 0


def test_second_daemon(lab: Lab) -> None:
    """A second instance refuses to start and leaves the first alone."""
    done = machine.run("iscsid -f", timeout_s=60)
    assert done.rc == 1, done
    assert lab.daemon.is_running
    assert lab.adm("-m session", 21).err == "iscsiadm: No active sessions.\n"


def test_options(idle_lab: Lab) -> None:
    """D-090: version, help, and options that contradict each other."""
    version = machine.run("iscsid -v")
    assert version.rc == 0
    assert version.out.startswith("iscsid version ")
    usage = machine.run("iscsid -h")
    assert usage.rc == 0
    assert "--foreground" in usage.out
    for arguments in ("-f -p /tmp/x", "-n -p /tmp/x", "--nonsense"):
        refused = machine.run(f"iscsid {arguments}", timeout_s=60)
        assert refused.rc == 1, refused


def test_background(idle_lab: Lab) -> None:
    """D-090: without -f it goes to the background, ready when the command returns; pid file."""
    done = machine.run("iscsid")
    assert done.rc == 0, done
    pid = int(Path("/run/iscsid.pid").read_text())
    try:
        machine.wait_until(machine.is_daemon_listening, "iscsid answers")
        assert Path(f"/proc/{pid}/comm").read_text() == "iscsid\n"
        assert idle_lab.adm("-m session", 21).rc == 21
    finally:
        os.kill(pid, signal.SIGTERM)
        machine.wait_until(lambda: not Path(f"/proc/{pid}").exists(), "iscsid has ended")


def test_started_by_the_command(idle_lab: Lab) -> None:
    """iscsid.startup brings the daemon up when the first command needs it."""
    machine.write_configuration(machine.configuration("iscsid.startup = iscsid"))
    lio.create_target(IQN, PORTALS)
    try:
        idle_lab.discover()
        idle_lab.login(IQN)
        idle_lab.adm("-m session -u", 0)
    finally:
        idle_lab.adm("-k 0", 0)
        machine.wait_until(lambda: not machine.is_daemon_listening(), "iscsid has ended")


@pytest.mark.parametrize("priority", [0, -20])
def test_no_search_of_proc(lab: Lab, tmp_path: Path, priority: int) -> None:
    """D-095: a login does not look through /proc for the session's thread, whatever is set."""
    lio.create_target(IQN, PORTALS)
    lab.discover()
    lab.set(IQN, {"node.session.xmit_thread_priority": priority})
    assert lab.daemon.process is not None
    log = tmp_path / "calls"
    words = ["strace", "-f", "-e", "trace=open,openat,execve", "-o", str(log)]
    with subprocess.Popen([*words, "-p", str(lab.daemon.process.pid)]) as strace:
        machine.wait_until(lambda: "TracerPid:\t0" not in _status_text(lab), "strace looks on")
        lab.login(IQN)
        lab.adm("-m session -u", 0)
        strace.terminate()
    calls = log.read_text()
    assert "/sys/class/" in calls
    assert "/proc" not in calls


def _status_text(lab: Lab) -> str:
    assert lab.daemon.process is not None
    return Path(f"/proc/{lab.daemon.process.pid}/status").read_text()
