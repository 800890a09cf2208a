"""The database lock."""

import asyncio
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import RecordError
from pyiscsi.names import NodeKey
from pyiscsi.records import lock
from pyiscsi.records.lock import DatabaseLock
from pyiscsi.records.nodes import NodeStore
from tests.unit.records.samples import node

KEY = NodeKey("iqn.a", "10.0.0.1", 3260, 1)


@pytest.fixture
def link(env):
    return f"{env.lock_dir}/lock.write"


@pytest.fixture
def foreign(env, link):
    """The lock as another program holds it."""
    os.mkdir(env.lock_dir)
    with open(f"{env.lock_dir}/lock", "w"):
        os.link(f"{env.lock_dir}/lock", link)
    return link


def test_it_is_a_hard_link(env, link):
    """DB-100: of a file that says which process has it."""
    with DatabaseLock(env):
        assert os.path.samefile(link, f"{env.lock_dir}/lock.pyiscsi")
        assert os.stat(link).st_nlink == 2
        assert int(Path(link).read_text()) == os.getpid()
    assert os.listdir(env.lock_dir) == ["lock.pyiscsi"]


def test_waiting_time():
    """DB-101: as long as open-iscsi waits."""
    assert (lock.TRIES, lock.INTERVAL_S) == (3000, 0.01)


def test_lock_of_another_program(env, foreign):
    """DB-101: exit 6, nothing changed, the lock still there."""
    with pytest.raises(RecordError) as caught, DatabaseLock(env, tries=3, interval_s=0.001):
        pytest.fail("entered")
    assert caught.value.exit_code == 6
    words = f"Timeout on acquiring lock on DB: {foreign}: 17: File exists"
    found = re.fullmatch(rf"{words} \(held for (\d+) s by (.*)\)", str(caught.value))
    assert found
    assert found[2] == "a program of open-iscsi"
    assert os.path.exists(foreign)


def test_nothing_is_written_without_the_lock(env, nodes, tree, foreign):
    """DB-101"""
    nodes.database._lock = DatabaseLock(env, tries=2, interval_s=0.001)
    for action in (
        lambda: nodes.add(node()),
        lambda: nodes.update(KEY, [("node.startup", "manual")]),
        lambda: nodes.delete(KEY),
    ):
        with pytest.raises(RecordError, match="Timeout on acquiring lock"):
            action()
    assert tree() == {}
    assert os.path.exists(foreign)


def test_waiting_until_it_is_given_back(env, foreign):
    """DB-101: the command goes on as soon as the other one is done."""
    entered = threading.Event()

    def wait():
        with DatabaseLock(env):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not entered.wait(0.05)
    os.unlink(foreign)
    assert entered.wait(10)
    waiting.join()
    assert not os.path.exists(foreign)


def test_reentrant(env, link):
    """Only the outermost takes and gives it."""
    one = DatabaseLock(env)
    with one:
        with one:
            assert os.path.exists(link)
        assert os.path.exists(link)
    assert not os.path.exists(link)


def test_released_on_an_exception(env, link):
    """DB-102"""
    with pytest.raises(KeyError), DatabaseLock(env):
        raise KeyError
    assert not os.path.exists(link)


def test_usable_again_after_a_timeout(env, foreign):
    """DB-102: a failure leaves nothing of itself."""
    one = DatabaseLock(env, tries=2, interval_s=0.001)
    with pytest.raises(RecordError), one:
        pytest.fail("entered")
    os.unlink(foreign)
    with one:
        assert os.path.exists(foreign)
    assert not os.path.exists(foreign)


def test_removed_by_another_program(env, link):
    """open-iscsi 2.1.8 removes foreign locks after its own timeout; that is no error here."""
    with DatabaseLock(env):
        os.unlink(link)


def test_replaced_by_another_program(env, link):
    """What open-iscsi then has in place of ours is not removed."""
    with DatabaseLock(env):
        os.unlink(link)
        Path(env.lock_dir, "lock").touch()
        os.link(f"{env.lock_dir}/lock", link)
    assert os.path.samefile(link, f"{env.lock_dir}/lock")


