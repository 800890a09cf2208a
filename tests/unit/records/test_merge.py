"""What a discovery does to the node records."""

import pytest

from pyiscsi.names import NodeKey
from pyiscsi.records.config import Config
from pyiscsi.records.discovery import DiscoveryStore, Source
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.merge import Found, apply_discovery, new_node_record
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, NODE, SENDTARGETS
from tests.unit.records.samples import from_portal, listed, node, sendtargets

SOURCE = Source("send_targets", "10.0.0.9", 3260)
ALL = {"new": True, "update": True, "delete": True}


def iface(name="default", **values):
    record = Record(IFACE, {"iface.iscsi_ifacename": name})
    record.values |= {f"iface.{key}": text for key, text in values.items()}
    return record


def found(*targets, address="10.0.0.1", iface="default"):
    return [Found(target, address, 3260, 1, iface) for target in targets]


@pytest.fixture
def discover(env):
    """Apply an answer with the given operations; nothing is in use unless said."""

    def run(answer, source=SOURCE, in_use=(), same=(), defaults=None, ifaces=None, **operations):
        flags = {"new": False, "update": False, "delete": False} | operations
        return apply_discovery(
            env,
            source,
            answer,
            **flags,
            defaults=defaults or Record(NODE),
            iface_records=ifaces or {"default": iface()},
            in_use=lambda key: key.target in in_use,
            is_same_address=lambda one, other: {one, other} <= {*same},
        )

    return run


def startup(nodes):
    return {key.target: nodes.read(key)["node.startup"] for key in listed(nodes)}


@pytest.fixture
def known(nodes, discover):
    """Two records of the source, one changed by hand; one of another source, one static."""
    discover(found("iqn.a", "iqn.gone"), new=True)
    nodes.update(NodeKey("iqn.a", "10.0.0.1", 3260, 1), [("node.startup", "automatic")])
    nodes.add(from_portal("10.0.0.8", target="iqn.other"))
    nodes.add(node(target="iqn.static"))
    return nodes


OTHERS = {"iqn.other": "manual", "iqn.static": "manual"}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ({}, {"iqn.a": "automatic", "iqn.gone": "manual"}),
        ({"new": True}, {"iqn.a": "automatic", "iqn.b": "manual", "iqn.gone": "manual"}),
        ({"update": True}, {"iqn.a": "manual", "iqn.b": "manual", "iqn.gone": "manual"}),
        (
            {"new": True, "update": True},
            {"iqn.a": "manual", "iqn.b": "manual", "iqn.gone": "manual"},
        ),
        ({"delete": True}, {"iqn.a": "automatic"}),
        ({"new": True, "delete": True}, {"iqn.a": "automatic", "iqn.b": "manual"}),
        (ALL, {"iqn.a": "manual", "iqn.b": "manual"}),
    ],
)
def test_operations(known, discover, operations, expected):
    """DB-062: what is added, kept, reset and removed; other sources are left alone."""
    assert discover(found("iqn.a", "iqn.b"), **operations) == []
    assert startup(known) == expected | OTHERS


def test_nonpersistent_writes_nothing(discover, tree):
    """DB-062"""
    assert discover(found("iqn.a")) == []
    assert tree() == {}


def test_an_answer_of_nothing_keeps_the_discovery_record(env, known, discover):
    """DB-065 (record side): only node records of the source go."""
    store = DiscoveryStore(env)
    store.write(sendtargets(SOURCE.address, SOURCE.port))
    assert discover([], **ALL) == []
    assert startup(known) == OTHERS
    assert store.addresses(SENDTARGETS) == [(SOURCE.address, SOURCE.port)]


def test_delete_compares_portal_and_iface(known, discover):
    """DB-062: another portal or iface of the same target does not keep a record."""
    discover(found("iqn.a", address="10.0.0.2"), delete=True)
    assert startup(known) == OTHERS


def test_another_spelling_of_the_address_keeps_a_record(known, discover):
    """DB-062: a portal whose name resolves to the record's address was found."""
    discover(found("iqn.a", address="a.test"), delete=True, same=("a.test", "10.0.0.1"))
    assert startup(known) == {"iqn.a": "automatic"} | OTHERS


def test_a_record_in_use_is_not_deleted(known, discover):
    """DB-048, DB-062: it is said, and the rest goes on."""
    lines = discover(found("iqn.b"), **ALL, in_use=("iqn.a",))
    assert lines == [
        "This command will remove the record [iface: default, target: iqn.a, portal: "
        "10.0.0.1,3260], but a session is using it. Logout session then rerun command to remove "
        "record."
    ]
    assert startup(known) == {"iqn.a": "automatic", "iqn.b": "manual"} | OTHERS


def test_rediscovery_through_another_portal_moves_the_record(known, discover, tree):
    """DB-063: link and discovery address."""
    other = Source("send_targets", "10.0.0.7", 3261)
    assert discover(found("iqn.a"), source=other, **ALL) == []
    record = known.read(NodeKey("iqn.a", "10.0.0.1", 3260, 1))
    assert record["node.discovery_address"] == "10.0.0.7"
    assert record["node.discovery_port"] == "3261"
    links = [name for name in tree() if name.endswith("iqn.a,10.0.0.1,3260,1,default")]
    assert links == ["send_targets/10.0.0.7,3261/iqn.a,10.0.0.1,3260,1,default"]
    assert discover(found("iqn.gone"), delete=True) == []
    assert "iqn.a" in startup(known)


