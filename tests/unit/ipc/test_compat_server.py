"""The daemon's end of open-iscsi's socket, against clients that write what they like."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import (
    LogoutFailed,
    PyIscsiError,
    SessionExists,
    SessionNotFound,
    TransportError,
)
from pyiscsi.ipc import compat_socket, structs
from pyiscsi.ipc.compat_server import REFUSED_MAX, Limits, Server
from pyiscsi.ipc.structs import Command, Request, Response
from pyiscsi.ipc.structs_layout import LAYOUTS
from pyiscsi.transport.base import Statistics

SIZES = (16104, 16112, 16128)
RECORD = {
    "node.name": "iqn.2026-11.test:one",
    "node.conn[0].address": "192.0.2.1",
    "node.conn[0].iscsi.DataDigest": "CRC32C",
    "node.discovery_type": "static",
    "iface.initiatorname": "iqn.2026-11.test:me",
}
KNOWN_SID = 7


class Sessions:
    """Handlers that note what they were asked; `gate` holds logins and logouts back."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.error: Exception | None = None

    async def _do(self, *call: Any) -> None:
        self.calls.append(call)
        self.began.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.ended.set()

    async def login(self, record: dict[str, str], *, multiple: bool) -> None:
        await self._do("login", record, multiple)

    async def logout(self, sid: int) -> None:
        await self._do("logout", sid)

    async def stats(self, sid: int) -> Statistics:
        await self._do("stats", sid)
        return Statistics({"txdata_octets": 5}, {"eh_abort_cnt": 6})

    async def states(self, sid: int) -> tuple[str, str]:
        if sid != KNOWN_SID:
            raise SessionNotFound
        return "LOGGED IN", "REOPEN"

    async def config_file(self) -> str:
        return "/etc/iscsi/other.conf"

    async def initiator_name(self) -> str:
        return ""

    async def initiator_alias(self) -> str:
        return "alias"

    async def stop(self) -> None:
        await self._do("stop")


class Place:
    """A server on an abstract name of its own."""

    def __init__(self, name: str, server: Server, sessions: Sessions) -> None:
        self.name = name
        self.server = server
        self.sessions = sessions

    async def connect(self) -> Client:
        return Client(*await asyncio.open_unix_connection(compat_socket.address(self.name)))

    async def ask(self, data: bytes) -> Response:
        client = await self.connect()
        client.writer.write(data)
        return await client.response()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def response(self) -> Response:
        """The response, which must be all that comes before a regular end."""
        data = await self.reader.read()
        self.writer.close()
        return Response(data)

    async def rest(self) -> bytes:
        data = await self.reader.read()
        self.writer.close()
        return data


def serve(
    scenario: Callable[[Place], Awaitable[None]],
    *,
    limits: Limits | None = None,
    allowed: bool = True,
) -> None:
    async def main() -> None:
        sessions = Sessions()

        async def is_allowed(uid: int) -> bool:
            assert uid == os.geteuid()
            return allowed

        server = Server(sessions, is_allowed=is_allowed, limits=limits)
        name = f"pyiscsi-test-{os.getpid()}"
        listener = compat_socket.bind(name)
        await server.start(listener)
        try:
            async with asyncio.timeout(30):
                await scenario(Place(name, server, sessions))
        finally:
            await server.close(0.2)

    asyncio.run(main())


def request(command: int, sid: int = 0, size: int = 16104, **options: Any) -> bytes:
    return structs.encode_request(Request(command, sid, **options), LAYOUTS[size])


def login(size: int = 16104, *, multiple: bool = False) -> bytes:
    return request(Command.SESSION_LOGIN, size=size, record=RECORD, multiple=multiple)


def test_address() -> None:
    """D-001: a NUL and 27 characters, nothing behind them; another daemon is told of the first."""
    assert compat_socket.address(compat_socket.NAME) == "\0ISCSIADM_ABSTRACT_NAMESPACE"
    assert len(compat_socket.address(compat_socket.NAME)) + 2 == 30
    name = f"pyiscsi-test-{os.getpid()}"
    with compat_socket.bind(name) as listener:
        assert listener.getsockname() == f"\0{name}".encode()
        with pytest.raises(PyIscsiError, match=f"Can not bind IPC socket @{name}: "):
            compat_socket.bind(name)
        assert compat_socket.choose([("", listener)], name) is listener
        assert compat_socket.choose([("", listener)], name[:-1]) is None


