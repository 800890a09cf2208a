"""iscsid as a process: its start, its clients, its end."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from pyiscsi.errors import DaemonError, IpcError
from pyiscsi.ipc import messages
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from tests.integration.ipc.iscsid import NAME, WAIT_S, Machine

ROOT = os.geteuid() == 0


def speak(machine: Machine) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(WAIT_S)
    sock.connect(machine.env.socket_path)
    return sock


def lines_of(sock: socket.socket) -> list[bytes]:
    """All lines until the daemon closes."""
    with sock.makefile("rb") as file:
        return file.readlines()


def record(**values: str) -> dict[str, str]:
    made = Record(NODE)
    for key, text in {"node.name": "iqn.a:t", "node.conn[0].address": "127.0.0.1"}.items():
        made.set(key, text)
    return made.to_map() | values


def test_requests_without_a_kernel(machine: Machine) -> None:
    """PYISCSI_NO_KERNEL=1: all requests are served, a login ends with 12."""
    with machine.iscsid() as daemon, daemon.connect() as client:
        assert client.request("config") == {
            "config_file": machine.env.config_file,
            "initiator_name": NAME,
            "initiator_alias": os.uname().nodename,
        }
        assert client.request("session_info") == {"sessions": {}}
        for op, args, code in (
            ("login", {"record": record()}, 12),
            ("logout", {"sid": 1}, 2),
            ("stats", {"sid": 1}, 2),
            ("nothing", {}, 16),
        ):
            with pytest.raises(DaemonError) as caught:
                client.request(op, args, timeout=WAIT_S)
            assert caught.value.exit_code == code, op


def test_sigterm_ends_with_0_and_leaves_nothing(machine: Machine) -> None:
    """D-076, CLI-384."""
    with machine.iscsid() as daemon:
        status, out, err = daemon.end(signal.SIGTERM)
    assert (status, out) == (0, "iscsid shutting down.\n")
    assert not [line for line in err.splitlines() if not line.startswith("iscsid: ")]
    assert not os.path.lexists(machine.env.socket_path)


def test_sigint_ends_the_foreground(machine: Machine) -> None:
    with machine.iscsid() as daemon:
        status, out, _ = daemon.end(signal.SIGINT)
    assert (status, out) == (0, "iscsid shutting down.\n")


def test_the_callers_process_group_is_left_alone(machine: Machine) -> None:
    """W-24, D-076: the original takes the script that started it down."""
    with machine.iscsid() as daemon:
        assert os.getpgid(daemon.process.pid) == os.getpgid(0)
        assert daemon.end(signal.SIGTERM)[0] == 0


def test_stop(machine: Machine) -> None:
    """D-076: the answer comes when a new daemon could start; then the process ends with 0."""
    with machine.iscsid() as daemon:
        with daemon.connect() as client:
            assert client.request("stop", timeout=WAIT_S) == {}
            assert not os.path.lexists(machine.env.socket_path)
        with machine.iscsid() as second, second.connect() as client:
            assert client.request("config", timeout=WAIT_S)["initiator_name"] == NAME
        assert daemon.ended()[0] == 0


def test_sighup_reloads(machine: Machine) -> None:
    """W-27."""
    with machine.iscsid() as daemon, daemon.connect() as client:
        Path(machine.env.initiatorname_file).write_text("InitiatorName=iqn.a:new\n")
        daemon.process.send_signal(signal.SIGHUP)
        name = NAME
        while name == NAME:
            name = client.request("config", timeout=WAIT_S)["initiator_name"]
        assert name == "iqn.a:new"


def test_a_second_daemon_says_who_is_in_the_way(machine: Machine) -> None:
    """D-002, CLI-382: exit 1 with a bind message; the first one goes on."""
    with machine.iscsid() as daemon:
        second = machine.run("-f")
        assert second.returncode == 1
        path = machine.env.socket_path
        line = f"iscsid: Can not bind IPC socket {path}: iscsid is already running\n"
        assert (second.stdout, second.stderr) == ("", line)
        third = machine.run("-n")
        assert (third.returncode, third.stdout, third.stderr) == (1, "", "")
        with daemon.connect() as client:
            assert client.request("config")["initiator_name"] == NAME


def test_many_daemons_started_at_once_leave_exactly_one(machine: Machine) -> None:
    with machine.iscsid() as daemon:
        others = [
            subprocess.Popen(
                [sys.executable, "-m", "pyiscsi.cli.iscsid", "-f"],
                env=machine.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for _ in range(3)
        ]  # fmt: skip
        assert [other.wait(WAIT_S) for other in others] == [1, 1, 1]
        with daemon.connect() as client:
            client.request("config")


def test_a_daemon_that_was_killed_does_not_keep_its_successor_out(machine: Machine) -> None:
    with machine.iscsid() as daemon:
        daemon.end(signal.SIGKILL)
    assert os.path.lexists(machine.env.socket_path)
    with machine.iscsid() as daemon, daemon.connect() as client:
        assert client.request("config")["initiator_name"] == NAME


def test_without_a_kernel_the_start_fails_with_one_clear_line(machine: Machine) -> None:
    """Where the kernel has iSCSI the daemon would start: nothing to see."""
    del machine.variables["PYISCSI_NO_KERNEL"]
    if has_netlink_iscsi():
        pytest.skip("this kernel has NETLINK_ISCSI")
    done = machine.run("-f")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("iscsid: Cannot open NETLINK_ISCSI (")
    assert "scsi_transport_iscsi" in last


def has_netlink_iscsi() -> bool:
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 8).close()
    except OSError:
        return False
    return True


def test_becoming_a_daemon(machine: Machine) -> None:
    """CLI-381, CLI-383, D-090, W-25: exit 0 when it listens; pid file while it runs."""
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid_file = Path(machine.env.pid_file)
    pid = int(pid_file.read_text())
    assert pid_file.read_text() == f"{pid}\n"
    handle = os.pidfd_open(pid)
    try:
        with machine.connect() as client:
            assert client.request("config")["initiator_name"] == NAME
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        second = machine.run("-p", str(machine.path / "other.pid"))
        assert second.returncode == 1
    finally:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        assert wait_for_end(handle)
    assert not pid_file.exists()
    assert not os.path.lexists(machine.env.socket_path)


def wait_for_end(handle: int) -> bool:
    readable, _, _ = select.select([handle], [], [], WAIT_S)
    os.close(handle)
    return bool(readable)


def test_another_pid_file_and_none(machine: Machine) -> None:
    """CLI-383."""
    path = machine.path / "my.pid"
    assert machine.run("-p", str(path)).returncode == 0
    pid = int(path.read_text())
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    assert wait_for_end(handle)
    with machine.iscsid("-n"):
        assert not os.path.exists(machine.env.pid_file)
    done = machine.run("-p", "/nonexistent/pid")
    assert (done.returncode, done.stderr) == (1, "")


def test_missing_files_are_no_obstacle(machine: Machine) -> None:
    """CLI-385: warnings, and an empty name for iscsiadm."""
    missing = str(machine.path / "missing")
    with machine.iscsid("-c", missing + ".conf", "-i", missing) as daemon:
        with daemon.connect() as client:
            answer = client.request("config")
            assert answer["config_file"] == missing + ".conf"
            assert answer["initiator_name"] == ""
            with pytest.raises(DaemonError) as caught:
                client.request("discover", discovery(1))
            assert caught.value.exit_code == 7
            assert caught.value.messages == ("Cannot perform discovery. Invalid Initiatorname.",)
        _, _, err = daemon.end(signal.SIGTERM)
    assert f"iscsid: can't open InitiatorName configuration file {missing}\n" in err
    assert f"iscsid: Warning: InitiatorName file {missing} does not exist" in err


def discovery(port: int) -> dict[str, object]:
    return {"type": "sendtargets", "address": "127.0.0.1", "port": port, "record": {}}


@pytest.mark.parametrize(("option", "shown"), [("0", False), ("1", False), ("2", True)])
def test_debug_levels(machine: Machine, option: str, shown: bool) -> None:
    """D-092: the line about a signal has level 1, so -d must be above 1."""
    with machine.iscsid("-d", option) as daemon:
        pid = daemon.process.pid
        _, _, err = daemon.end(signal.SIGTERM)
    assert (f"iscsid: pid {pid} caught signal 15\n" in err) is shown


def test_the_process_state(machine: Machine) -> None:
    """D-091: name, umask, priority, open files."""
    with machine.iscsid() as daemon:
        pid = daemon.process.pid
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert status["Name"] == "iscsid"
        assert status["Umask"] == "0077"
        assert b"iscsid" in Path(f"/proc/{pid}/cmdline").read_bytes()
        mode = os.stat(machine.env.socket_path).st_mode
        assert (stat.S_IFMT(mode), stat.S_IMODE(mode)) == (stat.S_IFSOCK, 0o600)
        if ROOT:
            assert os.getpriority(os.PRIO_PROCESS, pid) == -10
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert "Max open files            16384                16384" in limits
            assert int(status["VmLck"].split()[0]) > 0


def test_a_sighted_client_is_not_delayed_by_bad_ones(machine: Machine) -> None:
    """D-007, W-01: silent, half a line, junk, not reading, gone in the middle."""
    with machine.iscsid() as daemon:
        silent, half, junk, deaf, gone = (speak(machine) for _ in range(5))
        half.sendall(b'{"hello":')
        junk.sendall(b"\x00\xff\n")
        deaf.sendall(messages.encode(messages.hello("t", "0")))
        for number in range(1000):
            deaf.sendall(messages.encode(messages.request(number, "config", {}, None)))
        gone.sendall(messages.encode(messages.hello("t", "0")) + b'{"id":1,"op":"con')
        gone.close()
        with daemon.connect() as client:
            for _ in range(100):
                assert client.request("config", timeout=WAIT_S)["initiator_name"] == NAME
        assert b"message is not JSON" in lines_of(junk)[-1]
        for sock in (silent, half, junk, deaf):
            sock.close()
        assert daemon.end(signal.SIGTERM)[0] == 0


def test_many_concurrent_clients(machine: Machine) -> None:
    failures: list[BaseException] = []

    def talk() -> None:
        try:
            with machine.connect() as client:
                for _ in range(20):
                    ids = [client.send("config") for _ in range(5)]
                    for request_id in reversed(ids):
                        assert client.wait(request_id, WAIT_S)["initiator_name"] == NAME
        except BaseException as error:
            failures.append(error)

    with machine.iscsid():
        threads = [threading.Thread(target=talk) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_client_of_another_release_is_told_both_versions(machine: Machine) -> None:
    """Two releases that do not fit say so instead of hanging."""
    with machine.iscsid(), speak(machine) as sock:
        sock.sendall(b'{"hello":{"protocol":2,"program":"iscsiadm","version":"3.0"}}\n')
        (line,) = lines_of(sock)
    error = messages.error_of(messages.decode(line))
    assert error.exit_code == 16
    assert "iscsid 0." in str(error)
    assert "iscsiadm 3.0 speaks protocol 2" in str(error)


@pytest.mark.root
@pytest.mark.skipif(not ROOT, reason="needs root")
def test_other_users_are_refused() -> None:
    """D-003: by the socket's mode, and by the uid of whoever gets past it."""
    code = (
        "import os, sys; from pyiscsi.env import Env; from pyiscsi.ipc.client import Client\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n    Client.connect(Env(socket_path=sys.argv[1]))\n"
        "except Exception as error:\n    print(type(error).__name__, error.exit_code, error)\n"
    )

    def attempt() -> str:
        return subprocess.run(
            [sys.executable, "-c", code, machine.env.socket_path],
            capture_output=True, text=True, check=True, timeout=WAIT_S,
        ).stdout  # fmt: skip

    # pytest's own directory is closed to others.
    with tempfile.TemporaryDirectory() as folder, machine_in(folder).iscsid() as daemon:
        os.chmod(folder, 0o711)
        machine = daemon.machine
        assert attempt() == "IpcError 13 can not connect to iSCSI daemon (13)!\n"
        os.chmod(machine.env.socket_path, 0o666)
        assert attempt() == "DaemonError 13 daemon access denied\n"
        _, _, err = daemon.end(signal.SIGTERM)
    assert "iscsid: Unauthorized user with UID=65534\n" in err


