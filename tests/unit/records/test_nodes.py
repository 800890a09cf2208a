"""Node records on disk: layout, listing, change and removal."""

import os
import stat

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import InvalidArgument, RecordError
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.records.nodes import NodeStore
from tests.unit.records.samples import HAND_WRITTEN, PORTAL, from_portal, listed, node

RECORD = f"nodes/iqn.a/{PORTAL}/default"


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


# Layout


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_new_record_is_a_file_and_a_link(env, root, tree, umask):
    """DB-001: exactly these, with these modes, whatever the umask."""
    old = os.umask(umask)
    try:
        NodeStore(env).add(node())
    finally:
        os.umask(old)
    link = "static/iqn.a,10.0.0.1,3260,1,default"
    found = tree()
    assert set(found) == {"nodes", "nodes/iqn.a", f"nodes/iqn.a/{PORTAL}", RECORD, "static", link}
    assert found[link] == f"-> {root}/nodes/iqn.a/{PORTAL}"
    assert found[RECORD].encode() == node().render()
    for name in ("nodes", "nodes/iqn.a", f"nodes/iqn.a/{PORTAL}", "static"):
        assert mode(root / name) == 0o700
    assert mode(root / RECORD) == 0o600
    assert mode(env.lock_dir) == 0o700
    assert os.listdir(env.lock_dir) == ["lock.pyiscsi"]
    assert mode(f"{env.lock_dir}/lock.pyiscsi") == 0o600


@pytest.mark.parametrize("target", [".hidden", "..a", "tilde~"])
def test_a_target_with_an_editors_name_is_listed(nodes, root, put, target):
    """DB-004: what can be made can be seen; a file of such a name is still an editor's."""
    nodes.add(node(target=target))
    put("nodes/.swp", "x")
    assert [key.target for key in listed(nodes)] == [target]
    assert nodes.problems == []


def test_ipv6_has_no_brackets(nodes, tree):
    """DB-002"""
    nodes.add(node(address="fe80::1"))
    assert "nodes/iqn.a/fe80::1,3260,1/default" in tree()
    assert nodes.keys() == [NodeKey("iqn.a", "fe80::1", 3260, 1)]


def test_without_tpgt_a_flat_file(nodes, tree):
    """DB-003"""
    nodes.add(node(tpgt=-1, iface="eth"))
    found = tree()
    assert set(found) == {"nodes", "nodes/iqn.a", "nodes/iqn.a/10.0.0.1,3260"}
    assert "node.tpgt = -1\n" in found["nodes/iqn.a/10.0.0.1,3260"]
    assert nodes.keys() == [NodeKey("iqn.a", "10.0.0.1", 3260, -1, "eth")]
    assert nodes.keys(Pattern(iface="default")) == []


def test_without_tpgt_beside_a_known_one(nodes):
    """DB-004: the 2.1.8 format keeps both."""
    nodes.add(node(tpgt=7))
    nodes.add(node(tpgt=-1))
    assert [key.tpgt for key in listed(nodes)] == [-1, 7]
    assert nodes.problems == []


@pytest.mark.parametrize("tags", [(7,), (3, 7)])
def test_without_tpgt_master_takes_the_known_one(env, nodes, tags):
    """DB-004: the master format reuses it, says so, and links."""
    for tag in tags:
        nodes.add(node(tpgt=tag))
    record = node(tpgt=-1)
    record.fmt = "master"
    record.set("node.startup", "automatic")
    nodes.add(record)
    assert [key.tpgt for key in listed(nodes)] == list(tags)
    key = NodeKey("iqn.a", "10.0.0.1", 3260, tags[0])
    assert nodes.read(key)["node.startup"] == "automatic"
    assert os.path.islink(f"{env.db_root}/static/iqn.a,10.0.0.1,3260,{tags[0]},default")
    several = ["multiple tpg records for portal iqn.a/10.0.0.1:3260 found"] * (len(tags) > 1)
    assert nodes.problems == [*several, f"using tpgt {tags[0]} from existing record"]


def test_with_tpgt_the_flat_file_goes(nodes, tree):
    """DB-005"""
    nodes.add(node(tpgt=-1))
    nodes.add(node(tpgt=2))
    assert "nodes/iqn.a/10.0.0.1,3260" not in tree()
    assert [key.tpgt for key in listed(nodes)] == [2]


