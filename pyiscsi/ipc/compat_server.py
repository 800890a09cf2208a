"""The daemon's end of open-iscsi's management socket: its iscsiadm drives our iscsid.

One connection carries one request and one response (usr/mgmt_ipc.c). Nothing in a request tells
its length; but a client writes it at once and then waits, so its size is what has arrived when
nothing more follows. Every connection has its own task and every wait for a client a deadline: a
client that sends too little delays nobody, and one that leaves does not end what it began.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pyiscsi.errors import ExitCode, IpcError, PyIscsiError, SessionNotFound, TransportError
from pyiscsi.ipc import listening, structs
from pyiscsi.ipc.structs import Command, Head
from pyiscsi.ipc.structs_layout import LAYOUTS

REFUSED_MAX = 16
"""Clients without permission that may take their time to read so; the next are cut off at once."""

_log = logging.getLogger("iscsid")


class Counters(Protocol):
    """transport.base.Statistics."""

    @property
    def counters(self) -> Mapping[str, int]: ...

    @property
    def custom(self) -> Mapping[str, int]: ...


class Handlers(Protocol):
    """What requests are handed to; each may raise PyIscsiError, whose status is the answer."""

    async def login(self, record: dict[str, str], *, multiple: bool) -> None: ...

    async def logout(self, sid: int) -> None: ...

    async def stats(self, sid: int) -> Counters: ...

    async def states(self, sid: int) -> tuple[str, str]:
        """Words for connection and stage; SessionNotFound."""
        ...

    async def config_file(self) -> str: ...

    async def initiator_name(self) -> str: ...

    async def initiator_alias(self) -> str: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one client, in seconds."""

    request_s: float = 5.0
    """From its connection to the end of its request."""
    settle_s: float = 0.02
    """Without a further byte, until the size of a request with a record is believed."""
    quiet_s: float = 0.5
    """Without a further byte, until a request of another size is taken for all there is: clients
    write the whole of it at once."""
    write_s: float = 5.0
    """For taking the response, and for closing its end afterwards."""


ANSWERS: Mapping[int, int] = {
    Command.CONN_ADD: ExitCode.GENERIC,
    Command.CONN_REMOVE: ExitCode.GENERIC,
    Command.SEND_TARGETS: ExitCode.TRANSPORT_CAPS,
    **dict.fromkeys(structs.WITH_PAYLOAD, ExitCode.GENERIC),
}
"""Errors that are all there ever is to say; a command without a handler is unknown, status 16."""

Handler = Callable[[bytes, Head], Awaitable[bytes]]
"""From a whole request to the response."""

_CUT_SHORT = "a client of open-iscsi's socket sent %d bytes and no request, disconnecting it"


class Server(listening.StreamServer):
    """Answers open-iscsi's clients. `close()` must be awaited.

    `is_allowed`: who may talk to us, by user id; anyone else gets error 13.
    """

    backlog = 32

    def __init__(
        self,
        handlers: Handlers,
        *,
        is_allowed: Callable[[int], Awaitable[bool]],
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        self.limits = limits or Limits()
        self.is_allowed = is_allowed
        self.requests = _Requests(handlers)
        self._work: set[asyncio.Task[bytes]] = set()
        self.refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(self, reader, writer).serve()

    async def close(self, flush_s: float = 1.0) -> None:
        """Give up all work, tell the clients who wait for it within `flush_s`, disconnect all."""
        self._is_closing = True
        self.stop_listening()
        connections = list(self._clients)
        # Work that has just ended has its answer written; only the rest is given up.
        await asyncio.sleep(0)
        for work in list(self._work):
            work.cancel()
        if connections:
            await asyncio.wait(connections, timeout=flush_s)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, *self._work, return_exceptions=True)

    async def carry_out(self, data: bytes, head: Head) -> bytes:
        """Run a request to its end, whatever becomes of the one who waits for it."""

        async def run() -> bytes:
            return await self.requests.answer(data, head)

        task = asyncio.create_task(run())
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return structs.encode_answer(head.command, ExitCode.DAEMON_COMMUNICATION)


