"""Many records at once: each as safe as one alone, and what one alone would answer."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from pyiscsi.errors import InvalidArgument, RecordError
from pyiscsi.names import NodeKey
from pyiscsi.records import batch, disk, files, node_bulk
from pyiscsi.records.disk import Disk
from pyiscsi.records.lock import DatabaseLock
from pyiscsi.records.nodes import NodeStore
from tests.unit.records.samples import PORTAL, from_portal, listed, node
from tests.unit.records.test_crash import fill, kill_everywhere, leftovers, small  # noqa: F401

COUNT = 40
PAIR = [("node.startup", "automatic")]


def key_of(number):
    return NodeKey(f"iqn.{number:02}", "10.0.0.1", 3260, 1)


def file_of(root, number):
    return Path(root) / f"nodes/iqn.{number:02}/{PORTAL}/default"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """What other programs write while the tests run plays no part."""
    monkeypatch.setattr(disk, "UNWRITTEN_KB", 1 << 40)


@pytest.fixture
def trusted(env):
    """A file system below the database that tells what is on disk."""
    found = disk.open_disk(env.db_root, COUNT)
    if found is None:
        pytest.skip("syncfs is not to be trusted on the file system of the temporary directory")
    with found:
        assert found.sync()


@pytest.fixture
def keys(nodes):
    """The keys of COUNT records."""
    for number in range(COUNT):
        nodes.add(node(target=f"iqn.{number:02}"))
    return [key_of(number) for number in range(COUNT)]


@pytest.fixture
def few(nodes, monkeypatch):
    """Five records, of which two are changed in one go."""
    monkeypatch.setattr(node_bulk, "FEWEST", 2)
    monkeypatch.setattr(node_bulk, "AT_ONCE", 2)
    for number in range(5):
        nodes.add(node(target=f"iqn.{number:02}"))
    return [key_of(number) for number in range(5)]


def updated(nodes, keys, pairs=PAIR):
    return [outcome for _, outcome in nodes.update_all(keys, pairs)]


def startups(nodes, keys):
    return {nodes.read(key)["node.startup"] for key in keys}


# Updating


def test_the_same_as_one_by_one(env, nodes, keys, tree, tmp_path):
    """DB-037, DB-110: every byte of the database, and the order of the outcomes."""
    before = tree()
    for key in keys:
        nodes.update(key, PAIR)
    expected = tree()
    for name, text in before.items():
        if name.endswith("/default"):
            (Path(env.db_root) / name).write_text(text)
    store = NodeStore(env)
    assert list(store.update_all(keys[::-1], PAIR)) == [(key, []) for key in keys[::-1]]
    assert tree() == expected
    assert store.problems == []


@pytest.mark.usefixtures("trusted")
def test_in_three_steps(env, nodes, keys, monkeypatch):
    """DB-105, DB-106: all texts on disk, then all names, then those on disk too.

    The lock is held for the names alone.
    """
    steps = []
    real_sync, real_rename = Disk.sync, os.rename
    link = f"{env.lock_dir}/lock.write"

    def sync(self):
        assert not os.path.lexists(link)
        steps.append("sync")
        return real_sync(self)

    def rename(old, new):
        assert os.path.lexists(link)
        assert os.path.dirname(old) == env.db_root
        steps.append("rename")
        real_rename(old, new)

    monkeypatch.setattr(Disk, "sync", sync)
    monkeypatch.setattr(os, "rename", rename)
    assert updated(nodes, keys) == [[]] * COUNT
    assert steps == ["sync", *["rename"] * COUNT, "sync"]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_fails(nodes, keys, monkeypatch, failing):
    """DB-105: then each record is synced by itself, before or after it got its name."""
    answers = [True, True]
    answers[failing - 1] = False
    monkeypatch.setattr(Disk, "sync", lambda _self: answers.pop(0) if answers else True)
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd) or real(fd))
    assert updated(nodes, keys) == [[]] * COUNT
    assert startups(nodes, keys) == {"automatic"}
    assert len(synced) == (2 * COUNT if failing == 1 else COUNT)


@pytest.mark.parametrize("missing", ["report", "file system", "library", "time"])
def test_where_only_fsync_will_do(env, nodes, keys, monkeypatch, missing):
    """An old kernel, another file system, a Python that cannot call the C library, and a disk that
    has a lot to write for others.
    """
    if missing == "report":
        monkeypatch.setattr(disk, "_REPORTS_SINCE", (99, 0))
    elif missing == "file system":
        monkeypatch.setattr(disk, "_TRUSTED", {})
    elif missing == "library":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        monkeypatch.setattr(disk, "UNWRITTEN_KB", -1)
    assert disk.open_disk(env.db_root, COUNT) is None
    assert updated(nodes, keys) == [[]] * COUNT
    assert startups(nodes, keys) == {"automatic"}


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("text", "files", "is_used"),
    [
        ("MemFree: 9 kB\nDirty:  3000 kB\nWriteback: 1000 kB\n", 10, True),
        ("MemFree: 9 kB\nDirty:  3000 kB\nWriteback: 1001 kB\n", 10, False),
        ("MemFree: 9 kB\nDirty:  3000 kB\nWriteback: 1001 kB\n", 11, True),
        ("Dirty:\n", 1, True),
        (None, 1, True),
    ],
)
def test_what_the_disk_has_to_write_for_others(env, tmp_path, monkeypatch, text, files, is_used):
    """Too much of it for a few files, and each is synced by itself."""
    monkeypatch.setattr(disk, "UNWRITTEN_KB", 400)
    if text:
        (tmp_path / "meminfo").write_text(text)
    found = disk.open_disk(env.db_root, files, str(tmp_path))
    assert (found is not None) is is_used
    if found:
        with found:
            assert found.sync()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("is_settled", [True, False])
def test_nothing_is_lost_of_what_others_write(nodes, keys, monkeypatch, is_settled):
    """DB-103: records that change between reading and the lock get both changes.

    Those that have not changed for long are told by their ctime, others by their text.
    """
    monkeypatch.setattr(batch, "SETTLED_NS", -(1 << 62) if is_settled else 1 << 62)
    other = NodeStore(nodes.database.env)
    real = Disk.sync
    left = [keys[3], keys[7]]

    def sync(self):
        while left:
            other.update(left.pop(), [("node.session.cmds_max", "64")])
        return real(self)

    monkeypatch.setattr(Disk, "sync", sync)
    assert updated(nodes, keys) == [[]] * COUNT
    assert startups(nodes, keys) == {"automatic"}
    assert [nodes.read(keys[n])["node.session.cmds_max"] for n in (3, 4, 7)] == ["64", "128", "64"]


@pytest.mark.usefixtures("trusted")
def test_a_change_within_one_tick(nodes, keys, root, monkeypatch):
    """DB-103: open-iscsi rewrites in place; the file looks the same to the byte and nanosecond."""
    real = Disk.sync
    real_lstat = os.lstat
    place = file_of(root, 5)
    seen = []

    def sync(self):
        if not seen:
            seen.append(real_lstat(place))
            place.write_bytes(place.read_bytes().replace(b"cmds_max = 128", b"cmds_max = 256"))
        return real(self)

    monkeypatch.setattr(Disk, "sync", sync)
    monkeypatch.setattr(os, "lstat", lambda p: seen[0] if p == str(place) else real_lstat(p))
    assert updated(nodes, keys) == [[]] * COUNT
    assert startups(nodes, keys) == {"automatic"}
    assert nodes.read(keys[5])["node.session.cmds_max"] == "256"


def test_records_out_of_the_ordinary(nodes, keys, root):
    """DB-029, DB-038: a torn one, a missing one, a link, a mode of its own; the others follow."""
    file_of(root, 2).write_text("")
    nodes.delete(keys[4])
    elsewhere = root / "elsewhere"
    file_of(root, 6).rename(elsewhere)
    file_of(root, 6).symlink_to(elsewhere)
    file_of(root, 8).chmod(0o640)
    outcomes = updated(nodes, keys)
    errors = {n: str(o) for n, o in enumerate(outcomes) if isinstance(o, RecordError)}
    assert errors.keys() == {2, 4}
    assert "is empty, cut off or binary, moved to" in errors[2]
    assert errors[4].endswith("No such file or directory")
    others = [key for n, key in enumerate(keys) if n not in errors]
    assert startups(nodes, others) == {"automatic"}
    assert file_of(root, 6).is_symlink()
    assert file_of(root, 8).stat().st_mode & 0o777 == 0o640
    assert file_of(root, 9).stat().st_mode & 0o777 == 0o600
    assert leftovers(root) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_owners_stay(nodes, keys, root):
    """As with one record alone."""
    os.chown(file_of(root, 1), 65534, 65533)
    assert updated(nodes, keys) == [[]] * COUNT
    status = file_of(root, 1).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65533, 0o600)
    assert file_of(root, 0).stat().st_uid == 0


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("node.bogus", "1", "Cannot modify node.bogus. Invalid param name."),
        ("node.startup", "never", "unknown value format 'never' for parameter name 'node.startup'"),
    ],
)
def test_a_change_that_is_refused(nodes, keys, tree, name, value, line):
    """DB-031, DB-038: for each record, and none is touched."""
    before = tree()
    outcomes = updated(nodes, keys, [*PAIR, (name, value)])
    assert all(isinstance(outcome, InvalidArgument) for outcome in outcomes)
    assert {str(outcome).split("\n")[0] for outcome in outcomes} == {line}
    assert tree() == before


def test_warnings_of_each(nodes, keys):
    """DB-032: words of a list that nobody knows."""
    outcomes = updated(nodes, keys, [("node.session.auth.chap_algs", "MD5,X")])
    line = "Ignoring unknown value 'X' for 'node.session.auth.chap_algs'"
    assert outcomes == [[line]] * COUNT


def test_another_file_system_below(nodes, keys, root, monkeypatch):
    """Where a rename cannot work each record is rewritten in place."""
    monkeypatch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(OSError(18, "Cross")))
    assert updated(nodes, keys) == [[]] * COUNT
    assert startups(nodes, keys) == {"automatic"}
    assert leftovers(root) == []


@pytest.mark.root
@pytest.mark.parametrize("room", [0, 1])
def test_full_disk(small, monkeypatch, room):  # noqa: F811
    """DB-104: without room every record keeps its text; one page is enough for all in turn."""
    monkeypatch.setattr(node_bulk, "FEWEST", 2)
    store = NodeStore(small)
    several = [key_of(number) for number in range(3)]
    for key in several:
        store.add(node(target=key.target))
    fill(small.db_root)
    filler = f"{small.db_root}/filler"
    os.truncate(filler, os.stat(filler).st_size - 4096 * room)
    outcomes = updated(store, several)
    if room:
        assert outcomes == [[]] * 3
    else:
        paths = [file_of(small.db_root, number) for number in range(3)]
        lines = [f"Could not open {path}: No space left on device" for path in paths]
        assert [str(outcome) for outcome in outcomes] == lines
    assert startups(store, several) == {"automatic" if room else "manual"}
    assert leftovers(small.db_root) == []


@pytest.mark.usefixtures("trusted")
def test_no_lock_to_be_had(env, nodes, keys, tree):
    """DB-101: one error for all, nothing changed, nobody's lock gone, no temporary file."""
    nodes.database._lock = DatabaseLock(env, tries=2, interval_s=0.001)
    before = tree()
    Path(env.lock_dir, "lock").touch()
    os.link(f"{env.lock_dir}/lock", f"{env.lock_dir}/lock.write")
    with pytest.raises(RecordError, match="Timeout on acquiring lock"):
        updated(nodes, keys)
    for action in (nodes.delete_all(keys), nodes.add_all([node()] * COUNT)):
        with pytest.raises(RecordError, match="Timeout on acquiring lock"):
            list(action)
    assert tree() == before
    assert os.path.lexists(f"{env.lock_dir}/lock.write")


