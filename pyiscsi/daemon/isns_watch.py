"""Being told of changes by an iSNS server: our registration there, and the port for its notices.

The server keeps a registration for a time it tells us (RFC 4171 §6.2.6), so half of that time is
the interval at which we ask for our own entity: that renews it, and shows when it is lost.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pyiscsi.daemon.waits import stop_tasks
from pyiscsi.discovery.isns import FAREWELL_TIMEOUT_S, IsnsServer, transaction
from pyiscsi.errors import IsnsError, PyIscsiError, RemoteProtocolError
from pyiscsi.proto.isns import (
    Entity,
    Function,
    Status,
    answer_notice,
    deregister_entity,
    deregister_node,
    event_names,
    has_entity,
    query_entity,
    read_registration_period,
    read_state_change,
    register_entity,
    register_for_changes,
    status_text,
)
from pyiscsi.proto.isns_pdu import Framer, Message
from pyiscsi.proto.limits import ISNS_NOTICE_MAX

_log = logging.getLogger("iscsid")

RETRY_S = 5.0
"""Between attempts to register, and to ask again what could not be answered."""
GATHER_S = 0.5
"""A server that changes much sends many notices; they are answered by one question."""
CONNECTIONS_MAX = 8
"""Of servers that tell us something; the oldest makes room. One server needs one."""
NEVER_S = 3600.0
_READ_SIZE = 65536
_SEND_TIMEOUT_S = 10.0

Names = Callable[[], Awaitable[tuple[str, ...]]]
Look = Callable[[], Awaitable[bool]]


class IsnsWatch:
    """Registers the initiators `names()` at a server and calls `look` at every change.

    `look` asks the server for its targets; False means that it could not and must again. With a
    positive `interval_s` it is called that often besides, also while registering fails.
    """

    def __init__(self, server: IsnsServer, interval_s: int, names: Names, look: Look) -> None:
        self._server = server
        self._interval_s = interval_s if interval_s > 0 else NEVER_S
        self._is_polled = interval_s > 0
        self._names = names
        self._look = look
        self._listener = Listener(self._heard)
        self._wake = asyncio.Event()
        self._entity: Entity | None = None
        self._may_look = interval_s > 0
        """Polled, or registered at least once."""
        self._failing = False
        self._look_due = 0.0

    async def run(self) -> None:
        """Until cancelled; the server then forgets us."""
        try:
            while True:
                try:
                    period_s = await self._register()
                except (PyIscsiError, OSError, TimeoutError) as error:
                    self._report("could not be registered", error)
                    await self._wait(RETRY_S)
                    continue
                self._failing = False
                self._may_look = True
                self._look_due = 0.0
                await self._follow(period_s)
        finally:
            self._listener.close()
            await self._farewell()
            await self._listener.closed()

    def look_within(self, seconds: float) -> None:
        """Look again then, or earlier if that is due anyway."""
        self._look_due = min(self._look_due, asyncio.get_running_loop().time() + seconds)
        self._wake.set()

    def _report(self, what: str, error: Exception) -> None:
        """Log what became of us at the server; once, while it stays so."""
        level = logging.DEBUG if self._failing else logging.ERROR
        where = f"{self._server.address}:{self._server.port}"
        _log.log(level, "iSNS: The network entity %s with server %s: %s", what, where, error)
        self._failing = True

    async def _register(self) -> int:
        """Everything a server must know of us; the seconds it remembers it, 0 for ever.

        Raises IsnsError; OSError when no port can be had.
        """
        names = await self._names()
        if not names:
            raise IsnsError("Initiatorname not set.")
        address, port = await self._listener.open(await self._local_address())
        self._entity = Entity(names[0], address, port, names)
        try:
            request = register_entity(names[0], self._entity, transaction())
            period_s = read_registration_period(await self._server.call(request))
            for name in names:
                await self._register_for_changes(name)
        except RemoteProtocolError as error:
            raise IsnsError(str(error)) from error
        except IsnsError as error:
            if error.status:
                await self._forget(names)
            raise
        _log.info("iSNS: Registered network entity with EID %s with server.", names[0])
        return period_s

    async def _register_for_changes(self, name: str) -> None:
        try:
            await self._server.call(register_for_changes(name, transaction()))
        except IsnsError as error:
            if not self._is_polled:
                raise
            # Polling is for servers that cannot notify.
            _log.debug("SCN registration for node %s failed: %s", name, error)

    async def _forget(self, names: tuple[str, ...]) -> None:
        """Take our nodes out of entities that others made of them, so that they can be ours."""
        for name in names:
            with suppress(IsnsError):
                await self._server.call(deregister_node(name, transaction()))

    async def _local_address(self) -> tuple[str, int]:
        """Our address on the way to the server, and its scope id."""
        with await self._server.connect() as sock:
            name = sock.getsockname()
        return str(name[0]).partition("%")[0], name[3] if len(name) == 4 else 0

    async def _follow(self, period_s: int) -> None:
        """Look at every change; returns when the server does not know us any more."""
        loop = asyncio.get_running_loop()
        half_s = max(1.0, period_s / 2) if period_s else NEVER_S
        renewed_at = loop.time()
        renewal_due = renewed_at + half_s
        while True:
            if loop.time() >= renewal_due:
                try:
                    await self._renew()
                    renewed_at = loop.time()
                    renewal_due = renewed_at + half_s
                except IsnsError as error:
                    if error.status or loop.time() >= renewed_at + period_s:
                        self._report("is registered no more", error)
                        return
                    renewal_due = loop.time() + RETRY_S
            await self._wait(renewal_due - loop.time())

    async def _renew(self) -> None:
        entity = self._entity
        assert entity is not None
        request = query_entity(entity.nodes[0], entity.identifier, transaction())
        try:
            is_known = has_entity(await self._server.call(request))
        except RemoteProtocolError as error:
            raise IsnsError(str(error)) from error
        if not is_known:
            raise IsnsError(status_text(Status.NO_SUCH_ENTRY), status=Status.NO_SUCH_ENTRY)

    async def _wait(self, timeout_s: float) -> None:
        """For `timeout_s`, look whenever it is time to."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        while loop.time() < ends_at:
            if self._may_look and loop.time() >= self._look_due:
                self._look_due = math.inf
                is_done = await self._look()
                # A notice that came meanwhile stays due.
                next_due = loop.time() + (self._interval_s if is_done else RETRY_S)
                self._look_due = min(self._look_due, next_due)
                continue
            wakes_at = min(ends_at, self._look_due) if self._may_look else ends_at
            with suppress(TimeoutError):
                async with asyncio.timeout_at(wakes_at):
                    await self._wake.wait()
                self._wake.clear()

    def _heard(self, notice: Message) -> None:
        if notice.function != Function.STATE_CHANGE:
            return
        try:
            change = read_state_change(notice)
        except RemoteProtocolError as error:
            _log.debug("iSNS: %s", error)
            return
        if self._entity is None or change.destination not in self._entity.nodes:
            return
        for name, bits in change.events:
            _log.info(
                "SCN for initiator: %s (Target: %s, Event: %s.)",
                change.destination, name, event_names(bits),
            )  # fmt: skip
        self.look_within(GATHER_S)

    async def _farewell(self) -> None:
        entity = self._entity
        if entity is None:
            return
        with suppress(IsnsError, TimeoutError):
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                request = deregister_entity(entity.nodes[0], entity.identifier, transaction())
                await self._server.call(request)


