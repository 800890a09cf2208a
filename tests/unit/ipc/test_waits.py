"""Nobody waits for ever: daemons that stop, stay silent, answer by halves or never end."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, IpcError
from pyiscsi.ipc import client as client_module
from pyiscsi.ipc import compat_exchange, messages, stream, structs
from pyiscsi.ipc.client import Client
from pyiscsi.ipc.compat_client import CompatClient
from pyiscsi.ipc.server import Operation
from tests.unit.ipc.compat_daemon import LOGIN, NAME, answer
from tests.unit.ipc.conftest import Start
from tests.unit.ipc.harness import ENOUGH_S, greet, outcome, peer, running, timed_out


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits that nobody sets by an argument, made short."""
    monkeypatch.setattr(client_module, "PING_AFTER_S", 0.1)
    monkeypatch.setattr(client_module, "PONG_WITHIN_S", 0.5)
    monkeypatch.setattr(compat_exchange, "ASK_AFTER_S", 0.1)
    monkeypatch.setattr(compat_exchange, "ANSWER_WITHIN_S", 0.5)
    monkeypatch.setattr(compat_exchange, "REST_WITHIN_S", 0.5)
    monkeypatch.setattr(stream, "WRITE_TIMEOUT_S", 0.5)


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return Env(socket_path=str(tmp_path / "socket"))


def silent(text: str = "0") -> str:
    return f"iscsid has not answered for {text} seconds"


# ---- the native socket ------------------------------------------------------


Behaviour = Callable[[socket.socket], None]


