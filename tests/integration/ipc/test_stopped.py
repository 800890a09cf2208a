"""A real iscsid that is stopped in the middle of everything: commands give up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.ipc import client as client_module
from pyiscsi.ipc import either
from tests.integration.ipc.iscsid import Machine
from tests.unit.ipc.compat_daemon import NAME, env_of
from tests.unit.ipc.harness import ENOUGH_S, timed_out


@pytest.fixture
def stopped(machine: Machine) -> Iterator[Machine]:
    """A machine whose iscsid has been stopped."""
    machine.variables["PYISCSI_COMPAT_SOCKET"] = NAME
    with machine.iscsid() as daemon:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        yield machine
        os.kill(daemon.process.pid, signal.SIGCONT)


def test_connecting(stopped: Machine, tmp_path: Path) -> None:
    """On both sockets: the kernel accepts for the daemon, nobody answers."""
    env = Env.from_environ(stopped.variables)
    timed_out(lambda: either.connect(env, timeout=0.3))
    timed_out(lambda: either.connect(env_of(tmp_path), timeout=0.3))


def test_while_it_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request under way is given up when the daemon shows no life."""
    monkeypatch.setattr(client_module, "PING_AFTER_S", 0.1)
    monkeypatch.setattr(client_module, "PONG_WITHIN_S", 0.5)
    with machine.iscsid() as daemon, machine.connect() as client:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        timed_out(lambda: client.request("config"), "iscsid has not answered for 0 seconds")
        os.kill(daemon.process.pid, signal.SIGCONT)


def test_kill(stopped: Machine) -> None:
    """`-k 0` has one second for each exchange, and says that it did not work."""
    done = subprocess.run(
        [sys.executable, "-m", "pyiscsi.cli.iscsiadm", "-k", "0"],
        env=stopped.environ, capture_output=True, text=True, check=False, timeout=ENOUGH_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (33, "")
    assert done.stderr.splitlines() == [
        "iscsiadm: iscsid request timed out",
        "iscsiadm: initiator reported error (33 - iscsid request timed out)",
        "iscsiadm: Could not stop iscsid. "
        "Trying sending iscsid SIGTERM or SIGKILL signals manually",
    ]