class Listener:
    """The TCP port an iSNS server sends notices to; each is answered and given to `heard`."""

    def __init__(self, heard: Callable[[Message], None]) -> None:
        self._heard = heard
        self._server: asyncio.Server | None = None
        self._connections: list[asyncio.Task[None]] = []

    async def open(self, address: tuple[str, int]) -> tuple[str, int]:
        """Listen at (address, scope id) on a port of the system's choice, in place of an older one.

        Returns address and port. Raises OSError.
        """
        self.close()
        host, scope = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((host, 0, 0, scope) if family == socket.AF_INET6 else (host, 0))
            port = int(sock.getsockname()[1])
            self._server = await asyncio.start_server(self._serve, sock=sock)
        except BaseException:
            sock.close()
            raise
        return host, port

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._connections:
            task.cancel()

    async def closed(self) -> None:
        """Wait until everything has ended after close()."""
        await stop_tasks(*self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends, or says something that makes no sense."""
        try:
            if self._server is not None:
                self._admit()
                await self._converse(reader, writer)
        except RemoteProtocolError as error:
            _log.debug("iSNS: a connection was closed: %s", error)
        except (OSError, TimeoutError):
            return
        finally:
            writer.close()

    def _admit(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections = [each for each in self._connections if not each.done()]
        if len(self._connections) >= CONNECTIONS_MAX:
            self._connections.pop(0).cancel()
        self._connections.append(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer(ISNS_NOTICE_MAX)
        while received := await reader.read(_READ_SIZE):
            framer.feed(received)
            while (notice := framer.next_message()) is not None:
                if notice.is_response:
                    continue
                self._heard(notice)
                writer.write(answer_notice(notice).encode())
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await writer.drain()