@pytest.mark.parametrize("target", ["", ".", "..", "../x", "a/b", "a\nb", "a\x7fb", "a\0b"])
def test_names_that_are_no_directory(nodes, tree, env, target):
    """DB-006: refused before anything is touched."""
    with pytest.raises(InvalidArgument):
        nodes.add(node(target=target))
    with pytest.raises(InvalidArgument):
        nodes.delete(NodeKey(target, "10.0.0.1", 3260, 1))
    with pytest.raises(InvalidArgument):
        nodes.update(NodeKey(target, "10.0.0.1", 3260, 1), [("node.startup", "manual")])
    assert nodes.keys(Pattern(target=target or "..")) == []
    assert tree() == {}
    assert not os.path.exists(f"{env.lock_dir}/lock.write")


@pytest.mark.parametrize("part", ["address", "iface"])
@pytest.mark.parametrize("name", ["..", "../../x", "a/b"])
def test_other_parts_of_the_path(nodes, tree, part, name):
    """DB-006: addresses and iface names too."""
    with pytest.raises(InvalidArgument):
        nodes.add(node(**{part: name}))
    assert tree() == {}


def test_too_long_link_name(nodes, tree, root):
    """DB-007: the original's words, exit 6, and nothing left behind."""
    target = "iqn." + "x" * 219
    address = "2001:0db8:1111:2222:3333:4444:5555:6666"
    with pytest.raises(RecordError) as caught:
        nodes.add(node(target=target, address=address))
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        f"Could not make link from disc source {root}/static/{target},{address},3260,1,default "
        f"to node {root}/nodes/{target}/{address},3260,1: File name too long"
    )
    assert tree() == {"static": "/"}


@pytest.mark.parametrize(
    ("address", "port", "tpgt"),
    [
        ("storage.example", 3260, 1),
        ("10.0.0.1", 0, 1),
        ("10.0.0.1", 70000, 1),
        ("10.0.0.1", 3260, 99999),
        ("10.0.0.1", 3260, 0),
    ],
)
def test_odd_portals_are_kept(nodes, address, port, tpgt):
    """DB-008"""
    nodes.add(node(address=address, port=port, tpgt=tpgt))
    key = NodeKey("iqn.a", address, port, tpgt)
    assert nodes.keys() == [key]
    assert nodes.read(key).node_key() == key


def test_roots_are_independent(tmp_path):
    """DB-009"""
    env = Env(db_root=f"{tmp_path}/r", config_root=f"{tmp_path}/c", lock_dir=f"{tmp_path}/l")
    NodeStore(env).add(node())
    assert sorted(os.listdir(tmp_path)) == ["l", "r"]


# Rewriting


def test_rewriting_keeps_mode_and_owner(nodes, put):
    """DB-015"""
    path = put(RECORD, HAND_WRITTEN)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    nodes.update(NodeKey("iqn.a", "10.0.0.1", 3260, 1), [("node.startup", "automatic")])
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert "node.startup = automatic\n" in path.read_text()
    assert "node.session.cmds_max = 64\n" in path.read_text()


def test_a_symbolic_link_is_followed(nodes, put, root, tmp_path):
    """A record kept elsewhere stays there."""
    (tmp_path / "elsewhere").write_text(HAND_WRITTEN)
    put(f"nodes/iqn.a/{PORTAL}/x", "")
    (root / RECORD).symlink_to(tmp_path / "elsewhere")
    nodes.update(NodeKey("iqn.a", "10.0.0.1", 3260, 1), [("node.startup", "automatic")])
    assert (root / RECORD).is_symlink()
    assert "node.startup = automatic\n" in (tmp_path / "elsewhere").read_text()


# Listing


