"""Iface records and the built-in ones."""

import os

import pytest

from pyiscsi.errors import InvalidArgument, RecordError
from pyiscsi.names import NodeKey
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE
from tests.unit.records.samples import node

FILE = "iface.iscsi_ifacename = eth\niface.transport_name = tcp\n"


@pytest.fixture
def store(env):
    return IfaceStore(env)


def iface(name, **values):
    record = Record(IFACE, {"iface.iscsi_ifacename": name})
    record.values |= {f"iface.{key}": text for key, text in values.items()}
    return record


def test_names(store, put):
    """DB-075, DB-082: files bytewise; built-in names, the example and strays are none."""
    for name in ("b", "a", "Z", "default", "iser", "iface.example", "c~", ".hidden", "dir/file"):
        put(f"ifaces/{name}", FILE)
    assert store.names() == ["Z", "a", "b"]


def test_names_without_directory(store):
    assert store.names() == []


def test_name_inside_the_file(store, put):
    """DB-075: it is the iface's name; the file's where it is missing."""
    put("ifaces/a", FILE)
    put("ifaces/b", "iface.transport_name = tcp\n")
    assert store.read("a")["iface.iscsi_ifacename"] == "eth"
    assert store.read("b")["iface.iscsi_ifacename"] == "b"


@pytest.mark.parametrize(("name", "transport"), [("default", "tcp"), ("iser", "iser")])
def test_built_in(store, put, tree, name, transport):
    """DB-075, DB-076: never stored, and a file of that name is not read."""
    put(f"ifaces/{name}", "iface.transport_name = other\n")
    record = store.read(name)
    assert record["iface.iscsi_ifacename"] == name
    assert record["iface.transport_name"] == transport
    root = f"{store.database.root}/ifaces"
    for action, words in (
        (lambda: store.write(iface(name)), f"and is not stored in {root}."),
        (lambda: store.update(name, [("iface.mtu", "1")]), "and cannot be modified."),
        (lambda: store.delete(name), "and cannot be deleted."),
    ):
        with pytest.raises(InvalidArgument) as caught:
            action()
        assert str(caught.value) == f"iface {name} is a special interface {words}"
        assert caught.value.exit_code == 7
    assert tree()[f"ifaces/{name}"] == "iface.transport_name = other\n"


def test_life_of_a_record(store, root, tree):
    """DB-076: new, update, reset, delete."""
    store.write(iface("eth"))
    path = root / "ifaces/eth"
    assert path.read_bytes() == iface("eth").render()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    store.update("eth", [("iface.mtu", "9000"), ("iface.initiatorname", "iqn.i")])
    assert store.read("eth")["iface.mtu"] == "9000"
    store.write(iface("eth"))
    assert store.read("eth")["iface.mtu"] == "0"
    store.delete("eth")
    assert set(tree()) == {"ifaces"}


@pytest.mark.parametrize("action", ["read", "update", "delete"])
@pytest.mark.parametrize("name", ["nothere", "../iscsid.conf", "a/b"])
def test_missing_iface(store, action, name):
    """DB-076"""
    more = ([("iface.mtu", "1")],) if action == "update" else ()
    with pytest.raises(RecordError) as caught:
        getattr(store, action)(name, *more)
    assert str(caught.value) == f"Could not read iface info for {name}."
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("name", ["", "x" * 65, "ä" * 33])
def test_length_of_a_name(store, name):
    """DB-076: 1 to 64 bytes."""
    with pytest.raises(InvalidArgument) as caught:
        store.write(iface(name))
    assert str(caught.value) == f"Invalid iface name {name}. Must be from 1 to 64 characters."


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb"])
def test_names_that_are_no_file(store, tree, name):
    """DB-076: exit 6, nothing written."""
    with pytest.raises(RecordError) as caught:
        store.write(iface(name))
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    assert tree() == {}


def test_longest_name(store):
    """DB-076"""
    store.write(iface("x" * 64))
    assert store.names() == ["x" * 64]


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (("iface.bogus", "1"), "Cannot modify iface.bogus. Invalid param name."),
        (("node.startup", "manual"), "Cannot modify node.startup. Invalid param name."),
        (("iface.hop_limit", "1"), "Cannot modify iface.hop_limit. Invalid param name."),
        (
            ("iface.iscsi_ifacename", "other"),
            "Can not update iface.iscsi_ifacename. Delete it, and then create a new one.",
        ),
    ],
)
def test_refused_updates(store, root, pair, line):
    """DB-076, DB-035: nothing is changed."""
    store.write(iface("eth"))
    before = (root / "ifaces/eth").read_bytes()
    with pytest.raises(InvalidArgument) as caught:
        store.update("eth", [("iface.mtu", "1"), pair])
    assert str(caught.value) == line
    assert caught.value.exit_code == 7
    assert (root / "ifaces/eth").read_bytes() == before


@pytest.mark.parametrize(
    ("bound", "other"), [("hwaddress", "net_ifacename"), ("net_ifacename", "hwaddress")]
)
def test_binding_does_not_change(store, bound, other):
    """DB-078"""
    store.write(iface("eth"))
    store.update("eth", [(f"iface.{bound}", "x")])
    store.update("eth", [(f"iface.{bound}", "y")])
    with pytest.raises(InvalidArgument) as caught:
        store.update("eth", [(f"iface.{other}", "x")])
    assert str(caught.value) == (
        f"Can not update interface binding from {bound} to {other}. You must delete the "
        "interface and create a new one"
    )


