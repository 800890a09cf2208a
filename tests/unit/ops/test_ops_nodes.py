"""ops.nodes on a real database in a temporary directory."""

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import InvalidArgument, SessionExists
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.ops import nodes
from pyiscsi.ops.context import Context
from tests.unit.cli.commands import FakeClient, Machine

T = "iqn.x:t"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def context(machine, monkeypatch):
    config = {"config_file": str(machine.path / "etc" / "iscsid.conf")}
    client = FakeClient({"config": config})
    monkeypatch.setattr(Context, "client", lambda self, **_: client)
    return Context(Env.from_environ())


def add(context, address, tpgt=1, target=T, iface=""):
    return list(nodes.add(context, Pattern(target, address, 3260, iface), tpgt))


def test_add_takes_the_configuration(machine, context):
    """DB-090: new records start from the file the daemon names."""
    machine.conf("node.session.timeo.replacement_timeout = 7")
    (record,) = add(context, "10.0.0.1")
    assert record["node.session.timeo.replacement_timeout"] == "7"
    assert context.nodes.read(record.node_key())["node.session.timeo.replacement_timeout"] == "7"


def test_add_yields_as_it_writes(machine, context):
    """What was written before a failure is told."""
    add(context, "10.0.0.1")
    add(context, "10.0.0.2")
    made = nodes.add(context, Pattern(T), -1)
    assert next(made).node_key().address == "10.0.0.1"
    blocked = machine.path / "db" / "nodes" / T / "10.0.0.2,3260,1" / "default"
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(Exception, match=r"10\.0\.0\.2"):
        next(made)


def test_one_record_for_each_portal(context):
    """DB-046: a portal known through two ifaces is made anew once, for the iface asked for."""
    add(context, "10.0.0.1")
    add(context, "10.0.0.1", iface="iser")
    assert [record.node_key() for record in nodes.add(context, Pattern(T), -1)] == [
        NodeKey(T, "10.0.0.1", 3260, 1)
    ]


def test_matching_by_iface_compares_transports(context):
    """DB-047."""
    add(context, "10.0.0.1", iface="iser")
    key = NodeKey(T, "10.0.0.1", 3260, 1, "iser")
    assert nodes.matching(context, Pattern(iface="iser")) == [key]
    context.nodes.update(key, [("iface.transport_name", "tcp")])
    assert nodes.matching(context, Pattern(iface="iser")) == []
    assert nodes.matching(context, Pattern(T)) == [key]


def test_checked_pairs(machine, context):
    """CLI-188, CLI-190, CLI-191."""
    pairs = [("node.transport_name", "iser"), ("node.startup", "x")]
    assert nodes.checked_pairs(context, Pattern(T), pairs) == [
        ("iface.transport_name", "iser"),
        ("node.startup", "x"),
    ]
    with pytest.raises(InvalidArgument, match="Use iface mode"):
        nodes.checked_pairs(context, Pattern(T), [("iface.mtu", "1")])
    machine.session(3, T, "10.0.0.1")
    with pytest.raises(SessionExists):
        nodes.checked_pairs(context, Pattern(T), pairs)
    assert nodes.checked_pairs(context, Pattern("iqn.x:other"), pairs)


def test_delete_asks_the_kernel(machine, context):
    """CLI-200, DB-048."""
    add(context, "10.0.0.1")
    add(context, "10.0.0.2")
    machine.session(3, T, "10.0.0.1")
    first, second = context.nodes.keys()
    outcomes = dict(nodes.delete_all(context, Pattern(T)))
    assert outcomes[second] == []
    with pytest.raises(SessionExists, match=r"portal: 10\.0\.0\.1,3260\], but a session"):
        raise outcomes[first]
    assert context.nodes.keys() == [first]
