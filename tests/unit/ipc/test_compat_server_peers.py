"""The daemon's end of open-iscsi's socket, against clients that are silent, unknown or refused."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import pytest

from pyiscsi import __version__
from pyiscsi.ipc import structs
from pyiscsi.ipc.compat_server import REFUSED_MAX, Limits
from pyiscsi.ipc.structs import Command, Response
from pyiscsi.ipc.structs_layout import known_sizes
from tests.unit.ipc.compat_place import Client, Place, login, request, serve


def test_clients_that_send_too_little(caplog: pytest.LogCaptureFixture) -> None:
    """D-007: they stop nobody else; what is no request is answered so, silence is ended."""

    async def scenario(place: Place) -> None:
        silent = await place.connect()
        short = [await place.connect() for _ in range(8)]
        for number, client in enumerate(short, 1):
            client.writer.write(request(Command.CONFIG_FILE)[: number * 2000])
        assert (await place.ask(login())).error == 0
        for client in short:
            response = await client.response()
            assert (response.command, response.error) == (Command.CONFIG_FILE, 16)
        assert await silent.rest() == b""

    serve(scenario, limits=Limits(request_s=3, quiet_s=0.2))
    assert "sent 0 bytes and no request" in caplog.text


def test_a_client_that_never_ends_its_request(caplog: pytest.LogCaptureFixture) -> None:
    """D-007: a byte now and then keeps nobody connected."""

    async def scenario(place: Place) -> None:
        client = await place.connect()

        async def trickle() -> None:
            while True:
                client.writer.write(b"\1")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        with suppress(ConnectionError):  # the end, or a reset when a byte was on its way
            assert await client.rest() == b""
        trickling.cancel()

    serve(scenario, limits=Limits(request_s=0.5, quiet_s=10))
    assert "bytes and no request, disconnecting it" in caplog.text


SIZES = [4, 16, 9000, 16103, 16105, 16120, 16127, 16136, 20000]


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_login_of_an_unknown_release(
    size: int, closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is done and the answer is 16; the log names both sides' releases by their sizes."""

    async def scenario(place: Place) -> None:
        client = await place.connect()
        client.writer.write((login(16128) + bytes(8000))[:size])
        if closes:
            client.writer.write_eof()
        response = await client.response()
        assert (response.command, response.error) == (
            Command.SESSION_LOGIN if size >= 16 else 0,
            16,
        )
        assert place.sessions.calls == []

    serve(scenario, limits=Limits(quiet_s=0.2))
    (line,) = caplog.messages
    assert f"request of {size} bytes is of no known release of open-iscsi" in line
    assert f"iscsid {__version__} knows those of {known_sizes()}" in line


def test_probe_finds_the_newest_layout() -> None:
    """A client that looks for the layout sends the longest request and then meets a clean end."""

    async def scenario(place: Place) -> None:
        client = await place.connect()
        client.writer.write(bytes(structs.HEAD_SIZE).ljust(16128, b"\0"))
        assert len(await client.rest()) == 2464

    serve(scenario)


def test_foreign_users(caplog: pytest.LogCaptureFixture) -> None:
    """D-003: error 13 and command 0, whether the client has written or not; logged once."""

    async def scenario(place: Place) -> None:
        for _ in range(50):
            response = await place.ask(login())
            assert (response.command, response.error) == (0, 13)
        assert (await place.ask(b"")).error == 13
        assert place.sessions.calls == []

    serve(scenario, allowed=False)
    assert caplog.messages == [
        f"Unauthorized user with UID={os.geteuid()}", "50 more requests of unauthorized users"
    ]  # fmt: skip


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
