"""Discovery records and the links in their directories."""

import os

import pytest

from pyiscsi.errors import InvalidArgument, RecordError
from pyiscsi.names import NodeKey
from pyiscsi.records.discovery import DiscoveryStore, Source
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import ISNS, SENDTARGETS
from tests.unit.records.samples import from_portal, listed, node, sendtargets

A = ("10.0.0.1", 3260)
ST = "send_targets/10.0.0.1,3260/st_config"


@pytest.fixture
def store(env):
    return DiscoveryStore(env)


def isns(address="10.0.0.5", port=3205):
    record = Record(ISNS)
    record.values["discovery.sendtargets.address"] = address
    record.values["discovery.sendtargets.port"] = str(port)
    return record


@pytest.mark.parametrize(
    ("record", "path"), [(sendtargets(), ST), (isns(), "isns/10.0.0.5,3205/isns_config")]
)
def test_life_of_a_record(store, tree, root, record, path):
    """DB-060, DB-061 (record side): new, show, update, reset by writing again, delete."""
    kind = record.kind
    portal = (
        record["discovery.sendtargets.address"],
        record.get_int("discovery.sendtargets.port"),
    )
    store.write(record)
    assert tree()[path].encode() == record.render()
    assert os.stat(root / path).st_mode & 0o777 == 0o600
    assert os.stat((root / path).parent).st_mode & 0o777 == 0o700
    assert store.addresses(kind) == [portal]
    assert store.read(kind, *portal).values == record.values
    key = next(k for k in kind.fields if k.endswith("use_discoveryd"))
    assert store.update(kind, *portal, [(key, "Yes")]) == []
    assert store.read(kind, *portal)[key] == "Yes"
    store.write(record)
    assert store.read(kind, *portal)[key] == "No"
    store.delete(kind, *portal)
    assert set(tree()) == {path.split("/")[0]}
    assert store.addresses(kind) == []
    assert store.read(kind, *portal) is None


@pytest.mark.parametrize("action", ["update", "delete"])
def test_missing_record(store, action):
    """DB-060"""
    more = ([("discovery.startup", "manual")],) if action == "update" else ()
    with pytest.raises(RecordError, match=r"^Discovery record \[10.0.0.1,3260\] not found.$") as e:
        getattr(store, action)(SENDTARGETS, *A, *more)
    assert e.value.exit_code == 6


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (("discovery.bogus", "1"), "Cannot modify discovery.bogus. Invalid param name."),
        (
            ("discovery.sendtargets.port", "1"),
            "Cannot modify discovery.sendtargets.port. "
            "It is used to look up the record and cannot be changed.",
        ),
        (
            ("discovery.sendtargets.use_discoveryd", "yes"),
            "unknown value format 'yes' for parameter name 'discovery.sendtargets.use_discoveryd'",
        ),
    ],
)
def test_refused_updates(store, root, pair, line):
    """DB-060, DB-035: one line, file unchanged."""
    store.write(sendtargets())
    before = (root / ST).read_bytes()
    with pytest.raises(InvalidArgument) as caught:
        store.update(SENDTARGETS, *A, [("discovery.sendtargets.reopen_max", "1"), pair])
    assert str(caught.value) == line
    assert (root / ST).read_bytes() == before


def test_address_of_a_path(store, tree):
    """DB-006: an address cannot leave the directory."""
    with pytest.raises(InvalidArgument):
        store.write(sendtargets("../../x"))
    with pytest.raises(InvalidArgument):
        store.read(SENDTARGETS, "../..", 1)
    assert tree() == {}


def test_listing_skips_what_is_no_record(store, put, root):
    """DB-066, DB-029: links of the old style, directories without a record, other files."""
    store.write(isns())
    (root / "isns/iqn.a,10.0.0.1,3260,1,default").symlink_to("/x")
    (root / "isns/iqn.a,fe80::1,3260,1,default").symlink_to("/x")
    (root / "isns/10.0.0.9,3205").mkdir()
    put("isns/README", "x")
    put("isns/10.0.0.9,x/isns_config", "x")
    store.write(isns("fe80::1"))
    assert store.addresses(ISNS) == [("10.0.0.5", 3205), ("fe80::1", 3205)]


FLAT = "discovery.sendtargets.address = 10.0.0.1\ndiscovery.sendtargets.reopen_max = 9\n"


def test_flat_record_is_read(store, put, tree):
    """DB-066: and its missing port reads as 0."""
    put("send_targets/10.0.0.1,3260", FLAT)
    assert store.addresses(SENDTARGETS) == [A]
    record = store.read(SENDTARGETS, *A)
    assert record.get_int("discovery.sendtargets.reopen_max") == 9
    assert record.get_int("discovery.sendtargets.port") == 0
    assert set(tree()) == {"send_targets", "send_targets/10.0.0.1,3260"}


@pytest.mark.parametrize("how", ["write", "update", "link"])
def test_flat_record_becomes_a_directory(env, store, put, tree, how):
    """DB-066: at the next write, whatever is written, and nothing of it is lost."""
    put("send_targets/10.0.0.1,3260", FLAT)
    if how == "write":
        store.write(sendtargets())
    elif how == "update":
        store.update(SENDTARGETS, *A, [("discovery.sendtargets.use_discoveryd", "Yes")])
    else:
        NodeStore(env).add(from_portal(*A))
    record = store.read(SENDTARGETS, *A)
    assert record.get_int("discovery.sendtargets.reopen_max") == (5 if how == "write" else 9)
    assert ST in tree()
    assert not [name for name in tree() if name.startswith(".pyiscsi")]


