"""The guest's side of the boot tests: puts an installed tree over /usr and starts the machine.

`systemd` prepares targets, records and /etc/fstab and hands the guest over to systemd; the unit
boot-check.service then runs `check`, which reboots the machine, and a last hook writes down what
was left. Whose boot files are used comes as argument:

    python -m tests.boot.inside systemd ours|debian TREE
    python -m tests.boot.inside check ours|debian
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.kernel import lio, machine
from tests.kernel.machine import run, wait_until

SHARE = Path("/run/initramfs/share")
"""The shared directory, where systemd does not unmount it."""
OUT = SHARE / "out"
MOUNT_POINT = Path("/srv")
LABEL = "bootdisk"
DISK_MB = 16
UP = "iqn.2026-11.test:up"
DOWN = "iqn.2026-11.test:down"
UNITS = Path("/etc/systemd/system")
UNWANTED = (
    *("postgresql", "tgt", "isnsd", "isnsdd", "e2scrub_reap", "systemd-timesyncd", "dbus"),
    *("getty@tty1", "console-getty", "uml-utilities", "systemd-logind", "systemd-binfmt"),
    *("systemd-udev-trigger", "systemd-update-utmp", "systemd-update-utmp-runlevel"),
)
"""Services that have nothing to do with the test; some take longer than all the rest."""
HOOK = "usr/lib/systemd/system-shutdown/boot-check"

CHECK_UNIT = """\
[Unit]
Description=Boot test
[Service]
Type=exec
Environment=LAB_OUT={out}
WorkingDirectory={project}
ExecStart={python} -m {module} check {whose}
StandardOutput=append:{out}/check.log
StandardError=append:{out}/check.log
[Install]
WantedBy=multi-user.target
"""
SHUTDOWN_HOOK = f"""\
#!/bin/sh
# The last thing systemd runs: nothing is left to stop or to unmount.
dmesg > {OUT}/dmesg
ls /sys/class/iscsi_session > {OUT}/sessions
cp -r /run/log/journal {OUT}/
cat {OUT}/verdict > {SHARE}/status
sync
echo o > /proc/sysrq-trigger
sleep 10
"""


def sh(command: str) -> str:
    """What a shell line prints; it must succeed."""
    done = run(command)
    assert done.rc == 0, done
    return done.out


def overlay(tree: Path) -> None:
    """See the tree's /usr and /etc as the machine's."""
    sh(f"mount -t overlay -o lowerdir={tree}/usr:/usr overlay /usr")
    sh("mount -t hostfs modules /usr/lib/modules -o /usr/lib/uml/modules")
    if (tree / "etc").is_dir():
        shutil.copytree(tree / "etc", "/etc", dirs_exist_ok=True)


def serve(backing: Path) -> None:
    """Target UP on 127.0.0.1 with a file system; nothing listens on 127.0.0.2."""
    sh(f"truncate -s {DISK_MB}M {backing} && mkfs.ext4 -q -L {LABEL} {backing}")
    export(backing)


def export(backing: Path) -> None:
    """Target UP on 127.0.0.1 with a disk that is a file."""
    lio.create_target(UP, ["127.0.0.1:3260"], luns=0)
    group = lio.ISCSI / UP / "tpgt_1"
    store = lio.DISKS / "boot"
    store.mkdir(parents=True)
    # with a write cache: the kernel says when it flushes it, as the disk goes
    settings = f"fd_dev_name={backing},fd_dev_size={backing.stat().st_size},fd_buffered_io=1"
    lio._write(store / "control", settings)
    lio._write(store / "enable", "1")
    (group / "lun/lun_0").mkdir()
    (group / "lun/lun_0/boot").symlink_to(store)


def record(target: str, address: str) -> None:
    """An automatic node that is given up soon."""
    one = f"iscsiadm -m node -T {target} -p {address}:3260,1"
    pairs = "-n node.startup -v automatic -n node.session.initial_login_retry_max -v 2"
    sh(f"{one} -o new && {one} -o update {pairs} -n 'node.conn[0].timeo.login_timeout' -v 2")


def name_machine(whose: str) -> None:
    """Debian's package makes the initiator name when it is installed, ours at the first start."""
    if whose == "debian":
        Path("/etc/iscsi/initiatorname.iscsi").write_text(f"InitiatorName={machine.INITIATOR}\n")


def fstab() -> None:
    """One line that needs the network."""
    Path("/etc/fstab").write_text(f"LABEL={LABEL} {MOUNT_POINT} ext4 _netdev 0 0\n")


def shared() -> None:
    """The shared directory once more, at a place that stays."""
    SHARE.mkdir(parents=True)
    sh(f"mount --bind /run/share {SHARE}")


def switch_units(whose: str, module: str = "tests.boot.inside") -> None:
    """Enable the boot files of open-iscsi or ours, as docs/install.md says; `module` checks."""
    for name in UNWANTED:
        (UNITS / f"{name}.service").unlink(missing_ok=True)
        (UNITS / f"{name}.service").symlink_to("/dev/null")
    Path("/etc/machine-id").write_text(
        f"{'0123456789abcdef' * 2}\n"
    )  # no questions of a first boot
    Path("/etc/systemd/journald.conf").write_text("[Journal]\nStorage=volatile\n")
    for link in UNITS.rglob("*iscsi*"):
        link.unlink()
    names = (
        "iscsid.socket open-iscsi.service" if whose == "debian" else "iscsid.socket iscsi.service"
    )
    unit = CHECK_UNIT.format(
        out=OUT, project=machine.PROJECT, python=sys.executable, module=module, whose=whose
    )
    (UNITS / "boot-check.service").write_text(unit)
    sh(f"systemctl --root=/ enable {names} boot-check.service 2>&1")


