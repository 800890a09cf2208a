"""What other programs make of our records, and the forms in which they call us; no kernel needed.

The parsers are in tests/clients; tests/kernel/checks/test_clients.py gives them sessions.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import parsers
from tests.clients.facts import Facts, Node
from tests.unit.cli import programs
from tests.unit.cli.commands import Machine

INITIATOR = "iqn.2026-11.test:initiator"
USER, SECRET, USER_IN, SECRET_IN = "somebody", "twelve-letters", "the-target", "its-own-secret"

# In the order of listings: bytewise by target, then by address.
NODES = (
    Node("10.0.0.5", 3260, 1, "eui.02004567A425678D"),
    Node("10.0.0.1", 3260, 1, "iqn.2005-10.org.freenas.ctl:vol0"),
    Node("10.0.0.2", 3261, 7, "iqn.2005-10.org.freenas.ctl:vol0"),
    Node("10.0.0.3", 3260, 1, "iqn.2026-11.test:one", "automatic"),
    Node("[fe80::1]", 3260, 1, "iqn.2026-11.test:six"),
    Node("10.0.0.4", 3260, -1, "iqn.2026-11.test:untagged"),
)
RECORD = NODES[3]
ONE = f"-T {RECORD.target} -p {RECORD.portal}"
FACTS = Facts(
    nodes=NODES,
    record=RECORD,
    iface="c_eth0",
    netdev="eth0",
    initiator=INITIATOR,
    secrets=(SECRET, SECRET_IN),
    chap=(USER, SECRET, USER_IN, SECRET_IN),
)
OUTPUTS = {
    "node": "-m node",
    "node P1": "-m node -P 1",
    "records": "-m node -o show",
    "record": f"-m node {ONE}",
    "record S": f"-m node {ONE} -o show -S",
    "ifaces": "-m iface",
    "iface": "-m iface -I c_eth0 -o show",
    "version": "--version",
}
FILES = {
    "record file": f"db/nodes/{RECORD.target}/10.0.0.3,3260,1/default",
    "iface file": "db/ifaces/c_eth0",
}


def prepare():
    """The lines that make what FACTS says."""
    auth = "node.session.auth."
    values = {
        f"{auth}authmethod": "CHAP",
        f"{auth}username": USER,
        f"{auth}password": SECRET,
        f"{auth}username_in": USER_IN,
        f"{auth}password_in": SECRET_IN,
        "node.startup": RECORD.startup,
        "node.session.scan": "manual",
    }
    for node in NODES:
        tag = "" if node.tag == -1 else f",{node.tag}"
        yield f"-m node -o new -T {node.target} -p {node.portal}{tag}"
    yield f"-m node {ONE} -o update " + " ".join(f"-n {n} -v {v}" for n, v in values.items())
    yield "-m iface -I c_eth0 -o new"
    yield "-m iface -I c_eth0 -o update -n iface.net_ifacename -v eth0"


def load_driver(path):
    """The kernel's software driver, without which no iface can be updated."""
    driver = path / "sys/class/iscsi_transport/tcp"
    driver.mkdir(parents=True)
    for name in ("handle", "caps"):
        (driver / name).write_text("1\n")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    load_driver(tmp_path)
    for line in prepare():
        assert made.run_line(line).status == 0, line
    return made


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the real commands and files say, by the names the parsers know them by."""
    path = tmp_path_factory.mktemp("clients")
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = Machine(path, monkeypatch)
        load_driver(path)
        for line in prepare():
            assert programs.run(line)[0] == 0, line
        found = {}
        for name, line in OUTPUTS.items():
            status, found[name], _ = programs.run(line)
            assert status == 0, line
        for name, file in FILES.items():
            found[name] = (path / file).read_text()
        places = (made.path / "db/nodes").glob("*/*/")
        found["portal directories"] = "\n".join(sorted(x.name for x in places if x.is_dir()))
    iname = Path(sys.executable).with_name("iscsi-iname")
    done = subprocess.run([str(iname), "-g"], capture_output=True, text=True, check=True)
    # The name is random, what is around it is not.
    found["initiatorname"] = re.sub(r"=\S+", f"={INITIATOR}", done.stdout)
    conf = Path(__file__).parents[3] / "etc/iscsid.conf"
    found["iscsid.conf"] = conf.read_text()
    return found


NATIVE = parsers.reading(
    *OUTPUTS, *FILES, "portal directories", "initiatorname", "iscsid.conf"
)  # fmt: skip


@pytest.mark.parametrize("row", NATIVE, ids=parsers.name)
def test_output_is_understood(outputs, row):
    """Every known parser of records, listings and files reads ours."""
    parsers.check(row, outputs, FACTS)


# Argument forms

FORMS = {
    "libvirt": f"--mode node --portal {RECORD.portal} --target {RECORD.target} --op update "
    "--name node.session.scan --value auto",
    "equals signs": f"--mode=node --targetname={RECORD.target} --op=update "
    "--name=node.session.scan --value=auto",
    "options before the mode": f"-o update -n node.session.scan -v auto {ONE} -m node",
    "several names": f"-m node {ONE} -o update -n node.session.cmds_max -v 64 "
    "-n node.session.scan -v auto -n node.session.queue_depth -v 16",
    "kubelet": f"-m node -p {RECORD.portal} -T {RECORD.target} -I default -o update "
    "-n node.session.scan -v auto",
    "vdsm": f"-m node -T {RECORD.target} -I default -p {RECORD.portal},1 --op=update "
    "-n node.session.scan -v auto",
    "OCI": f"-m node -o update -T {RECORD.target} -n node.session.scan -v auto",
    "dracut": f"-m node -T {RECORD.target} -p {RECORD.portal} --op=update "
    "--name=node.session.scan --value=auto",
    "words between": f"-m node -p {RECORD.address} 3260 -T {RECORD.target} all -o update "
    "-n node.session.scan -v auto",
}


@pytest.mark.parametrize("line", FORMS.values(), ids=FORMS)
def test_forms_of_an_update(machine, line):
    """All of them change the record and say nothing."""
    assert tuple(machine.run_line(line)) == (0, "", "")
    shown = machine.run_line(f"-m node {ONE}").out
    assert "node.session.scan = auto\n" in shown


PORTALS = (
    "10.0.0.3", "10.0.0.3:3260", "10.0.0.3:3260,1", "10.0.0.3,1",
)  # fmt: skip
PORTALS_6 = ("[fe80::1]", "[fe80::1]:3260", "[fe80::1]:3260,1", "fe80::1")


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("option", ["-p ", "--portal ", "--portal=", "-p"])
def test_forms_of_a_portal(machine, option, portal):
    """They find the record, whatever is left out."""
    answer = machine.run_line(f"-m node {option}{portal} -o show")
    assert (answer.status, answer.err) == (0, "")
    assert f"node.name = {RECORD.target}\n" in answer.out
    assert answer.out.count("# BEGIN RECORD") == 1


@pytest.mark.parametrize("portal", PORTALS_6)
def test_forms_of_an_ipv6_portal(machine, portal):
    """With and without brackets."""
    answer = machine.run_line(f"-m node -p {portal} -o show")
    assert (answer.status, answer.err) == (0, "")
    assert "node.name = iqn.2026-11.test:six\n" in answer.out


def test_an_empty_value(machine):
    """xapi takes CHAP settings back with `-v ""`: stored, and shown as <empty>."""
    name = "node.session.auth.password"
    words = ("-m", "node", "-T", RECORD.target, "-p", RECORD.portal)
    assert tuple(machine.run(*words, "--op", "update", "-n", name, "-v", "")) == (0, "", "")
    assert f"{name} = <empty>\n" in machine.run(*words, "-S").out
    assert SECRET not in machine.run(*words, "-S").out


@pytest.mark.parametrize("name", ["10.0.0.3:3260:pvc-1", "c_eth0.100", "if-1_2"])
def test_names_of_ifaces(machine, name):
    """kubelet calls its clones <portal>:<volume>; such an iface is made, used and deleted."""
    assert machine.run_line(f"-m iface -I {name} -o new").status == 0
    answer = machine.run_line(f"-m iface -I {name} -o update -n iface.net_ifacename -v eth9")
    assert (answer.status, answer.out) == (0, f"{name} updated.\n")
    assert machine.run_line(f"-m node {ONE} -I {name} -o new").status == 0
    assert f"iface.iscsi_ifacename = {name}\n" in machine.run_line(f"-m node -I {name}").out
    assert machine.run_line(f"-m iface -I {name} -o delete").status == 0
    assert f"iface.iscsi_ifacename = {name}\n" not in machine.run_line("-m node -o show").out


@pytest.mark.parametrize("option", ["-t st", "-t sendtargets", "--type st", "--type=sendtargets"])
def test_forms_of_a_discovery_record(machine, option):
    """What discoverydb makes under one spelling the others find."""
    assert machine.run_line(f"-m discoverydb {option} -p 10.0.0.1 -o new").status == 0
    for other in ("-t st", "--type sendtargets"):
        assert machine.run_line(f"-m discoverydb {other} -p 10.0.0.1:3260").status == 0


STATUSES = {
    "no session": ("-m session", 21),
    "no session, curtin": ("--mode=session --op=show", 21),
    "an unknown session": ("-S -m session -r 1", 22),
    "login without a record": ("-m node -T iqn.x:none -l", 21),
    "logout without a record": ("-m node -T iqn.x:none -u", 21),
    "logout without a session": (f"-m node {ONE} -u", 21),
    "rescan without a session": ("-m node --rescan", 21),
    "rescan with a portal for a print level": (
        f"-m node -T {RECORD.target} -P {RECORD.portal} --rescan", 21,
    ),
    "logout of everything": ("-m node --logoutall=all", 21),
    "logout of everything at a portal": ("-m node -p 10.0.0.3 --logoutall=all", 21),
    "deleting no record": ("-m node -T iqn.x:none -o delete", 21),
    "showing no record": ("-m node -T iqn.x:none -p 10.0.0.9", 21),
    "no discovery record": ("-m discoverydb -t st -p 10.0.0.9", 6),
    "updating no discovery record": (
        "-m discoverydb -t st -p 10.0.0.9 -o update -n discovery.sendtargets.reopen_max -v 1", 6,
    ),
    "showing no iface": ("-m iface -I none -o show", 6),
    "deleting no iface": ("-m iface -I none -o delete", 7),
    "an iface again": ("-m iface -I c_eth0 -o new", 0),
    "a record again": (f"-m node {ONE} -o new", 0),
    "no firmware": ("-m fw", 21),
    "no firmware to log in to": ("-m fw -l", 21),
    "no firmware to log in to, not waiting": ("-m fw -l -W", 21),
    "discovery without a daemon": ("-m discovery -t st -p 127.0.0.1", 20),
    "login without a daemon": (f"-m node {ONE} -l", 20),
    "version": ("-V", 0),
}  # fmt: skip


@pytest.mark.parametrize(("line", "status"), STATUSES.values(), ids=STATUSES)
def test_statuses_that_clients_branch_on(machine, line, status):
    """With an error on stderr, or with nothing there."""
    answer = machine.run_line(line)
    assert answer.status == status, answer
    assert bool(answer.err) == bool(status)
    assert all(text.startswith("iscsiadm: ") for text in answer.err.splitlines())


@pytest.mark.parametrize("locale", ["de_DE.UTF-8", "C", "POSIX", "xx"])
def test_the_locale_changes_no_text(machine, monkeypatch, locale):
    """Clients force LC_ALL=C or not; the words are the same."""
    plain = [programs.run(line) for line in ("-m node", "-m session", "-m node -o bogus")]
    for name in ("LC_ALL", "LANG", "LANGUAGE"):
        monkeypatch.setenv(name, locale)
    lines = ("-m node", "-m session", "-m node -o bogus")
    assert [programs.run(line) for line in lines] == plain
