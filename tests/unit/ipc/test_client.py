from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyiscsi import __version__
from pyiscsi.env import Env
from pyiscsi.errors import DaemonError, ExitCode, IpcError
from pyiscsi.ipc import client as client_module
from pyiscsi.ipc import messages, stream
from pyiscsi.ipc.client import Client
from pyiscsi.ipc.server import Operation
from tests.unit.ipc.harness import echo, greet, peer, raising, returning, running


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return Env(socket_path=str(tmp_path / "socket"))


def test_a_conversation(env: Env) -> None:
    table = {"echo": Operation(echo)}
    with running(env.socket_path, table), Client.connect(env) as client:
        assert client.request("echo", {"a": "b"}) == {"a": "b"}
        ids = [client.send("echo", {"n": number}) for number in range(50)]
        for request_id in reversed(ids):
            assert client.wait(request_id, 10)["n"] == ids.index(request_id)


def test_an_error_of_the_daemon_leaves_the_connection_usable(env: Env) -> None:
    table = {"echo": Operation(echo), "fail": raising(DaemonError("no", 24, ("why",)))}
    with running(env.socket_path, table), Client.connect(env) as client:
        with pytest.raises(DaemonError) as caught:
            client.request("fail")
        assert (caught.value.exit_code, str(caught.value)) == (24, "no")
        assert caught.value.messages == ("why",)
        assert client.request("echo", {"x": 1}, timeout=10) == {"x": 1}


def test_a_large_answer_arrives_whole(env: Env) -> None:
    found = [{"target": f"iqn.2000-01.example:{number:06}"} for number in range(50_000)]
    with (
        running(env.socket_path, {"big": returning({"found": found})}),
        Client.connect(env) as client,
    ):
        assert client.request("big", timeout=60)["found"] == found


def test_progress_is_handed_over(env: Env) -> None:
    async def work(args: dict[str, Any], report: Any) -> dict[str, Any]:
        report({"step": 1})
        report({"step": 2})
        return {}

    seen: list[dict[str, Any]] = []
    with running(env.socket_path, {"work": Operation(work)}), Client.connect(env) as client:
        request_id = client.send("work", on_event=seen.append)
        assert client.wait(request_id, 10) == {}
        assert client.request("work", timeout=10) == {}
    assert seen == [{"step": 1}, {"step": 2}]


def test_nobody_listens(env: Env) -> None:
    """The missing socket file reads as the refused connection it stands for."""
    with pytest.raises(IpcError) as caught:
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.DAEMON_NOT_CONNECTED
    assert str(caught.value) == "can not connect to iSCSI daemon (111)!"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(env.socket_path)
    with pytest.raises(IpcError, match=r"can not connect to iSCSI daemon \(111\)!"):
        Client.connect(env)


def test_no_permission(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "connect", _refuse)
    with pytest.raises(IpcError) as caught:
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.ACCESS


def _refuse(address: str, until: float) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(IpcError, match=r"^can not connect to iSCSI daemon \(22\)!$"):
        Client.connect(Env(socket_path=str(tmp_path / ("x" * 200))))


def test_the_startup_command_runs_once_and_is_waited_for(env: Env) -> None:
    """D-013: the daemon begins to listen some time after the command has returned."""
    calls = []
    with _late_server(env) as begin:

        def startup() -> None:
            calls.append(1)
            begin.set()

        with Client.connect(env, startup=startup) as client:
            assert client.request("echo", {"up": True}, timeout=10) == {"up": True}
    assert calls == [1]


@contextmanager
def _late_server(env: Env) -> Iterator[threading.Event]:
    begin, end = threading.Event(), threading.Event()

    def body() -> None:
        begin.wait(10)
        with running(env.socket_path, {"echo": Operation(echo)}):
            end.wait(10)

    thread = threading.Thread(target=body)
    thread.start()
    yield begin
    end.set()
    thread.join(10)


def test_a_startup_command_that_does_not_help(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "STARTUP_WAIT_S", 0.1)
    calls = []
    with pytest.raises(IpcError) as caught:
        Client.connect(env, startup=lambda: calls.append(1))
    assert caught.value.exit_code == ExitCode.DAEMON_NOT_CONNECTED
    assert calls == [1]


def test_an_error_of_the_startup_command_is_passed_on(env: Env) -> None:
    def startup() -> None:
        raise IpcError("no startup command", 20)

    with pytest.raises(IpcError, match="no startup command"):
        Client.connect(env, startup=startup)


def test_access_denied_by_the_daemon(env: Env) -> None:
    table = {"echo": Operation(echo)}
    with (
        running(env.socket_path, table, allowed_uids=frozenset()),
        pytest.raises(DaemonError) as caught,
    ):
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.ACCESS


