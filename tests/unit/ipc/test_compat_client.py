"""The commands' end of open-iscsi's socket, against daemons of every release and broken ones."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import DaemonError, IpcError
from pyiscsi.ipc import compat_client, either, structs
from pyiscsi.ipc.compat_client import CompatClient, NotListening
from pyiscsi.ipc.structs import Command
from pyiscsi.ipc.structs_layout import LAYOUTS

NAME = f"pyiscsi-test-client-{os.getpid()}"
SIZES = (16104, 16112, 16128)
RECORD = {"node.name": "iqn.2026-11.test:one", "iface.transport_name": "tcp"}
LOGIN = {"record": RECORD, "multiple": True}
TEXTS = {
    Command.CONFIG_FILE: "/etc/iscsi/iscsid.conf",
    Command.CONFIG_INAME: "iqn.2026-11.test:me",
    Command.CONFIG_IALIAS: "alias",
}


def answer(data: bytes) -> bytes:
    """What a healthy daemon says."""
    head = structs.decode_head(data)
    if head.command in TEXTS:
        return structs.encode_text(head.command, TEXTS[head.command])
    if head.command == Command.SESSION_INFO:
        if head.number != 1:
            return structs.encode_answer(head.command, 2)
        return structs.encode_states(head.command, "LOGGED IN", "NO CHANGE")
    if head.command == Command.SESSION_STATS:
        return structs.encode_statistics(head.command, 1, {"txdata_octets": 5}, {"custom": 6})
    return structs.encode_answer(head.command)


class FakeDaemon:
    """One client at a time, blocking until a whole struct of `size` has come, as the original."""

    def __init__(self, size: int, respond: Callable[[bytes], bytes | None] = answer) -> None:
        self._size = size
        self._respond = respond
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"\0{NAME}")
        self._listener.listen(32)
        self._silent: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._serve_one(self._listener.accept()[0])

    def _serve_one(self, client: socket.socket) -> None:
        client.settimeout(10)
        data = client.recv(self._size, socket.MSG_WAITALL)
        self.requests.append(data)
        response = self._respond(data)
        if response is None:
            self._silent.append(client)
            return
        with suppress(BrokenPipeError):
            client.sendall(response)
        client.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for each in (*self._silent, self._listener):
            each.close()


Start = Callable[..., FakeDaemon]


@pytest.fixture
def start() -> Iterator[Start]:
    daemons: list[FakeDaemon] = []

    def run(*args: Any) -> FakeDaemon:
        daemons.append(FakeDaemon(*args))
        return daemons[-1]

    yield run
    for daemon in daemons:
        daemon.close()


@pytest.mark.parametrize("size", SIZES)
def test_layouts(start: Start, size: int) -> None:
    """D-006: the daemon's layout is found and a login sent in it; nothing is ever too short."""
    daemon = start(size)
    with CompatClient.connect(NAME) as client:
        assert client.request("login", LOGIN) == {}
    assert all(len(data) == size for data in daemon.requests)
    request = structs.decode_request(daemon.requests[-1])
    assert request.command == Command.SESSION_LOGIN
    assert request.multiple
    assert {key: request.record[key] for key in RECORD} == RECORD
    assert daemon.requests[-1] == structs.encode_request(request, LAYOUTS[size])


@pytest.mark.parametrize("size", SIZES)
def test_operations(start: Start, size: int) -> None:
    """D-006: every operation of the native client has its counterpart."""
    start(size)
    with CompatClient.connect(NAME) as client:
        assert client.request("config", timeout=10) == {
            "config_file": "/etc/iscsi/iscsid.conf",
            "initiator_name": "iqn.2026-11.test:me",
            "initiator_alias": "alias",
        }
        assert client.request("session_info", {"sids": [1, 2]}, 10) == {
            "sessions": {"1": {"connection": "LOGGED IN", "internal": "NO CHANGE"}}
        }
        stats = client.request("stats", {"sid": 1})
        assert stats["counters"]["txdata_octets"] == 5
        assert stats["custom"] == {"custom": 6}
        assert client.request("logout", {"sid": 1}) == {}
        assert client.request("stop", timeout=10) == {}


def test_several_at_once(start: Start) -> None:
    """All are sent before the first is awaited, and awaited in any order; -W awaits none."""
    daemon = start(16104)
    with CompatClient.connect(NAME) as client:
        sent = [client.send("login", LOGIN) for _ in range(5)]
        for request_id in reversed(sent):
            assert client.wait(request_id) == {}
        client.send("logout", {"sid": 9})
    commands = [structs.decode_head(data).command for data in daemon.requests[2:7]]
    assert commands == [Command.SESSION_LOGIN] * 5


