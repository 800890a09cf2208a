"""Registration at an iSNS server and its notices, on loopback, with a clock that jumps."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pyiscsi.daemon.isns_watch import CONNECTIONS_MAX, RETRY_S, IsnsWatch
from pyiscsi.discovery.isns import IsnsServer
from pyiscsi.proto.isns import Function, Tag
from pyiscsi.proto.isns_pdu import Framer, Message, decode_attributes, encode_attributes
from tests.unit.daemon.actor_parts import run, until
from tests.unit.discovery.isns_server import IsnsScript, Reply, answer

ME, ALSO = "iqn.2026-11.test:me", "iqn.2026-11.test:also"
PERIOD_S = 600
REGISTER, QUERY = Function.DEVICE_REGISTER, Function.DEVICE_QUERY
DEREGISTER, CHANGES = Function.DEVICE_DEREGISTER, Function.SCN_REGISTER
BEGIN = [REGISTER, CHANGES, CHANGES]
"""What a registration of our two nodes asks."""


def by_function(period_s: int = PERIOD_S, **others: Reply) -> Reply:
    """A server that keeps us for `period_s`; `others` replace the replies to a function by name."""
    replies = {
        REGISTER: answer(0, [(Tag.REGISTRATION_PERIOD, struct.pack("!I", period_s))]),
        QUERY: answer(0, [(Tag.ENTITY_PROTOCOL, struct.pack("!I", 2))]),
    }
    replies |= {getattr(Function, name): reply for name, reply in others.items()}
    return lambda request: replies.get(request.function, answer())(request)


class Watched:
    """A watch with its server; `looks` are the times at which it looked."""

    def __init__(self, script: IsnsScript, interval_s: int, outcomes: Sequence[bool]) -> None:
        self.script = script
        self.looks: list[float] = []
        self.look_s = 0.0
        self._outcomes = [*outcomes]
        server = IsnsServer("127.0.0.1", script.port)
        self.watch = IsnsWatch(server, interval_s, self._names, self._look)
        self.begin = asyncio.get_running_loop().time()

    async def _names(self) -> tuple[str, ...]:
        return ME, ALSO

    async def _look(self) -> bool:
        self.looks.append(asyncio.get_running_loop().time() - self.begin)
        await asyncio.sleep(self.look_s)
        return self._outcomes.pop(0) if self._outcomes else True

    def told_port(self) -> int:
        """Where the server was told to send its notices."""
        registration = [one for one in self.script.requests if one.function == REGISTER][-1]
        values = dict(decode_attributes(registration.payload))
        assert values[Tag.PORTAL_ADDRESS][12:] == bytes([127, 0, 0, 1])
        assert values[Tag.SCN_PORT] == values[Tag.PORTAL_PORT]
        return int(struct.unpack("!I", values[Tag.SCN_PORT])[0])

    async def tell(self, notice: bytes, count: int = 1) -> list[Message]:
        """Send bytes as a server would; the answers to so many notices, fewer at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.told_port())
        framer, found = Framer(), []
        writer.write(notice)
        while len(found) < count and (data := await reader.read(65536)):
            framer.feed(data)
            while (message := framer.next_message()) is not None:
                found.append(message)
        writer.close()
        return found


@asynccontextmanager
async def watching(
    *replies: Reply,
    others: Reply | None = None,
    interval_s: int = -1,
    outcomes: Sequence[bool] = (),
) -> AsyncIterator[Watched]:
    async with IsnsScript(*replies, others=others or by_function()) as script:
        watched = Watched(script, interval_s, outcomes)
        task = asyncio.create_task(watched.watch.run())
        try:
            yield watched
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()


def change(name: str = "iqn.2026-11.test:one", bits: int = 1 << 3, xid: int = 1) -> bytes:
    attributes = [
        (Tag.ISCSI_NAME, ME.encode() + b"\0"), (Tag.TIMESTAMP, bytes(8)),
        (Tag.SCN_BITMAP, struct.pack("!I", bits)), (Tag.ISCSI_NAME, name.encode() + b"\0"),
    ]  # fmt: skip
    payload = encode_attributes(attributes)
    return Message(Function.STATE_CHANGE, xid, payload, 0x4000).encode()


def play(test: Callable[[], Any]) -> None:
    run(test())


def test_registers_looks_and_says_goodbye() -> None:
    """The entity, each of our nodes for changes; one look; deregistered at the end."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            assert it.script.functions == BEGIN
            assert it.script.sources() == {ME, ALSO}
        assert it.script.functions == [*BEGIN, DEREGISTER]
        assert len(it.looks) == 1

    play(test)


def test_a_notice_is_answered_and_looked_into() -> None:
    """Many at once are one look."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            (response,) = await it.tell(change())
            assert (response.function, response.payload[:4]) == (0x8008, bytes(4))
            await until(lambda: len(it.looks) == 2)
            notices = b"".join(change(xid=number) for number in range(20))
            answers = await it.tell(notices, 20)
            assert [one.xid for one in answers] == [*range(20)]
            await until(lambda: len(it.looks) == 3)
            await asyncio.sleep(100)
            assert len(it.looks) == 3

    play(test)


def test_a_notice_during_a_look_is_looked_into() -> None:
    """The answer to the question may be older than the change."""

    async def test() -> None:
        async with watching() as it:
            it.look_s = 20
            await until(lambda: it.looks)
            await it.tell(change())
            await asyncio.sleep(100)
            assert len(it.looks) == 2
            await it.tell(change())
            await until(lambda: len(it.looks) == 3)

    play(test)


