"""The daemon's end of the native socket.

Every connection has its own tasks, so no client can delay another; every wait for a client has a
deadline; every operation runs under the client's deadline or the operation's own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pyiscsi import __version__
from pyiscsi.errors import AccessDenied, ExitCode, InvalidArgument, IpcError, PyIscsiError
from pyiscsi.ipc import listening, messages
from pyiscsi.ipc.messages import Malformed, Message

PROGRAM = "iscsid"

_SHOWN_MAX = 64

_log = logging.getLogger("iscsid")

Report = Callable[[Message], None]
"""Sends one progress event to the client that made the request."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the request table.

    `outlives_client`: a closed connection or a passed deadline ends the waiting, not the work
    (login, logout). `timeout_s` bounds requests that came without a deadline of their own.
    """

    run: Callable[[Message, Report], Awaitable[Message]]
    outlives_client: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one client may do; seconds, bytes, counts."""

    hello_s: float = 10.0
    line_s: float = 10.0
    """From the first byte of a line to its end."""
    write_s: float = 30.0
    """For a client to make room for a reply."""
    idle_s: float = 600.0
    """Without a request in progress."""
    line_bytes: int = messages.REQUEST_LINE_MAX
    in_flight: int = 4096
    """Requests of one connection at a time; more are not read until some have ended."""