class _Connection(listening.StreamConnection):
    """One client."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(reader, writer)
        self._server = server
        self._limits = server.limits

    async def serve(self) -> None:
        if not await self._is_allowed():
            await self._refuse()
            return
        try:
            head = await self._read_request()
        except IpcError as error:
            pid, _ = listening.peer(self._writer)
            _log.error("process %d refused: %s", pid, error)
            await self._answer(structs.encode_answer(self._command(), error.exit_code))
            return
        if head is not None:
            await self._answer(await self._server.carry_out(bytes(self._buffer), head))

    def _command(self) -> int:
        try:
            return structs.decode_head(bytes(self._buffer)).command
        except IpcError:
            return 0

    async def _refuse(self) -> None:
        """Anyone may connect; only a few are waited for, lest they take all our descriptors."""
        response = structs.encode_answer(0, ExitCode.ACCESS)
        if self._server.refused >= REFUSED_MAX:
            self._writer.write(response)
            return
        self._server.refused += 1
        try:
            await self._answer(response)
        finally:
            self._server.refused -= 1

    async def _is_allowed(self) -> bool:
        _, uid = listening.peer(self._writer)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.request_s):
                if await self._server.is_allowed(uid):
                    return True
        self._server.refusals.note(uid)
        return False

    async def _read_request(self) -> Head | None:
        """Fill the buffer with a whole request; None when the client sent no such thing.

        Raises Malformed for a request of an unknown size.
        """
        try:
            async with asyncio.timeout(self._limits.request_s):
                return await self._collect()
        except TimeoutError:
            _log.error(_CUT_SHORT, len(self._buffer))
            return None

    async def _collect(self) -> Head | None:
        while len(self._buffer) < structs.REQUEST_SIZE_MIN:
            if not await self._read_more(self._limits.quiet_s if self._buffer else None):
                if self._buffer:
                    raise structs.unknown_size(len(self._buffer))
                return None
        head = structs.decode_head(bytes(self._buffer[: structs.HEAD_SIZE]))
        if head.command in structs.WITH_RECORD:
            await self._settle()
        is_excessive = head.payload_length > structs.PAYLOAD_MAX
        return None if head.command in structs.WITH_PAYLOAD and is_excessive else head

    async def _settle(self) -> None:
        """Until a request of a known size has come and nothing follows it, or too much has."""
        while len(self._buffer) < structs.REQUEST_SIZE_MAX:
            is_whole = len(self._buffer) in LAYOUTS
            if not await self._read_more(
                self._limits.settle_s if is_whole else self._limits.quiet_s
            ):
                if not is_whole:
                    raise structs.unknown_size(len(self._buffer))
                return

    async def _read_more(self, limit_s: float | None) -> bool:
        """Whether something came before the client's end, and in time."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._read_some()
        except TimeoutError:
            return False

    async def _read_some(self) -> bool:
        data = await self._reader.read(listening.CHUNK)
        self._buffer += data
        return bool(data)

    async def _answer(self, response: bytes) -> None:
        """Write the response and wait for the client's end.

        Closing with bytes unread would be a reset, which could overtake the response.
        """
        self._writer.write(response)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.write_s):
                await self._writer.drain()
                self._writer.write_eof()
                left = structs.REQUEST_SIZE_MAX + structs.PAYLOAD_MAX
                while left > 0 and (data := await self._reader.read(listening.CHUNK)):
                    left -= len(data)


class _Requests:
    """The table of commands and their handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._table: Mapping[int, Handler] = {
            Command.SESSION_LOGIN: self._login,
            Command.SESSION_LOGOUT: self._logout,
            Command.SESSION_STATS: self._stats,
            Command.SESSION_INFO: self._info,
            Command.SESSION_SYNC: self._sync,
            Command.CONFIG_FILE: self._text(handlers.config_file),
            Command.CONFIG_INAME: self._text(handlers.initiator_name),
            Command.CONFIG_IALIAS: self._text(handlers.initiator_alias),
            Command.IMMEDIATE_STOP: self._stop,
        }

    async def answer(self, data: bytes, head: Head) -> bytes:
        """The response to a request, whatever happens."""
        command = head.command
        handler = self._table.get(command)
        try:
            if handler is not None:
                return await handler(data, head)
        except PyIscsiError as error:
            return structs.encode_answer(command, error.exit_code)
        except Exception:
            # One broken request must not take the daemon, and with it every session, down.
            _log.exception("request %d failed", command)
            return structs.encode_answer(command, ExitCode.INTERNAL)
        if command not in ANSWERS:
            _log.error("unknown request: %d", command)
        return structs.encode_answer(command, ANSWERS.get(command, ExitCode.INVALID_REQUEST))

    async def _login(self, data: bytes, head: Head) -> bytes:
        try:
            request = structs.decode_request(data)
        except IpcError as error:
            _log.error("login refused: %s", error)
            raise
        await self._handlers.login(request.record, multiple=request.multiple)
        return structs.encode_answer(head.command)

    async def _logout(self, data: bytes, head: Head) -> bytes:
        await self._handlers.logout(head.number)
        return structs.encode_answer(head.command)

    async def _stats(self, data: bytes, head: Head) -> bytes:
        try:
            found = await self._handlers.stats(head.number)
        except TransportError as error:
            raise PyIscsiError(str(error), ExitCode.INTERNAL) from error
        return structs.encode_statistics(head.command, head.number, found.counters, found.custom)

    async def _info(self, data: bytes, head: Head) -> bytes:
        connection, stage = await self._handlers.states(head.number)
        return structs.encode_states(head.command, connection, stage)

    async def _sync(self, data: bytes, head: Head) -> bytes:
        """Open-iscsi's daemon sends this to itself at its start; we take sessions over unasked."""
        error = ExitCode.SESSION_EXISTS
        try:
            await self._handlers.states(head.number)
        except SessionNotFound:
            error = ExitCode.NOT_SUPPORTED
        return structs.encode_answer(head.command, error)

    async def _stop(self, data: bytes, head: Head) -> bytes:
        await self._handlers.stop()
        return structs.encode_answer(head.command)

    @staticmethod
    def _text(value: Callable[[], Awaitable[str]]) -> Handler:
        async def handler(data: bytes, head: Head) -> bytes:
            return structs.encode_text(head.command, await value())

        return handler