def test_stale_links(nodes, discover, root, tree):
    """A link without a record goes; one whose record says another source is left."""
    portal = root / "send_targets/10.0.0.9,3260"
    portal.mkdir(parents=True)
    (portal / "iqn.x,10.0.0.1,3260,1,default").symlink_to("/nonexistent")
    nodes.add(node(target="iqn.static"))
    (portal / "iqn.static,10.0.0.1,3260,1,default").symlink_to("/nonexistent")
    assert discover(found("iqn.a"), delete=True) == []
    assert startup(nodes) == {"iqn.static": "manual"}
    assert "send_targets/10.0.0.9,3260/iqn.x,10.0.0.1,3260,1,default" not in tree()


@pytest.mark.parametrize("name", ["iqn.x/../../y", "iqn x", "iqn_x", "iqn,x", "..", "", "iqn.\x1b"])
def test_a_bad_name_is_skipped(nodes, discover, name):
    """DB-067: those before and after it are stored."""
    lines = discover(found("iqn.a", name, "iqn.b"), **ALL)
    targets = [key.target for key in listed(nodes)]
    if name == "..":
        assert lines[0] == "Invalid target name '..'."
    else:
        assert lines == ["Discovery TargetName invalid, ignoring"]
    assert targets == ["iqn.a", "iqn.b"]


def test_one_failure_does_not_stop_the_rest(nodes, discover):
    """DB-007, DB-062"""
    long = "iqn." + "x" * 219
    address = "2001:0db8:1111:2222:3333:4444:5555:6666"
    answer = [*found(long, address=address), *found("iqn.a")]
    lines = discover(answer, **ALL)
    assert lines[0].endswith("File name too long")
    assert lines[1] == f"Could not add/update {address},3260,1 '{long}'"
    assert [key.target for key in listed(nodes)] == ["iqn.a"]


def test_firmware_records_start_at_boot(nodes, discover, tree):
    """DB-069"""
    discover(found("iqn.a"), source=Source("fw"), **ALL)
    record = nodes.read(nodes.keys()[0])
    assert record["node.startup"] == record["node.conn[0].startup"] == "onboot"
    assert record["node.discovery_type"] == "fw"
    assert "fw/iqn.a,10.0.0.1,3260,1,default" in tree()


# A new record


def test_static_record_has_no_discovery_address():
    """DB-001: what -o new writes."""
    source = Source("static", "ignored", 1)
    record = new_node_record(Record(NODE), "iqn.a", "10.0.0.1", 3260, 1, iface(), source)
    assert record.node_key() == NodeKey("iqn.a", "10.0.0.1", 3260, 1)
    assert record["node.discovery_type"] == "static"
    assert record["node.discovery_address"] == ""
    assert record["node.discovery_port"] == "0"


def test_precedence(tmp_path):
    """DB-090: built-in, iscsid.conf, identity, iface."""
    (tmp_path / "conf").write_text(
        "node.startup = automatic\nnode.name = iqn.wrong\nnode.discovery_type = fw\n"
        "iface.mtu = 9000\niface.net_ifacename = eth7\niface.iscsi_ifacename = wrong\n"
        "node.conn[0].port = 1\n"
    )
    defaults = Config(str(tmp_path / "conf")).defaults(NODE)
    one = iface("eth", net_ifacename="eth1", mtu="0", prefix_len="24", vlan_id="5")
    record = new_node_record(defaults, "iqn.a", "10.0.0.1", 3260, 2, one, SOURCE)
    assert record["node.startup"] == "automatic"
    assert record["node.conn[0].timeo.login_timeout"] == "30"
    assert record.node_key().fields() == ("iqn.a", "10.0.0.1", 3260, 2, "eth")
    assert record["node.discovery_type"] == "send_targets"
    assert record["iface.net_ifacename"] == "eth1"
    assert record["iface.mtu"] == "9000"
    assert record["iface.vlan_id"] == "5"
    assert defaults["node.name"] == ""


def test_the_default_iface_leaves_what_the_configuration_says():
    """DB-090: iface.* of iscsid.conf, the transport included."""
    defaults = Record(NODE, {"iface.transport_name": "iser", "iface.hwaddress": "00:11"})
    record = new_node_record(defaults, "iqn.a", "10.0.0.1", 3260, 1, iface(), SOURCE)
    assert (record["iface.transport_name"], record["iface.hwaddress"]) == ("iser", "00:11")
    other = iface("eth")
    record = new_node_record(defaults, "iqn.a", "10.0.0.1", 3260, 1, other, SOURCE)
    assert record["iface.transport_name"] == "tcp"


def test_copying_an_iface():
    """DB-080: what is empty or 0 is not copied, and prefix_len never is."""
    one = iface("eth", hwaddress="00:11:22:33:44:55", prefix_len="24", initiatorname="iqn.i")
    defaults = Record(NODE, {"iface.ipaddress": "10.9.9.9", "iface.prefix_len": "8"})
    record = new_node_record(defaults, "iqn.a", "10.0.0.1", 3260, 1, one, SOURCE)
    assert record["iface.hwaddress"] == "00:11:22:33:44:55"
    assert record["iface.initiatorname"] == "iqn.i"
    assert record["iface.ipaddress"] == "10.9.9.9"
    assert record["iface.prefix_len"] == "8"


def test_ipv6_iface_in_a_node_record(env, nodes):
    """DB-081: its keys reach the node record and survive an update."""
    store = IfaceStore(env)
    store.write(iface("eth", ipaddress="fe80::2", hop_limit="9"))
    one = store.read("eth")
    nodes.add(new_node_record(Record(NODE), "iqn.a", "fe80::1", 3260, 1, one, SOURCE))
    key = nodes.keys()[0]
    nodes.update(key, [("node.startup", "automatic")])
    assert nodes.read(key)["iface.hop_limit"] == "9"
    assert nodes.problems == []