def test_lock_of_a_dead_process_is_taken_over(env, link, run_child):
    """DB-102, DB-105: killed with the lock in hand; the next one waits for nothing."""
    child = run_child(HOLDER)
    assert child.stdout.readline() == "held\n"
    child.kill()
    child.wait()
    assert int(Path(link).read_text()) == child.pid
    with DatabaseLock(env, tries=1):
        assert int(Path(link).read_text()) == os.getpid()
    assert os.listdir(env.lock_dir) == ["lock.pyiscsi"]


def test_lock_of_a_dead_process_is_taken_over_once(env, link, run_child):
    """DB-103: of many that find it, one at a time has it."""
    child = run_child(HOLDER)
    assert child.stdout.readline() == "held\n"
    child.kill()
    child.wait()
    inside, seen = [], []

    def work():
        with DatabaseLock(env):
            inside.append(1)
            seen.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


@pytest.mark.parametrize("stopped", [False, True])
def test_a_living_owner_is_named(env, link, run_child, stopped):
    """DB-101: by number and name, and that it is stopped; its lock stays."""
    child = run_child(HOLDER)
    assert child.stdout.readline() == "held\n"
    if stopped:
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    with pytest.raises(RecordError) as caught, DatabaseLock(env, tries=2, interval_s=0.001):
        pytest.fail("entered")
    name = Path(f"/proc/{child.pid}/comm").read_text().strip()
    owner = f"process {child.pid}, {name}" + (", stopped" if stopped else "")
    assert str(caught.value).endswith(f" s by {owner})")
    assert os.path.exists(link)
    child.send_signal(signal.SIGCONT)
    assert child.communicate("\n")[0] == "leaving\nsurvived\n"


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("", "an unknown process"),
        ("x", "an unknown process"),
        ("4194305\n", "process 4194305"),
    ],
)
def test_an_owner_that_cannot_be_named(env, link, text, owner):
    """A signature that a full disk swallowed, and a process of another namespace."""
    with DatabaseLock(env):
        Path(link).write_text(text)
        with pytest.raises(RecordError) as caught, DatabaseLock(env, tries=1):
            pytest.fail("entered")
        assert str(caught.value).endswith(f" s by {owner})")


def test_the_lock_file_is_taken_away(env, link):
    """Of two that have locked different files of its name only one gets the lock."""
    with DatabaseLock(env):
        os.unlink(f"{env.lock_dir}/lock.pyiscsi")
        with pytest.raises(RecordError, match="held for"), DatabaseLock(env, tries=2):
            pytest.fail("entered")
    with DatabaseLock(env):
        assert os.path.samefile(link, f"{env.lock_dir}/lock.pyiscsi")


def test_a_file_system_without_locks(env, link, monkeypatch):
    """Exit 6 and the reason, instead of a lock that two could have."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks")))
    with pytest.raises(RecordError, match="No locks") as caught, DatabaseLock(env):
        pytest.fail("entered")
    assert caught.value.exit_code == 6
    assert not os.path.exists(link)


@pytest.mark.parametrize("shared", [True, False])
def test_threads_exclude_each_other(env, shared):
    """DB-103: whether they share the object or not."""
    one = DatabaseLock(env)
    inside, seen = [], []

    def work():
        mine = one if shared else DatabaseLock(env)
        for _ in range(20):
            with mine:
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 80


@pytest.mark.parametrize(("is_file", "reason"), [(True, "Not a directory"), (False, "No such")])
def test_lock_directory_that_cannot_be(tmp_path, is_file, reason):
    """Exit 6 and the directory's name."""
    if is_file:
        (tmp_path / "parent").write_text("")
    directory = f"{tmp_path}/parent/lock"
    with pytest.raises(RecordError) as caught, DatabaseLock(Env(lock_dir=directory)):
        pytest.fail("entered")
    assert str(caught.value).startswith(f"Could not open {directory}: {reason}")
    assert caught.value.exit_code == 6


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_permission(env, tmp_path, run_child, open_to_all):
    """Exit 6 with the original's two lines; the listing of others needs no lock."""
    os.mkdir(env.lock_dir, 0o755)
    open_to_all(tmp_path)
    script = """
        import os
        from pyiscsi.errors import RecordError
        from pyiscsi.records.lock import DatabaseLock
        os.setresuid(65534, 65534, 65534)
        try:
            with DatabaseLock(env):
                pass
        except RecordError as error:
            print(error)
    """
    out = run_child(script).communicate()[0]
    lines = f"Maybe you are not root?\nCould not lock discovery DB: {env.lock_dir}/lock.write"
    assert out == f"{lines}: Permission denied\n"


