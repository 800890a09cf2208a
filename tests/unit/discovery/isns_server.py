"""An iSNS server for tests: says to each request what it is told to, however wrong."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from types import TracebackType

from pyiscsi.proto.isns import Function
from pyiscsi.proto.isns_pdu import (
    FLAG_SERVER,
    Framer,
    Message,
    decode_attributes,
    encode_attributes,
)

Reply = Callable[[Message], "bytes | None"]
"""A request to the bytes that answer it: b"" closes the connection, None says nothing."""

GROUPS = [
    (48, b"iqn.2026-11.test:one\0"), (49, bytes(10) + b"\xff\xff\x0a\0\0\1"),
    (50, struct.pack("!I", 3260)), (51, struct.pack("!I", 10)),
    (48, b"iqn.2026-11.test:two\0"), (49, bytes.fromhex("20010db8000000000000000000000001")),
    (50, struct.pack("!I", 3261)), (51, struct.pack("!I", 1)),
]  # fmt: skip
FOUND = [
    ("iqn.2026-11.test:one", "10.0.0.1", 3260, 10),
    ("iqn.2026-11.test:two", "2001:db8::1", 3261, 1),
]
"""What GROUPS say."""


def answer(status: int = 0, attributes: Sequence[tuple[int, bytes]] = ()) -> Reply:
    """The proper response to a request."""

    def reply(request: Message) -> bytes:
        payload = struct.pack("!I", status) + encode_attributes(attributes)
        return Message(request.function | 0x8000, request.xid, payload, FLAG_SERVER).encode()

    return reply


def found(request: Message) -> bytes | None:
    """The two targets of FOUND."""
    return answer(0, GROUPS)(request)


class IsnsScript:
    """Listens on loopback while used as a context; `requests` are what it was asked."""

    def __init__(self, *replies: Reply, others: Reply = answer()) -> None:  # noqa: B008
        self._replies = [*replies]
        self._others = others
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Message] = []
        self.port = 0
        self._closes = False

    def say(self, reply: Reply, *, is_last: bool = False) -> None:
        """Answer the next request like this; `is_last`: and close the connection."""
        self._replies.append(reply)
        self._closes = is_last

    @property
    def functions(self) -> list[int]:
        return [request.function for request in self.requests]

    def sources(self) -> set[str]:
        """Who asked."""
        sources = set()
        for request in self.requests:
            tag, name = next(decode_attributes(request.payload))
            assert tag == 32
            sources.add(name.rstrip(b"\0").decode())
        return sources

    async def __aenter__(self) -> IsnsScript:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        framer = Framer()
        try:
            while data := await reader.read(65536):
                framer.feed(data)
                while (request := framer.next_message()) is not None:
                    self.requests.append(request)
                    reply = self._replies.pop(0) if self._replies else self._others
                    said = reply(request)
                    if said == b"":
                        return
                    writer.write(said or b"")
                    await writer.drain()
                    if self._closes:
                        return
        except ConnectionError:
            return
        finally:
            writer.close()


REGISTER, QUERY = Function.DEVICE_REGISTER, Function.DEVICE_QUERY
DEREGISTER = Function.DEVICE_DEREGISTER