def test_flat_record_is_deleted(store, put, tree):
    """DB-066"""
    put("send_targets/10.0.0.1,3260", FLAT)
    store.delete(SENDTARGETS, *A)
    assert set(tree()) == {"send_targets"}


def test_delete_takes_the_linked_nodes(env, store, tree):
    """DB-064: those of this source only."""
    nodes = NodeStore(env)
    store.write(sendtargets())
    nodes.add(from_portal(*A))
    nodes.add(from_portal(*A, target="iqn.b"))
    nodes.add(from_portal("10.0.0.9", target="iqn.c"))
    nodes.add(node(target="iqn.d"))
    store.delete(SENDTARGETS, *A)
    assert [key.target for key in listed(nodes)] == ["iqn.c", "iqn.d"]
    assert "send_targets/10.0.0.1,3260" not in tree()
    assert store.problems == []


def test_delete_of_an_emptied_record(env, store):
    """DB-063: nodes that another discovery took over stay."""
    nodes = NodeStore(env)
    store.write(sendtargets())
    nodes.add(from_portal(*A))
    nodes.add(from_portal("10.0.0.9"))
    store.delete(SENDTARGETS, *A)
    assert len(nodes.keys()) == 1


def test_junk_keeps_the_directory(env, store, put, tree, root):
    """DB-064: it is named; the record and the linked nodes go all the same."""
    nodes = NodeStore(env)
    store.write(sendtargets())
    nodes.add(from_portal(*A))
    junk = put("send_targets/10.0.0.1,3260/notes", "mine")
    store.delete(SENDTARGETS, *A)
    assert store.problems == [f"Improperly formed disc to node link {junk}"]
    assert (nodes.keys(), store.addresses(SENDTARGETS)) == ([], [])
    assert tree()["send_targets/10.0.0.1,3260/notes"] == "mine"


@pytest.mark.parametrize("name", ["..,10.0.0.1,3260,1,x", "iqn.a,..,3260,1,x", "a,b,1,1,.."])
def test_link_names_lead_nowhere_else(store, root, name):
    """DB-006, DB-064: a link whose name is no path component is junk."""
    store.write(sendtargets())
    link = root / "send_targets/10.0.0.1,3260" / name
    link.symlink_to("/tmp")
    assert store.linked_nodes(Source("send_targets", *A)) == []
    store.delete(SENDTARGETS, *A)
    assert store.problems == [f"Improperly formed disc to node link {link}"]


def test_a_node_that_cannot_be_deleted_keeps_the_record(env, store, monkeypatch):
    """An interrupted delete can be repeated."""
    store.write(sendtargets())
    NodeStore(env).add(from_portal(*A))
    real = os.unlink

    def unlink(path, **kwargs):
        if str(path).endswith("1/default"):
            raise PermissionError(1, "Operation not permitted")
        return real(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        with pytest.raises(RecordError, match="Operation not permitted"):
            store.delete(SENDTARGETS, *A)
    assert store.addresses(SENDTARGETS) == [A]
    store.delete(SENDTARGETS, *A)
    assert store.addresses(SENDTARGETS) == []


def test_dangling_links_go_with_the_record(store, root, tree):
    """DB-064"""
    store.write(sendtargets())
    link = root / "send_targets/10.0.0.1,3260/iqn.a,10.0.0.1,3260,1,default"
    link.symlink_to("/nonexistent")
    store.delete(SENDTARGETS, *A)
    assert set(tree()) == {"send_targets"}
    assert store.problems == []


def test_linked_nodes(env, store):
    """What the -P 1 trees list, by names only."""
    nodes = NodeStore(env)
    nodes.add(from_portal(*A, target="iqn.b", address="fe80::1", tpgt=3, iface="eth,0"))
    nodes.add(from_portal(*A))
    nodes.add(node(target="iqn.s"))
    nodes.add(from_portal("", 0, "fw", target="iqn.f"))
    assert store.linked_nodes(Source("send_targets", *A)) == [
        NodeKey("iqn.a", "10.0.0.1", 3260, 1),
        NodeKey("iqn.b", "fe80::1", 3260, 3, "eth,0"),
    ]
    assert [key.target for key in store.linked_nodes(Source("static"))] == ["iqn.s"]
    assert [key.target for key in store.linked_nodes(Source("fw"))] == ["iqn.f"]
    assert store.linked_nodes(Source("isns", "10.0.0.5", 3205)) == []
    assert store.linked_nodes(Source("slp")) == []


def test_torn_record(store, put, root):
    """DB-105: set aside and reported; the next read says there is none."""
    path = put(ST, "# BEGIN RECORD 2.1.8\n")
    with pytest.raises(RecordError, match=f"^Record {path} is empty, cut off or binary, moved to"):
        store.read(SENDTARGETS, *A)
    assert store.read(SENDTARGETS, *A) is None
    assert os.listdir(root / ".pyiscsi-quarantine") == ["send_targets%10.0.0.1,3260%st_config.1"]
