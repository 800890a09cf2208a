"""The real iscsid as a process, with roots of its own and, unless asked otherwise, no kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyiscsi.env import Env
from pyiscsi.ipc.client import Client

READY = b"READY=1\nSTATUS=Ready to process requests"
WAIT_S = 60
NAME = "iqn.2000-01.example:initiator"

_ROOTS = {
    "PYISCSI_CONFIG_ROOT": "etc",
    "PYISCSI_DB_ROOT": "db",
    "PYISCSI_LOCK_DIR": "lock",
    "SYSFS_PATH": "sys",
    "PYISCSI_SOCKET": "iscsid.sock",
    "PYISCSI_PID_FILE": "iscsid.pid",
}


class Machine:
    """A directory that stands for a machine: /etc/iscsi, /sys, /run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started = 0
        for name in ("etc", "db", "sys"):
            (path / name).mkdir()
        self.variables = {key: str(path / name) for key, name in _ROOTS.items()}
        self.variables["PYISCSI_NO_KERNEL"] = "1"
        self.env = Env.from_environ(self.variables)
        Path(self.env.initiatorname_file).write_text(f"InitiatorName={NAME}\n")
        Path(self.env.config_file).write_text("")

    @property
    def environ(self) -> dict[str, str]:
        inherited = {key: text for key, text in os.environ.items() if key != "JOURNAL_STREAM"}
        return {**inherited, **self.variables}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run iscsid to its end (a parent's, when it becomes a daemon)."""
        return subprocess.run(
            command(words), env=self.environ, capture_output=True, text=True, timeout=WAIT_S,
            check=False,
        )  # fmt: skip

    @contextmanager
    def iscsid(
        self, *words: str, launcher: Sequence[str] = (), pass_fds: Sequence[int] = ()
    ) -> Iterator[Iscsid]:
        """iscsid in the foreground; it is ready when the block begins, and ended at its end."""
        self._started += 1
        address = str(self.path / f"notify{self._started}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(WAIT_S)
            process = subprocess.Popen(
                [*launcher, *command(("-f", *words))],
                env=self.environ | {"NOTIFY_SOCKET": address},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                text=True,
            )
            try:
                daemon = Iscsid(self, process, manager)
                daemon.await_ready()
                yield daemon
            finally:
                os.unlink(address)
                if process.poll() is None:
                    process.kill()
                process.communicate()

    def connect(self) -> Client:
        return Client.connect(self.env, timeout=WAIT_S)


def command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pyiscsi.cli.iscsid", *words]


class Iscsid:
    """A running daemon."""

    def __init__(
        self, machine: Machine, process: subprocess.Popen[str], manager: socket.socket
    ) -> None:
        self.machine = machine
        self.process = process
        self._manager = manager
        self.states: list[bytes] = []

    def await_ready(self) -> None:
        while READY not in self.states:
            try:
                self.states.append(self._manager.recv(1000))
            except TimeoutError:
                raise AssertionError("iscsid did not become ready") from None

    def connect(self) -> Client:
        return self.machine.connect()

    def end(self, number: int) -> tuple[int, str, str]:
        """Send a signal; the status and all output."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, err
