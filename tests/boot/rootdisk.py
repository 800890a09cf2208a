"""The guest's side of root on iSCSI: a machine whose / is an iSCSI disk from its first process on.

`systemd` makes the disk, a small machine whose /usr is this one's, has iscsistart log in to it out
of an image as initramfs-tools would make it, and goes on in there with systemd as init; then
boot-check.service runs `check`.

    python -m tests.boot.rootdisk systemd TREE IMAGE
    python -m tests.boot.rootdisk check ours
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.boot import inside
from tests.boot.inside import LABEL, OUT, UP, pid_of_daemon, sh
from tests.kernel import lio, machine
from tests.kernel.machine import wait_until

SIZE_MB = 64
NEW_ROOT = Path("/mnt")
SKELETON = Path("/tmp/skeleton")
EMPTY = ("dev", "proc", "sys", "run", "tmp", "usr", "root", "mnt", "srv", "oldroot", "data")
VAR = ("lib", "log", "cache", "tmp", "spool")
LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
OUTAGE_S = 3

SWITCH = f"""\
#!/bin/bash
set -e
cd {NEW_ROOT}
for directory in dev proc sys tmp run; do mount -n --move /$directory $directory; done
pivot_root . oldroot
umount -n -l /oldroot
exec /lib/systemd/systemd < /dev/console > /dev/console 2>&1
"""


def make_disk(backing: Path) -> None:
    """A file system with all a machine needs except /usr."""
    for name in (*EMPTY, *(f"var/{name}" for name in VAR)):
        (SKELETON / name).mkdir(parents=True)
    (SKELETON / "var/run").symlink_to("/run")
    for name in LINKS:
        if Path("/", name).is_symlink():
            (SKELETON / name).symlink_to(os.readlink(Path("/", name)))
    (SKELETON / str(machine.PROJECT).lstrip("/")).mkdir(parents=True)
    Path("/etc/fstab").write_text("")
    sh(f"cp -a /etc {SKELETON}/")
    sh(f"truncate -s {SIZE_MB}M {backing} && mkfs.ext4 -q -L {LABEL} -d {SKELETON} {backing}")


def log_in(image: Path) -> None:
    """Ours, with what is in the image and nothing else."""
    for name in ("proc", "sys", "dev"):
        sh(f"mount --bind /{name} {image}/{name}")
    sh(
        f"chroot {image} /usr/sbin/iscsistart -i {machine.INITIATOR} -t {UP} -g 1 -a 127.0.0.1"
        " > /run/iscsistart.log"
    )
    machine.settle()
    for name in ("proc", "sys", "dev"):
        sh(f"umount {image}/{name}")


def systemd(tree: Path, image: Path) -> None:
    """Prepare everything and leave the guest to the machine on the disk."""
    inside.shared()
    inside.overlay(tree)
    Path("/etc/iscsi/initiatorname.iscsi").write_text(f"InitiatorName={machine.INITIATOR}\n")
    inside.switch_units("ours", "tests.boot.rootdisk")
    # udev's rule for a disk of the boot starts the daemon
    (inside.UNITS / "systemd-udev-trigger.service").unlink()
    make_disk(OUT / "disk")
    inside.export(OUT / "disk")
    log_in(image)
    sh(f"mount /dev/disk/by-label/{LABEL} {NEW_ROOT}")
    sh(f"mount --rbind /usr {NEW_ROOT}/usr")
    sh(f"mount --bind {machine.PROJECT} {NEW_ROOT}{machine.PROJECT}")
    script = Path("/run/switch-root")
    script.write_text(SWITCH)
    script.chmod(0o755)
    Path(os.environ["LAB_NEXT_INIT"]).write_text(f"{script}\n")


class Busy:
    """A program that reads and writes the root disk all the time, past the cache.

    It counts in memory: a look at the count must not have to wait for the disk, too.
    """

    def __init__(self) -> None:
        self.count = Path("/run/count")
        loop = (
            "n=0; while dd if=/dev/urandom of=/data/a bs=64k count=4 conv=fsync 2> /dev/null"
            " && dd if=/data/a of=/run/a bs=64k iflag=direct 2> /dev/null && cmp /data/a /run/a;"
            f" do n=$((n + 1)); echo $n > {self.count}; done"
        )
        self._process = subprocess.Popen(["sh", "-c", loop])
        self.goes_on()

    def number(self) -> int:
        return int(self.count.read_text() or "0") if self.count.exists() else 0

    def goes_on(self) -> None:
        """Wait until it has gone round twice more."""
        before = self.number()
        wait_until(lambda: self.number() > before + 1, "reading and writing the root disk")

    def stop(self) -> None:
        assert self._process.poll() is None, "reading or writing failed"
        self._process.terminate()
        self._process.wait()


def state() -> str:
    """What iscsiadm says of the session's connection."""
    done = machine.run("iscsiadm -m session -P 1")
    return done.out


def is_looked_after() -> bool:
    return "Internal iscsid Session State: NO CHANGE" in state()


def outage(busy: Busy, *, without_daemon: bool = False) -> None:
    """The target goes and comes back; a daemon killed meanwhile comes back, too."""
    sid = inside.session_of(root_device())
    before = pid_of_daemon()
    lio.set_enabled(UP, False)
    wait_until(lambda: machine.session_value(sid, "state") == "FAILED", "the session has failed")
    stands = busy.number()
    if without_daemon:
        inside.kill_daemon(before)
    subprocess.run(["sleep", str(OUTAGE_S)], check=True)
    assert busy.number() <= stands + 1, "the disk was there all the time"
    lio.set_enabled(UP, True)
    busy.goes_on()
    wait_until(is_looked_after, "logged in again")
    assert (pid_of_daemon() != before) == without_daemon


def root_device() -> str:
    return sh("findmnt -no SOURCE /").strip()


def check() -> None:
    """The root disk is the session's; the daemon took it over and brings it back."""
    assert root_device().startswith("/dev/sd")
    sid = inside.session_of(root_device())
    assert machine.session_ids() == [sid]
    assert machine.session_value(sid, "targetname") == UP
    assert inside.unit("iscsid.service", "ActiveState") == ["active"]
    assert sh("systemctl --failed --plain --no-legend") == ""
    port = machine.connection_value(sid, "local_port")
    wait_until(is_looked_after, "the daemon has the session of the boot")
    busy = Busy()
    try:
        inside.kill_daemon(pid_of_daemon())
        busy.goes_on()
        sh("systemctl restart iscsid")
        busy.goes_on()
        assert machine.connection_value(sid, "local_port") == port, "nobody had to log in again"
        outage(busy)
        outage(busy, without_daemon=True)
    finally:
        busy.stop()
    assert machine.session_ids() == [sid]
    assert "I/O error" not in sh("dmesg")
    Path("/proof").write_text("written just before the reboot\n")


def main(words: list[str]) -> None:
    if words[0] == "systemd":
        systemd(*map(Path, words[1:]))
    else:
        inside.judge(check)


if __name__ == "__main__":
    main(sys.argv[1:])
