"""Many clients at once, and clients that hang: nothing is lost, nobody waits for them."""

import fcntl
import os
import re
import signal
import socket
import threading
import time

import pytest

from tests.unit.cli import programs
from tests.unit.cli.commands import Machine

ONE = "-T iqn.x:one -p 10.0.0.1:3260,1"
TWO = "-T iqn.x:two -p 10.0.0.2:3260,1"
UPDATE = f"-m node {ONE} -o update -n node.startup -v automatic"
OTHER = f"-m node {TWO} -o update -n node.startup -v automatic"

SETTINGS = {
    "node.session.auth.username": "somebody",
    "node.session.auth.password": "secret-secret",
    "node.session.timeo.replacement_timeout": "11",
    "node.session.err_timeo.abort_timeout": "12",
    "node.session.err_timeo.lu_reset_timeout": "13",
    "node.session.err_timeo.tgt_reset_timeout": "14",
    "node.session.err_timeo.host_reset_timeout": "15",
    "node.session.initial_login_retry_max": "16",
    "node.session.cmds_max": "64",
    "node.session.queue_depth": "17",
    "node.session.nr_sessions": "2",
    "node.session.scan": "manual",
    "node.session.reopen_max": "18",
    "node.session.iscsi.FirstBurstLength": "65536",
    "node.session.iscsi.MaxBurstLength": "131072",
    "node.conn[0].timeo.login_timeout": "19",
    "node.conn[0].timeo.logout_timeout": "20",
    "node.conn[0].timeo.noop_out_interval": "21",
    "node.conn[0].timeo.noop_out_timeout": "22",
    "node.startup": "automatic",
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    for line in (f"-m node -o new {ONE}", f"-m node -o new {TWO}"):
        assert made.run_line(line).status == 0
    return made


def record(machine, which):
    """A record's settings, secrets included, as the command shows them."""
    out = machine.run_line(f"-m node {which} -S -o show").out
    return dict(line.split(" = ", 1) for line in out.splitlines() if " = " in line)


def test_updates_of_one_record_are_all_kept(machine):
    """DB-103: twenty programs, twenty settings of one record; a reader sees whole records only."""
    assert len(SETTINGS) == 20
    before = record(machine, ONE)
    lines = [f"-m node {ONE} -o update -n {name} -v {value}" for name, value in SETTINGS.items()]
    running = [programs.start(line) for line in lines]
    while any(process.poll() is None for process in running):
        assert len(record(machine, ONE)) == len(before)
    for process in running:
        assert programs.finish(process) == (0, "", "")
    assert record(machine, ONE) == {**before, **SETTINGS}
    assert os.listdir(machine.path / "lock") == ["lock.pyiscsi"]


# Clients that wait for a daemon


@pytest.fixture
def silent_daemon(machine):
    """A daemon that is there and says nothing; `reached` is set when somebody asks it."""
    reached = threading.Event()
    asked = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.environ["PYISCSI_SOCKET"])
        os.chmod(os.environ["PYISCSI_SOCKET"], 0o600)
        listener.listen(8)

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                asked.append(connection)
                connection.recv(1)
                reached.set()

        thread = threading.Thread(target=serve)
        thread.start()
        yield reached
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in asked:
        connection.close()


WAITING = {
    "login": f"-m node {TWO} -l",
    "discovery": "-m discovery -t st -p 10.0.0.1",
    "discoverydb": "-m discoverydb -t st -p 10.0.0.1 -D",
    "new": "-m node -o new -T iqn.x:three -p 10.0.0.3,1",
    "discoverydb new": "-m discoverydb -t st -p 10.0.0.1 -o new",
    "logout": f"-m node {ONE} -u",
    "statistics": "-m session -s",
    "show": "-m session -P 1",
}


@pytest.mark.parametrize("line", WAITING.values(), ids=WAITING)
def test_a_client_that_waits_for_the_daemon_has_no_lock(machine, silent_daemon, line):
    """DB-103: while it hangs the lock is free, and another client changes the same record."""
    machine.session(1, "iqn.x:one", "10.0.0.1")
    hanging = programs.start(line)
    try:
        assert silent_daemon.wait(programs.LIMIT_S), "nobody asked the daemon"
        assert not is_locked(machine)
        assert machine.run_line(OTHER).status == 0
        assert record(machine, TWO)["node.startup"] == "automatic"
    finally:
        hanging.kill()
        hanging.communicate()


@pytest.mark.parametrize("name", ["login", "logout", "discovery", "statistics"])
def test_interrupted_while_it_waits_for_the_daemon(machine, silent_daemon, name):
    """CLI-062: what was printed before is shown, then one line, status 1."""
    machine.session(1, "iqn.x:one", "10.0.0.1")
    hanging = programs.start(WAITING[name])
    assert silent_daemon.wait(programs.LIMIT_S), "nobody asked the daemon"
    hanging.send_signal(signal.SIGINT)
    status, out, err = programs.finish(hanging)
    assert (status, err) == (1, "iscsiadm: caught SIGINT, exiting...\n")
    assert out.startswith({"login": "Logging in to ", "logout": "Logging out of "}.get(name, ""))


