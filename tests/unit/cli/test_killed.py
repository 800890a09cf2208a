"""Commands killed at any moment: records old or new, no lock that anybody waits for."""

import os
import shutil
import signal

import pytest

from tests.unit.cli import programs
from tests.unit.cli.commands import Machine

ONE = "-T iqn.x:one -p 10.0.0.1:3260,1"
TWO = "-T iqn.x:two -p 10.0.0.2:3260,1"
IFACE = "-m iface -I eth"
SENDTARGETS = "-m discoverydb -t st -p 10.0.0.1"

PREPARED = (
    f"-m node -o new {ONE}",
    f"-m node {ONE} -o update -n node.session.auth.username -v somebody",
    f"{IFACE} -o new",
    f"-m node -o new {TWO} -I eth",
    f"-m node -o new {TWO}",
    f"{SENDTARGETS} -o new",
)
SWEPT = {
    "update": f"-m node {ONE} -o update -n node.startup -v automatic",
    "new": "-m node -o new -T iqn.x:three -p 10.0.0.3:3260,1",
    "new again": f"-m node -o new {ONE}",
    "delete": f"-m node {ONE} -o delete",
    "iface update": f"{IFACE} -o update -n iface.net_ifacename -v eth7",
    "discoverydb update": f"{SENDTARGETS} -o update -n discovery.sendtargets.reopen_max -v 7",
    "discoverydb delete": f"{SENDTARGETS} -o delete",
}
NEXT = ("-m iface -I other -o new", "-m iface -I other -o delete")
"""What somebody else does then; it needs the lock and leaves no trace."""
CHANGING = {
    *("write", "pwrite64", "ftruncate", "fsync", "flock", "close"),
    *("rename", "link", "symlink", "unlink", "mkdir", "rmdir", "chmod", "fchmod", "fchown"),
}
LISTINGS = ("-m node", "-m node -o show", "-m iface", "-m iface -o show", "-m discoverydb -P 1")


@pytest.fixture
def machine(tmp_path, monkeypatch, steady):
    made = Machine(tmp_path, monkeypatch)
    driver = tmp_path / "sys/class/iscsi_transport/tcp"  # without it no iface can be updated
    driver.mkdir(parents=True)
    for name in ("handle", "caps"):
        (driver / name).write_text("1\n")
    for line in PREPARED:
        assert made.run_line(line).status == 0
    shutil.copytree(tmp_path / "db", tmp_path / "prepared", symlinks=True)
    return made


def reset(machine):
    """The records as prepared; the lock directory stays as the last command left it."""
    shutil.rmtree(machine.path / "db")
    shutil.copytree(machine.path / "prepared", machine.path / "db", symlinks=True)


def texts(machine):
    """Every file and link below the root but the writers' temporary ones."""
    root = machine.path / "db"
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in root.rglob("*")
        if path.is_symlink() or (path.is_file() and not path.name.startswith(".pyiscsi."))
    }


def check_whole(machine, old, new):
    """Each record and link is the old or the new one, nothing else is there, all of it reads."""
    found = texts(machine)
    for path in {*found, *old, *new}:
        assert found.get(path) in (old.get(path), new.get(path)), path
    for line in LISTINGS:
        status, _, err = machine.run_line(line)
        assert (status, err) == (0, ""), line


def changing(call):
    """Whether a call leaves other files or another lock behind than the program had before it."""
    return call.name in CHANGING or (call.name == "openat" and "O_CREAT" in call.text)


def changes(machine, line, file):
    """What a command does to the prepared files, call by call."""
    calls = [call for call in programs.trace(line, file) if str(machine.path) in call.text]
    return [call for call in calls if changing(call)]


def end_at(machine, line, points, at, name, file):
    """Send a signal to a command at its change number `at`; status, stdout and stderr.

    Calls are known by number. One that was not reached because fewer came before it than when they
    were counted (the interpreter had to compile a module then) is counted again.
    """
    for _ in range(3):
        reset(machine)
        answer = programs.run(line, *programs.interrupting(points[at], name, file))
        if answer[0] != 0:
            return answer
        reset(machine)
        points[:] = changes(machine, line, file)
    return pytest.fail(f"{points[at]} was not reached")