def test_order_is_bytewise(nodes, put):
    """Targets, portal directories and ifaces, as the bytes of their names compare."""
    names = ["iqn.b/10.0.0.1,3260,1/default", "iqn.a/10.0.0.2,3260,1/default"]
    names += ["iqn.a/10.0.0.10,3260,1/default", "iqn.a/10.0.0.1,3260,1/eth1"]
    names += ["iqn.a/10.0.0.1,3260,1/eth0", "iqn.Z/10.0.0.1,3260,1/default"]
    for name in names:
        put(f"nodes/{name}", HAND_WRITTEN)
    assert [(k.target, k.address, k.iface) for k in listed(nodes)] == [
        ("iqn.Z", "10.0.0.1", "default"),
        ("iqn.a", "10.0.0.1", "eth0"),
        ("iqn.a", "10.0.0.1", "eth1"),
        ("iqn.a", "10.0.0.10", "default"),
        ("iqn.a", "10.0.0.2", "default"),
        ("iqn.b", "10.0.0.1", "default"),
    ]


def test_order_of_names_that_are_not_ascii(nodes, put):
    """A byte above 127 that is no character sorts by its value."""
    for name in (b"iqn.\xff", "iqn.ä".encode(), "iqn.\U0001f600".encode()):
        put(f"nodes/{os.fsdecode(name)}/{PORTAL}/default", HAND_WRITTEN)
    assert [os.fsencode(k.target) for k in listed(nodes)] == [
        "iqn.ä".encode(),
        "iqn.\U0001f600".encode(),
        b"iqn.\xff",
    ]


def test_unordered_is_the_order_of_the_directories(nodes, put, monkeypatch):
    """DB-110: open-iscsi logs in and deletes in the order readdir gives."""
    for name in "abc":
        put(f"nodes/iqn.{name}/10.0.0.1,3260,1/default", HAND_WRITTEN)
        put(f"nodes/iqn.{name}/10.0.0.2,3260,1/default", HAND_WRITTEN)
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(real(path), reverse=True))
    keys = nodes.keys(ordered=False)
    assert keys == nodes.keys()[::-1]
    read = [record["node.session.cmds_max"] for record in nodes.records(ordered=False)]
    assert (len(keys), read) == (6, ["64"] * 6)


def test_addresses_in_full_are_not_resolved(nodes, monkeypatch):
    """DB-047: two different dotted quads cannot be the same host."""
    import _socket

    monkeypatch.setattr(_socket, "getaddrinfo", None)
    nodes.add(node())
    assert nodes.keys(Pattern(address="10.0.0.2"), resolve=True) == []


def test_listing_opens_no_record(nodes, put, monkeypatch):
    """Names are enough: a database of 10,000 records is listed without reading one."""
    put(RECORD, "never read")
    monkeypatch.setattr(NodeStore, "read_path", None)
    assert nodes.keys() == [NodeKey("iqn.a", "10.0.0.1", 3260, 1)]


def test_an_exact_target_opens_one_directory(nodes, put, monkeypatch):
    """-T looks at nothing but that target."""
    for name in "abc":
        put(f"nodes/iqn.{name}/{PORTAL}/default", HAND_WRITTEN)
    seen = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: seen.append(path) or real(path))
    assert len(nodes.keys(Pattern(target="iqn.b"))) == 1
    assert [path.rpartition("/")[2] for path in seen] == ["iqn.b", PORTAL]


PATTERNS = [
    (Pattern(), 4),
    (Pattern(target="iqn.a"), 3),
    (Pattern(target="iqn"), 0),
    (Pattern(address="10.0.0.1"), 2),
    (Pattern(address="10.0.0.1", port=3260), 2),
    (Pattern(address="10.0.0.1", port=3261), 0),
    (Pattern(port=3261), 1),
    (Pattern(iface="eth"), 1),
    (Pattern(target="iqn.a", iface="default"), 2),
    (Pattern(address="localhost"), 0),
]


@pytest.mark.parametrize(("pattern", "count"), PATTERNS)
def test_selection(nodes, pattern, count):
    """DB-047: empty parts match anything, tpgt never counts."""
    nodes.add(node())
    nodes.add(node(iface="eth", tpgt=9))
    nodes.add(node(address="127.0.0.1", port=3261))
    nodes.add(node(target="iqn.b", address="fe80::1"))
    assert len(nodes.keys(pattern)) == count


