"""The daemon's end of open-iscsi's socket on a name of its own, and clients for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from pyiscsi.errors import SessionNotFound
from pyiscsi.ipc import compat_socket, structs
from pyiscsi.ipc.compat_server import Limits, Server
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
