"""The daemon's end of open-iscsi's socket: what it answers to clients of every release."""

from __future__ import annotations

import asyncio
import struct

import pytest

from pyiscsi.errors import LogoutFailed, SessionExists, SessionNotFound, TransportError
from pyiscsi.ipc.compat_server import Limits
from pyiscsi.ipc.structs import Command
from tests.unit.ipc.compat_place import KNOWN_SID, RECORD, SIZES, Place, login, request, serve


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_login(size: int, multiple: bool) -> None:
    """D-004: the number of bytes tells the release; the response echoes the command."""

    async def scenario(place: Place) -> None:
        response = await place.ask(login(size, multiple=multiple))
        assert (response.command, response.error) == (1, 0)
        (_, record, asked_for_one_more) = place.sessions.calls[0]
        assert {key: record[key] for key in RECORD} == RECORD
        assert asked_for_one_more is multiple

    serve(scenario)


@pytest.mark.parametrize("size", SIZES)
def test_login_in_pieces(size: int) -> None:
    """A request that comes byte by byte at its end is still believed only when it is whole."""

    async def scenario(place: Place) -> None:
        client = await place.connect()
        data = login(size)
        for piece in (data[:7], data[7:16000], data[16000:]):
            client.writer.write(piece)
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.response()).error == 0
        assert place.sessions.calls[0][1]["node.name"] == RECORD["node.name"]

    serve(scenario, limits=Limits(settle_s=0.5))


def test_client_that_leaves() -> None:
    """D-009: a login whose client has gone is carried to its end."""

    async def scenario(place: Place) -> None:
        place.sessions.gate.clear()
        client = await place.connect()
        client.writer.write(login())
        await place.sessions.began.wait()
        client.writer.transport.abort()
        place.sessions.gate.set()
        await place.sessions.ended.wait()
        assert (await place.ask(request(Command.CONFIG_FILE))).error == 0

    serve(scenario)


def test_client_that_does_not_wait() -> None:
    """D-009: `iscsiadm -W` closes its socket right after the request."""

    async def scenario(place: Place) -> None:
        client = await place.connect()
        client.writer.write(login())
        client.writer.close()
        await place.sessions.ended.wait()

    serve(scenario, limits=Limits(settle_s=10))


ERRORS = (
    (Command.SESSION_LOGIN, SessionExists(), 15),
    (Command.SESSION_LOGIN, ValueError("a bug"), 9),
    (Command.SESSION_LOGOUT, LogoutFailed(), 10),
    (Command.SESSION_STATS, SessionNotFound(), 2),
    (Command.SESSION_STATS, TransportError("kernel refused"), 9),
)


@pytest.mark.parametrize(("command", "error", "status"), ERRORS)
def test_errors(command: int, error: Exception, status: int) -> None:
    """The status of a failure is the answer; a bug of ours is one, too, and ends nothing."""

    async def scenario(place: Place) -> None:
        place.sessions.error = error
        response = await place.ask(request(command, 3, record=RECORD))
        assert (response.command, response.error) == (command, status)
        assert (await place.ask(request(Command.CONFIG_FILE))).error == 0

    serve(scenario)


@pytest.mark.parametrize("size", SIZES)
def test_questions(size: int) -> None:
    """D-010, D-011, D-012: settings in use, states and statistics."""

    async def scenario(place: Place) -> None:
        ask = place.ask
        assert (await ask(request(Command.CONFIG_FILE, size=size))).text == "/etc/iscsi/other.conf"
        name = await ask(request(Command.CONFIG_INAME, size=size))
        assert (name.text, name.error) == ("", 0)
        assert (await ask(request(Command.CONFIG_IALIAS, size=size))).text == "alias"
        info = await ask(request(Command.SESSION_INFO, KNOWN_SID, size))
        assert info.states == ("LOGGED IN", "REOPEN")
        assert (await ask(request(Command.SESSION_INFO, 8, size))).error == 2
        stats = await ask(request(Command.SESSION_STATS, KNOWN_SID, size))
        assert stats.counters["txdata_octets"] == 5
        assert stats.custom == {"eh_abort_cnt": 6}
        assert (await ask(request(Command.SESSION_LOGOUT, KNOWN_SID, size))).error == 0
        assert (await ask(request(Command.IMMEDIATE_STOP, 0, size))).error == 0
        assert place.sessions.calls == [("stats", 7), ("logout", 7), ("stop",)]

    serve(scenario)


ANSWERS = [(number, 16) for number in (0, 3, 4, 14, 20, 21, 2**32 - 1)]
ANSWERS += [(number, 1) for number in (5, 6, 16, 17, 18, 19)]
ANSWERS += [(15, 14)]


@pytest.mark.parametrize(("command", "status"), ANSWERS)
def test_commands_without_a_handler(command: int, status: int) -> None:
    """D-008: unknown ones are 16, those open-iscsi never finished 1."""

    async def scenario(place: Place) -> None:
        response = await place.ask(request(command))
        assert response.error == status
        assert response.command == command

    serve(scenario)


@pytest.mark.parametrize(("sid", "status"), [(KNOWN_SID, 15), (8, 27)])
def test_sync(sid: int, status: int) -> None:
    """Existing sessions are taken over without being told; only the known are said to exist."""

    async def scenario(place: Place) -> None:
        data = request(Command.SESSION_SYNC, sid, record=RECORD)
        assert (await place.ask(data)).error == status

    serve(scenario)


def test_payload() -> None:
    """What follows the request of a NOTIFY command is read, so the answer is not lost."""

    async def scenario(place: Place) -> None:
        data = bytearray(request(Command.NOTIFY_ADD_NODE))
        struct.pack_into("=I", data, 4, 65536)
        assert (await place.ask(bytes(data) + bytes(65536))).error == 1
        struct.pack_into("=I", data, 4, 65537)
        client = await place.connect()
        client.writer.write(data)
        assert await client.rest() == b""

    serve(scenario)


def test_closing() -> None:
    """At shutdown a client that waits gets an answer, and one that sends nothing an end."""

    async def scenario(place: Place) -> None:
        place.sessions.gate.clear()
        waiting, silent = await place.connect(), await place.connect()
        waiting.writer.write(login())
        await place.sessions.began.wait()
        closing = asyncio.create_task(place.server.close(0.5))
        assert (await waiting.response()).error == 18
        assert await silent.rest() == b""
        await closing

    serve(scenario)


def test_the_answer_to_stop() -> None:
    """The request that ended us is answered with success, though all else is given up."""

    async def scenario(place: Place) -> None:
        place.sessions.gate.clear()
        client = await place.connect()
        client.writer.write(request(Command.IMMEDIATE_STOP))
        await place.sessions.began.wait()
        place.sessions.gate.set()
        closing = asyncio.create_task(place.server.close(0.5))
        assert (await client.response()).error == 0
        await closing

    serve(scenario)