@pytest.mark.parametrize(
    ("wanted", "stored", "matches"),
    [
        ("localhost", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("127.1", "127.0.0.1", True),
        ("localhost", "10.0.0.1", False),
        ("fe80:0::1", "fe80::1", True),
        ("name\0nul", "127.0.0.1", False),
        ("", "127.0.0.1", True),
    ],
)
def test_addresses_that_resolve_to_the_same(nodes, wanted, stored, matches, monkeypatch):
    """DB-047: only where the caller asks for it."""
    import _socket

    def getaddrinfo(host, port, **kwargs):
        known = {"localhost": "127.0.0.1", "127.1": "127.0.0.1", "fe80:0::1": "fe80::1"}
        host = host.decode()
        if "\0" in host:
            raise ValueError("embedded null character")
        return [(0, 0, 0, "", (known.get(host, host), 0))]

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    nodes.add(node(address=stored))
    assert bool(nodes.keys(Pattern(address=wanted), resolve=True)) is matches


STRAYS = [
    # path, content, line, exit code
    ("nodes/README", "x", "Got ENOTDIR error when scandir {root}/nodes/README", 1),
    ("nodes/iqn.x/note", "x", None, 0),
    ("nodes/iqn.x/dir/file", "x", None, 0),
    ("nodes/iqn.x/10.0.0.1,abc/file", "x", None, 0),
    ("nodes/iqn.x/10.0.0.1,3260,x/default", "x", "iface iter could not read dir {p}.", 6),
    ("nodes/iqn.x/10.0.0.1,3260,-1/default", "x", "iface iter could not read dir {p}.", 6),
    ("nodes/iqn.x/10.0.0.1,3260,01/default", "x", "iface iter could not read dir {p}.", 6),
    ("nodes/iqn.x/10.0.0.1,3260,1", "x", "Got ENOTDIR error when scandir {path}", 1),
    ("nodes/iqn.x/..,3260,1/default", "x", None, 0),
    (f"nodes/iqn.x/{PORTAL}/default~", "x", None, 0),
    (f"nodes/iqn.x/{PORTAL}/.default.swp", "x", None, 0),
    (f"nodes/iqn.x/{PORTAL}/directory/file", "x", None, 0),
    ("nodes/iqn.\x1b[2J/10.0.0.1,3260,1/default", "x", None, 0),
]


@pytest.mark.parametrize(("name", "content", "line", "code"), STRAYS)
def test_strays_hide_nothing(nodes, put, root, name, content, line, code):
    """DB-029: reported once where the original complains; other records are still listed."""
    nodes.add(node())
    path = put(name, content)
    assert nodes.keys() == [NodeKey("iqn.a", "10.0.0.1", 3260, 1)]
    assert len(list(nodes.records())) == 1
    expected = [line.format(root=root, p=path.parent, path=path)] if line else []
    assert (nodes.problems, nodes.exit_code) == (expected, code)


@pytest.mark.parametrize("name", ["../../x", "..", "a/b"])
def test_iface_name_in_a_flat_record_is_checked(nodes, put, name):
    """DB-006, DB-029: it may not become part of a path."""
    put("nodes/iqn.a/10.0.0.1,3260", f"{HAND_WRITTEN}iface.iscsi_ifacename = {name}\n")
    assert nodes.keys() == [NodeKey("iqn.a", "10.0.0.1", 3260)]
    assert len(list(nodes.records())) == 1


def test_empty_target_directory(nodes, root):
    """DB-029"""
    (root / "nodes/iqn.x").mkdir(parents=True)
    assert (nodes.keys(), nodes.problems) == ([], [])


def test_dangling_record(nodes, put, root):
    """DB-029"""
    put(f"nodes/iqn.a/{PORTAL}/default", HAND_WRITTEN)
    path = root / f"nodes/iqn.a/{PORTAL}/gone"
    path.symlink_to("/nonexistent/file")
    assert [key.iface for key in listed(nodes)] == ["default"]
    line = f"Failed to open {path} using read mode: 2 No such file or directory"
    assert (nodes.problems, nodes.exit_code) == ([line], 6)


def test_a_pipe_does_not_hold_the_command(nodes, put, root):
    """DB-029: something that is no file is no record."""
    put(f"nodes/iqn.a/{PORTAL}/default", HAND_WRITTEN)
    os.mkfifo(root / f"nodes/iqn.a/{PORTAL}/pipe")
    assert [key.iface for key in listed(nodes)] == ["default"]
    with pytest.raises(RecordError, match="Not a regular file"):
        nodes.read(NodeKey("iqn.a", "10.0.0.1", 3260, 1, "pipe"))


def test_a_huge_file_is_not_read(nodes, put):
    path = put(RECORD, "")
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RecordError, match="File too large"):
        nodes.read(NodeKey("iqn.a", "10.0.0.1", 3260, 1))