def systemd(whose: str, tree: Path) -> None:
    """Prepare everything and leave the guest to systemd."""
    shared()
    overlay(tree)
    name_machine(whose)
    serve(OUT / "disk")
    record(UP, "127.0.0.1")
    if whose == "ours":
        record(DOWN, "127.0.0.2")
    fstab()
    switch_units(whose)
    Path(os.environ["LAB_NEXT_INIT"]).write_text("/lib/systemd/systemd")


def unit(name: str, *properties: str) -> list[str]:
    """Values of a unit's properties."""
    shown = sh(f"systemctl show {name} -p {','.join(properties)}")
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return [values[name] for name in properties]


def is_mounted() -> bool:
    return os.path.ismount(MOUNT_POINT)


def device() -> str:
    """The disk that is mounted."""
    return sh(f"findmnt -no SOURCE {MOUNT_POINT}").strip()


def session_of_disk() -> int:
    """The session behind the disk that is mounted."""
    return session_of(device())


def session_of(disk: str) -> int:
    """The session behind a disk."""
    folder = Path("/sys/class/block", os.path.basename(disk)).resolve()
    (name,) = (part for part in folder.parts if part.startswith("session"))
    return int(name.removeprefix("session"))


class Writer:
    """A program that writes and syncs all the time."""

    def __init__(self) -> None:
        self.count = MOUNT_POINT / "count"
        loop = f"n=0; while dd if=/dev/zero of={MOUNT_POINT}/data bs=64k count=4 conv=fsync"
        loop += f" 2> /dev/null; do n=$((n + 1)); echo $n > {self.count}; done"
        self._process = subprocess.Popen(["sh", "-c", loop])
        self.goes_on()

    def goes_on(self) -> None:
        """Wait until it has written twice more."""
        before = self._number()
        wait_until(lambda: self._number() > before + 1, "the writer goes on")

    def _number(self) -> int:
        text = self.count.read_text() if self.count.exists() else ""
        return int(text or "0")

    def stop(self) -> None:
        assert self._process.poll() is None, "writing failed"
        self._process.terminate()
        self._process.wait()


def no_stall(restart: Callable[[], object]) -> None:
    """Whatever `restart` does to the daemon, writing goes on over the same connection."""
    sid = session_of_disk()
    port = machine.connection_value(sid, "local_port")
    writer = Writer()
    try:
        restart()
        writer.goes_on()
    finally:
        writer.stop()
    assert session_of_disk() == sid
    assert machine.connection_value(sid, "local_port") == port
    assert "conn error" not in sh("dmesg")
    assert "Input/output error" not in sh("dmesg")


def pid_of_daemon() -> int:
    return int(unit("iscsid.service", "MainPID")[0])


def check_ours() -> None:
    """What our units promise beyond the boot itself."""
    failed = [line.split()[0] for line in sh("systemctl --failed --plain --no-legend").splitlines()]
    assert failed == ["iscsi.service"], "the target that is away, and nothing else"
    state, text, watchdog = unit("iscsid.service", "ActiveState", "StatusText", "WatchdogUSec")
    assert (state, text, watchdog) == ("active", "Ready to process requests", "1min")
    assert Path("/run/iscsid.pid").read_text() == f"{pid_of_daemon()}\n"
    names = Path("/etc/iscsi/initiatorname.iscsi")
    assert names.stat().st_mode & 0o777 == 0o600
    assert "InitiatorName=iqn.2016-04.com.open-iscsi:" in names.read_text()

    before = pid_of_daemon()
    no_stall(lambda: sh("systemctl restart iscsid"))
    assert pid_of_daemon() != before
    before = pid_of_daemon()
    sh("systemctl reload iscsid")
    assert pid_of_daemon() == before
    no_stall(lambda: kill_daemon(before))
    assert "Connection State: LOGGED IN" in sh("iscsiadm -m session -P 1")


def kill_daemon(pid: int) -> None:
    """The service manager brings it back."""
    sh("systemctl kill -s KILL iscsid")
    wait_until(lambda: pid_of_daemon() not in (0, pid), "iscsid is back")
    wait_until(lambda: unit("iscsid.service", "ActiveState") == ["active"], "iscsid is ready")


def check_debian() -> None:
    """Their units, our programs."""
    assert unit("open-iscsi.service", "ActiveState") == ["active"]
    assert unit("iscsid.service", "ActiveState", "Type") == ["active", "forking"]
    assert "lib/open-iscsi/logout-all.sh" in sh("systemctl cat open-iscsi.service")
    assert pid_of_daemon() == int(Path("/run/iscsid.pid").read_text())
    no_stall(lambda: sh("systemctl restart iscsid"))


def check(whose: str) -> None:
    """What must hold once systemd has started everything."""
    assert is_mounted(), sh("systemctl --no-pager status srv.mount iscsi iscsid 2>&1; true")
    assert machine.session_ids() == [session_of_disk()]
    {"ours": check_ours, "debian": check_debian}[whose]()
    assert is_mounted()
    (MOUNT_POINT / "proof").write_text("written just before the reboot\n")


def judge(check: Callable[[], None]) -> None:
    """Runs under systemd once it has started everything; ends with a reboot."""
    status = 1
    try:
        run("systemctl is-system-running --wait")
        check()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
    finally:
        (OUT / "verdict").write_text(f"{status}\n")
        (OUT / "journal.txt").write_text(run("journalctl -b --no-pager -o short-monotonic").out)
        run("systemctl --no-block reboot")


def main(words: list[str]) -> None:
    what, *rest = words
    if what == "systemd":
        systemd(rest[0], Path(rest[1]))
    elif what == "check":
        judge(lambda: check(rest[0]))
    else:
        raise SystemExit(f"{what}?")


if __name__ == "__main__":
    main(sys.argv[1:])
