"""Somebody who is not root: every command on records says so, and why, with status 6."""

import json
import os

import pytest

from tests.unit.cli.commands import Answer, Machine

NOBODY = 65534
ONE = "-T iqn.x:one -p 10.0.0.1:3260,1"
HINT = "iscsiadm: Maybe you are not root?\n"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else"),
]

REFUSED = {
    "list": "-m node",
    "list as a tree": "-m node -P 1",
    "show": f"-m node {ONE}",
    "show all": "-m node -o show",
    "update": f"-m node {ONE} -o update -n node.startup -v automatic",
    "new": "-m node -o new -T iqn.x:two -p 10.0.0.2",
    "delete": f"-m node {ONE} -o delete",
    "login": f"-m node {ONE} -l",
    "login at boot": "-m node -L automatic",
    "discovery list": "-m discovery",
    "discovery": "-m discovery -t st -p 10.0.0.1",
    "discoverydb list": "-m discoverydb -P 1",
    "discoverydb show": "-m discoverydb -t st -p 10.0.0.1",
    "discoverydb new": "-m discoverydb -t st -p 10.0.0.1 -o new",
    "discoverydb update": "-m discoverydb -t st -p 10.0.0.1 -o update "
    "-n discovery.sendtargets.reopen_max -v 2",
    "discoverydb delete": "-m discoverydb -t st -p 10.0.0.1 -o delete",
    "iface list": "-m iface",
    "iface tree": "-m iface -P 1",
    "iface show": "-m iface -I eth",
    "iface new": "-m iface -I eth2 -o new",
    "iface update": "-m iface -I eth -o update -n iface.net_ifacename -v eth0",
    "iface delete": "-m iface -I eth -o delete",
}
ALLOWED = {
    "version": ("-V", 0),
    "sessions": ("-m session", 21),
    "hosts": ("-m host", 21),
    "firmware": ("-m fw", 21),
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    for line in (
        f"-m node -o new {ONE}",
        "-m discoverydb -t st -p 10.0.0.1 -o new",
        "-m iface -I eth -o new",
    ):
        assert made.run_line(line).status == 0
    for directory in [tmp_path, *tmp_path.parents]:
        if "pytest-of-" in str(directory):
            directory.chmod(0o755)
    for name in ("db", "etc", "lock", "sys", "proc"):
        (tmp_path / name).chmod(0o755)
    for path in ("db/nodes", "db/send_targets", "db/ifaces", "lock"):  # as umask 077 made them
        (tmp_path / path).chmod(0o700)
    return made


def run_as_nobody(machine, line):
    """A child's answer, after root's, which imports what the child may not be able to read."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writer, json.dumps(tuple(machine.run_line(line))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return Answer(*json.loads(text))


def test_commands_on_records(machine):
    """CLI-061: status 6, the hint, and which file or lock it is about; nothing is changed."""
    for line in REFUSED.values():
        # Imports everything: the project may lie where only root can read.
        machine.run_line(line.replace("iqn.x:one", "iqn.x:other").replace("10.0.0.1", "10.9.9.9"))
    before = machine.files()
    for name, line in REFUSED.items():
        answer = run_as_nobody(machine, line)
        assert (answer.status, answer.out) == (6, ""), (name, answer)
        assert HINT in answer.err, (name, answer)
        assert "Permission denied\n" in answer.err, (name, answer)
        assert str(machine.path) in answer.err, (name, answer)
    assert machine.files() == before


def test_writers_name_the_lock(machine):
    """CLI-061: the original's two lines."""
    line = "-m iface -I eth2 -o new"
    machine.run_line("-m iface -I eth3 -o new")
    lock = machine.path / "lock/lock.write"
    assert run_as_nobody(machine, line).err.startswith(
        f"{HINT}iscsiadm: Could not lock discovery DB: {lock}: Permission denied\n"
    )


@pytest.mark.parametrize(("line", "status"), ALLOWED.values(), ids=ALLOWED)
def test_commands_without_records(machine, line, status):
    """They answer anybody as they answer root."""
    answer = machine.run_line(line)
    assert answer.status == status
    assert tuple(run_as_nobody(machine, line)) == tuple(answer)