# Damaged records

TORN = [
    b"",
    b"\n",
    b"\0" * 512,
    b"# BEGIN RECORD 2.1.8\nnode.name = iqn.a\n",
    node().render()[:-15],
    bytes(range(256)) * 12,
    node().render()[:200] + b"\0" * 300 + node().render()[500:],
]


@pytest.mark.parametrize("content", TORN)
@pytest.mark.parametrize("name", [RECORD, "nodes/iqn.a/10.0.0.1,3260"])
def test_a_torn_record_is_set_aside(env, nodes, put, root, content, name):
    """DB-029, DB-105: moved where no program looks, reported with both names; others are listed."""
    put(f"nodes/iqn.b/{PORTAL}/default", HAND_WRITTEN)
    path = put(name, content)
    assert [record.node_key().target for record in nodes.records()] == ["iqn.b"]
    place = root / ".pyiscsi-quarantine" / (name.replace("/", "%") + ".1")
    assert nodes.problems == [f"Record {path} is empty, cut off or binary, moved to {place}"]
    assert nodes.exit_code == 6
    assert place.read_bytes() == content
    assert not path.exists()
    assert mode(place.parent) == 0o700
    again = NodeStore(env)
    assert [key.target for key in listed(again)] == ["iqn.b"]
    assert (again.problems, again.exit_code) == ([], 0)


def test_quarantine_keeps_every_copy(env, put, root):
    for number in (1, 2, 3):
        put(RECORD, "")
        with pytest.raises(RecordError):
            NodeStore(env).read(NodeKey("iqn.a", "10.0.0.1", 3260, 1))
        assert len(os.listdir(root / ".pyiscsi-quarantine")) == number


def test_a_record_being_rewritten_is_read_again(env, nodes, put):
    """The C programs rewrite in place under the lock: what looks torn may only be unfinished."""
    path = put(RECORD, "")

    class Finishing:
        def __enter__(self):
            path.write_bytes(node().render())

        def __exit__(self, *error):
            return None

    nodes.database._lock = Finishing()
    assert nodes.keys() == [NodeKey("iqn.a", "10.0.0.1", 3260, 1)]
    assert nodes.read(NodeKey("iqn.a", "10.0.0.1", 3260, 1))["node.name"] == "iqn.a"
    assert nodes.problems == []


def test_a_torn_record_that_cannot_be_moved(nodes, put, monkeypatch):
    """It is still reported, and nothing else is hidden."""
    put(f"nodes/iqn.b/{PORTAL}/default", HAND_WRITTEN)
    path = put(RECORD, "")
    error = OSError(30, "Read-only file system")
    monkeypatch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(error))
    assert [key.target for key in listed(nodes)] == ["iqn.b"]
    assert nodes.problems == [
        f"Record {path} is empty, cut off or binary and cannot be moved away "
        f"(Could not open {path}: Read-only file system)"
    ]


def test_unknown_keys_do_not_hide_records(nodes, put):
    """DB-026: they are kept, and no failure."""
    put(RECORD, HAND_WRITTEN + "node.future = 1\n")
    put(f"nodes/iqn.b/{PORTAL}/default", HAND_WRITTEN)
    assert len(list(nodes.records())) == 2
    assert (nodes.problems, nodes.exit_code) == ([], 0)
    key = NodeKey("iqn.a", "10.0.0.1", 3260, 1)
    nodes.update(key, [("node.startup", "automatic")])
    assert nodes.read(key).unknown == {"node.future": "1"}


def test_a_bad_word_does_not_hide_records(nodes, put):
    """DB-027: the default is used, the line says where, a listing ends with 1."""
    path = put(RECORD, HAND_WRITTEN + "node.startup = often\n")
    put(f"nodes/iqn.b/{PORTAL}/default", HAND_WRITTEN)
    assert [record["node.startup"] for record in nodes.records()] == ["manual", "manual"]
    line = "config file line 4 contains unknown value format 'often' for parameter name "
    assert nodes.problems == [f"{line}'node.startup' ({path})"]
    assert nodes.exit_code == 1