# Signals


def _heed_signals():
    """A shell that starts this run in the background has them ignored in all its descendants."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def run_child(env):
    """Start a Python child that has the test's `env`; ended with the test."""
    children = []

    def start(script, *args):
        lines = script.split("\n")
        indent = min(len(x) - len(x.lstrip()) for x in lines if x.strip())
        settings = {name: getattr(env, name) for name in env.__slots__}
        head = f"from pyiscsi.env import Env\nenv = Env(**{settings!r})\n"
        child = subprocess.Popen(
            [sys.executable, "-c", head + "\n".join(x[indent:] for x in lines), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(lock.__file__))),
            preexec_fn=_heed_signals,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


HOLDER = """
    import sys
    from pyiscsi.records.lock import DatabaseLock
    with DatabaseLock(env):
        print("held", flush=True)
        sys.stdin.readline()
        print("leaving", flush=True)
    print("survived", flush=True)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_signal_waits_for_the_release(run_child, link, number):
    """DB-102: the file being written is finished, the lock removed, then the program ends."""
    child = run_child(HOLDER)
    assert child.stdout.readline() == "held\n"
    child.send_signal(number)
    assert os.path.exists(link)
    out, _ = child.communicate("\n")
    assert out == "leaving\n"
    assert child.returncode == -number
    assert not os.path.exists(link)


def test_signals_come_through_again(run_child):
    """DB-102: after the release nothing is held back."""
    child = run_child(HOLDER + "    sys.stdin.readline()\n")
    child.stdin.write("\n")
    child.stdin.flush()
    assert [child.stdout.readline() for _ in range(3)] == ["held\n", "leaving\n", "survived\n"]
    child.send_signal(signal.SIGTERM)
    child.communicate()
    assert child.returncode == -signal.SIGTERM


def test_a_signal_ends_the_waiting(run_child, foreign):
    """DB-102: a command that waits for the lock can be stopped, and takes nothing with it."""
    child = run_child("""
        import os
        from pyiscsi.records import lock
        real = os.link
        def link(*args):
            print("trying", flush=True)
            real(*args)
        os.link = link
        with lock.DatabaseLock(env):
            print("entered", flush=True)
    """)
    assert child.stdout.readline() == "trying\n"
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate()
    assert "entered" not in out
    assert child.returncode == -signal.SIGTERM
    assert os.path.exists(foreign)


# Many programs


def test_parallel_updates_are_all_kept(run_child, nodes, link):
    """DB-103: different keys of one record from 12 programs; a reader sees whole records only."""
    nodes.add(node())
    keys = [key for key, text in node().values.items() if text == "0" and "." in key][:12]
    keys = [key for key in keys if key.startswith(("iface.", "node.session"))]
    script = """
        import sys
        from pyiscsi.names import NodeKey
        from pyiscsi.records.nodes import NodeStore
        store = NodeStore(env)
        sys.stdin.readline()
        for number in range(1, 6):
            store.update(NodeKey("iqn.a", "10.0.0.1", 3260, 1), [(sys.argv[1], str(number))])
    """
    children = [run_child(script, key) for key in keys]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    while any(child.poll() is None for child in children):
        assert nodes.read(KEY)["node.name"] == "iqn.a"
    assert [child.returncode for child in children] == [0] * len(keys)
    record = nodes.read(KEY)
    assert {record[key] for key in keys} == {"5"}
    assert not os.path.exists(link)
    assert nodes.problems == []


def test_the_event_loop_goes_on(env, nodes, foreign):
    """DB-107: the daemon waits for the lock in a thread."""
    os.unlink(foreign)
    nodes.add(node())
    os.link(f"{env.lock_dir}/lock", foreign)

    async def main():
        pair = [("node.startup", "automatic")]
        update = asyncio.create_task(asyncio.to_thread(NodeStore(env).update, KEY, pair))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not update.done()
        os.unlink(foreign)
        await asyncio.wait_for(update, 10)

    asyncio.run(main())
    assert nodes.read(KEY)["node.startup"] == "automatic"