@pytest.mark.usefixtures("trusted")
def test_interrupted(nodes, keys, root, monkeypatch):
    """DB-102: by SIGINT before the lock is taken; no temporary file, no lock, no record is new."""
    real = Disk.sync

    def sync(self):
        signal.raise_signal(signal.SIGINT)
        return real(self)

    monkeypatch.setattr(Disk, "sync", sync)
    with pytest.raises(KeyboardInterrupt):
        updated(nodes, keys)
    assert leftovers(root) == []
    assert startups(nodes, keys) == {"manual"}


@pytest.mark.usefixtures("trusted")
def test_killed_at_every_call(env, nodes, few, root):
    """DB-105, DB-106: every record is the old or the new text, whatever becomes of the others."""
    old = {n: file_of(root, n).read_bytes() for n in range(5)}
    new = {n: old[n].replace(b"startup = manual", b"startup = automatic", 1) for n in old}

    def check():
        for number in range(5):
            assert file_of(root, number).read_bytes() in (old[number], new[number])
            assert os.listdir(file_of(root, number).parent) == ["default"]

    calls = kill_everywhere(lambda: list(NodeStore(env).update_all(few, PAIR)), check)
    assert calls > 40
    assert [file_of(root, n).read_bytes() for n in range(5)] == list(new.values())