def test_a_refusal_is_read_although_our_hello_could_not_be_sent(env: Env) -> None:
    refused = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.sendall(b'{"id":null,"error":{"code":13,"text":"daemon access denied"}}\n')
        connection.close()
        refused.set()

    class Slow(Client):
        def _greet(self, until: float) -> None:
            refused.wait(10)
            super()._greet(until)

    with peer(env, behave), pytest.raises(DaemonError, match="daemon access denied"):
        Slow.connect(env)


def test_a_daemon_of_another_release(env: Env) -> None:
    """W-28: both versions, both protocols, status 16, one line."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"hello":{"protocol":7,"program":"iscsid","version":"8.8"}}\n')

    with peer(env, behave), pytest.raises(IpcError) as caught:
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.INVALID_REQUEST
    assert str(caught.value) == (
        f"iscsiadm {__version__} speaks protocol {messages.PROTOCOL}, "
        "iscsid 8.8 speaks protocol 7; they must come from the same release"
    )


def test_a_daemon_that_refuses_our_release(env: Env) -> None:
    """W-28: what a newer one says of us is shown as it is."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"id":null,"error":{"code":16,"text":"iscsid 9 speaks protocol 7"}}\n')

    with (
        peer(env, behave),
        pytest.raises(DaemonError, match=r"^iscsid 9 speaks protocol 7$") as caught,
    ):
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.INVALID_REQUEST


@pytest.mark.parametrize("said", [b"junk\n", b'{"ok":{}}\n', b"\xff" * 100 + b"\n", b"\n"])
def test_something_that_is_no_iscsid(env: Env, said: bytes) -> None:
    """Our version, and how it began, in one printable line."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(said)

    with peer(env, behave), pytest.raises(IpcError) as caught:
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.INVALID_REQUEST
    line = str(caught.value)
    assert f"iscsiadm {__version__} speaks protocol {messages.PROTOCOL}" in line
    assert ascii(said[:-1][:40].decode("latin-1")) in line
    assert line.isascii()
    assert line.isprintable()


def test_a_daemon_that_leaves_during_the_greeting(env: Env) -> None:
    with peer(env, lambda connection: None), pytest.raises(IpcError) as caught:
        Client.connect(env)
    assert caught.value.exit_code == ExitCode.DAEMON_COMMUNICATION


def test_no_answer_in_time(env: Env) -> None:
    async def for_ever(args: dict[str, Any], report: object) -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    with running(env.socket_path, {"wait": Operation(for_ever)}), Client.connect(env) as client:
        request_id = client.send("wait")
        with pytest.raises(IpcError) as caught:
            client.wait(request_id, timeout=0.05)
    assert caught.value.exit_code == ExitCode.REQUEST_TIMED_OUT


def test_a_daemon_that_dies(env: Env) -> None:
    def behave(connection: socket.socket) -> None:
        greet(connection)
        connection.recv(1000)

    with peer(env, behave), Client.connect(env) as client, pytest.raises(IpcError) as caught:
        client.request("login")
    assert caught.value.exit_code == ExitCode.DAEMON_COMMUNICATION
    assert str(caught.value) == "read error (0/0), daemon died?"


def test_a_daemon_that_is_gone_when_we_write(env: Env) -> None:
    gone = threading.Event()

    def behave(connection: socket.socket) -> None:
        greet(connection)
        connection.close()
        gone.set()

    with peer(env, behave), Client.connect(env) as client:
        assert gone.wait(10)
        with pytest.raises(IpcError) as caught:
            client.send("login")
    assert caught.value.exit_code == ExitCode.DAEMON_COMMUNICATION
    assert str(caught.value) == "got write error (-1/32) on cmd login, daemon died?"


def test_a_complaint_about_the_connection_is_raised(env: Env) -> None:
    def behave(connection: socket.socket) -> None:
        greet(connection)
        connection.recv(1000)
        connection.sendall(b'{"id":null,"error":{"code":16,"text":"message is not JSON"}}\n')

    with (
        peer(env, behave),
        Client.connect(env) as client,
        pytest.raises(DaemonError, match="message is not JSON"),
    ):
        client.request("login")


def test_importing_the_client_costs_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import pyiscsi.ipc.client;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = set(done.stdout.split())
    assert {name for name in new if not name.startswith("pyiscsi")} <= {"errno", "__future__"}


def test_descriptors_are_closed_on_failure(env: Env) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(IpcError):
            Client.connect(env)
    assert len(os.listdir("/proc/self/fd")) == before
