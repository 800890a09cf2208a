"""Logout: normal, of what is unreachable or in recovery, of what is in use."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:one"
PORTALS = ["127.0.0.1:3260"]


@pytest.fixture
def session(lab: Lab) -> int:
    """The sid of a session to a target with two disks."""
    lio.create_target(IQN, PORTALS, luns=2, size_mb=32)
    lab.discover()
    lab.login(IQN)
    return lab.only_session()


def test_logout(lab: Lab, session: int) -> None:
    """D-060: session, connection, host and devices are gone; the target saw a Logout."""
    disks = [Path("/dev") / name for name in machine.disks(session)]
    assert all(disk.is_block_device() for disk in disks)
    done = lab.adm(f"-m session -r {session} -u", 0)
    assert "successful" in done.out
    assert machine.session_ids() == []
    assert machine.host_numbers() == []
    assert not Path(f"/sys/class/iscsi_connection/connection{session}:0").exists()
    assert not any(disk.exists() for disk in disks)


def test_login_again(lab: Lab, session: int) -> None:
    """D-060: after a logout the same record logs in again, with a new sid."""
    lab.adm(f"-m node -T {IQN} -u", 0)
    lab.login(IQN)
    assert lab.only_session() > session


def test_unreachable_target(lab: Lab) -> None:
    """D-061: a target that answers no more is logged out of within the logout time-out."""
    lab.network()
    lio.create_target(IQN, [])
    lio.add_portal(IQN, "10.77.0.2:3260", netns="far")
    lab.adm(f"-m node -o new -T {IQN} -p 10.77.0.2:3260,1", 0)
    lab.set(IQN, {"node.conn[0].timeo.logout_timeout": 3})
    lab.login(IQN)
    lab.netem("loss 100%")
    done = lab.adm("-m session -u", 0)
    assert "successful" in done.out
    assert machine.session_ids() == []


def test_logout_while_recovering(lab: Lab, session: int) -> None:
    """D-062: logout wins over recovery, and succeeds."""
    lio.set_enabled(IQN, False)
    machine.wait_until(
        lambda: machine.session_value(session, "state") != "LOGGED_IN", "the session has failed"
    )
    done = lab.adm(f"-m session -r {session} -u", 0)
    assert "successful" in done.out
    assert machine.session_ids() == []


def test_safe_logout(idle_lab: Lab) -> None:
    """D-063: with safe_logout a mounted disk is 28, another session is logged out all the same."""
    lab = idle_lab
    lab.start("iscsid.safe_logout = Yes")
    for name in (f"{IQN}-used", f"{IQN}-free"):
        lio.create_target(name, PORTALS, size_mb=32)
    lab.discover()
    lab.adm("-m node -l", 0)
    used = next(
        sid
        for sid in machine.session_ids()
        if machine.session_value(sid, "targetname").endswith("used")
    )
    disk = f"/dev/{machine.disks(used)[0]}"
    lab.shell(f"mkfs.ext4 -q {disk} && mkdir -p /tmp/held && mount {disk} /tmp/held")
    try:
        done = lab.adm("-m session -u", 28)
        assert "28" in done.err
        assert machine.session_ids() == [used]
        assert Path("/tmp/held/lost+found").is_dir()
    finally:
        lab.shell("umount /tmp/held")
        machine.settle()
    lab.adm(f"-m session -r {used} -u", 0)
    assert machine.session_ids() == []


@pytest.mark.parametrize(
    ("use", "release"),
    [
        ("mkswap {0} && swapon {0}", "swapoff {0}"),
        (
            "dmsetup create held --table '0 65536 linear {0} 0' && mkfs.ext4 -q /dev/mapper/held"
            " && mkdir -p /tmp/held && mount /dev/mapper/held /tmp/held",
            "umount /tmp/held && dmsetup remove held",
        ),
    ],
    ids=["swap", "mounted through device mapper"],
)
def test_safe_logout_of_other_uses(idle_lab: Lab, use: str, release: str) -> None:
    """D-063: swap counts as use, and so does a mount of what is stacked on the disk."""
    if "dmsetup" in use and machine.run("command -v dmsetup").rc != 0:
        pytest.skip("dmsetup is not installed")
    lab = idle_lab
    lab.start("iscsid.safe_logout = Yes")
    lio.create_target(IQN, PORTALS, size_mb=33)
    lab.discover()
    lab.login(IQN)
    sid = lab.only_session()
    disk = f"/dev/{machine.disks(sid)[0]}"
    lab.shell(f"modprobe -q dm-mod; {use.format(disk)}")
    try:
        lab.adm(f"-m session -r {sid} -u", 28)
        assert machine.session_ids() == [sid]
    finally:
        lab.shell(release.format(disk))
        machine.settle()


def test_without_safe_logout(lab: Lab, session: int) -> None:
    """D-063: safe_logout is off unless asked for, as open-iscsi has it."""
    disk = f"/dev/{machine.disks(session)[0]}"
    lab.shell(f"mkfs.ext4 -q {disk} && mkdir -p /tmp/held && mount {disk} /tmp/held")
    try:
        lab.adm(f"-m session -r {session} -u", 0)
        assert machine.session_ids() == []
    finally:
        machine.run("umount -l /tmp/held")


def test_unknown_session(lab: Lab, session: int) -> None:
    """D-064: a session nobody has is refused, the one there is stays."""
    done = lab.adm("-m session -r 9999 -u")
    assert done.rc != 0
    assert done.err
    assert machine.session_ids() == [session]


def test_two_logouts_at_once(lab: Lab, session: int) -> None:
    """D-064: of two logouts of one session none hangs, at least one succeeds."""
    command = ["iscsiadm", "-m", "session", "-r", str(session), "-u"]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    codes = sorted(process.wait(120) for process in both)
    machine.settle()
    assert codes[0] == 0
    assert codes[1] in (0, 2, 9, 21, 22)
    assert machine.session_ids() == []