# Adding


def found_by_discovery(count=COUNT, **values):
    return [from_portal("10.0.0.9", target=f"iqn.{n:02}", **values) for n in range(count)]


def added(nodes, records):
    return [outcome for _, outcome in nodes.add_all(records)]


@pytest.fixture
def one_by_one(nodes, tree, root):
    """What the database is when these records are added each by itself; it is empty again then."""

    def fill_and_clear(records):
        for record in records:
            nodes.add(record)
        expected = tree()
        for path in root.iterdir():
            shutil.rmtree(path)
        return expected

    return fill_and_clear


@pytest.mark.parametrize("fmt", ["2.1.8", "master"])
def test_added_as_one_by_one(env, tree, one_by_one, fmt):
    """DB-001, DB-005, DB-062: new records, then the same of another discovery over them."""
    first = found_by_discovery()
    second = found_by_discovery(**{"node.startup": "automatic"})
    flat = [from_portal("10.0.0.9", target=f"iqn.{n:02}", tpgt=-1) for n in range(COUNT)]
    for record in second:
        record.values["node.discovery_address"] = "10.0.0.8"
    for record in first + second + flat:
        record.fmt = fmt
    expected = one_by_one([r.copy() for r in first + flat + second])
    store = NodeStore(env)
    for records in (first, flat, second):
        assert added(store, records) == [[]] * COUNT
    assert tree() == expected