def test_a_notice_for_somebody_else() -> None:
    """It is answered, as the server sends it again otherwise."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            assert len(await it.tell(change().replace(ME.encode(), ME.encode()[::-1]))) == 1
            await asyncio.sleep(100)
            assert len(it.looks) == 1

    play(test)


def test_status_inquiries_are_answered_only() -> None:
    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            inquiry = Message(Function.ENTITY_STATUS, 7, encode_attributes([(1, b"x\0")]), 0x4000)
            (response,) = await it.tell(inquiry.encode())
            assert response.payload == bytes(4) + inquiry.payload
            await asyncio.sleep(100)
            assert len(it.looks) == 1

    play(test)


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n\r\n", bytes(12), change()[:5] + b"\3"])
def test_a_connection_that_talks_nonsense_is_closed(nonsense: bytes) -> None:
    """The next one is served."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            assert await it.tell(nonsense + change()) == []
            assert len(it.looks) == 1
            assert len(await it.tell(change())) == 1
            await until(lambda: len(it.looks) == 2)

    play(test)


def test_half_a_notice_is_waited_for() -> None:
    """Nothing is done at its first half, nor when the connection ends there."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            for half in (change()[:7], change()[:-4]):
                _, writer = await asyncio.open_connection("127.0.0.1", it.told_port())
                writer.write(half)
                await asyncio.sleep(60)
                writer.close()
                await asyncio.sleep(60)
            assert len(it.looks) == 1

    play(test)


def test_idle_connections_make_room() -> None:
    """However many are open, the server's own is served."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            opened = [
                await asyncio.open_connection("127.0.0.1", it.told_port())
                for _ in range(CONNECTIONS_MAX * 2)
            ]
            assert len(await it.tell(change())) == 1
            for _, writer in opened:
                writer.close()

    play(test)


def test_the_registration_is_renewed() -> None:
    """RFC 4171 §6.2.6: asked for our entity at half of the period, without a look."""

    async def test() -> None:
        async with watching() as it:
            await asyncio.sleep(PERIOD_S * 2 + 100)
            assert it.script.functions == [*BEGIN, QUERY, QUERY, QUERY, QUERY]
            assert len(it.looks) == 1

    play(test)


@pytest.mark.parametrize(
    "lost", [answer(9), answer(6), answer()], ids=["no entry", "unknown", "empty answer"]
)
def test_registers_anew_when_the_server_has_forgotten_us(lost: Reply) -> None:
    """And looks again, for what happened meanwhile."""

    async def test() -> None:
        others = by_function()
        async with watching(*[others] * 3, lost, others=others) as it:
            await until(lambda: len(it.looks) == 2)
            assert it.looks[1] < PERIOD_S
            assert it.script.functions == [*BEGIN, QUERY, *BEGIN]

    play(test)


def test_a_silent_server_is_asked_again_until_the_period_is_over() -> None:
    async def test() -> None:
        async with watching(others=by_function(DEVICE_QUERY=lambda _: b"")) as it:
            await asyncio.sleep(PERIOD_S + 10)
            assert it.script.functions.count(REGISTER) == 2
            asked = it.script.functions.count(QUERY)
            assert asked > PERIOD_S / 2 / RETRY_S - 5
            await until(lambda: len(it.looks) == 2)

    play(test)


def test_goes_on_trying_to_register(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once; nodes that belong to another entity are taken out of it."""

    async def test() -> None:
        no = by_function(DEVICE_REGISTER=answer(3))
        async with watching(*[no] * 9) as it:
            await until(lambda: it.looks)
            assert it.looks[0] >= 2 * RETRY_S
            assert it.script.functions == [REGISTER, DEREGISTER, DEREGISTER] * 3 + BEGIN

    caplog.set_level("INFO", "iscsid")
    play(test)
    lines = [message for message in caplog.messages if "could not be registered" in message]
    assert len(lines) == 1
    assert lines[0].endswith(": Invalid registration")


def test_without_notices_polling_is_needed() -> None:
    """A server that takes no registration for changes is an error, unless it is polled."""

    async def test() -> None:
        refuses = by_function(SCN_REGISTER=answer(17))
        async with watching(others=refuses) as it:
            await asyncio.sleep(100)
            assert it.looks == []
        async with watching(others=refuses, interval_s=30) as it:
            await asyncio.sleep(100)
            assert len(it.looks) == 4
            assert REGISTER not in it.script.functions[1:]

    play(test)


def test_polled_while_it_cannot_be_registered() -> None:
    async def test() -> None:
        async with watching(others=by_function(DEVICE_REGISTER=answer(8)), interval_s=30) as it:
            await asyncio.sleep(100)
            assert len(it.looks) == 4

    play(test)


def test_a_look_without_an_answer_is_repeated() -> None:
    async def test() -> None:
        async with watching(outcomes=[False, False, True]) as it:
            await asyncio.sleep(1000)
            assert it.looks == pytest.approx([0, RETRY_S, 2 * RETRY_S], abs=0.5)

    play(test)


def test_looks_again_when_asked_to() -> None:
    """A login failed, of which the server will not tell."""

    async def test() -> None:
        async with watching() as it:
            await until(lambda: it.looks)
            it.watch.look_within(30)
            await asyncio.sleep(100)
            assert it.looks == pytest.approx([0, 30], abs=0.5)

    play(test)
