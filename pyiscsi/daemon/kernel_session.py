"""What one session owns in the kernel, and the order in which it is made and taken down.

Every request runs to its end even when the task that made it is cancelled, so this object always
knows what exists. A connection is never bound twice without STOP_CONN between: the kernel would
answer -ENOTCONN for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Iterable
from typing import Final

from pyiscsi.daemon.waits import to_the_end
from pyiscsi.errors import PyIscsiError, TransportError
from pyiscsi.transport.base import Event, SessionDestroyed, StopFlag, Transport
from pyiscsi.transport.tcp import close_with_reset

log = logging.getLogger("iscsid")

Link = socket.socket | int
"""What carries the PDUs: a connected socket, or the handle of a driver's endpoint."""

CID: Final = 0
"""MaxConnections is 1, so the kernel's connection number is always 0."""


class KernelSession:
    """Session, connection and socket or endpoint of one actor."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.sid = -1
        self.host_no = -1
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._has_session = False
        self._has_conn = False
        self._needs_stop = False
        self._link: Link | None = None

    @classmethod
    def existing(cls, transport: Transport, sid: int, host_no: int) -> KernelSession:
        """A session found in the kernel; its events are collected from now on."""
        session = cls(transport)
        session.sid, session.host_no = sid, host_no
        session._has_session = session._has_conn = session._needs_stop = True
        session.events = transport.subscribe(sid)
        return session

    @property
    def endpoint(self) -> int | None:
        """Handle of the endpoint that is held, if it is one."""
        return self._link if isinstance(self._link, int) else None

    @property
    def exists(self) -> bool:
        return self._has_session

    async def create(self, *, initial_cmdsn: int, cmds_max: int, queue_depth: int) -> None:
        """CREATE_SESSION and CREATE_CONN, as far as they do not exist yet."""
        if not self._has_session:
            await to_the_end(self._create_session(initial_cmdsn, cmds_max, queue_depth))
        if not self._has_conn:
            await to_the_end(self._create_conn())

    async def _create_session(self, initial_cmdsn: int, cmds_max: int, queue_depth: int) -> None:
        self.sid, self.host_no = await self.transport.create_session(
            initial_cmdsn=initial_cmdsn,
            cmds_max=cmds_max,
            queue_depth=queue_depth,
            endpoint=self.endpoint,
        )
        self._has_session = True
        self.events = self.transport.subscribe(self.sid)

    async def _create_conn(self) -> None:
        await self.transport.create_conn(self.sid, CID)
        self._has_conn = True

    def hold(self, link: Link) -> None:
        """Take over a connected socket or endpoint: it is closed with the connection."""
        self._close_socket(abort=True)
        self._link = link

    async def bind(self) -> None:
        """Give the held socket to the kernel."""
        if self._link is None:
            raise TransportError("no connected socket to bind")
        if self._needs_stop:
            await to_the_end(self._stop(StopFlag.RECOVER))
        self._needs_stop = True
        await to_the_end(self.transport.bind_conn(self.sid, CID, self._link, leading=True))

    async def set_params(self, params: Iterable[tuple[int, str]]) -> None:
        """Set parameters in order; one that this kernel does not know is passed over."""
        unknown = await to_the_end(self.transport.set_params(self.sid, CID, [*params]))
        if unknown:
            log.debug("session%d: kernel has no parameters %s", self.sid, unknown)

    async def set_host_params(self, params: Iterable[tuple[int, str]]) -> None:
        """Set host parameters; many transports know none of them, so a refusal is no failure."""
        try:
            await to_the_end(self.transport.set_host_params(self.host_no, [*params]))
        except TransportError as error:
            log.debug("host%d: %s", self.host_no, error)

    async def start(self) -> None:
        await to_the_end(self.transport.start_conn(self.sid, CID))

    async def send(self, header: bytes, data: bytes) -> None:
        await to_the_end(self.transport.send_pdu(self.sid, CID, header, data))

    async def unbind(self) -> None:
        await to_the_end(self.transport.unbind_session(self.sid))

    async def stop(self) -> None:
        """End the connection, keep the session: the state from which it can be bound again.

        Events of the old connection are dropped. Raises TransportError; bind() tries again.
        """
        await to_the_end(self._let_go(abort=True))
        if self._needs_stop:
            await to_the_end(self._stop(StopFlag.RECOVER))
        self._drop_events()

    async def _stop(self, flag: StopFlag) -> None:
        await self.transport.stop_conn(self.sid, CID, flag)
        self._needs_stop = False

    async def destroy(self, *, abort: bool = True) -> None:
        """Take down whatever exists, in reverse order, whatever fails on the way.

        `abort` resets the TCP connection instead of closing it. Raises the first error after all
        steps were tried.
        """
        await to_the_end(self._destroy(abort))

    async def _destroy(self, abort: bool) -> None:
        errors: list[PyIscsiError] = []
        await self._let_go(abort=abort)
        if self._has_conn:
            if self._needs_stop:
                await _collect(errors, self._stop(StopFlag.TERMINATE))
            await _collect(errors, self.transport.destroy_conn(self.sid, CID))
            self._has_conn = self._needs_stop = False
        if self._has_session:
            await _collect(errors, self.transport.destroy_session(self.sid))
            self._has_session = False
        self.forget()
        if errors:
            raise errors[0]

    def forget(self) -> None:
        """Let go of a session that stays in the kernel, or is gone from it."""
        self._close_socket(abort=False)
        if self.sid >= 0:
            self.transport.unsubscribe(self.sid)

    def gone(self) -> None:
        """The kernel told that the session no longer exists."""
        self._has_session = self._has_conn = self._needs_stop = False
        self.forget()

    def _drop_events(self) -> None:
        kept: list[Event] = []
        while not self.events.empty():
            event = self.events.get_nowait()
            if isinstance(event, SessionDestroyed):
                kept.append(event)
        for event in kept:
            self.events.put_nowait(event)

    async def _let_go(self, *, abort: bool) -> None:
        """Close the connection as far as it is ours; an endpoint is disconnected."""
        if isinstance(self._link, int):
            endpoint, self._link = self._link, None
            await disconnect(self.transport, endpoint)
        self._close_socket(abort=abort)

    def _close_socket(self, *, abort: bool) -> None:
        """Close our descriptor; the kernel has its own reference until STOP_CONN.

        An endpoint has no descriptor: it is only forgotten.
        """
        link, self._link = self._link, None
        if isinstance(link, socket.socket) and abort:
            close_with_reset(link)
        elif isinstance(link, socket.socket):
            link.close()


async def disconnect(transport: Transport, endpoint: int) -> None:
    """Give an endpoint back. One that the driver itself has ended may be unknown by now."""
    try:
        await transport.ep_disconnect(endpoint)
    except TransportError as error:
        log.debug("endpoint %d: %s", endpoint, error)


async def _collect(errors: list[PyIscsiError], step: Awaitable[None]) -> None:
    try:
        await step
    except PyIscsiError as error:
        errors.append(error)
