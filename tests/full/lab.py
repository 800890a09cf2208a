"""Whole machines that QEMU computes, and what they need: images, disks, a target, firmware tables.

QEMU's user network gives a machine the address 10.0.2.15 by DHCP; this machine's 127.0.0.1 is
10.0.2.2 there.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boot import tree
from tests.integration import tgtd
from tests.kernel.modules import mkibft

RUNNER = tree.PROJECT / "tests/lab/qemu"
KERNEL = tree.PROJECT / ".lab/qemu/debian"
BUSYBOX = KERNEL / "bin/busybox"
CONSOLES = tree.PROJECT / ".lab/full-consoles"
FIGURES = tree.PROJECT / ".lab/full-figures.txt"
GUEST_S = 400

HOST = "10.0.2.2"
GUEST = "10.0.2.15"
ROUTED = "192.0.2.1"
MAC = "52:54:00:12:34:56"
CARD = f"-netdev user,id=n0 -device e1000,netdev=n0,mac={MAC},addr=05"
TARGET = "iqn.2026-11.test:boot"
INITIATOR = "iqn.2026-11.test:initrd"
USER, SECRET = "me", "secretsecret12"
USER_IN, SECRET_IN = "you", "secretsecret34"
LABEL = "isroot"
ROOT_MB = 48

INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc 2> /dev/null
$b mount -t sysfs sys /sys 2> /dev/null
$b mount -o remount,rw /
$b grep ' / ' /proc/mounts > /proof
$b cat /sys/class/iscsi_session/*/targetname >> /proof
$b cat /sys/class/iscsi_session/*/initiatorname >> /proof
$b ls /sys/class/iscsi_session | $b wc -l >> /proof
$b sync
$b mount -o remount,ro /
echo o > /proc/sysrq-trigger
$b sleep 10
"""
"""First process of the machine on the disk: writes down where it is, and switches it off."""

TABLE = {
    "init.name": INITIATOR,
    "nic0.ip": GUEST,
    "nic0.prefix": "24",
    "nic0.gw": HOST,
    "nic0.dns1": "10.0.2.3",
    "nic0.mac": MAC,
    "nic0.bdf": "00:05.0",
    "nic0.origin": "1",
    "tgt0.ip": HOST,
    "tgt0.lun": "1",
    "tgt0.name": TARGET,
    "tgt0.chap": "2",
    "tgt0.user": USER,
    "tgt0.pass": SECRET,
    "tgt0.ruser": USER_IN,
    "tgt0.rpass": SECRET_IN,
}
"""What the firmware says: a fixed address, one target, mutual CHAP."""


def why_not() -> str:
    """Why no such machine can run here, or nothing."""
    check = subprocess.run([str(RUNNER), "--check"], stdout=subprocess.PIPE, text=True, check=False)
    return check.stdout.strip()


def kernel() -> str:
    """Version of Debian's kernel."""
    shown = subprocess.run([str(RUNNER), "--kernel"], stdout=subprocess.PIPE, text=True, check=True)
    return shown.stdout.strip()


def figure(text: str) -> None:
    """Keep a line of what was measured."""
    with FIGURES.open("a") as file:
        file.write(f"{text}\n")