@pytest.mark.parametrize("content", [b"x" * 3000 + b"\n", b"\xff\xfe\n" * 9])
def test_lines_that_say_nothing(nodes, put, content):
    """DB-025, DB-029: read as far as they can be, each bad line named once."""
    path = put(RECORD, b"node.session.cmds_max = 7\n" + content)
    record = nodes.read(NodeKey("iqn.a", "10.0.0.1", 3260, 1))
    assert record["node.session.cmds_max"] == "7"
    assert record.node_key().fields() == ("iqn.a", "10.0.0.1", 3260, 1, "default")
    assert all(line.endswith(f"({path})") for line in nodes.problems)
    assert len(set(nodes.problems)) == len(nodes.problems) > 0


def test_identity_missing_in_the_file_comes_from_its_name(nodes, put):
    """A hand-written record need not repeat where it is."""
    put("nodes/iqn.a/10.0.0.9,3261,4/default", "node.startup = automatic\n")
    record = nodes.read(NodeKey("iqn.a", "10.0.0.9", 3261, 4))
    assert record.node_key() == NodeKey("iqn.a", "10.0.0.9", 3261, 4)


# Updating

KEY = NodeKey("iqn.a", "10.0.0.1", 3260, 1)


def test_updatable_keys(nodes, root):
    """DB-035: lookup keys are refused with their message, all others accepted."""
    from pyiscsi.records.schema import NODE

    nodes.add(node())
    for name, field in NODE.fields.items():
        before = (root / RECORD).read_bytes()
        if field.can_update and field.default is not None:
            nodes.update(KEY, [(name, field.default)])
            continue
        with pytest.raises(InvalidArgument) as caught:
            nodes.update(KEY, [(name, "1")])
        reason = "It is used to look up the record and cannot be changed."
        if field.default is None:
            reason = "Invalid param name."
        assert str(caught.value) == f"Cannot modify {name}. {reason}"
        assert (root / RECORD).read_bytes() == before


@pytest.mark.parametrize(
    ("pairs", "lines"),
    [
        ([("node.bogus", "1")], ["Cannot modify node.bogus. Invalid param name."]),
        ([("", "1")], ["Cannot modify . Invalid param name."]),
        ([("node.conn[1].port", "1")], ["Cannot modify node.conn[1].port. Invalid param name."]),
        (
            [("node.startup", "often")],
            [
                "unknown value format 'often' for parameter name 'node.startup'",
                "Unknown parameter node.startup.",
            ],
        ),
    ],
)
def test_refused_updates(nodes, root, pairs, lines):
    """DB-031, DB-037: nothing of a refused update is done, whichever pair was wrong."""
    nodes.add(node())
    before = (root / RECORD).read_bytes()
    good = ("node.session.scan", "manual")
    for attempt in (pairs, [good, *pairs], [*pairs, good]):
        with pytest.raises(InvalidArgument) as caught:
            nodes.update(KEY, attempt)
        assert str(caught.value).split("\n") == lines
        assert caught.value.exit_code == 7
        assert (root / RECORD).read_bytes() == before


def test_a_damaged_record_does_not_stop_the_update_of_others(nodes, put):
    """DB-038 (record side): every record stands for itself."""
    nodes.add(node())
    put(f"nodes/iqn.b/{PORTAL}/default", "# BEGIN RECORD 2.1.8\n")
    nodes.add(node(target="iqn.c"))
    failed = []
    for key in listed(nodes):
        try:
            nodes.update(key, [("node.startup", "automatic")])
        except RecordError as error:
            failed.append((key.target, error.exit_code))
    assert failed == [("iqn.b", 6)]
    assert {record["node.startup"] for record in nodes.records()} == {"automatic"}