def test_discovery(start: Start) -> None:
    """The daemon tells the settings, the discovery itself is somebody else's."""
    start(16104)
    asked = []

    def discover(config: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        asked.append((config["initiator_name"], args))
        return {"found": []}

    with CompatClient.connect(NAME, discover=discover) as client:
        assert client.request("discover", {"address": "192.0.2.1"}) == {"found": []}
    assert asked == [("iqn.2026-11.test:me", {"address": "192.0.2.1"})]
    with CompatClient.connect(NAME) as client, pytest.raises(DaemonError) as caught:
        client.request("discover", {})
    assert caught.value.exit_code == 27


def test_unknown_operation(start: Start) -> None:
    start(16104)
    with CompatClient.connect(NAME) as client, pytest.raises(DaemonError) as caught:
        client.send("dance")
    assert caught.value.exit_code == 27


def failing(response: bytes | None) -> Callable[[bytes], bytes | None]:
    """Healthy until the first login or logout."""

    def respond(data: bytes) -> bytes | None:
        command = structs.decode_head(data).command
        return response if command in (1, 2) else answer(data)

    return respond


FAILURES = (
    (structs.encode_answer(2, 10), DaemonError, 10),
    (structs.encode_answer(2, -1), DaemonError, 18),
    (structs.encode_answer(3, 0), IpcError, 18),
    (b"", IpcError, 18),
    (bytes(2463), IpcError, 18),
    (None, IpcError, 33),
)


@pytest.mark.parametrize(("response", "error", "status"), FAILURES)
def test_failures(
    start: Start, response: bytes | None, error: type[IpcError | DaemonError], status: int
) -> None:
    """An error is the daemon's own; a wrong, short or missing answer is one of the connection."""
    start(16104, failing(response))
    with CompatClient.connect(NAME) as client, pytest.raises(error) as caught:
        client.request("logout", {"sid": 1}, 0.3 if response is None else 10)
    assert caught.value.exit_code == status


def test_refused(start: Start) -> None:
    """D-003: error 13 reaches the user, though the daemon does not read what we say."""
    start(0, lambda data: structs.encode_answer(0, 13))
    with pytest.raises(DaemonError) as caught:
        CompatClient.connect(NAME)
    assert caught.value.exit_code == 13


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")
def test_foreign_daemon() -> None:
    """A name that another user took is told nothing, least of all a password."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{NAME}")
        child = os.fork()
        if child == 0:
            # The credentials a client sees are those at listen().
            os.setuid(65534)
            listener.listen(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(IpcError, match=r"can not connect to iSCSI daemon \(1\)!"):
            CompatClient.connect(NAME)
        accepted = listener.accept()[0]
        with accepted:
            assert accepted.recv(1) == b""


def test_full_backlog() -> None:
    """A daemon that has its hands full is waited for."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(f"\0{NAME}")
        listener.listen(0)
        first.connect(f"\0{NAME}")
        probe = socket.socket(socket.AF_UNIX)
        with probe:
            probe.setblocking(False)
            with pytest.raises(BlockingIOError):
                probe.connect(f"\0{NAME}")
        timer = threading.Timer(0.1, lambda: listener.accept()[0].close())
        timer.start()
        compat_client._open(NAME).close()
        timer.join()


def test_silent_daemon(start: Start) -> None:
    start(16104, lambda data: None)
    with pytest.raises(IpcError) as caught:
        CompatClient.connect(NAME, 0.3)
    assert caught.value.exit_code == 33


def test_no_daemon(tmp_path: Path) -> None:
    """Nobody listens: found nothing, and both sockets together say what the native one says."""
    with pytest.raises(NotListening, match=r"^can not connect to iSCSI daemon \(111\)!$"):
        CompatClient.connect(NAME)
    env, environ = Env(socket_path=str(tmp_path / "native")), {"PYISCSI_COMPAT_SOCKET": NAME}
    assert compat_client.find(env, environ) is None
    assert compat_client.find(env, {}) is None
    with pytest.raises(IpcError) as caught:
        either.connect(env, environ)
    assert caught.value.exit_code == 20


def test_either(start: Start, tmp_path: Path) -> None:
    """Without a native socket open-iscsi's daemon is used."""
    start(16104)
    env, environ = Env(socket_path=str(tmp_path / "native")), {"PYISCSI_COMPAT_SOCKET": NAME}
    with either.connect(env, environ) as client:
        assert isinstance(client, CompatClient)
        assert client.request("stop") == {}


def test_started_by_the_command(start: Start, tmp_path: Path) -> None:
    """D-013: the startup command may bring open-iscsi's daemon up; it is run once."""
    env, environ = Env(socket_path=str(tmp_path / "native")), {"PYISCSI_COMPAT_SOCKET": NAME}
    runs = []

    def startup() -> None:
        runs.append(start(16104))

    for _ in range(2):
        with either.connect(env, environ, startup=startup) as client:
            assert isinstance(client, CompatClient)
    assert len(runs) == 1


def test_startup_that_fails(tmp_path: Path) -> None:
    """What the startup command raises comes through; nothing is waited for."""
    env, environ = Env(socket_path=str(tmp_path / "native")), {"PYISCSI_COMPAT_SOCKET": NAME}

    def startup() -> None:
        raise IpcError("it cannot be started", 20)

    with pytest.raises(IpcError, match="it cannot be started"):
        either.connect(env, environ, startup=startup)