def is_locked(machine):
    """Whether another process has the lock, or one that died has left it."""
    try:
        fd = os.open(machine.path / "lock/lock.pyiscsi", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return os.path.lexists(machine.path / "lock/lock.write")


# Clients that are stopped

WRITERS = {
    "update": UPDATE,
    "update with two names": f"{UPDATE} -n node.session.scan -v manual",
    "new": "-m node -o new -T iqn.x:three -p 10.0.0.3:3260,1",
    "delete": f"-m node {ONE} -o delete",
    "iface new": "-m iface -I eth -o new",
    "discoverydb new": "-m discoverydb -t st -p 10.0.0.1 -o new",
}
WAITS = re.compile(
    r"(connect|accept4?|(send|recv)(to|msg|mmsg|from)|p?poll|p?select6?|epoll_p?wait2?"
    r"|(clock_)?nanosleep|pause|wait4|waitid|execve|v?fork|clone3?|rt_sigtimedwait)$"
)


def locked_part(calls):
    """The calls between getting the kernel's lock and giving it back."""
    first = next(i for i, call in enumerate(calls) if call.name == "flock")
    fd = re.match(r"flock\((\d+)<", calls[first].text)[1]
    last = next(
        i for i, call in enumerate(calls) if i > first and call.text.startswith(f"close({fd}<")
    )
    return calls[first : last + 1]


@pytest.mark.parametrize("line", WRITERS.values(), ids=WRITERS)
@pytest.mark.usefixtures("steady")
def test_nothing_is_waited_for_under_the_lock(machine, line):
    """DB-103: no socket, no other process and no sleep between taking the lock and its end."""
    calls = programs.trace(line, machine.path / "trace")
    inside = [call for call in locked_part(calls) if not call.name.startswith("rt_sig")]
    assert {"link", "unlink"} <= {call.name for call in inside}
    assert [call for call in inside if WAITS.match(call.name)] == []
    assert [call for call in inside if call.name == "read" and "<socket" in call.text] == []


class Stopped:
    """A command stopped by SIGSTOP at one of its calls; `go_on` lets it finish."""

    def __init__(self, line, call, file):
        self.file = file
        options = programs.interrupting(call, "SIGSTOP", file)
        self.process = programs.start(line, *options, "-f")
        self.pid = 0

    def wait(self):
        """Until the kernel has stopped it."""
        deadline = time.monotonic() + programs.LIMIT_S
        while not (found := re.search(r"^(\d+) +--- stopped by SIGSTOP", self._text(), re.M)):
            assert self.process.poll() is None, self._text()
            assert time.monotonic() < deadline, self._text()
            time.sleep(0.005)
        self.pid = int(found[1])

    def _text(self):
        return self.file.read_text(errors="replace") if self.file.exists() else ""

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)
        return programs.finish(self.process)

    def end(self):
        if self.process.poll() is None:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def stop(machine):
    """Stop a command right after one of its calls; it is ended with the test."""
    stopped = []

    def start(line, call):
        file = machine.path / f"stopped{len(stopped)}"
        stopped.append(Stopped(line, call, file))
        stopped[-1].wait()
        return stopped[-1]

    yield start
    for one in stopped:
        one.end()


@pytest.mark.usefixtures("steady")
def test_stopped_outside_the_critical_section(machine, stop):
    """DB-103: before the lock and after it a client may hang as long as it likes."""
    calls = programs.trace(UPDATE, machine.path / "trace")
    used = [call for call in calls if str(machine.path) in call.text]
    inside = locked_part(calls)
    outside = [call for call in used if call not in inside] + [inside[-1]]
    assert len(outside) > 5
    for call in outside:
        hanging = stop(UPDATE, call)
        assert not is_locked(machine), call
        assert machine.run_line(OTHER).status == 0, call
        assert hanging.go_on() == (0, "", ""), call


@pytest.mark.usefixtures("steady")
def test_stopped_inside_the_critical_section(machine, stop, monkeypatch):
    """DB-101: others end with status 6 and the name of the one that is stopped; readers go on.

    Nothing of theirs is half done, nothing of the stopped one is lost.
    """
    calls = programs.trace(UPDATE, machine.path / "trace")
    (rename,) = [call for call in calls if call.name == "rename"]
    machine.run_line(f"-m node {ONE} -o update -n node.startup -v manual")
    before = machine.files()
    monkeypatch.setenv("PYISCSI_PROC_ROOT", "/proc")
    hanging = stop(UPDATE, rename)
    lines = (OTHER, f"-m node {TWO} -o delete", "-m iface -I eth -o new")
    waiting = [programs.start(line) for line in lines]
    for listing in ("-m node", "-m node -o show", "-m iface", f"-m node {ONE}"):
        assert machine.run_line(listing).status == 0, listing
    lock = machine.path / "lock/lock.write"
    owner = rf"process {hanging.pid}, iscsiadm, stopped"
    timeout = rf"Timeout on acquiring lock on DB: {lock}: 17: File exists"
    for process in waiting:
        status, out, err = programs.finish(process)
        assert (status, out) == (6, "")
        assert re.match(rf"iscsiadm: {timeout} \(held for \d+ s by {owner}\)\n", err), err
    assert machine.files() == before
    assert record(machine, TWO)["node.startup"] == "manual"
    assert hanging.go_on() == (0, "", "")
    assert record(machine, ONE)["node.startup"] == "automatic"
    assert machine.run_line(OTHER).status == 0
