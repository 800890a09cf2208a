"""Full disks, limits, and a program killed at any moment: old text or new, never less."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError, RecordError
from pyiscsi.names import NodeKey
from pyiscsi.records import files
from pyiscsi.records.discovery import DiscoveryStore
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, SENDTARGETS
from tests.unit.records.samples import PORTAL, listed, node, sendtargets

KEY = NodeKey("iqn.a", "10.0.0.1", 3260, 1)
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(files.__file__)))
RECORD = f"nodes/iqn.a/{PORTAL}/default"


def run(script, env, *args):
    """Run a script in a child with `env` and `store`; returns the finished process."""
    settings = {name: getattr(env, name) for name in env.__slots__}
    head = (
        "import os, sys\nfrom pyiscsi.env import Env\nfrom pyiscsi.names import NodeKey\n"
        "from pyiscsi.errors import PyIscsiError\nfrom pyiscsi.records.nodes import NodeStore\n"
        f"env = Env(**{settings!r})\nstore = NodeStore(env)\n"
        'KEY = NodeKey("iqn.a", "10.0.0.1", 3260, 1)\n'
    )
    return subprocess.run(
        [sys.executable, "-c", head + script, *map(str, args)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )


# Full disk


@pytest.fixture
def small(tmp_path):
    """An Env whose database is a real file system of a few pages."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    where = tmp_path / "small"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24k,nr_inodes=40", "tmpfs", str(where)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {done.stderr.strip()}")
    yield Env(db_root=str(where), config_root=str(where), lock_dir=str(tmp_path / "lock"))
    subprocess.run(["umount", str(where)], check=True)