def test_update_reaches_bound_nodes(env, store):
    """DB-077: those with the same iface name and transport."""
    nodes = NodeStore(env)
    store.write(iface("eth"))
    nodes.add(node(iface="eth"))
    nodes.add(node(target="iqn.b", iface="eth", **{"iface.transport_name": "iser"}))
    nodes.add(node(target="iqn.c"))
    nodes.add(node(target="iqn.d", tpgt=-1, iface="eth"))
    pairs = [("iface.mtu", "9000"), ("iface.transport_name", "cxgb4i")]
    before = store.read("eth")
    store.update("eth", pairs)
    assert store.propagate(nodes, before, pairs) == []
    changed = {r["node.name"]: r["iface.mtu"] for r in nodes.records()}
    assert changed == {"iqn.a": "9000", "iqn.b": "0", "iqn.c": "0", "iqn.d": "9000"}


def test_one_node_that_cannot_be_updated(env, store, put):
    """DB-077: is named; the others are changed."""
    nodes = NodeStore(env)
    nodes.add(node(target="iqn.b", iface="eth"))
    path = put("nodes/iqn.a/10.0.0.1,3260,1/eth", "# BEGIN RECORD\n")
    lines = store.propagate(nodes, iface("eth"), [("iface.mtu", "9")])
    assert len(lines) == 1
    assert lines[0].startswith(f"Record {path} is empty, cut off or binary")
    assert nodes.read(NodeKey("iqn.b", "10.0.0.1", 3260, 1, "eth"))["iface.mtu"] == "9"


def discovery_names(store):
    return [record["iface.iscsi_ifacename"] for record in store.for_discovery()]


def test_ifaces_of_a_discovery(store, put):
    """DB-079: every stored tcp iface; `default` only when there is none."""
    assert discovery_names(store) == ["default"]
    put("ifaces/hba", "iface.iscsi_ifacename = hba\niface.transport_name = be2iscsi\n")
    assert discovery_names(store) == ["default"]
    store.write(iface("b"))
    store.write(iface("a"))
    put("ifaces/default", FILE)
    assert discovery_names(store) == ["a", "b"]


@pytest.mark.parametrize(
    "content", ["junk\n", "iface.transport_name=tcp\n", "node.name = x\n", "#\n"]
)
def test_junk_does_not_hide_others(store, put, content):
    """DB-082: a file without a transport is skipped with a warning."""
    path = put("ifaces/a", content)
    store.write(iface("b"))
    if content == "#\n":
        path.write_text("# nothing here\n")
    assert [r["iface.iscsi_ifacename"] for r in store.records()] == ["b"]
    assert f"'{path}' is not a valid iSCSI interface configuration file" in store.problems
    assert store.exit_code == 0
    with pytest.raises(RecordError):
        store.read("a")


def test_torn_iface(store, put):
    """DB-105"""
    put("ifaces/a", "")
    store.write(iface("b"))
    assert discovery_names(store) == ["b"]
    assert "is empty, cut off or binary, moved to" in store.problems[0]
    assert store.exit_code == 6


def test_ipv6_iface_of_any_name(store, root):
    """DB-081: written, read again and listed, its keys updatable."""
    store.write(iface("eth"))
    store.update("eth", [("iface.ipaddress", "fe80::1")])
    store.update("eth", [("iface.hop_limit", "9")])
    assert "iface.hop_limit = 9\n" in (root / "ifaces/eth").read_text()
    assert [r["iface.hop_limit"] for r in store.records()] == ["9"]
    assert (store.problems, store.exit_code) == ([], 0)


def test_reading_creates_nothing(store, tree):
    """DB-083: no iface appears by itself."""
    assert discovery_names(store) == ["default"]
    assert list(store.records()) == []
    with pytest.raises(RecordError):
        store.read("tcp.00:11:22:33:44:55.ipv4.0")
    assert tree() == {}


def test_ensure_dir(store, root):
    """DB-001: what -o new makes besides the record."""
    old = os.umask(0)
    try:
        store.ensure_dir()
        store.ensure_dir()
    finally:
        os.umask(old)
    assert (root / "ifaces").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", [".hidden", "a~", "iface.example"])
def test_an_iface_that_would_never_be_listed_is_refused(store, root, name):
    """DB-075: nothing may be made that no listing shows."""
    with pytest.raises(InvalidArgument, match="not read as ifaces"):
        store.write(iface(name))
    assert not (root / "ifaces" / name).exists()


def test_an_iface_deleted_while_others_are_read_is_left_out(store, root, put):
    """DB-103: a listing beside a client that deletes is no error; what can't be read is."""
    for name in ("a", "b", "c", "d"):
        put(f"ifaces/{name}", FILE)
    reading = store.records()
    next(reading)
    os.unlink(root / "ifaces/b")
    os.unlink(root / "ifaces/c")
    os.symlink("nowhere", root / "ifaces/c")
    assert len(list(reading)) == 1
    assert store.problems == [f"Could not open {root}/ifaces/c: No such file or directory"]
