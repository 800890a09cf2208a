"""Record commands: what no parity step can show, because we differ on purpose or text is missing.

The steps are tests/parity/scenarios/matrix-parsing*, matrix-discoverydb* and matrix-node*.
"""

import pytest

from tests.unit.cli.commands import Machine

T = "iqn.2026-11.test:a"
NONE = "iscsiadm: No records found\n"

PORTALS = [
    ("10.0.0.1", "10.0.0.1", -1, -1),
    ("10.0.0.1:3261", "10.0.0.1", 3261, -1),
    ("10.0.0.1,2", "10.0.0.1", -1, 2),
    ("10.0.0.1:3261,2", "10.0.0.1", 3261, 2),
    ("10.0.0.1:", "10.0.0.1", 0, -1),
    ("10.0.0.1:abc", "10.0.0.1", 0, -1),
    ("10.0.0.1:3260,1,default", "10.0.0.1", 3260, 1),
    ("10.0.0.1:3260:5", "10.0.0.1", 3260, -1),
    ("[fe80::1]", "fe80::1", -1, -1),
    ("[fe80::1]:3261,5", "fe80::1", 3261, 5),
    ("[fe80::1],5", "fe80::1", -1, 5),
    ("fe80::1", "fe80::1", -1, -1),
    ("fe80::1,5", "fe80::1", -1, 5),
    ("fe80::1%eth0", "fe80::1%eth0", -1, -1),
    ("host", "host", -1, -1),
    ("host:3261,4", "host", 3261, 4),
    ("host,4", "host", -1, 4),
    ("host.dom:1,2", "host.dom", 1, 2),
    ("", "", -1, -1),
    (":3260", "", 3260, -1),
    ("fe80::1%eth0.100", "fe80", 0, -1),
    ("::ffff:10.0.0.1", "", 0, -1),
    # Bracketed addresses with a dot are read as written (docs/deviations.md).
    ("[::ffff:10.0.0.1]:3260", "::ffff:10.0.0.1", 3260, -1),
    ("[10.0.0.1]:3260", "10.0.0.1", 3260, -1),
]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def new(machine, target, portal):
    answer = machine.run("-m", "node", "-o", "new", "-T", target, "-p", portal)
    assert (answer.status, answer.err) == (0, "")


def stored(machine):
    """Texts of the node records below the target T."""
    folder = machine.path / "db" / "nodes" / T
    return [path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()]


def test_every_way_to_write_a_portal(machine):
    """CLI-056: every row of the table, as a command shows it."""
    for text, address, port, tpgt in PORTALS:
        answer = machine.run("-d", "3", "-m", "node", "-p", text)
        assert answer.status == 21
        assert answer.err.startswith(f"iscsiadm: ip {address}, port {port}, tgpt {tpgt}\n")


def test_a_port_outlives_the_next_portal(machine):
    """As in the original, where -p sets the port only if it names one; the tag it always sets."""
    answer = machine.run("-d", "3", "-p", "10.0.0.1:3261,2", "-p", "host")
    assert "iscsiadm: ip host, port 3261, tgpt -1\n" in answer.err


def test_an_unclosed_bracket_round_ipv4_selects_nothing(machine):
    """It once counted as no -p at all, so that this deleted every record."""
    new(machine, T, "10.0.0.1:3260,1")
    answer = machine.run("-m", "node", "-p", "[10.0.0.1:3260", "-o", "delete")
    assert tuple(answer) == (21, "", NONE)
    assert len(stored(machine)) == 1


def test_login_of_nothing(machine):
    """CLI-209: no daemon is asked, and none started."""
    machine.conf(f"iscsid.startup = touch {machine.path}/started")
    new(machine, T, "10.0.0.1:3260,1")
    (machine.path / "started").unlink(missing_ok=True)
    for line in ("-T nosuch -l", "-T nosuch -l -W", f"-T {T} -p 10.0.0.2 -l", "-I iser -l"):
        assert tuple(machine.run_line(f"-m node {line}")) == (21, "", NONE)
    assert not (machine.path / "started").exists()


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("node.session.cmds_max", "70000", "70000"),
        ("node.session.queue_depth", "-1", "-1"),
        ("node.session.initial_cmdsn", "4294967295", "-1"),
    ],
)
def test_numbers_are_shown_as_stored(machine, key, text, shown):
    """docs/deviations.md: the original shows these through narrower types than it stores."""
    new(machine, T, "10.0.0.1:3260,1")
    assert machine.run("-m", "node", "-o", "update", "-n", key, "-v", text).status == 0
    (record,) = stored(machine)
    assert f"\n{key} = {shown}\n" in record
    assert f"\n{key} = {shown}\n" in machine.run("-m", "node", "-T", T).out


def test_the_transport_of_an_old_record_is_kept(machine):
    """docs/deviations.md: the original forgets it at the first change."""
    folder = machine.path / "db" / "nodes" / T / "10.0.0.1,3260,1"
    folder.mkdir(parents=True)
    (folder / "default").write_text(
        f"# BEGIN RECORD 2.0-865\nnode.name = {T}\nnode.transport_name = iser\nnode.tpgt = 1\n"
        "node.conn[0].address = 10.0.0.1\nnode.conn[0].port = 3260\n# END RECORD\n"
    )
    assert "\niface.transport_name = iser\n" in machine.run("-m", "node", "-T", T).out
    line = f"-m node -T {T} -o update -n node.startup -v automatic"
    assert tuple(machine.run_line(line)) == (0, "", "")
    (record,) = stored(machine)
    assert "\niface.transport_name = iser\n" in record
    assert "node.transport_name" not in record