@pytest.mark.usefixtures("trusted")
def test_added_in_three_steps(env, nodes, monkeypatch):
    """DB-105, DB-106: all texts on disk, then all names, then those on disk too."""
    steps = []
    real_sync, real_rename = Disk.sync, os.rename
    link = f"{env.lock_dir}/lock.write"
    monkeypatch.setattr(
        Disk, "sync", lambda s: steps.append(("sync", os.path.lexists(link))) or real_sync(s)
    )
    monkeypatch.setattr(
        os, "rename", lambda *a: steps.append(("name", os.path.lexists(link))) or real_rename(*a)
    )
    monkeypatch.setattr(os, "fsync", None)
    files.make_directories(env.db_root, f"{env.db_root}/send_targets/10.0.0.9,3260", durable=False)
    assert added(nodes, found_by_discovery()) == [[]] * COUNT
    assert steps == [("sync", False), *[("name", True)] * COUNT, ("sync", False)]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("failing", [1, 2])
def test_added_to_a_disk_that_fails(nodes, tree, one_by_one, monkeypatch, failing):
    """DB-105: then each is synced by itself, with the directories above it."""
    expected = one_by_one(found_by_discovery())
    answers = [True, True]
    answers[failing - 1] = False
    monkeypatch.setattr(Disk, "sync", lambda _self: answers.pop(0) if answers else True)
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd) or real(fd))
    assert added(nodes, found_by_discovery()) == [[]] * COUNT
    assert tree() == expected
    assert len(synced) >= 4 * COUNT


