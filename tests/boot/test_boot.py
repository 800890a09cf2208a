"""A machine that starts, mounts and shuts down with iSCSI disks, in guests of its own.

Each guest's disk is a file here, so that what the shutdown left on it can be seen afterwards. What
a guest wrote besides (its journal, the kernel's messages) is in .lab/boot.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.boot import tree
from tests.boot.inside import HOOK, SHUTDOWN_HOOK

RUNNER = tree.PROJECT / "tests/lab/guest"
BOOT_S = 400
TAIL = 120


def why_not() -> str:
    """Why no such guest can run here, or nothing."""
    check = subprocess.run([str(RUNNER), "--check"], stdout=subprocess.PIPE, text=True, check=False)
    if check.stdout.strip():
        return check.stdout.strip()
    units = "/lib/systemd/system/open-iscsi.service"
    needed = ("/lib/systemd/systemd", units, tree.DEBIAN_PYTHON, tree.DEBIAN_SETTINGS)
    missing = [path for path in needed if not Path(path).exists()]
    return f"missing: {', '.join(missing)}" if missing else ""


@pytest.fixture(autouse=True)
def _guest_can_run() -> None:
    reason = why_not()
    if reason:
        pytest.skip(f"no guest: {reason}")


class Boot:
    """One guest; `out` is what it left."""

    def __init__(
        self,
        name: str,
        *words: str,
        programs_only: bool = False,
        launcher: bool = False,
        image: Path | None = None,
    ) -> None:
        self.out = tree.fresh(f"{name}-out")
        self.tree = tree.fresh(name)
        tree.install(self.tree, launcher=launcher)
        if programs_only:
            tree.keep_programs(self.tree)
        hook = self.tree / HOOK
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(SHUTDOWN_HOOK)
        hook.chmod(0o755)
        command = ["python", "-m", f"tests.boot.{words[0]}", *words[1:], str(self.tree)]
        if image:
            tree.boot_image(self.tree, image)
            command.append(str(image))
        self.done = subprocess.run(
            [str(RUNNER), "-m", "512M", "-t", str(BOOT_S), "-o", str(self.out), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        shutil.rmtree(self.tree)
        assert self.done.returncode == 0, f"{self.done.stdout}\n{self.tail()}"

    def tail(self) -> str:
        """What the guest said of its check, and the end of its journal."""
        files = [self.out / name for name in ("check.log", "journal.txt")]
        lines = [file.read_text().splitlines()[-TAIL:] for file in files if file.exists()]
        return "\n".join(line for part in lines for line in part)


def is_clean(disk: Path) -> None:
    """The file system was unmounted, and holds what was written last."""
    command = ["dumpe2fs", "-h", str(disk)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = dict(line.split(":", 1) for line in shown.stdout.splitlines() if ":" in line)
    assert facts["Filesystem state"].strip() == "clean"
    assert "needs_recovery" not in facts["Filesystem features"]
    proof = subprocess.run(
        ["debugfs", "-R", "cat /proof", str(disk)], capture_output=True, text=True, check=True
    )
    assert proof.stdout == "written just before the reboot\n"


def unmounted_before_logout(boot: Boot) -> None:
    """The file system is clean, nothing is missing, the disk went after it, no session is left."""
    is_clean(boot.out / "disk")
    messages = (boot.out / "dmesg").read_text()
    assert 0 < messages.rfind("unmounting filesystem") < messages.rfind("Synchronizing SCSI cache")
    assert (boot.out / "sessions").read_text() == ""


def test_systemd() -> None:
    """Our units: one target up, one away, an fstab line with _netdev. It boots and mounts.

    Restarting and killing iscsid under I/O stalls nothing; the reboot unmounts before it logs out.
    """
    unmounted_before_logout(Boot("systemd", "inside", "systemd", "ours"))


def test_systemd_with_units_of_debian() -> None:
    """Units and scripts of Debian's open-iscsi as they are, with our programs in their place."""
    boot = Boot("debian-units", "inside", "systemd", "debian", programs_only=True)
    unmounted_before_logout(boot)


@pytest.mark.parametrize("whose", ["ours", "debian"])
def test_sysvinit(whose: str) -> None:
    """Init scripts without systemd: start, mount, restart under I/O, unmount, log out, stop.

    Ours, and Debian's as they are, with our programs in place of theirs; those find the daemon by
    its executable, which the launcher is.
    """
    is_debian = whose == "debian"
    boot = Boot(f"sysvinit-{whose}", "sysvinit", whose, programs_only=is_debian, launcher=is_debian)
    assert "all done" in boot.done.stdout
