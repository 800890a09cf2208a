"""-d: what an administrator sees of files read and written, and of the talk with iscsid."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pyiscsi import __version__
from pyiscsi.cli.report import Output
from pyiscsi.cli.trace import Tracing
from pyiscsi.env import Env
from pyiscsi.ipc import messages
from tests.unit.cli.commands import Machine
from tests.unit.ipc.compat_daemon import NAME, FakeDaemon
from tests.unit.ipc.harness import returning, running
from tests.unit.ops.daemon import FakeDaemon as OurDaemon
from tests.unit.ops.daemon import serving

IQN = "iqn.2026-11.test:one"
PASSWORD = "secret-of-joe-12"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A node record with a password."""
    made = Machine(tmp_path, monkeypatch)
    assert made.run_line(f"-m node -o new -T {IQN} -p 192.0.2.1").status == 0
    words = f"-m node -T {IQN} -o update -n node.session.auth.password -v {PASSWORD}"
    assert made.run_line(words).status == 0
    return made


def traced(machine: Machine, level: int, line: str) -> list[str]:
    """The lines on stderr, the machine's own directory left out of them."""
    answer = machine.run_line(f"-d {level} {line}")
    assert answer.status == 0, answer
    assert PASSWORD not in answer.err
    lines = answer.err.splitlines()
    assert all(text.startswith("iscsiadm: ") for text in lines)
    return [text.removeprefix("iscsiadm: ").replace(f"{machine.path}/", "") for text in lines]


def serve(machine: Machine) -> OurDaemon:
    return OurDaemon(str(machine.path / "etc/iscsid.conf"))


TALK = {
    2: [
        "asking iscsid on iscsid.sock",
        f"iscsid {__version__} answers, protocol {messages.PROTOCOL}",
    ],
    4: ["request 1: login", "answer 1: success"],
    6: [f"reading db/nodes/{IQN}/192.0.2.1,3260"],
    8: [
        f">    record.node.name = {IQN}",
        ">    record.node.session.auth.password = ********",
        ">    multiple = False",
        "<    sid = 1",
        "listing sys/class/iscsi_session",
    ],
}
"""What a login tells, by the first level that shows it."""


@pytest.mark.parametrize("level", range(9))
def test_login(machine: Machine, level: int) -> None:
    """Each level shows what it should and nothing of the higher ones; never a secret."""
    with serving(Env.from_environ(), serve(machine)):
        lines = traced(machine, level, f"-m node -T {IQN} -l")
    for least, expected in TALK.items():
        for line in expected:
            assert (line in lines) == (level >= least), line
    assert level >= 2 or not lines


def test_changes_of_records(machine: Machine) -> None:
    """Which files came, changed and went, and which settings they are made from."""
    with serving(Env.from_environ(), serve(machine)):
        new = traced(machine, 8, f"-m node -o new -T {IQN}:new -p 192.0.2.1")
    assert "request 1: config" in new
    assert "reading etc/iscsid.conf" in new
    assert f"making db/nodes/{IQN}:new" in new
    path = f"db/nodes/{IQN}:new/192.0.2.1,3260"
    assert any(line.startswith("renaming ") and line.endswith(f" {path}") for line in new)
    deleted = traced(machine, 5, f"-m node -o delete -T {IQN}:new")
    assert f"removing {path}" in deleted
    assert not any(line.startswith("reading") for line in deleted)


def test_a_file_that_is_not_there(machine: Machine) -> None:
    (machine.path / "etc/iscsid.conf").unlink()
    lines = traced(machine, 6, f"-m node -o new -T {IQN} -p 192.0.2.2")
    assert "no file etc/iscsid.conf" in lines


def test_discovery_tells_what_was_found(machine: Machine) -> None:
    found = {"target": IQN, "address": "192.0.2.1", "port": 3260, "tpgt": 1, "iface": "default"}
    table = serve(machine).operations() | {"discover": returning({"found": [found]})}
    with running(Env.from_environ().socket_path, table):
        lines = traced(machine, 8, "-m discovery -t st -p 192.0.2.1 -o nonpersistent")
    assert ">    record.discovery.sendtargets.reopen_max = 5" in lines
    assert f"<    found[0].target = {IQN}" in lines


def test_open_iscsis_daemon(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests by name and size."""
    monkeypatch.setenv("PYISCSI_COMPAT_SOCKET", NAME)
    with FakeDaemon(16104):
        lines = traced(machine, 8, f"-m node -T {IQN} -l")
    assert f"asking iscsid on @{NAME}" in lines
    assert "request CONFIG_FILE, session 0, 16128 bytes" in lines
    assert "request SESSION_LOGIN, session 0, 16104 bytes" in lines
    assert ">    node.session.auth.password = ********" in lines
    assert "answer to SESSION_LOGIN: status 0" in lines


def test_starting_the_daemon(machine: Machine) -> None:
    """A command of iscsid.conf that is run is shown."""
    answer = machine.run_line(f"-d 2 -m node -T {IQN} -l")
    assert "iscsiadm: running /bin/false\n" in answer.err
    assert "running" not in machine.run_line(f"-m node -T {IQN} -l").err


def test_stdout_is_the_same(machine: Machine) -> None:
    for line in ("-m node", f"-m node -T {IQN}", "-m discovery"):
        plain, watched = machine.run_line(line), machine.run_line(f"-d 8 {line}")
        assert (watched.status, watched.out) == (plain.status, plain.out)


@pytest.fixture
def out() -> Output:
    made = Output(io.BytesIO(), io.BytesIO())
    made.debug_level = 8
    return made


def shown(out: Output) -> str:
    assert isinstance(out._stderr, io.BytesIO)
    return out._stderr.getvalue().decode()


def test_it_ends_with_the_command(out: Output) -> None:
    with Tracing(Env(), out):
        sys.audit("pyiscsi.request", {"id": 1, "op": "first", "args": {}})
    sys.audit("pyiscsi.request", {"id": 2, "op": "second", "args": {}})
    assert shown(out) == "iscsiadm: request 1: first\n"


def test_it_never_fails_a_command(out: Output) -> None:
    """An event that cannot be shown is a line."""
    with Tracing(Env(), out):
        sys.audit("pyiscsi.request", None)
    assert shown(out).startswith("iscsiadm: pyiscsi.request cannot be shown: ")


def test_files_of_others(out: Output, tmp_path: Path) -> None:
    """What Python and its modules read is no part of it."""
    with Tracing(Env(db_root=str(tmp_path / "db")), out):
        (tmp_path / "other").write_text("")
    assert shown(out) == ""