class Server(listening.StreamServer):
    """Runs the operations that clients ask for.

    `allowed_uids`: who may talk to us; anyone else gets error 13. `close()` must be awaited.
    """

    backlog = 128

    def __init__(
        self,
        operations: Mapping[str, Operation],
        *,
        allowed_uids: frozenset[int] = frozenset({0}),
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        self.operations = operations
        self.limits = limits or Limits()
        self._allowed_uids = allowed_uids
        self._connections: set[Connection] = set()
        self._work: set[asyncio.Task[Message]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.serve(self._allowed_uids)
        finally:
            self._connections.discard(connection)

    async def close(self, flush_s: float = 1.0) -> None:
        """End all connections and all work; replies already due get `flush_s` seconds."""
        self._is_closing = True
        self.stop_listening()
        clients = list(self._clients)
        await asyncio.gather(*(connection.end(flush_s) for connection in self._connections))
        doomed = [*self._work, *clients]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    def spawn(self, work: Awaitable[Message]) -> asyncio.Task[Message]:
        """Run work that no connection owns; it ends by itself or in `close()`."""

        async def run() -> Message:
            return await work

        task = asyncio.create_task(run())
        self._work.add(task)
        task.add_done_callback(self._work_done)
        return task

    def _work_done(self, task: asyncio.Task[Message]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # fetched, so that one whose client has left is not reported


class Connection(listening.StreamConnection):
    """One client: reads its lines, runs a task for each request, writes the replies."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(reader, writer)
        self._server = server
        self._limits = server.limits
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(server.limits.in_flight)
        self._ending = False
        self._idle_s: float | None = None
        self._peer = ""

    async def serve(self, allowed_uids: frozenset[int]) -> None:
        """Talk until the client leaves or breaks the protocol."""
        try:
            self._check_peer(allowed_uids)
            await self._exchange_hello()
            while (line := await self._read_line()) is not None:
                await self._slots.acquire()
                self._begin(messages.decode(line))
        except PyIscsiError as error:
            # Answered without an id: it concerns the connection, which ends with it.
            await self._send(messages.error_reply(None, error))
        finally:
            await self._finish()

    async def end(self, flush_s: float) -> None:
        """At shutdown: cancel what runs, tell the client, close within `flush_s` seconds."""
        self._ending = True
        try:
            async with asyncio.timeout(flush_s):
                for task in list(self._requests.values()):
                    task.cancel()
                await asyncio.gather(*self._requests.values(), return_exceptions=True)
                self._writer.close()
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self._writer.transport.abort()

    def _check_peer(self, allowed_uids: frozenset[int]) -> None:
        _, uid = listening.peer(self._writer)
        if uid not in allowed_uids:
            self._server.refusals.note(uid)
            raise AccessDenied

    async def _exchange_hello(self) -> None:
        try:
            async with asyncio.timeout(self._limits.hello_s):
                line = await self._read_line()
        except TimeoutError as error:
            raise Malformed("no hello in time") from error
        if line is None:
            raise ConnectionError("client left")
        try:
            self._peer = messages.check_hello(messages.decode(line), PROGRAM, __version__)
        except IpcError as error:
            _log.error("%s", error)
            raise
        await self._send(messages.hello(PROGRAM, __version__))
        self._idle_s = self._limits.idle_s

    async def _read_line(self) -> bytes | None:
        """The next line, or None when the client has left."""
        scanned = 0
        deadline: float | None = None
        loop = asyncio.get_running_loop()
        while (end := self._buffer.find(b"\n", scanned)) < 0:
            scanned = len(self._buffer)
            if scanned > self._limits.line_bytes:
                raise Malformed(f"message is longer than {self._limits.line_bytes} bytes")
            if scanned and deadline is None:
                deadline = loop.time() + self._limits.line_s
            data = await self._read_some(deadline)
            if not data:
                return None
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def _read_some(self, deadline: float | None) -> bytes:
        if deadline is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._reader.read(listening.CHUNK)
            except TimeoutError as error:
                raise Malformed("message was not completed in time") from error
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_s):
                    return await self._reader.read(listening.CHUNK)
            if not self._requests:
                return b""

    def _begin(self, message: Message) -> None:
        request_id, op, args, timeout = _parsed(message)
        if request_id in self._requests:
            raise Malformed(f"request {request_id} is still in progress")
        task = asyncio.create_task(self._answer(request_id, op, args, timeout))
        self._requests[request_id] = task
        task.add_done_callback(lambda _: self._ended(request_id))

    def _ended(self, request_id: int) -> None:
        del self._requests[request_id]
        self._slots.release()

    async def _answer(self, request_id: int, op: str, args: Message, limit_s: float | None) -> None:
        def report(progress: Message) -> None:
            self._writer.write(messages.encode(messages.event(request_id, progress)))

        try:
            result = await self._run(op, args, limit_s, report)
            answer = messages.reply(request_id, result)
        except PyIscsiError as error:
            answer = messages.error_reply(request_id, error)
        except asyncio.CancelledError:
            if self._abandoned():
                raise
            answer = messages.error_reply(request_id, IpcError("iscsid gave the request up"))
        except Exception:
            # One broken request must not take the daemon, and with it every session, down.
            _log.exception("request %s failed", op)
            internal = PyIscsiError(exit_code=ExitCode.INTERNAL)
            answer = messages.error_reply(request_id, internal)
        with suppress(ConnectionError):
            await self._send(answer)

    def _abandoned(self) -> bool:
        """Whether a cancellation means that the client has left, so no answer is due."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0 and not self._ending

    async def _run(self, op: str, args: Message, limit_s: float | None, report: Report) -> Message:
        operation = self._server.operations.get(op)
        if operation is None:
            name = op[:_SHOWN_MAX] if op.isprintable() else ascii(op[:_SHOWN_MAX])
            _log.error("unknown request: %s", name)
            raise IpcError(
                f"{PROGRAM} {__version__} does not know the request {name} of {self._peer}",
                ExitCode.INVALID_REQUEST,
            )
        bounds = [bound for bound in (limit_s, operation.timeout_s) if bound is not None]
        work = operation.run(args, report)
        scope = asyncio.timeout(min(bounds, default=None))
        try:
            async with scope:
                if operation.outlives_client:
                    return await asyncio.shield(self._server.spawn(work))
                return await work
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT) from error

    async def _send(self, message: Message) -> None:
        self._writer.write(messages.encode(message))
        try:
            async with asyncio.timeout(self._limits.write_s):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()

    async def _finish(self) -> None:
        """The client is gone: nobody waits for its requests any more."""
        for task in list(self._requests.values()):
            task.cancel()
        await asyncio.gather(*self._requests.values(), return_exceptions=True)
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.write_s):
                await self._writer.wait_closed()
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()


def _parsed(message: Message) -> tuple[int, str, Message, float | None]:
    request_id, op = message.get("id"), message.get("op")
    args, timeout = message.get("args") or {}, message.get("timeout")
    if type(request_id) is not int or not isinstance(op, str) or not isinstance(args, dict):
        raise Malformed("a request needs an integer id, an op and an object of args")
    if timeout is not None and (
        type(timeout) not in (int, float) or not math.isfinite(timeout) or timeout < 0
    ):
        raise InvalidArgument("timeout must be a number of seconds or null")
    return request_id, op, args, timeout
