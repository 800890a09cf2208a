"""Nothing on stderr when the status is 0, whatever there would be to warn of.

Machine.run of these tests, programs.run and the kernel tests' Lab.adm check the same for every
command they run; here are the circumstances that tempt a command to say something.
"""

import os

import pytest

from tests.unit.cli import programs
from tests.unit.cli.commands import FakeClient, Machine

ONE = "-T iqn.x:one -p 10.0.0.1:3260,1"
TWO = "-T iqn.x:two -p 10.0.0.2:3260,1"

SUCCEEDING = (
    "-V",
    "-h",
    "-m node",
    "-m node -P 1",
    "-m node -o show",
    f"-m node {ONE}",
    f"-m node {ONE} -S",
    f"-m node {ONE} -o update -n node.startup -v automatic",
    f"-m node {ONE} -o update -n node.session.cmds_max -v abc",
    "-m node -o update -n node.session.scan -v manual",
    "-m node -o new -T iqn.x:three -p 10.0.0.3",
    "-m node -o new -T iqn.x:three -p 10.0.0.3,1",
    "-m node -o new -T iqn.x:three -p 10.0.0.3,2",
    f"-m node -o new {ONE} -I eth -I default",
    f"-m node {TWO} -I eth -o delete",
    "-m node -T iqn.x:three -o delete",
    "-m iface",
    "-m iface -P 1",
    "-m iface -o show",
    "-m iface -I eth",
    "-m iface -I eth9 -o new",
    "-m iface -I eth -o new",
    "-m iface -I eth -o update -n iface.net_ifacename -v eth1",
    "-m iface -I eth9 -o delete",
    "-m discovery",
    "-m discovery -P 1",
    "-m discoverydb",
    "-m discoverydb -o show -P 1",
    "-m discoverydb -t st -p 10.0.0.1 -o new",
    "-m discoverydb -t st -p 10.0.0.1",
    "-m discoverydb -t st -p 10.0.0.1 -o update -n discovery.sendtargets.reopen_max -v x",
    "-m discoverydb -t st -p 10.0.0.1 -o delete",
    "-m session",
    "-m session -P 3",
    "-m session -r 1 -S",
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    made.session(1, "iqn.x:one", "10.0.0.1")
    driver = tmp_path / "sys/class/iscsi_transport/tcp"
    driver.mkdir(parents=True)
    for name in ("handle", "caps"):
        (driver / name).write_text("1\n")
    for line in (
        f"-m node -o new {ONE}",
        f"-m node -o new {TWO}",
        "-m iface -I eth -o new",
        f"-m node -o new {TWO} -I eth",
        "-m discoverydb -t st -p 10.0.0.1 -o new",
    ):
        assert made.run_line(line).status == 0
    return made


def bad_settings(machine):
    machine.conf("iscsid.startup = /bin/false", "node.startup=automatic", "nonsense", "a = b")


def told_settings(machine):
    """The daemon tells the file, so its lines count."""
    bad_settings(machine)
    config = str(machine.path / "etc/iscsid.conf")
    client = FakeClient({"config": {"config_file": config}, "session_info": {}})
    machine.monkeypatch.setattr("pyiscsi.ipc.either.connect", lambda *_, **__: client)


def unknown_keys(machine):
    for path in (machine.path / "db").rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_text()
            path.write_text(text.replace("# END RECORD", "node.of.tomorrow = 1\n# END RECORD"))


def strays(machine):
    """Editors' files, links to nothing, an iface that says too little."""
    root = machine.path / "db"
    (root / "nodes/iqn.x:one/10.0.0.1,3260,1/default~").write_text("x")
    (root / "nodes/.swp").write_text("x")
    (root / "ifaces/old").write_text("iface.iscsi_ifacename = old\n")
    (root / "static/iqn.x:gone,10.0.0.9,3260,1,default").symlink_to(root / "nodes/iqn.x:gone")
    (root / ".pyiscsi.99999.0").write_text("x")


def left_lock(machine):
    """A dead process's."""
    os.link(machine.path / "lock/lock.pyiscsi", machine.path / "lock/lock.write")


def other_locale(machine):
    for name in ("LC_ALL", "LANG"):
        machine.monkeypatch.setenv(name, "xx_YY.KOI8-R")


MESS = {
    "nothing": lambda machine: None,
    "bad settings": bad_settings,
    "bad settings in force": told_settings,
    "unknown keys": unknown_keys,
    "strays": strays,
    "left lock": left_lock,
    "other locale": other_locale,
}


@pytest.mark.parametrize("mess", MESS.values(), ids=MESS)
def test_success_is_silent(machine, mess):
    """No command that ends with 0 writes to stderr; all of these end with 0."""
    mess(machine)
    for line in SUCCEEDING:
        status, out, err = machine.run_line(line)
        assert (status, err) == (0, ""), (line, out)


@pytest.mark.parametrize(
    "prefix",
    [
        ("env", "-i"),
        ("env", "PYTHONWARNINGS=always"),
        ("env", "PYTHONDEVMODE=1"),
        ("sh", "-c", 'exec "$@" <&-', "sh"),
        ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"),
        ("setsid",),
        ("nice",),
    ],
    ids=" ".join,
)
def test_success_is_silent_in_any_environment(machine, prefix):
    """Neither does Python itself have something to say."""
    if prefix == ("env", "-i"):
        prefix += tuple(f"{k}={v}" for k, v in os.environ.items() if k.startswith(("PYI", "SYS")))
    for line in ("-V", "-m node", f"-m node {ONE} -o update -n node.startup -v automatic"):
        assert programs.run(line, *prefix)[0] == 0, line