def machine_in(folder: str) -> Machine:
    return Machine(Path(folder))


LAUNCHER = """
import os, sys
for place, fd in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(fd, place)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("names", ["", "abstract:native"])
def test_socket_activation(machine: Machine, names: str) -> None:
    """D-002: the service manager's sockets; a client that came before us is served."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as native,
    ):
        abstract.bind(f"\0pyiscsi-test-{os.getpid()}")
        native.bind(machine.env.socket_path)
        for sock in (abstract, native):
            sock.listen()
            # Away from 3 and 4, where the launcher puts them.
        fds = [os.dup2(sock.fileno(), 50 + n) for n, sock in enumerate((abstract, native))]
        early = speak(machine)
        early.sendall(messages.encode(messages.hello("t", "0")))
        machine.variables |= {"LISTEN_FDS": "2", "LISTEN_FDNAMES": names}
        launcher = [sys.executable, "-c", LAUNCHER, ",".join(map(str, fds))]
        try:
            with machine.iscsid(launcher=launcher, pass_fds=fds) as daemon:
                with early.makefile("rb") as file:
                    assert b'"program":"iscsid"' in file.readline()
                early.close()
                with daemon.connect() as client:
                    assert client.request("config")["initiator_name"] == NAME
                assert daemon.end(signal.SIGTERM)[0] == 0
        finally:
            for fd in fds:
                os.close(fd)
        assert os.path.lexists(machine.env.socket_path), "it is systemd's, not ours to remove"


def test_a_client_can_start_the_daemon(machine: Machine) -> None:
    """D-013: through iscsid.startup, which returns when the daemon listens."""
    from pyiscsi.ipc.client import Client

    runs: list[int] = []
    with Client.connect(
        machine.env, startup=lambda: runs.append(machine.run().returncode)
    ) as client:
        assert client.request("config")["initiator_name"] == NAME
        assert client.request("stop", timeout=WAIT_S) == {}
        with pytest.raises(IpcError):
            client.request("config", timeout=WAIT_S)
    assert runs == [0]