def _run(name: str, *words: str | Path, prefix: Sequence[str] = ()) -> str:
    CONSOLES.mkdir(parents=True, exist_ok=True)
    console = CONSOLES / f"{name}.txt"
    began = time.monotonic()
    with console.open("wb") as file:
        command = [*prefix, str(RUNNER), "-t", str(GUEST_S), *map(str, words)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    figure(f"{name}: {time.monotonic() - began:.0f} s")
    shown = console.read_text(errors="replace")
    assert done.returncode == 0, shown
    return shown


def guest(name: str, *command: str | Path, options: str = "", out: Path | None = None) -> str:
    """What a command prints in a guest; it must succeed."""
    copied = ["-o", out] if out else []
    return _run(name, "-q", options, *copied, *command)


def boot(name: str, image: Path, words: str, options: str = "", prefix: Sequence[str] = ()) -> str:
    """The console of a machine that starts from an image and switches itself off."""
    runner = ("-m", "768M", "-q", f"{CARD} {options}", "-i", image, "-a", words)
    return _run(name, *runner, prefix=prefix)


def root_disk(folder: Path) -> Path:
    """A file with the file system of a machine that only writes down where it is."""
    content = folder / "root"
    for directory in ("bin", "sbin", "dev", "proc", "sys", "run", "etc", "usr/lib", "tmp", "root"):
        (content / directory).mkdir(parents=True)
    shutil.copy(BUSYBOX, content / "bin/busybox")
    (content / "bin/sh").symlink_to("busybox")
    (content / "etc/os-release").write_text("ID=test\n")
    init = content / "sbin/init"
    init.write_text(INIT)
    init.chmod(0o755)
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(ROOT_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-L", LABEL, "-d", str(content), str(disk)], check=True)
    return disk


def proof(disk: Path) -> list[str]:
    """What the machine on the disk wrote down: root's mount, target, initiator, sessions."""
    command = ["debugfs", "-R", "cat /proof", str(disk)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@contextmanager
def target(disk: Path) -> Iterator[tgtd.Tgtd]:
    """TARGET, with the disk as LUN 1, for those who know all four words of mutual CHAP."""
    with tgtd.running(TARGET) as running:
        _fill(running, disk)
        yield running


def _fill(running: tgtd.Tgtd, disk: Path) -> None:
    lun = ("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1")
    running.adm(*lun, "-b", str(disk))
    for user, secret, direction in ((USER, SECRET, []), (USER_IN, SECRET_IN, ["--outgoing"])):
        account = ("--mode", "account", "--user", user)
        running.adm("--op", "new", *account, "--password", secret)
        running.adm("--op", "bind", *account, "--tid", "1", *direction)


@contextmanager
def routed_target(disk: Path) -> Iterator[tuple[tgtd.Tgtd, list[str]]]:
    """The same at ROUTED, the address that discovery names, too.

    It exists in a network namespace only; machines that shall reach it are started with the words
    that come with it.
    """
    script = f"ip link set lo up && ip addr add {ROUTED}/32 dev lo && echo up && exec sleep 1d"
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE)
    enter = ["nsenter", "-t", str(holder.pid), "-n"]
    running = tgtd.Tgtd(tgtd._free_port())
    server: subprocess.Popen[bytes] | None = None
    try:
        assert holder.stdout is not None
        with holder.stdout as pipe:
            assert pipe.readline() == b"up\n"
        portal = f"portal={ROUTED}:{running.port}"
        server = subprocess.Popen(
            [*enter, "tgtd", "-f", "-C", running.control, "--iscsi", portal],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        tgtd._await(server, running)
        running.offer(1, TARGET)
        _fill(running, disk)
        yield running, enter
    finally:
        for process in (server, holder):
            if process:
                process.kill()
                process.wait()


def firmware_table(folder: Path, port: int, **values: str) -> str:
    """QEMU's option for an iBFT that names TARGET; `values` change it (`nic0_origin="3"`)."""
    entries = TABLE | {"tgt0.port": str(port)}
    entries |= {key.replace("_", "."): value for key, value in values.items()}
    file = folder / "ibft.bin"
    file.write_bytes(mkibft.build(entries))
    return f"-acpitable sig=iBFT,rev=1,oem_id=TESTED,oem_table_id=PYISCSI,data={file}"


def image(folder: Path, system: str, whose: str) -> Path:
    """An initramfs image made by this machine's initramfs-tools or dracut, for Debian's kernel.

    With pyiscsi installed below /usr, or with Debian's open-iscsi.
    """
    out = folder / f"{system}-{whose}.img"
    installed = folder / "tree"
    if whose == "ours":
        tree.install(installed)
    script = Path(__file__).with_name("make-image")
    names = [whose, system, out, folder / "settings", installed, KERNEL, kernel()]
    command = ["unshare", "-m", "--propagation", "private", "bash", script, *names]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figure(f"{system}, {whose}: image of {out.stat().st_size / 1e6:.1f} MB")
    return out


def skip_unless_possible() -> None:
    """Skip the test that asks, with the reason."""
    reason = why_not()
    if reason:
        pytest.skip(f"no QEMU guest: {reason}")
