"""make demo: iSCSI end to end on a real kernel, each command shown with its answer.

Runs in the guest. Every step says what it expects; the first that answers otherwise ends the demo
with a status of 1.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from tests.kernel import lio, machine

TARGET = "iqn.2026-11.example:demo"
PORTAL = "127.0.0.1"
DISK = f"/dev/disk/by-path/ip-{PORTAL}:3260-iscsi-{TARGET}-lun-0"
NODE = f"iscsiadm -m node -T {TARGET}"
CONFIGURATION = machine.PROJECT / "etc/iscsid.conf"


class Unexpected(Exception):
    """A step did not answer as it should."""


class Demo:
    """Prints what it does, and checks it."""

    def __init__(self) -> None:
        self.steps = 0
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        """A heading."""
        print(f"\n--- {text}", flush=True)

    def step(self, command: str, *expected: str, status: int = 0) -> None:
        """Run a command as an administrator would type it; its answer must hold the given texts."""
        print(f"$ {command}", flush=True)
        done = machine.run(command, timeout_s=60)
        print(done.out + done.err, end="", flush=True)
        if done.rc != 0:
            print(f"[status {done.rc}]", flush=True)
        self.check(done.rc == status, f"status {done.rc}, expected {status}")
        for text in expected:
            self.check(text in done.out + done.err, f"the answer lacks {text!r}")

    def check(self, condition: bool, otherwise: str) -> None:
        """Count one more thing seen as expected."""
        if not condition:
            raise Unexpected(otherwise)
        self.steps += 1


def check_programs(demo: Demo) -> None:
    """Only our own programs may be shown."""
    for name in ("iscsiadm", "iscsid"):
        found = shutil.which(name)
        own = machine.PROJECT / ".venv/bin" / name
        demo.check(found == str(own), f"{name} on PATH is {found}, not this project's {own}")


def start(demo: Demo, daemon: machine.Daemon) -> None:
    """Target, configuration, daemon."""
    demo.say(
        "the machine: a disposable Linux guest, with a target of its own (LIO) that wants CHAP"
    )
    machine.ETC.mkdir(exist_ok=True)
    shutil.copy(CONFIGURATION, machine.ETC)
    (machine.ETC / "initiatorname.iscsi").write_text(f"InitiatorName={machine.INITIATOR}\n")
    demo.step("uname -sr", "Linux")
    demo.step("command -v iscsiadm iscsid")
    lio.create_target(TARGET, [f"{PORTAL}:3260"], size_mb=64, chap=("joe", "secret-of-joe-12"))
    print(f"target {TARGET} at {PORTAL}:3260, one disk of 64 MB", flush=True)

    demo.say("our daemon")
    print("$ iscsid -f &", flush=True)
    daemon.start()
    assert daemon.process is not None
    executable = os.readlink(f"/proc/{daemon.process.pid}/exe")
    demo.check("python" in executable, f"iscsid is {executable}, not ours")
    print(f"iscsid answers, process {daemon.process.pid} ({executable})", flush=True)


def log_in(demo: Demo) -> None:
    """Discovery, records, a login refused, CHAP, a login."""
    demo.say("discovery")
    demo.step(f"iscsiadm -m discovery -t sendtargets -p {PORTAL}", f"{PORTAL}:3260,1 {TARGET}")
    demo.say("the records it made")
    demo.step("iscsiadm -m node", TARGET)
    demo.step(f"{NODE} | grep -e auth -e startup", "node.session.auth.authmethod = None")
    demo.say("a login without CHAP is refused")
    demo.step(f"{NODE} --login", "authorization failure", status=24)
    demo.step("iscsiadm -m session", "No active sessions", status=21)
    demo.say("CHAP, and the login succeeds")
    for name, value in (
        ("authmethod", "CHAP"),
        ("username", "joe"),
        ("password", "secret-of-joe-12"),
    ):
        demo.step(f"{NODE} -o update -n node.session.auth.{name} -v {value}")
    demo.step(f"{NODE} | grep auth.password", "********")
    demo.step(f"{NODE} --login", "successful")
    machine.settle()
    demo.step("iscsiadm -m session", TARGET)
    demo.step("iscsiadm -m session -P 3", "LOGGED_IN", "Attached scsi disk", "running")


def use_disk(demo: Demo) -> None:
    """A file system; a file that survives a mount."""
    demo.say("a file system on the disk")
    demo.step("ls -l /dev/disk/by-path/ | tail -n +2", Path(DISK).name)
    demo.step(f"mkfs.ext4 -q {DISK}")
    demo.step("mkdir -p /tmp/mnt")
    demo.step(f"mount {DISK} /tmp/mnt")
    demo.step("head -c 5000000 /dev/urandom > /tmp/original")
    demo.step("cp /tmp/original /tmp/mnt/copy")
    demo.say("unmounted, mounted again, read back")
    demo.step("umount /tmp/mnt")
    demo.step("blockdev --flushbufs " + DISK)
    demo.step(f"mount {DISK} /tmp/mnt")
    demo.step("cmp /tmp/original /tmp/mnt/copy && echo the same", "the same")
    demo.step("umount /tmp/mnt")


def look_and_leave(demo: Demo) -> None:
    """Rescan, statistics, logout."""
    demo.say("the target gets a second disk; a rescan finds it")
    lio.add_lun(TARGET, 1, size_mb=32)
    demo.step("iscsiadm -m session --rescan", "Rescanning session")
    machine.settle()
    demo.step("iscsiadm -m session -P 3 | grep Lun:", "Lun: 0", "Lun: 1")
    demo.say("statistics")
    demo.step("iscsiadm -m session --stats", "txdata_octets", "scsicmd_pdus")
    demo.say("logout")
    demo.step(f"{NODE} --logout", "successful")
    machine.settle()
    demo.step("iscsiadm -m session", "No active sessions", status=21)
    demo.check(not os.path.exists(DISK), f"{DISK} is still there")


def main() -> int:
    """Run the demo; 0 when everything was as expected."""
    demo = Demo()
    daemon = machine.Daemon()
    try:
        check_programs(demo)
        start(demo, daemon)
        log_in(demo)
        use_disk(demo)
        look_and_leave(demo)
        demo.check(daemon.stop() == 0, "iscsid did not end well")
    except (Unexpected, machine.Timeout, OSError) as problem:
        print(f"\ndemo FAILED: {problem}", flush=True)
        log = daemon.text()
        if log:
            print(f"the daemon's log:\n{log}", end="", flush=True)
        return 1
    seconds = time.monotonic() - demo.started
    print(f"\ndemo succeeded: {demo.steps} things seen as expected, in {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