def test_several_pairs(nodes):
    """DB-037: all of them; of the same name the last."""
    nodes.add(node())
    lines = nodes.update(
        KEY,
        [
            ("node.startup", "onboot"),
            ("node.session.auth.chap_algs", "SHA1,X"),
            ("node.startup", "automatic"),
        ],
    )
    record = nodes.read(KEY)
    assert record["node.startup"] == "automatic"
    assert record["node.session.auth.chap_algs"] == "SHA1"
    assert lines == ["Ignoring unknown value 'X' for 'node.session.auth.chap_algs'"]


def test_old_name_of_the_transport(nodes):
    """DB-036 (record side): node.transport_name is iface.transport_name."""
    nodes.add(node())
    nodes.update(KEY, [("node.transport_name", "iser")])
    assert nodes.read(KEY)["iface.transport_name"] == "iser"


def test_keys_of_master_need_its_format(nodes, env, tmp_path):
    """A 2.1.8 program on the same machine could not read them."""
    nodes.add(node())
    pair = [("node.conn[0].tcp.congestion_control", "bbr")]
    with pytest.raises(InvalidArgument, match=r"Invalid param name\.$"):
        nodes.update(KEY, pair)
    master = NodeStore(
        Env(db_root=env.db_root, lock_dir=env.lock_dir, record_format="master"),
    )
    master.update(KEY, pair)
    assert master.read(KEY)["node.conn[0].tcp.congestion_control"] == "bbr"


def test_an_update_opens_one_record_and_takes_the_lock_once(nodes, put, monkeypatch):
    """Ten thousand neighbours do not matter."""
    for name in "abc":
        put(f"nodes/iqn.{name}/{PORTAL}/default", HAND_WRITTEN)
    opened, locked = [], []
    real_open, real_link = os.open, os.link
    monkeypatch.setattr(os, "open", lambda p, *a: opened.append(str(p)) or real_open(p, *a))
    monkeypatch.setattr(os, "link", lambda *a: locked.append(a) or real_link(*a))
    nodes.update(KEY, [("node.startup", "automatic")])
    records = [path for path in opened if path.endswith("/default")]
    assert (len(records), len(locked)) == (1, 1)


def test_update_of_a_missing_record(nodes):
    with pytest.raises(RecordError) as caught:
        nodes.update(KEY, [("node.startup", "automatic")])
    assert caught.value.exit_code == 6
    assert "No such file or directory" in str(caught.value)


# Adding over an old record, deleting


def test_adding_again_starts_afresh(nodes):
    """DB-045: an existing record is reset."""
    nodes.add(node(node__startup="automatic"))
    nodes.add(node())
    assert nodes.read(KEY)["node.startup"] == "manual"


def test_adding_again_moves_the_link(nodes, root, tree):
    """DB-063: a record belongs to one source."""
    nodes.add(from_portal("10.0.0.9"))
    nodes.add(from_portal("10.0.0.8"))
    name = "iqn.a,10.0.0.1,3260,1,default"
    found = tree()
    assert f"send_targets/10.0.0.9,3260/{name}" not in found
    assert found[f"send_targets/10.0.0.8,3260/{name}"] == f"-> {root}/nodes/iqn.a/{PORTAL}"


def test_delete_removes_link_file_and_directories(nodes, tree):
    """DB-048: and nothing of the neighbours."""
    nodes.add(node())
    nodes.add(node(target="iqn.b"))
    before = set(tree())
    nodes.delete(NodeKey("iqn.b", "10.0.0.1", 3260, 1))
    gone = before - set(tree())
    assert gone == {
        "nodes/iqn.b",
        f"nodes/iqn.b/{PORTAL}",
        f"nodes/iqn.b/{PORTAL}/default",
        "static/iqn.b,10.0.0.1,3260,1,default",
    }
    nodes.delete(KEY)
    assert set(tree()) == {"nodes", "static"}


def test_delete_of_one_of_two_ifaces(nodes, tree):
    """DB-049"""
    nodes.add(node())
    nodes.add(node(iface="eth"))
    before = set(tree())
    nodes.delete(NodeKey("iqn.a", "10.0.0.1", 3260, 1, "eth"))
    gone = before - set(tree())
    assert gone == {f"nodes/iqn.a/{PORTAL}/eth", "static/iqn.a,10.0.0.1,3260,1,eth"}


def test_delete_of_a_flat_record(nodes, tree):
    """DB-003, DB-048"""
    nodes.add(node(tpgt=-1))
    nodes.delete(nodes.keys()[0])
    assert set(tree()) == {"nodes"}


