"""The guest's side of the init script tests: a machine without systemd, played by hand.

python -m tests.boot.sysvinit ours|debian TREE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.boot import inside
from tests.boot.inside import MOUNT_POINT, UP, no_stall, record, run, sh
from tests.kernel import lio, machine

PID_FILE = Path("/run/iscsid.pid")
KEPT = Path("/run/open-iscsi/shutdown-keep-sessions")
OMIT = Path("/run/sendsigs.omit.d")
MAPPED = "/dev/mapper/stacked"
OTHER = "iqn.2026-11.test:other"
NAMES = Path("/etc/iscsi/initiatorname.iscsi")
HELPERS = Path("/lib/open-iscsi")


def prepare(whose: str, tree: Path) -> None:
    """Our programs in /usr, a target, an automatic node, a line in /etc/fstab."""
    inside.overlay(tree)
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    OMIT.mkdir()
    inside.name_machine(whose)
    inside.serve(Path("/tmp/disk"))
    record(UP, "127.0.0.1")
    lio.create_target(OTHER, ["127.0.0.3:3260"])
    record(OTHER, "127.0.0.3")
    if whose == "ours":
        record(inside.DOWN, "127.0.0.2")
    inside.fstab()


def script(name: str, what: str) -> str:
    """Run an init script; it must succeed."""
    return sh(f"/etc/init.d/{name} {what} 2>&1")


def daemon_pid() -> int:
    return int(PID_FILE.read_text())


def restart() -> None:
    """A new process."""
    before = daemon_pid()
    script("iscsid", "restart")
    assert daemon_pid() != before


def boot() -> None:
    script("iscsid", "start")
    assert os.readlink(OMIT / "iscsid.pid") == str(PID_FILE)
    assert not inside.is_mounted()
    script("open-iscsi", "start")
    assert inside.is_mounted()
    assert UP in script("open-iscsi", "status")
    script("iscsid", "status")
    no_stall(restart)
    sh("/etc/init.d/iscsid start")  # a second time changes nothing
    assert inside.is_mounted()


def keep_excluded() -> None:
    """A session that carries an excluded mount stays logged in, and its file system mounted."""
    default = Path("/etc/default/open-iscsi")
    text = default.read_text()
    default.write_text(f'{text}\nHANDLE_NETDEV=0\nEXCLUDE_MOUNTS_AT_SHUTDOWN="{MOUNT_POINT}"\n')
    script("open-iscsi", "stop")
    assert inside.is_mounted()
    sid = inside.session_of_disk()
    assert machine.session_ids() == [sid], "the other one is logged out"
    folder = os.path.realpath(f"/sys/class/iscsi_session/session{sid}/device")
    assert KEPT.read_text() == f"{folder}\n"
    assert KEPT.parent.stat().st_mode & 0o777 == 0o700
    script("iscsid", "stop")
    assert PID_FILE.exists(), "it stays for the sessions that stay"
    default.write_text(text)


def startup_checks() -> None:
    """A name on request, and none of the files may be missing."""
    kept = NAMES.read_text()
    NAMES.write_text("GenerateName=yes\n")
    sh(f"{HELPERS}/startup-checks.sh")
    assert "\nInitiatorName=iqn.1993-08.org.debian:01:" in NAMES.read_text()
    assert NAMES.stat().st_mode & 0o777 == 0o600
    settings = Path("/etc/iscsi/iscsid.conf")
    for path, text in ((NAMES, ""), (NAMES, "InitiatorName=\n"), (NAMES, None), (settings, None)):
        path.unlink()
        if text is not None:
            path.write_text(text)
        done = run(f"{HELPERS}/startup-checks.sh")
        assert (done.rc, str(path) in done.err) == (1, True), done
        NAMES.write_text(kept)


def network_device() -> None:
    """ifupdown is told of the device that carries the root disk, and of no other."""
    handler = f"{HELPERS}/net-interface-handler"
    state = Path("/run/network/ifstate")
    Path("/run/initramfs").mkdir(exist_ok=True)
    sh(f"INTERFACE=eth0 {handler} start")
    Path("/run/initramfs/open-iscsi.interface").write_text("eth0\n")
    run(f"INTERFACE=eth1 {handler} start")
    assert not state.exists()
    sh(f"INTERFACE=eth0 {handler} start && INTERFACE=eth0 {handler} start")
    assert state.read_text() == "eth0=eth0\n"
    state.write_text("lo=lo\neth0=eth0\n")
    sh(f"INTERFACE=eth0 {handler} stop")
    assert state.read_text() == "lo=lo\n"
    assert run(f"{handler} start").rc == run(f"INTERFACE=eth0 {handler}").rc == 1


def cannot_unmount() -> None:
    """A file system in use: nothing is logged out, and a file says so."""
    with (MOUNT_POINT / "open").open("w"):
        done = run("/etc/init.d/open-iscsi stop")
        assert done.rc == 1, done
    assert machine.session_ids()
    assert Path("/run/open-iscsi/some_umount_failed").exists()


def stacked() -> None:
    """A file system on a device-mapper device on the disk is found, too."""
    disk = inside.device()
    sh(f"umount {MOUNT_POINT}")
    sectors = int(sh(f"blockdev --getsz {disk}"))
    sh(f"echo 0 {sectors} linear {disk} 0 | dmsetup create stacked")
    sh(f"mount {MAPPED} {MOUNT_POINT}")
    shown = sh(f"{HELPERS}/umountiscsi.sh --dry-run")
    assert f"  {MOUNT_POINT}\n" in shown
    assert inside.is_mounted()


def shut_down() -> None:
    sh("dmesg -c > /dev/null")
    script("open-iscsi", "stop")
    assert not inside.is_mounted()
    assert not machine.session_ids()
    assert not KEPT.exists()
    messages = sh("dmesg")
    assert 0 <= messages.find("unmounting filesystem") < messages.find("Synchronizing SCSI cache")


def main(whose: str, tree: Path) -> None:
    prepare(whose, tree)
    boot()
    keep_excluded()
    cannot_unmount()
    if whose == "ours":  # Debian's script sees no plain device-mapper devices
        stacked()
        sh(f"umount {MOUNT_POINT} && dmsetup remove stacked && mount -a -O _netdev")
    shut_down()
    network_device()
    startup_checks()
    script("iscsid", "stop")
    assert not PID_FILE.exists()
    print("all done")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
