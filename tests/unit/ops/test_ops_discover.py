"""ops.discover: records for a discovery, usable ifaces, what was found where."""

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import InvalidArgument
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.ops import discover, nodes
from pyiscsi.ops.context import Context
from pyiscsi.records.links import Source
from pyiscsi.records.merge import Found, apply_discovery
from pyiscsi.records.schema import ISNS, NODE, SENDTARGETS
from tests.unit.cli.commands import FakeClient, Machine

A, B = "10.0.0.1", "10.0.0.2"
T, U = "iqn.x:t", "iqn.x:u"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def client(machine, monkeypatch):
    config = {"config_file": str(machine.path / "etc" / "iscsid.conf")}
    fake = FakeClient({"config": config})
    monkeypatch.setattr(Context, "client", lambda self, **_: fake)
    return fake


@pytest.fixture
def context(client):
    return Context(Env.from_environ())


def store(context, source, *portals):
    """Node records as a discovery from `source` leaves them."""
    lines = apply_discovery(
        context.env,
        source,
        [Found(target, address, 3260, 1) for target, address in portals],
        new=True,
        update=False,
        delete=False,
        defaults=context.config.defaults(NODE),
        iface_records={"default": context.ifaces.read("default")},
        in_use=lambda key: False,
    )
    assert lines == []


@pytest.mark.parametrize("kind", [SENDTARGETS, ISNS])
def test_default_record(machine, context, kind):
    """DB-090: iscsid.conf, then the address."""
    machine.conf(
        "discovery.sendtargets.reopen_max = 3",
        "discovery.isns.discoveryd_poll_inval = 3",
        "discovery.sendtargets.address = ignored",
    )
    record = discover.default_record(context, kind, A, 3261)
    assert record["discovery.sendtargets.address"] == A
    assert record.get_int("discovery.sendtargets.port") == 3261
    assert "3" in (record.values.get("discovery.sendtargets.reopen_max"),
                   record.values.get("discovery.isns.discoveryd_poll_inval"))  # fmt: skip
    with pytest.raises(InvalidArgument):
        discover.default_record(context, kind, "a\nb", 1)


def test_stored_record(machine, context):
    """What a hand-made file leaves out of its identity is taken from its place."""
    assert discover.stored_record(context, SENDTARGETS, A, 3261) is None
    directory = machine.path / "db" / "send_targets" / f"{A},3261"
    directory.mkdir(parents=True)
    (directory / "st_config").write_text("discovery.sendtargets.reopen_max = 2\n")
    record = discover.stored_record(context, SENDTARGETS, A, 3261)
    assert record["discovery.sendtargets.reopen_max"] == "2"
    assert discover.where(record) == (A, 3261)


@pytest.mark.parametrize(("kind", "type_"), [(SENDTARGETS, "sendtargets"), (ISNS, "isns")])
def test_targets(context, client, kind, type_):
    client.answers["discover"] = {
        "found": [{"target": T, "address": A, "port": 3260, "tpgt": -1, "iface": "default"}],
        "messages": ["odd"],
    }
    record = discover.default_record(context, kind, A, 3260)
    wish = discover.Wish(new=True, update=False, delete=True, ifaces=("if0",))
    found, remarks = discover.targets(context, record, wish)
    assert found == [NodeKey(T, A, 3260, -1)]
    assert remarks == ["odd"]
    ((op, args),) = [asked for asked in client.asked if asked[0] == "discover"]
    assert op == "discover"
    assert args.pop("record") == record.to_map()
    assert args == {
        "type": type_, "address": A, "port": 3260, "ifaces": ["if0"], "new": True,
        "update": False, "delete": True, "persist": True,
    }  # fmt: skip


def test_found_records(context):
    """A stored record is used as it is; what is not stored is as it would be made."""
    list(nodes.add(context, Pattern(T, A, 3260), 1))
    key = NodeKey(T, A, 3260, 1)
    context.nodes.update(key, [("node.session.auth.username", "joe")])
    other = NodeKey(U, B, 3260, 2)
    source = Source("send_targets", A, 3260)
    records = discover.found_records(context, [other, key], source)
    assert [record.node_key() for record in records] == [other, key]
    assert [record["node.session.auth.username"] for record in records] == ["", "joe"]
    assert records[0]["node.discovery_address"] == A


def test_nodes_by_source(machine, context):
    """CLI-066: by link, and by record where there is none or the links disagree."""
    for address in (A, B):
        context.discovery.write(discover.default_record(context, SENDTARGETS, address, 3260))
    store(context, Source("send_targets", A, 3260), (T, A), (U, A))
    list(nodes.add(context, Pattern(T, B, 3260), -1))  # static without a link
    list(nodes.add(context, Pattern(U, B, 3260), 1))
    stray = machine.path / "db/send_targets" / f"{B},3260" / f"{T},{A},3260,1,default"
    stray.symlink_to(machine.path / "db" / "nodes" / T / f"{A},3260,1")
    assert discover.nodes_by_source(context) == {
        ("send_targets", A, 3260): [NodeKey(T, A, 3260, 1), NodeKey(U, A, 3260, 1)],
        ("static", "", 0): [NodeKey(T, B, 3260, -1), NodeKey(U, B, 3260, 1)],
    }


def test_nodes_by_source_opens_only_what_has_no_answer(context, monkeypatch):
    context.discovery.write(discover.default_record(context, SENDTARGETS, A, 3260))
    store(context, Source("send_targets", A, 3260), (T, A))
    monkeypatch.setattr(type(context.nodes), "read", None)
    assert list(discover.nodes_by_source(context)) == [("send_targets", A, 3260)]


@pytest.mark.parametrize("stored", [True, False])
def test_isns_nodes(context, stored):
    """Old releases kept no address for them; they are listed all the same."""
    if stored:
        context.discovery.write(discover.default_record(context, ISNS, A, 3205))
    store(context, Source("isns", A, 3205), (T, B))
    expected = ("isns", A, 3205) if stored else ("isns", "", 0)
    assert discover.nodes_by_source(context) == {expected: [NodeKey(T, B, 3260, 1)]}


def test_usable_ifaces(machine, context, monkeypatch):
    """CLI-135, CLI-137: an unknown name, an unknown transport, a driver that cannot be loaded."""
    monkeypatch.setenv("PATH", str(machine.path))  # without modprobe
    directory = machine.path / "db" / "ifaces"
    directory.mkdir()
    (directory / "odd").write_text(
        "iface.iscsi_ifacename = odd\niface.transport_name = carrier_pigeon\n"
    )
    usable, problems = discover.usable_ifaces(context, ["default", "nosuch", "odd", "iser"])
    assert usable == ["default"]
    assert problems == [
        "Could not read iface info for nosuch. Make sure an iface config with the file name and "
        f"iface.iscsi_ifacename nosuch is in {directory}.",
        "Could not load transport carrier_pigeon.Dropping interface odd.",
        "Could not load transport iser.Dropping interface iser.",
    ]
