"""Two machines that differ in their iscsiadm alone: open-iscsi's and ours."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from tests.differential.tree import Tree, restore, snapshot
from tests.unit.sysfs.capture import unpack_text

PROJECT = Path(__file__).parents[2]
INSIDE = """
mount --make-rprivate / && mount -t tmpfs none /run && mkdir -p /run/lock &&
mount --bind "$0/etc" /etc/iscsi && mount --bind "$0/sys" /sys &&
mount --bind "$0/hosts" /etc/hosts && mount --bind /dev/null /etc/resolv.conf &&
ip link set lo up && exec "$@"
"""
HOSTS = """
127.0.0.1 localhost
10.0.0.1 portal.test again.test
10.0.0.2 other.test
::1 six.test
"""
VARIABLES = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONSAFEPATH": "1"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command answered. `locked`: it left the database's lock behind."""

    status: int
    out: str
    err: str
    locked: bool = False


def why_not() -> str:
    """Why the two programs cannot be compared here, "" when they can."""
    if os.geteuid() != 0:
        return "needs root for mount and network namespaces"
    if not shutil.which("iscsiadm", path="/usr/sbin") or not Path("/etc/iscsi").is_dir():
        return "Debian's open-iscsi is not installed"
    done = subprocess.run(["/usr/sbin/iscsiadm", "-V"], capture_output=True, text=True, check=False)
    if done.stdout.strip() != "iscsiadm version 2.1.8":
        return f"not open-iscsi 2.1.8: {done.stdout.strip()}"
    words = ["unshare", "-m", "-n", "sh", "-c", "mount -t tmpfs none /run && ip link set lo up"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"no mount or network namespaces here: {done.stderr.strip()}" if done.returncode else ""


class Side:
    """One machine: its /etc/iscsi is `etc`, its /sys is `sys`, both real directories here."""

    def __init__(self, which: str, base: Path) -> None:
        self.etc, self.sys = base / "etc", base / "sys"
        self.etc.mkdir(parents=True)
        self.etc.chmod(0o755)
        _make_sysfs(self.sys)
        self._sessions = [
            (path, os.readlink(path))
            for name in _SESSIONS
            for path in sorted((self.sys / "class" / name).iterdir())
        ]
        self.show_sessions(())
        (self.etc / "initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.test:initiator\n")
        (base / "hosts").write_text(HOSTS)
        self._found = base / "found"
        self._found.write_bytes(b"")
        command = [sys.executable, "-m", "tests.differential.side", which, str(self._found)]
        self._log = (base / "log").open("w+")
        self._process = subprocess.Popen(
            ["unshare", "-m", "-n", "sh", "-c", INSIDE, str(base), *command],
            cwd=PROJECT,
            env=VARIABLES | {"PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def pid(self) -> int:
        """A process in the machine's namespaces."""
        return self._process.pid

    def await_ready(self) -> None:
        if self._read() != "ready\n":
            self._log.seek(0)
            raise AssertionError(self._log.read())

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def send(self, words: Sequence[str]) -> None:
        assert self._process.stdin
        line = json.dumps([os.fsencode(word).decode("latin-1") for word in words])
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def receive(self) -> Answer:
        line = self._read()
        if not line:
            self._log.seek(0)
            raise AssertionError(f"the machine ended: {self._log.read()}")
        status, out, err, locked = json.loads(line)
        return Answer(status, _text(out), _text(err), locked)

    def tree(self) -> Tree:
        return snapshot(self.etc)

    def restore(self, tree: Tree) -> None:
        restore(self.etc, tree)

    def show_sessions(self, numbers: Collection[int]) -> None:
        """The sessions there are from now on, of those of the capture."""
        for path, target in self._sessions:
            path.unlink(missing_ok=True)
            if any(f"/session{sid}/" in f"{target}/" for sid in numbers) or (
                "host" in path.parent.name and int(path.name[4:]) + 1 in numbers
            ):
                path.symlink_to(target)

    def offer(self, text: bytes) -> None:
        """What discovery finds from now on: a line for each pair of a SendTargets answer."""
        self._found.write_bytes(text)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._log.close()


def _text(latin: str) -> str:
    return latin.encode("latin-1").decode("utf-8", "surrogateescape")


_SESSIONS = ("iscsi_session", "iscsi_connection", "iscsi_host", "scsi_host")
_CAPTURE = PROJECT / "tests/data/sysfs/up.tree"
_NAMES = {
    "iqn.2026-11.test:one": "iqn.2026-11.test:a",
    "iqn.2026-11.test:two": "iqn.2026-11.test:b",
    "iqn.2026-11.test:six": "iqn.c",
    "127.0.0.1": "10.0.0.1",
    "127.0.0.2": "10.0.0.2",
}


def _make_sysfs(root: Path) -> None:
    """A kernel with both software drivers, and with the sessions of a capture."""
    text = _CAPTURE.read_text()
    for old, new in _NAMES.items():
        text = text.replace(old, new)
    unpack_text(text, root.parent)
    for name in (*_SESSIONS, "iscsi_iface"):
        (root / "class" / name).mkdir(exist_ok=True)
    (root / "firmware").mkdir()
    iser = root / "class/iscsi_transport/iser"
    iser.mkdir()
    (iser / "handle").write_text("2186216609\n")
    (iser / "caps").write_text("0x39\n")


class Pair:
    """Both sides. `with Pair() as pair:`"""

    def __init__(self, ours: str = "fork") -> None:
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._base = Path(tempfile.mkdtemp(prefix="differential", dir=parent))
        self.theirs = Side("theirs", self._base / "theirs")
        self.ours = Side(ours, self._base / "ours")

    def __enter__(self) -> Pair:
        self.theirs.await_ready()
        self.ours.await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.theirs.close()
        self.ours.close()
        shutil.rmtree(self._base)

    def run(self, theirs: Sequence[str], ours: Sequence[str]) -> tuple[Answer, Answer]:
        """The answers of open-iscsi and of ours to their words; they run at the same time."""
        self.theirs.send(theirs)
        self.ours.send(ours)
        return self.theirs.receive(), self.ours.receive()