@pytest.mark.parametrize(
    ("path", "variable", "name"),
    [
        ("/run/iscsid.sock", "", "ISCSIADM_ABSTRACT_NAMESPACE"),
        ("/tmp/own.sock", "", ""),
        ("/tmp/own.sock", "other", "other"),
        ("/run/iscsid.sock", "none", ""),
    ],
)
def test_which_name(path: str, variable: str, name: str) -> None:
    """An installation aside of the machine's own does not take its name."""
    environ = {"PYISCSI_COMPAT_SOCKET": variable}
    assert compat_socket.name_for(Env(socket_path=path), environ) == name


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


def test_probe_finds_the_newest_layout() -> None:
    """A client that looks for the layout sends the longest request and then meets a clean end."""

    async def scenario(place: Place) -> None:
        client = await place.connect()
        client.writer.write(bytes(structs.HEAD_SIZE).ljust(16128, b"\0"))
        assert len(await client.rest()) == 2464

    serve(scenario)


def test_silent_clients(caplog: pytest.LogCaptureFixture) -> None:
    """D-007: too little or nothing stops nobody else and is ended after a while."""

    async def scenario(place: Place) -> None:
        silent = [await place.connect() for _ in range(8)]
        for number, client in enumerate(silent):
            client.writer.write(bytes(number * 2000))
        assert (await place.ask(login())).error == 0
        for client in silent:
            assert await client.rest() == b""

    serve(scenario, limits=Limits(request_s=0.3))
    assert "a client of open-iscsi's socket sent 14000 bytes and no request" in caplog.text


@pytest.mark.parametrize("size", [16105, 16120, 16127])
def test_login_of_an_unknown_release(size: int) -> None:
    """A size between the known ones is no request; nothing is done."""

    async def scenario(place: Place) -> None:
        client = await place.connect()
        client.writer.write(login(16128)[:size])
        assert await client.rest() == b""
        assert place.sessions.calls == []

    serve(scenario, limits=Limits(request_s=0.2))


def test_login_that_is_too_long(caplog: pytest.LogCaptureFixture) -> None:
    """More than the longest known request is of a release to come: 16, with a reason logged."""

    async def scenario(place: Place) -> None:
        assert (await place.ask(login(16128) + bytes(8))).error == 16
        assert place.sessions.calls == []

    with caplog.at_level(logging.ERROR):
        serve(scenario)
    assert "16136 bytes is of no known release of open-iscsi" in caplog.text


def test_foreign_users(caplog: pytest.LogCaptureFixture) -> None:
    """D-003: error 13 and command 0, whether the client has written or not."""

    async def scenario(place: Place) -> None:
        response = await place.ask(login())
        assert (response.command, response.error) == (0, 13)
        assert (await place.ask(b"")).error == 13
        assert place.sessions.calls == []

    serve(scenario, allowed=False)
    assert f"Unauthorized user with UID={os.geteuid()}" in caplog.text


async def write_on(client: Client) -> None:
    while True:
        client.writer.write(b"more")
        await client.writer.drain()
        await asyncio.sleep(0)


def test_many_foreign_users() -> None:
    """D-003: those who do not go cannot hold more than a few connections open."""

    async def scenario(place: Place) -> None:
        idle = [await place.connect() for _ in range(REFUSED_MAX)]
        for client in idle:
            await client.reader.readexactly(structs.RESPONSE_SIZE)
        assert place.server.refused == REFUSED_MAX
        last = await place.connect()
        assert Response(await last.reader.read()).error == 13
        # At its end although we have not closed ours.
        with pytest.raises(ConnectionError):
            await write_on(last)
        for client in (*idle, last):
            client.writer.close()

    serve(scenario, limits=Limits(write_s=60), allowed=False)


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