@pytest.mark.usefixtures("trusted")
def test_names_that_do_not_reach_the_disk(nodes, monkeypatch):
    """An error for each record whose directory cannot be synced."""
    answers = [True, False]
    monkeypatch.setattr(Disk, "sync", lambda _self: answers.pop(0))
    monkeypatch.setattr(os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(5, "I/O error")))
    files.make_directories(
        nodes.database.root, f"{nodes.database.root}/send_targets/10.0.0.9,3260", durable=False
    )
    outcomes = added(nodes, found_by_discovery())
    assert {str(outcome).rpartition(": ")[2] for outcome in outcomes} == {"I/O error"}


def test_added_over_what_is_out_of_the_ordinary(nodes, root, tree):
    """DB-007, DB-029: a link, another owner's file, a name that is too long, one record twice."""
    records = found_by_discovery()
    assert added(nodes, records) == [[]] * COUNT
    expected = tree()
    elsewhere = root / "elsewhere"
    file_of(root, 6).rename(elsewhere)
    file_of(root, 6).symlink_to(elsewhere)
    file_of(root, 8).write_text("")
    long = from_portal("10.0.0.9", target="iqn." + "x" * 240)
    outcomes = added(nodes, [records[3], *records, long, records[4]])
    assert [n for n, outcome in enumerate(outcomes) if outcome] == [COUNT + 1]
    assert "File name too long" in str(outcomes[COUNT + 1])
    assert elsewhere.read_bytes() == records[6].render()
    file_of(root, 6).unlink()
    elsewhere.rename(file_of(root, 6))
    assert {name: text for name, text in tree().items() if "quarantine" not in name} == expected


@pytest.mark.usefixtures("trusted")
def test_killed_while_adding_many(env, nodes, monkeypatch, root):
    """DB-105, DB-106: of each record nothing or all, whatever becomes of the others."""
    monkeypatch.setattr(node_bulk, "FEWEST", 2)
    records = found_by_discovery(3)
    whole = {record.render() for record in records}

    def check():
        for path in (root / "nodes").rglob("*"):
            assert not path.is_file() or path.read_bytes() in whole
        for key in listed(NodeStore(env)):
            nodes.delete(key)

    calls = kill_everywhere(lambda: list(NodeStore(env).add_all(records)), check)
    assert calls > 20
    assert nodes.problems == []


# Deleting


def test_all_are_gone(nodes, keys, tree):
    """DB-048: files, links and directories, under one lock; outcomes in order."""
    taken = []
    real = os.link
    try:
        os.link = lambda *args, **more: taken.append(1) or real(*args, **more)
        assert list(nodes.delete_all(keys)) == [(key, []) for key in keys]
    finally:
        os.link = real
    assert set(tree()) == {"nodes", "static"}
    assert len(taken) == 1


def test_one_that_cannot_be_deleted(nodes, keys, root):
    """DB-048: the others are."""
    nodes.delete(keys[5])
    file_of(root, 7).write_text("")
    outcomes = dict(nodes.delete_all(keys))
    errors = {key for key, outcome in outcomes.items() if outcome}
    assert errors == {keys[5], keys[7]}
    assert str(outcomes[keys[5]]).startswith(f"Could not stat {file_of(root, 5)} to delete node")
    assert listed(nodes) == []


def test_others_get_their_turn(nodes, few, monkeypatch):
    """Between two locks there is time for everybody who waits for it."""
    monkeypatch.setattr(node_bulk, "TURN_S", 0)
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    assert all(outcome == [] for _, outcome in nodes.delete_all(few))
    assert set(pauses) == {2 * node_bulk.INTERVAL_S}


def test_killed_while_deleting_many(env, nodes, few):
    """DB-105: whatever is left can be deleted or made again."""

    def check():
        for key in listed(nodes):
            nodes.read(key)
        for key in few:
            nodes.add(node(target=key.target))

    kill_everywhere(lambda: list(NodeStore(env).delete_all(few)), check)
    assert nodes.problems == []