@pytest.mark.parametrize("line", SWEPT.values(), ids=SWEPT)
def test_killed_at_any_call(machine, line):
    """DB-102, DB-105: before each call that changes the database or the lock, and at the end.

    Between two of them nothing changes, so every other moment is one of these.
    """
    file = machine.path / "trace"
    old = texts(machine)
    points = changes(machine, line, file)
    new = texts(machine)
    assert old != new
    assert {"flock", "link", "unlink"} <= {call.name for call in points}
    for at in range(len(points)):
        status, _, _ = end_at(machine, line, points, at, "SIGKILL", file)
        call = points[at]
        assert status == -signal.SIGKILL, call
        check_whole(machine, old, new)
        for other in NEXT:
            assert machine.run_line(other).status == 0, call
        assert os.listdir(machine.path / "lock") == ["lock.pyiscsi"]
        gone = "delete" in line and texts(machine) == new
        assert programs.run(line)[0] in ((6, 21) if gone else (0,)), call
        assert texts(machine) == new, call


MANY = 16
"""So many records are changed together (records/node_bulk.py)."""


def test_killed_while_changing_many(machine):
    """DB-102, DB-105: each record is the old or the new one, whole, wherever the end came."""
    line = "-m node -o update -n node.startup -v automatic"
    for number in range(MANY):
        machine.run_line(f"-m node -o new -T iqn.x:many -p 10.0.1.{number}:3260,1")
    shutil.rmtree(machine.path / "prepared")
    shutil.copytree(machine.path / "db", machine.path / "prepared", symlinks=True)
    file = machine.path / "trace"
    old = texts(machine)
    points = changes(machine, line, file)
    new = texts(machine)
    for at in range(0, len(points), len(points) // 20):
        status, _, _ = end_at(machine, line, points, at, "SIGKILL", file)
        assert status == -signal.SIGKILL, points[at]
        check_whole(machine, old, new)
        assert programs.run(line)[0] == 0, points[at]
        assert texts(machine) == new, points[at]


ENDING = {
    "SIGINT": (1, "", "iscsiadm: caught SIGINT, exiting...\n"),
    "SIGTERM": (-signal.SIGTERM, "", ""),
    "SIGHUP": (-signal.SIGHUP, "", ""),
    "SIGQUIT": (-signal.SIGQUIT, "", ""),
}


@pytest.mark.parametrize("name", ENDING)
def test_ended_at_any_call(machine, name):
    """CLI-062, DB-102: what was begun under the lock is done, the lock given back, then the end."""
    line, file = SWEPT["update"], machine.path / "trace"
    old = texts(machine)
    points = changes(machine, line, file)
    new = texts(machine)
    first = next(at for at, call in enumerate(points) if call.name == "flock")
    for at in range(len(points)):
        assert end_at(machine, line, points, at, name, file) == ENDING[name], points[at]
        assert os.listdir(machine.path / "lock") == ["lock.pyiscsi"], points[at]
        assert texts(machine) == (old if at < first else new), points[at]


def test_interrupted_while_it_starts(machine):
    """CLI-062: while modules are imported it is the end as well, and never a traceback."""
    line, file = "-m node", machine.path / "trace"
    calls = programs.trace(line, file)
    ours = [call for call in calls if call.name == "openat" and "/pyiscsi/" in call.text]
    (start,) = [number for number, call in enumerate(ours) if "/start." in call.text]
    ends = {
        programs.run(line, *programs.interrupting(call, "SIGINT", file))
        for call in ours[start + 1 :]
    }
    assert ends == {(-signal.SIGINT, "", ""), ENDING["SIGINT"]}


def test_ignored_from_the_start(machine, monkeypatch):
    """A command that a shell runs in the background is not interrupted with the shell's job."""
    line, file = SWEPT["update"], machine.path / "trace"
    (rename,) = [call for call in programs.trace(line, file) if call.name == "rename"]
    options = programs.interrupting(rename, "SIGINT", file)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert programs.run(line, *options) == (0, "", "")
    finally:
        signal.signal(signal.SIGINT, before)
