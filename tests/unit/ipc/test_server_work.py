"""The daemon's end of the native socket: how long requests run, and what ends them."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.errors import ExitCode
from pyiscsi.ipc import messages
from pyiscsi.ipc.server import Limits, Operation, Server
from tests.unit.ipc.harness import OWN_UID, echo, raising, returning, running

OPERATIONS = {"echo": Operation(echo)}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


class Slow:
    """An operation that tells when it began and how it ended, and ends when it is allowed to."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.outcome = ""
        self.may_end: asyncio.Event | None = None

    async def run(self, args: dict[str, Any], report: object) -> dict[str, Any]:
        self.may_end = asyncio.Event()
        self.began.set()
        try:
            await self.may_end.wait()
            self.outcome = "done"
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise
        finally:
            self.ended.set()
        return {}


@pytest.mark.parametrize(("bound", "asked"), [(0.01, None), (None, 0.01), (5.0, 0.01), (0.01, 5)])
def test_every_request_has_a_deadline(path: str, bound: float | None, asked: float | None) -> None:
    slow = Slow()
    with (
        running(path, {"slow": Operation(slow.run, timeout_s=bound)}) as at,
        at.connect().greet() as peer,
    ):
        peer.say(messages.request(1, "slow", {}, asked))
        answer = peer.hear()
        assert answer is not None
        assert answer["error"]["code"] == ExitCode.REQUEST_TIMED_OUT
        assert slow.ended.wait(10)
        assert slow.outcome == "cancelled"


def test_work_ends_when_its_client_leaves(path: str) -> None:
    slow = Slow()
    with running(path, {"slow": Operation(slow.run)}) as at:
        with at.connect().greet() as peer:
            peer.say(messages.request(1, "slow", {}, None))
            assert slow.began.wait(10)
        assert slow.ended.wait(10)
        assert slow.outcome == "cancelled"


@pytest.mark.parametrize("asked", [None, 0.01])
def test_a_login_outlives_its_client_and_its_deadline(path: str, asked: float | None) -> None:
    """D-009."""
    slow = Slow()
    with running(path, {"login": Operation(slow.run, outlives_client=True)}) as at:
        with at.connect().greet() as peer:
            peer.say(messages.request(1, "login", {}, asked))
            assert slow.began.wait(10)
            if asked:
                answer = peer.hear()
                assert answer is not None
                assert answer["error"]["code"] == ExitCode.REQUEST_TIMED_OUT
        with at.connect().greet() as other:  # the server has seen the first one leave
            other.say(messages.request(1, "nothing", {}, None))
            assert other.hear() is not None
        assert not slow.ended.is_set()
        assert slow.may_end is not None
        at.loop.call_soon_threadsafe(slow.may_end.set)
        assert slow.ended.wait(10)
        assert slow.outcome == "done"


def test_work_that_cancels_itself_is_still_answered(path: str) -> None:
    table = {
        "plain": raising(asyncio.CancelledError()),
        "login": Operation(raising(asyncio.CancelledError()).run, outlives_client=True),
    }
    with running(path, table) as at, at.connect().greet() as peer:
        for number, op in enumerate(table):
            peer.say(messages.request(number, op, {}, None))
            answer = peer.hear()
            assert answer is not None
            assert answer["error"]["code"] == ExitCode.DAEMON_COMMUNICATION


def test_a_client_that_does_not_read_delays_nobody(path: str) -> None:
    """Its replies are given a deadline, then it is cut off."""
    big = returning({"text": "x" * 4_000_000})
    table = {"big": big, **OPERATIONS}
    with (
        running(path, table, limits=Limits(write_s=0.2)) as at,
        at.connect().greet() as deaf,
        at.connect().greet() as other,
    ):
        deaf.say(messages.request(1, "big", {}, None))
        for number in range(20):
            other.say(messages.request(number, "echo", {}, None))
            assert other.hear() == {"id": number, "ok": {}}
        deadline = at.loop.time() + 10
        while len(at.server._connections) > 1 and at.loop.time() < deadline:
            other.say(messages.request(99, "echo", {}, None))
            other.hear()
        assert len(at.server._connections) == 1


def test_closing_tells_waiting_clients(path: str) -> None:
    slow, login = Slow(), Slow()
    table = {"slow": Operation(slow.run), "login": Operation(login.run, outlives_client=True)}
    with running(path, table) as at, at.connect().greet() as peer:
        peer.say(messages.request(1, "slow", {}, None))
        peer.say(messages.request(2, "login", {}, None))
        assert slow.began.wait(10)
        assert login.began.wait(10)
        at.call(at.server.close)
        heard = [peer.hear(), peer.hear()]
        assert peer.hear() is None
    assert {answer["id"] for answer in heard if answer} == {1, 2}
    for answer in heard:
        assert answer is not None
        assert answer["error"]["code"] == ExitCode.DAEMON_COMMUNICATION
    assert login.outcome == "cancelled"


def test_closing_does_not_wait_for_a_client_that_does_not_read(path: str) -> None:
    async def body() -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        server = Server({"big": returning({"t": "x" * 4_000_000})}, allowed_uids=OWN_UID)
        await server.start(listener)
        reader, writer = await asyncio.open_unix_connection(path, limit=100)
        writer.write(messages.encode(messages.hello("t", "0")))
        await reader.readline()
        writer.write(messages.encode(messages.request(1, "big", {}, None)))
        await reader.readexactly(1)
        async with asyncio.timeout(10):
            await server.close(flush_s=0.05)
        writer.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(body())


def test_many_clients_at_once(path: str) -> None:
    with running(path, OPERATIONS) as at:
        peers = [at.connect() for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.say(messages.hello("t", "0"))
            peer.say(messages.request(number, "echo", {"n": number}, None))
        for number, peer in enumerate(peers):
            assert peer.hear() is not None
            assert peer.hear() == {"id": number, "ok": {"n": number}}
            peer.close()
