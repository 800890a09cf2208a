"""The command as a whole: what happens before and around a mode."""

import os
import stat
import subprocess
import sys

import pytest

from pyiscsi.cli import iscsiadm
from pyiscsi.errors import DaemonError, IpcError
from pyiscsi.ipc.client import Client
from tests.unit.cli.commands import FakeClient, Machine

STOP_FAILED = (
    "iscsiadm: Could not stop iscsid. Trying sending iscsid SIGTERM or SIGKILL signals manually\n"
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_stop_wrong_priority(machine):
    """CLI-052, with the status that says what happened."""
    assert tuple(machine.run("-k", "5")) == (
        7,
        "",
        "iscsiadm: Invalid iscsid priority 5. Priority must be 0.\n",
    )


@pytest.mark.parametrize("line", ["-k 0", "--bogus -k 0", "-k 0 -k x"])
def test_stop(machine, monkeypatch, line):
    """CLI-024, CLI-053: one stop request; a long option nobody knows does not prevent it."""
    client = FakeClient({"stop": {}})
    asked = {}

    def connect(env, *, startup, timeout):
        asked.update(startup=startup, timeout=timeout)
        return client

    monkeypatch.setattr(Client, "connect", staticmethod(connect))
    answer = machine.run_line(line)
    assert (answer.status, answer.out) == (0, "")
    assert client.asked == [("stop", {})]
    assert asked == {"startup": None, "timeout": 1.0}


def test_stop_without_daemon(machine):
    """CLI-054: three lines; the daemon is never started for this."""
    machine.conf(f"iscsid.startup = touch {machine.path}/started")
    answer = machine.run("-k", "0")
    assert answer.status == 20
    assert answer.err == (
        "iscsiadm: can not connect to iSCSI daemon (111)!\n"
        "iscsiadm: initiator reported error (20 - could not connect to iscsid)\n" + STOP_FAILED
    )
    assert not (machine.path / "started").exists()


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (DaemonError("daemon access denied", 13), ""),
        (IpcError("read error", 18), "iscsiadm: read error\n"),
    ],
)
def test_stop_refused(machine, monkeypatch, error, first):
    client = FakeClient({"stop": error})
    monkeypatch.setattr(Client, "connect", staticmethod(lambda env, **_: client))
    answer = machine.run("-k", "0")
    assert answer.status == error.exit_code
    assert answer.err.startswith(f"{first}iscsiadm: initiator reported error ({error.exit_code} - ")


def test_database_root_is_made(machine):
    """DB-001: on the first run, private under any umask."""
    (machine.path / "db").rmdir()
    old = os.umask(0)
    try:
        assert machine.run("-m", "node").status == 21
    finally:
        os.umask(old)
    assert stat.S_IMODE((machine.path / "db").stat().st_mode) == 0o700


def test_database_root_cannot_be_made(machine, monkeypatch):
    monkeypatch.setenv("PYISCSI_DB_ROOT", str(machine.path / "no" / "such"))
    assert tuple(machine.run("-m", "node")) == (
        6,
        "",
        f"iscsiadm: Could not make {machine.path}/no/such 2\n"
        "iscsiadm: exiting due to idbm configuration error\n",
    )


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (KeyboardInterrupt(), 1, "iscsiadm: caught SIGINT, exiting...\n"),
        (MemoryError(), 3, "iscsiadm: no available memory\n"),
        (
            PermissionError(13, "Permission denied", "/x/y"),
            6,
            "iscsiadm: /x/y: Permission denied\n",
        ),
        (OSError(5, "Input/output error"), 1, "iscsiadm: Input/output error\n"),
    ],
)
def test_interruptions(machine, monkeypatch, error, status, err):
    """CLI-062: one line each, never a traceback."""

    def fail(*_):
        raise error

    monkeypatch.setattr(iscsiadm, "_dispatch", fail)
    assert tuple(machine.run("-m", "node")) == (status, "", err)


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "pyiscsi.cli.iscsiadm", "-V"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "iscsiadm version 2.1.8\n", "")


def test_last_mode_wins(machine):
    """CLI-029."""
    answer = machine.run_line("-m node -m session")
    assert tuple(answer) == (21, "", "iscsiadm: No active sessions.\n")


def test_posixly_correct(machine, monkeypatch):
    """CLI-027: with POSIXLY_CORRECT the first positional ends the options."""
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    answer = machine.run_line("-m node foo --bogus")
    assert tuple(answer) == (21, "", "iscsiadm: No records found\n")


def test_program_name_of_complaints(machine):
    """CLI-021: getopt's line has argv[0], ours the fixed name."""
    answer = machine.run("-z", program="./my-iscsiadm")
    assert answer.err == (
        "./my-iscsiadm: invalid option -- 'z'\niscsiadm: unrecognized character 'z'\n"
    )


def test_every_mode_has_a_module():
    assert set(iscsiadm._MODES) == {
        "node", "discovery", "discoverydb", "session", "iface", "host", "fw",
    }  # fmt: skip
    for name in iscsiadm._MODES.values():
        assert callable(__import__(name, fromlist=("run",)).run)