def until_it_leaves(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(1 << 16):
            pass


def says(data: bytes) -> Behaviour:
    """A daemon that says this, and then nothing more."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        until_it_leaves(connection)

    return behave


def repeats(data: bytes) -> Behaviour:
    """A daemon that says this again and again."""

    def behave(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(data)

    return behave


def greeted(behave: Behaviour) -> Behaviour:
    def run(connection: socket.socket) -> None:
        greet(connection)
        behave(connection)

    return run


HALF = messages.encode(messages.hello("iscsid", "0"))[:20]


@pytest.mark.parametrize("behave", [says(b""), says(HALF)])
def test_a_greeting_that_does_not_come(env: Env, behave: Behaviour) -> None:
    with peer(env, behave):
        timed_out(lambda: Client.connect(env, timeout=0.3))


@pytest.mark.parametrize("data", [b"x" * 4096, b"{}\n" * 1000])
def test_a_greeting_without_end(env: Env, data: bytes) -> None:
    with peer(env, repeats(data)):
        error = outcome(lambda: Client.connect(env, timeout=30))
    assert error.exit_code == ExitCode.INVALID_REQUEST


FLOOD = messages.encode(messages.event(1, {"step": "x" * 100})) * 100


@pytest.mark.parametrize(
    "behave", [says(b""), says(b'{"id":1,"o'), repeats(FLOOD)], ids=["silent", "half", "flood"]
)
def test_an_answer_that_does_not_come(env: Env, behave: Behaviour) -> None:
    """With a limit it is over at the limit; without, when pings stay unanswered."""
    for timeout, text in ((0.3, "iscsid request timed out"), (None, silent())):
        with peer(env, greeted(behave)), Client.connect(env) as client:
            timed_out(lambda: client.request("login", timeout=timeout), text)  # noqa: B023
        os.unlink(env.socket_path)


def test_the_first_failure_is_that_of_all(env: Env) -> None:
    """A hundred logins at a daemon that stopped do not wait a hundred times."""

    def work() -> None:
        sent = [client.send("login") for _ in range(100)]
        for request_id in sent:
            with pytest.raises(IpcError, match=silent()):
                client.wait(request_id)
        client.send("login")

    with peer(env, greeted(until_it_leaves)), Client.connect(env) as client:
        timed_out(work, silent())


def test_an_answer_without_end(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_LINE_MAX", 1 << 20)
    with peer(env, greeted(repeats(b"x" * 4096))), Client.connect(env) as client:
        error = outcome(lambda: client.request("login"))
    assert str(error) == "message is longer than 1048576 bytes"


@pytest.mark.parametrize("number", [1, 2])
def test_answers_nobody_asked_for(env: Env, number: int) -> None:
    """The same answer twice, or that to another's question."""
    with (
        peer(env, greeted(repeats(b'{"id":%d,"ok":{}}\n' % number))),
        Client.connect(env) as client,
    ):
        request_id = client.send("login")

        def work() -> None:
            client.wait(request_id)
            client.request("login", timeout=10)
            client.request("login", timeout=10)

        error = outcome(work)
    assert "which nobody made" in str(error)


def test_a_daemon_that_takes_its_time(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow login is no reason to give up while the daemon answers pings."""
    monkeypatch.setattr(client_module, "PONG_WITHIN_S", ENOUGH_S)
    gate = threading.Event()

    async def login(args: messages.Message, report: object) -> messages.Message:
        await asyncio.to_thread(gate.wait, ENOUGH_S)
        return {}

    pings = 0

    async def ping(args: messages.Message, report: object) -> messages.Message:
        nonlocal pings
        pings += 1
        if pings == 3:
            gate.set()
        return {}

    table = {"login": Operation(login), "ping": Operation(ping)}
    with running(env.socket_path, table), Client.connect(env) as client:
        assert client.request("login") == {}
    assert pings == 3


def test_a_daemon_without_pings_lives_too(
    env: Env, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One of an earlier release says that it does not know them, and is asked again later."""
    monkeypatch.setattr(client_module, "PONG_WITHIN_S", ENOUGH_S)

    async def login(args: messages.Message, report: object) -> messages.Message:
        for _ in range(20 * ENOUGH_S):
            if caplog.text.count("unknown request: ping") == 2:
                return {}
            await asyncio.sleep(0.05)
        raise AssertionError("not asked again")

    with running(env.socket_path, {"login": Operation(login)}), Client.connect(env) as client:
        assert client.request("login", timeout=None) == {}


def test_a_daemon_that_reads_nothing(env: Env) -> None:
    """Sending ends, too."""
    over = threading.Event()

    def behave(connection: socket.socket) -> None:
        greet(connection)
        over.wait(ENOUGH_S)

    with peer(env, behave), Client.connect(env) as client:
        timed_out(lambda: [client.send("login", {"record": "x" * 100_000}) for _ in range(100)])
        over.set()


def test_more_requests_than_may_be_on_their_way(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones wait for answers, so that the daemon always reads our pings."""
    monkeypatch.setattr(client_module, "WINDOW", 5)

    async def echo(args: messages.Message, report: object) -> messages.Message:
        return args

    with running(env.socket_path, {"echo": Operation(echo)}), Client.connect(env) as client:
        ids = [client.send("echo", {"n": number}) for number in range(50)]
        assert [client.wait(request_id, 10)["n"] for request_id in ids] == list(range(50))


@contextmanager
def full(address: str) -> Iterator[socket.socket]:
    """A listener whose backlog is full, so that connect() blocks."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(address)
        listener.listen(0)
        first.connect(address)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            with pytest.raises(BlockingIOError):
                probe.connect(address)
        yield listener


def test_a_full_backlog(env: Env) -> None:
    """It is waited for, as long as the command has time and no longer."""
    with full(env.socket_path) as listener:
        error = outcome(lambda: Client.connect(env, timeout=0.2))
        assert (error.exit_code, str(error)) == (20, "can not connect to iSCSI daemon (110)!")
        timer = threading.Timer(0.1, lambda: listener.accept()[0].close())
        timer.start()
        stream.connect(env.socket_path, stream.now() + ENOUGH_S).close()
        timer.join()


# ---- open-iscsi's socket ----------------------------------------------------


def fake(response: bytes | None) -> Callable[[bytes], bytes | None]:
    """A daemon that is well until a login or logout comes."""

    def respond(data: bytes) -> bytes | None:
        return response if structs.decode_head(data).command in (1, 2) else answer(data)

    return respond


def test_open_iscsis_daemon_is_silent(start: Start) -> None:
    """The first question of all, and one with a limit of its own."""
    start(16104, lambda data: None)
    timed_out(lambda: CompatClient.connect(NAME, 0.3))


@pytest.mark.parametrize("response", [None, structs.encode_answer(2)[:1000]])
def test_open_iscsis_daemon_and_a_limit(start: Start, response: bytes | None) -> None:
    start(16128, fake(response), response is not None)
    with CompatClient.connect(NAME) as client:
        timed_out(lambda: client.request("logout", {"sid": 1}, 0.3))


def test_half_an_answer_of_open_iscsis_daemon(start: Start) -> None:
    """That it answers others does not help: the rest is written at once or never."""
    start(16128, fake(structs.encode_answer(1)[:1000]), True)
    with CompatClient.connect(NAME) as client:
        timed_out(lambda: client.request("login", LOGIN))


def test_open_iscsis_daemon_floods(start: Start) -> None:
    start(16128, lambda data: answer(data) * 1000)
    error = outcome(lambda: CompatClient.connect(NAME))
    assert str(error).endswith("this iscsid's answers are longer")


def test_open_iscsis_daemon_takes_its_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login is awaited for as long as another question is answered, and no longer."""
    monkeypatch.setattr(compat_exchange, "ANSWER_WITHIN_S", 3)
    asked: list[int] = []

    def respond(data: bytes) -> bytes | None:
        command = structs.decode_head(data).command
        asked.append(command)
        return None if command == 1 or asked.count(10) > 4 else answer(data)

    start(16128, respond)
    with CompatClient.connect(NAME) as client:
        timed_out(lambda: client.request("login", LOGIN), silent("3"))
    assert asked == [10, 1, 10, 10, 10, 10]


def test_open_iscsis_daemon_has_a_full_backlog() -> None:
    with full(f"\0{NAME}") as listener:
        error = outcome(lambda: CompatClient.connect(NAME, 0.2))
        assert (error.exit_code, str(error)) == (20, "can not connect to iSCSI daemon (110)!")
        timer = threading.Timer(0.1, lambda: listener.accept()[0].close())
        timer.start()
        compat_exchange.connect(NAME, stream.now() + ENOUGH_S).close()
        timer.join()