@pytest.mark.parametrize(
    "line",
    [
        "node.discovery_type = fw",
        "node.discovery_type = slp",
        "node.discovery_type = offload_send_targets",
        "node.discovery_type = send_targets\nnode.discovery_address = ../../x",
        "node.discovery_type = isns",
    ],
)
def test_edited_discovery_type_does_not_prevent_deletion(nodes, put, tree, line):
    """DB-050"""
    put(RECORD, f"{HAND_WRITTEN}{line}\n")
    nodes.delete(KEY)
    assert set(tree()) == {"nodes"}


def test_delete_of_a_missing_record(nodes, root):
    """DB-048"""
    with pytest.raises(RecordError) as caught:
        nodes.delete(KEY)
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        f"Could not stat {root}/{RECORD} to delete node: No such file or directory"
    )


@pytest.mark.parametrize("directory", [True, False])
def test_isns_links(nodes, root, tree, directory):
    """DB-068: in the portal's directory if there is one, else directly in isns/."""
    if directory:
        (root / "isns/10.0.0.5,3205").mkdir(parents=True)
    nodes.add(from_portal("10.0.0.5", 3205, "isns"))
    place = "isns/10.0.0.5,3205" if directory else "isns"
    link = f"{place}/iqn.a,10.0.0.1,3260,1,default"
    assert link in tree()
    nodes.delete(KEY)
    assert link not in tree()


def test_old_isns_link(nodes, root, tree):
    """DB-068: a link made before the directory existed is removed with its record, or moved."""
    nodes.add(from_portal("10.0.0.5", 3205, "isns"))
    (root / "isns/10.0.0.5,3205").mkdir()
    nodes.delete(KEY)
    assert set(tree()) == {"nodes", "isns", "isns/10.0.0.5,3205"}
    (root / "isns/10.0.0.5,3205").rmdir()
    nodes.add(from_portal("10.0.0.5", 3205, "isns"))
    (root / "isns/10.0.0.5,3205").mkdir()
    nodes.add(from_portal("10.0.0.5", 3205, "isns"))
    link = "iqn.a,10.0.0.1,3260,1,default"
    assert os.listdir(root / "isns/10.0.0.5,3205") == [link]
    assert os.listdir(root / "isns") == ["10.0.0.5,3205"]


def test_a_link_to_another_place_is_set_right(nodes, root):
    """Left over from a database that was moved."""
    link = root / "static/iqn.a,10.0.0.1,3260,1,default"
    link.parent.mkdir()
    link.symlink_to("/somewhere/else")
    nodes.add(node())
    assert os.readlink(link) == f"{root}/nodes/iqn.a/{PORTAL}"


def test_adding_where_a_directory_is(nodes, root):
    """A flat record cannot replace a directory; nothing changes."""
    (root / "nodes/iqn.a/10.0.0.1,3260").mkdir(parents=True)
    with pytest.raises(RecordError, match="Is a directory"):
        nodes.add(node(tpgt=-1))
    assert (root / "nodes/iqn.a/10.0.0.1,3260").is_dir()


def test_a_failed_write_leaves_no_link_and_no_directories(nodes, tree, monkeypatch):
    """DB-104: a record that could not be written leaves nothing of itself."""
    from pyiscsi.records import files

    error = OSError(28, "No space left on device")
    monkeypatch.setattr(files, "fill", lambda *args: (_ for _ in ()).throw(error))
    with pytest.raises(RecordError, match=r"Could not open .*/default: No space left on device"):
        nodes.add(node())
    assert set(tree()) == {"nodes", "static"}


def test_a_record_deleted_while_others_are_read_is_left_out(nodes, root):
    """DB-103: a listing beside a client that deletes is no error."""
    for target in ("iqn.a", "iqn.b", "iqn.c"):
        nodes.add(node(target=target))
    reading = nodes.records()
    assert next(reading).node_key().target == "iqn.a"
    os.unlink(root / f"nodes/iqn.b/{PORTAL}/default")
    assert [record.node_key().target for record in reading] == ["iqn.c"]
    assert nodes.problems == []
    assert nodes.exit_code == 0