def fill(root):
    """Use every page of the file system."""
    with open(f"{root}/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def leftovers(root):
    return [name for name in os.listdir(root) if name.startswith(".pyiscsi.")]


@pytest.mark.root
def test_full_disk_while_updating(small):
    """DB-104: exit 6, the record's name and the reason; the old record as it was."""
    store = NodeStore(small)
    store.add(node())
    fill(small.db_root)
    record = Path(small.db_root) / RECORD
    before = record.read_bytes()
    with pytest.raises(RecordError) as caught:
        store.update(KEY, [("node.session.auth.username", "x" * 255)])
    line = f"Could not open {small.db_root}/{RECORD}: No space left on device"
    assert (str(caught.value), caught.value.exit_code) == (line, 6)
    assert record.read_bytes() == before
    assert leftovers(small.db_root) == []
    assert os.listdir(small.lock_dir) == ["lock.pyiscsi"]
    os.unlink(f"{small.db_root}/filler")
    store.update(KEY, [("node.startup", "automatic")])
    assert store.read(KEY)["node.startup"] == "automatic"


ADDING = {
    "node": lambda env: NodeStore(env).add(node()),
    "discovery": lambda env: DiscoveryStore(env).write(sendtargets()),
    "iface": lambda env: IfaceStore(env).write(Record(IFACE, {"iface.iscsi_ifacename": "eth"})),
}


@pytest.mark.root
@pytest.mark.parametrize("kind", ADDING)
def test_full_disk_while_adding(small, kind):
    """DB-104: nothing of a new record is left, and none is listed."""
    fill(small.db_root)
    with pytest.raises(RecordError, match="No space left on device"):
        ADDING[kind](small)
    assert leftovers(small.db_root) == []
    assert NodeStore(small).keys() == []
    assert IfaceStore(small).names() == []
    assert DiscoveryStore(small).addresses(SENDTARGETS) == []


@pytest.mark.root
def test_no_inodes_left(small):
    """DB-104: not even a temporary file can be made."""
    store = NodeStore(small)
    store.add(node())
    try:
        for number in range(100):
            os.mkdir(f"{small.db_root}/d{number}")
    except OSError:
        pass
    with pytest.raises(RecordError, match="No space left on device"):
        store.update(KEY, [("node.startup", "automatic")])
    assert store.read(KEY)["node.startup"] == "manual"


@pytest.mark.root
def test_read_only_file_system(small):
    """DB-104"""
    store = NodeStore(small)
    store.add(node())
    subprocess.run(["mount", "-o", "remount,ro", small.db_root], check=True)
    for action in (
        lambda: store.update(KEY, [("node.startup", "automatic")]),
        lambda: store.delete(KEY),
        lambda: store.add(node(target="iqn.b")),
    ):
        with pytest.raises(RecordError, match="Read-only file system") as caught:
            action()
        assert caught.value.exit_code == 6
    assert store.read(KEY)["node.startup"] == "manual"


@pytest.mark.parametrize("limit", [0, 1, 1000, 2098])
def test_a_file_cannot_grow(env, nodes, tree, limit):
    """DB-104: the write stops in the middle of the text."""
    nodes.add(node())
    before = tree()
    done = run(
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n    store.update(KEY, [('node.startup', 'automatic')])\n"
        "except PyIscsiError as error:\n    print(error)\n    sys.exit(error.exit_code)\n",
        env,
    )
    assert done.returncode == 6, done.stderr
    assert done.stdout == f"Could not open {env.db_root}/{RECORD}: File too large\n"
    assert tree() == before
    assert os.listdir(env.lock_dir) == ["lock.pyiscsi"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_permission(env, nodes, root, tree, tmp_path, open_to_all):
    """DB-104: the lock can be taken, the record not written."""
    nodes.add(node())
    before = tree()
    open_to_all(tmp_path)
    for path in (env.lock_dir, f"{env.lock_dir}/lock.pyiscsi", root / RECORD):
        os.chown(path, 65534, 65534)
    for path in [(root / RECORD).parents[n] for n in range(3)]:
        os.chown(path, 65534, 65534)
    done = run(
        # All imported before: the project may lie where only root can read.
        "import importlib, pkgutil, pyiscsi.records as room\n"
        "for each in pkgutil.iter_modules(room.__path__, 'pyiscsi.records.'):\n"
        "    importlib.import_module(each.name)\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try:\n    store.update(KEY, [('node.startup', 'automatic')])\n"
        "except PyIscsiError as error:\n    print(error)\n    sys.exit(error.exit_code)\n",
        env,
    )
    assert done.returncode == 6, done.stderr
    line = f"Could not open {env.db_root}/{RECORD}: Permission denied"
    assert done.stdout == f"Maybe you are not root?\n{line}\n"
    assert tree() == before


# SIGKILL: nobody tidies up after it, the next writer has to manage

CALLS = (
    "open",
    "write",
    "pwrite",
    "fsync",
    "fchmod",
    "close",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "symlink",
)


def killed_child(action, number):
    """Fork, run `action`, and SIGKILL it before its system call `number`; the wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = [number]

    def wrap(real):
        def call(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*args, **kwargs)

        return call

    try:
        for name in CALLS:
            setattr(os, name, wrap(getattr(os, name)))
        action()
        os._exit(0)
    finally:
        os._exit(1)


def kill_everywhere(action, check):
    """Kill `action` before its first, second, ... system call, until it ends by itself."""
    for number in range(200):
        status = killed_child(action, number)
        check()
        if status == 0:
            return number
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("it never ended")


def test_killed_while_updating(env, nodes, root):
    """DB-105, DB-106: at every system call the record is the old or the new text."""
    nodes.add(node())
    old = (root / RECORD).read_bytes()
    new = old.replace(b"node.startup = manual", b"node.startup = automatic")

    def check():
        assert (root / RECORD).read_bytes() in (old, new)
        assert os.listdir(root / f"nodes/iqn.a/{PORTAL}") == ["default"]
        assert [key.target for key in listed(nodes)] == ["iqn.a"]

    pair = [("node.startup", "automatic")]
    calls = kill_everywhere(lambda: NodeStore(env).update(KEY, pair), check)
    assert calls > 8
    assert (root / RECORD).read_bytes() == new


def test_killed_while_adding(env, nodes, root):
    """DB-105, DB-106: no record or all of it; never an empty one."""

    def action():
        store = NodeStore(env)
        store.add(node())
        store.add(node(tpgt=-1))

    whole = {node().render(), node(tpgt=-1).render()}

    def check():
        for path in (root / "nodes").rglob("*"):
            assert not path.is_file() or path.read_bytes() in whole
        for key in listed(NodeStore(env)):
            nodes.delete(key)

    kill_everywhere(action, check)
    assert nodes.problems == []


def test_killed_while_deleting(env, nodes):
    """DB-105: whatever is left can be deleted or made again."""

    def check():
        for record in nodes.records():
            assert record["node.name"] == "iqn.a"
        nodes.add(node())

    nodes.add(node())
    kill_everywhere(lambda: NodeStore(env).delete(KEY), check)
    assert nodes.problems == []


def test_killed_at_any_moment(env, nodes, root):
    """DB-105: from outside, in the middle of a stream of updates."""
    nodes.add(node())
    texts = set()
    for word in ("manual", "automatic"):
        record = node(node__startup=word, **{"node.session.auth.username": "u" * 255})
        texts.add(record.render())
    texts.add((root / RECORD).read_bytes())
    settings = {name: getattr(env, name) for name in env.__slots__}
    script = (
        "import sys, itertools\nfrom pyiscsi.env import Env\nfrom pyiscsi.names import NodeKey\n"
        f"from pyiscsi.records.nodes import NodeStore\nstore = NodeStore(Env(**{settings!r}))\n"
        "for word in itertools.cycle(('manual', 'automatic')):\n"
        "    store.update(NodeKey('iqn.a', '10.0.0.1', 3260, 1), [('node.startup', word),"
        " ('node.session.auth.username', 'u' * 255)])\n"
        "    print(flush=True)\n"
    )
    for rounds in range(1, 9):
        child = subprocess.Popen(
            [sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE
        )
        for _ in range(rounds):
            child.stdout.readline()
        child.kill()
        child.communicate()
        assert (root / RECORD).read_bytes() in texts


def test_files_left_by_killed_writers_are_removed(env, nodes, root):
    """DB-106: once they are older than any writer can be; others' stay."""
    old, new, other = (root / f".pyiscsi.{n}" for n in ("1.0", "2.0", "3.d"))
    for path in (old, new):
        path.write_text("x")
    other.mkdir()
    past = time.time() - files.STALE_AFTER_S - 5
    for path in (old, other):
        os.utime(path, (past, past))
    nodes.add(node())
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_a_temporary_name_that_is_taken(env, nodes, root):
    """Left by an earlier process of the same number: neither used nor overwritten."""
    taken = root / f".pyiscsi.{os.getpid()}.0"
    taken.write_text("x")
    nodes.add(node())
    assert taken.read_text() == "x"
    assert nodes.keys() == [KEY]


def test_no_temporary_file_in_scanned_directories(env, nodes, root, monkeypatch):
    """DB-106: it is made in the root, and synced before it gets its name."""
    nodes.add(node())
    made, order = [], []
    real_open, real_fsync, real_rename = os.open, os.fsync, os.rename

    def opened(path, flags, *more):
        if flags & os.O_CREAT:
            made.append(os.path.dirname(path))
        return real_open(path, flags, *more)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("fsync") or real_fsync(fd))
    monkeypatch.setattr(os, "rename", lambda *a: order.append("rename") or real_rename(*a))
    nodes.update(KEY, [("node.startup", "automatic")])
    assert set(made) == {env.lock_dir, env.db_root}
    assert order == ["fsync", "rename", "fsync"]


def test_another_file_system_below(env, nodes, root, monkeypatch):
    """Where a rename cannot work the record is rewritten in place."""
    nodes.add(node(node__startup="automatic"))
    monkeypatch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(OSError(18, "Cross")))
    nodes.update(KEY, [("node.startup", "manual")])
    assert (root / RECORD).read_bytes() == node().render()
    assert leftovers(root) == []


def test_root_that_cannot_be_made(tmp_path):
    """What every command does first: the original's two lines, exit 6."""
    files.ensure_root(str(tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    files.ensure_root(str(tmp_path / "new"))
    with pytest.raises(PyIscsiError) as caught:
        files.ensure_root(str(tmp_path / "a/b"))
    lines = f"Could not make {tmp_path}/a/b 2\nexiting due to idbm configuration error"
    assert (str(caught.value), caught.value.exit_code) == (lines, 6)
