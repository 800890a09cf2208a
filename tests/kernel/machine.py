"""The guest's side of a test: configuration, daemon, commands, sessions.

Runs in the guest as root; everything acts on the guest's own /etc/iscsi (an overlay thrown away
with the guest). Which programs run is decided by PATH alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernel import force, lio

PROJECT = Path(__file__).resolve().parents[2]
ETC = Path("/etc/iscsi")
DATABASE = ("nodes", "send_targets", "isns", "static", "fw", "slp", "ifaces")
INITIATOR = "iqn.2026-11.test:initiator"
CONFIGURATION = PROJECT / "tests/parity/iscsid.conf"
SESSIONS = Path("/sys/class/iscsi_session")
HOSTS = Path("/sys/class/iscsi_host")
LOCK = Path("/run/lock/iscsi/lock.write")
FIGURES = "figures.txt"
COMMAND_S = 180.0
"""Longest run of a command."""
START_S = 60.0
"""Longest wait for a daemon to answer; a loaded machine stretches everything in the guest."""


class Timeout(AssertionError):
    """Something awaited did not happen."""


def wait_until(
    condition: Callable[[], object], what: str, timeout_s: float = START_S, pause_s: float = 0.02
) -> None:
    """Poll a condition of the kernel or of another process, neither of which can notify us."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Timeout(f"{what}: not within {timeout_s:g} s")
        time.sleep(pause_s)


@dataclass
class Done:
    """A finished command."""

    command: str
    rc: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}status {self.rc} after {self.seconds:.2f} s"

    @property
    def is_silent(self) -> bool:
        """Whether stderr is empty if the command succeeded, as every client expects."""
        return is_silent(self.command, self.rc, self.err)


def is_silent(command: str, status: int, err: str) -> bool:
    """Whether a command kept the rule: nothing on stderr with status 0.

    The rule says nothing of what a shell line's other programs write, nor of -d, which asks for
    text on stderr.
    """
    words = command.split()
    excepted = words[:1] != ["iscsiadm"] or any(
        word in ("|", "||", ";", "&&") or word.startswith(("-d", "--de")) for word in words
    )
    return bool(excepted or status or not err)


def run(command: str | Sequence[str], *, timeout_s: float = COMMAND_S) -> Done:
    """Run a command (a string goes to the shell) and return what it answered."""
    shell = isinstance(command, str)
    started = time.monotonic()
    done = subprocess.run(
        command,
        shell=shell,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    seconds = time.monotonic() - started
    text = command if isinstance(command, str) else " ".join(command)
    return Done(text, done.returncode, done.stdout, done.stderr, seconds)


def figure(text: str) -> None:
    """A measurement for the end of `make test`, which shows all of them (tests/repo/figures.py)."""
    print(text)
    with (Path(os.environ["LAB_OUT"]) / FIGURES).open("a") as file:
        file.write(f"{text}\n")


def settle() -> None:
    """Wait until udev has dealt with every device that came or went."""
    subprocess.run(["udevadm", "settle"], check=False, timeout=300)


def session_ids() -> list[int]:
    """The sids the kernel has, in numeric order."""
    if not SESSIONS.is_dir():
        return []
    return sorted(int(entry.name.removeprefix("session")) for entry in SESSIONS.iterdir())


def host_numbers() -> list[int]:
    """The SCSI host numbers of iSCSI, in numeric order."""
    if not HOSTS.is_dir():
        return []
    return sorted(int(entry.name.removeprefix("host")) for entry in HOSTS.iterdir())


def session_value(sid: int, name: str) -> str:
    """One sysfs attribute of a session."""
    return (SESSIONS / f"session{sid}" / name).read_text().strip()


def connection_value(sid: int, name: str) -> str:
    """One sysfs attribute of a session's connection."""
    path = Path(f"/sys/class/iscsi_connection/connection{sid}:0/{name}")
    return path.read_text().strip()


def session_devices(sid: int) -> list[Path]:
    """The SCSI devices of a session (sysfs directories H:0:T:L), in order."""
    folder = (SESSIONS / f"session{sid}/device").resolve()
    return sorted(path for path in folder.glob("target*/*:*:*:*") if path.is_dir())


def disks(sid: int) -> list[str]:
    """The block devices of a session (`sda`)."""
    return [entry.name for path in session_devices(sid) for entry in sorted(path.glob("block/*"))]


def configuration(*lines: str) -> str:
    """iscsid.conf of the parity corpus with `lines` in place of its own ones of the same names."""
    changed = {_setting(line) for line in lines}
    kept = [
        line for line in CONFIGURATION.read_text().splitlines() if _setting(line) not in changed
    ]
    return "".join(f"{line}\n" for line in [*kept, *lines])


def _setting(line: str) -> str:
    return line.partition("=")[0].strip()


def write_configuration(text: str, initiator: str = INITIATOR) -> None:
    """Write iscsid.conf and the initiator's name."""
    ETC.mkdir(exist_ok=True)
    (ETC / "iscsid.conf").write_text(text)
    (ETC / "initiatorname.iscsi").write_text(f"InitiatorName={initiator}\n")


def clear_database() -> None:
    """Remove every record."""
    for name in DATABASE:
        shutil.rmtree(ETC / name, ignore_errors=True)


@dataclass
class Daemon:
    """`iscsid -f` as found on PATH, with its log in a file."""

    arguments: tuple[str, ...] = ()
    log: Path = Path("/tmp/iscsid.log")
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["iscsid", "-f", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # C's iscsid signals its whole process group when it stops
                start_new_session=True,
            )
        wait_until(self._is_answering, "iscsid answers")

    def _is_answering(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise Timeout(f"iscsid ended with {self.process.returncode}: {self.log.read_text()}")
        return is_daemon_listening()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Signal it and return how it ended."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Timeout(f"iscsid ignored signal {signal_number}") from None
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL to it and every child, if it runs at all."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def text(self) -> str:
        """Everything it logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


SOCKETS = ("@ISCSIADM_ABSTRACT_NAMESPACE", "/run/iscsid.sock")


def is_daemon_listening() -> bool:
    """Whether a daemon (ours or open-iscsi's) listens on one of the known socket names."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(line.split()[-1] in SOCKETS and line.split()[3] == "00010000" for line in lines[1:])


def clean_up(daemon: Daemon) -> None:
    """No daemon, no sessions, no targets, no records, whatever there was before."""
    daemon.kill()
    drop_sessions()
    lio.delete_all()
    clear_database()
    LOCK.unlink(missing_ok=True)  # open-iscsi's programs leave it when they are killed


def drop_sessions() -> None:
    """Take every session out of the kernel; the daemon must be gone."""
    for sid in session_ids():
        force.destroy_session(sid)
    wait_until(lambda: not session_ids(), "the kernel has dropped all sessions")
    settle()


@contextlib.contextmanager
def using(programs: str) -> Iterator[None]:
    """Run `ours` or `debian` programs meanwhile."""
    before = os.environ["PATH"]
    os.environ["PATH"] = environment_path(programs)
    try:
        yield
    finally:
        os.environ["PATH"] = before


def environment_path(programs: str) -> str:
    """PATH for `ours` (the virtual environment first) or `debian` (without it)."""
    ours = str(PROJECT / ".venv/bin")
    rest = [entry for entry in os.environ["PATH"].split(":") if entry != ours]
    return ":".join([ours, *rest] if programs == "ours" else rest)
