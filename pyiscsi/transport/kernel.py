"""The kernel as transport: requests and events of NETLINK_ISCSI.

The kernel carries a request out inside sendmsg, under one lock for the whole machine, and queues
the reply before sendmsg returns; events caused by it may come first. Replies have no sequence
number, so they are known by event type, transport handle and what the request left in them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, RemoteProtocolError, TransportError
from pyiscsi.transport import uevent
from pyiscsi.transport.base import (
    ConnectionFailed,
    Event,
    EventsLost,
    LoginState,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
)
from pyiscsi.transport.modules import TRANSPORT_CLASS, ModuleLoader
from pyiscsi.transport.netlink import Channel, open_socket
from pyiscsi.transport.numbers import HostParam, KEvent, Param, UEvent
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.queues import EventQueues
from pyiscsi.transport.uevent import Message, Refused

_LOG = logging.getLogger("iscsid")

REQUEST_DEADLINE_S = 60.0
"""For one request including its turn; STOP_CONN waits for the kernel's own clean-up."""

_CREATES = (UEvent.CREATE_SESSION, UEvent.CREATE_BOUND_SESSION)
_LINK_WORDS = {1: "Link Up", 2: "Link Down"}

_EVENTS: Mapping[int, Callable[[dict[str, int], Message], Event]] = {
    KEvent.RECV_PDU: lambda f, m: PduReceived(f["sid"], f["cid"], *uevent.parse_pdu(m.payload)),
    KEvent.CONN_ERROR: lambda f, _: ConnectionFailed(f["sid"], f["cid"], f["error"]),
    KEvent.DESTROY_SESSION: lambda f, _: SessionDestroyed(f["sid"]),
    KEvent.UNBIND_SESSION: lambda f, _: SessionUnbound(f["sid"]),
    KEvent.CONN_LOGIN_STATE: lambda f, _: LoginState(f["sid"], f["cid"], f["state"]),
}

_COOKIE_MAX = (1 << 32) - 1
Order = tuple[Mapping[str, int], bytes]
"""What a request says: its fields and its payload."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A request handed to the kernel."""

    event: UEvent
    handle: int
    fields: Mapping[str, int]
    cookie: int
    reply: asyncio.Future[Message]
    is_sent: bool = False
    is_overrun: bool = False

    def fail(self, error: TransportError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)

    def fail_if_lost(self) -> None:
        """The reply was queued inside sendmsg: an emptied, overrun socket has lost it."""
        if self.is_sent and self.is_overrun:
            words = _words(self.event, self.fields)
            self.fail(TransportError(f"kernel's answer to {words} was lost"))

    def is_reply(self, kind: int, message: Message) -> bool:
        return uevent.is_reply(message, kind, self.event, self.handle, self.cookie)

    def is_data(self, message: Message) -> bool:
        return uevent.is_data(message, self.event, self.handle, self.fields)


class Kernel:
    """The kernel's iSCSI interface of this process; `open` before use, `close` after."""

    def __init__(
        self,
        env: Env,
        *,
        open_channel: Callable[[], Channel] = lambda: Channel(open_socket()),
        loader: ModuleLoader | None = None,
        deadline_s: float = REQUEST_DEADLINE_S,
    ) -> None:
        self.queues = EventQueues()
        self.removes_aside = True
        self._sysfs_root = env.sysfs_root
        self._open_channel = open_channel
        self._loader = loader or ModuleLoader()
        self._deadline_s = deadline_s
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()
        self._cookies = itertools.count()
        self._pending: list[_Pending] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._trouble = ""
        self._probe: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        """Open the netlink socket, loading the kernel's iSCSI class if it is missing.

        Raises TransportError: 12 no iSCSI in the kernel, 13 not allowed.
        """
        try:
            channel = self._open_channel()
        except TransportError as exc:
            if exc.exit_code != ExitCode.TRANSPORT_NOT_FOUND:
                raise
            await self._loader.load(TRANSPORT_CLASS)
            channel = self._open_channel()
        channel.start(self._on_message, self._on_lost)
        self._channel = channel

    def trouble(self) -> str:
        """Why the kernel can't be talked to, "" when it can or, after a repair, has answered."""
        channel = self._channel
        trouble = channel.trouble() if channel is not None else ""
        if channel is not None and trouble:
            self._trouble = f"{trouble}, {self._replace(channel)}"
        if self._trouble and (self._probe is None or self._probe.done()):
            self._probe = self._spawn(self._ask_for_a_sign())
        return self._trouble

    def delay(self) -> str:
        """Which request the kernel takes unusually long for, "" when none."""
        slow = self._channel.slow_request() if self._channel is not None else None
        if slow is None:
            return ""
        name = UEvent(slow[0]).name.lower()
        return f"the kernel has been carrying out {name} for {slow[1]:.0f} s, other requests wait"

    def _replace(self, channel: Channel) -> str:
        """Go on over a new socket; what the old one was told is read from sysfs. What was done."""
        try:
            new = self._open_channel()
        except TransportError as exc:
            return str(exc)
        channel.close()
        new.start(self._on_message, self._on_lost)
        self._channel = new
        for pending in self._pending:
            pending.fail(TransportError("kernel interface was opened anew"))
        self._on_lost()
        return "opened the kernel interface anew"

    async def _ask_for_a_sign(self) -> None:
        """A request to no transport at all, which the kernel refuses."""
        try:
            await self.request(UEvent.UNBIND_SESSION, 0, {"sid": 0})
        except Refused:
            self._trouble = ""
        except TransportError as exc:
            _LOG.debug("%s", exc)

    async def close(self) -> None:
        """Close the socket. Sessions stay; a request in flight fails."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        for pending in self._pending:
            pending.fail(TransportError("kernel interface closed"))
        for task in (tasks := [*self._tasks]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def transport(self, name: str) -> KernelTransport:
        """Transport `name` as sysfs has it, its module loaded first if need be.

        Raises TransportError (12) when there is none.
        """
        found = self._lookup(name)
        if found is None:
            await self._loader.load_transport(name)
            found = self._lookup(name)
        if found is None:
            raise TransportError(exit_code=ExitCode.TRANSPORT_NOT_FOUND)
        return KernelTransport(self, name, *found)

    def _lookup(self, name: str) -> tuple[int, int] | None:
        """Handle and capabilities; None when the transport is not registered."""
        if not name or "/" in name or name.startswith("."):
            return None
        directory = f"{self._sysfs_root}/class/iscsi_transport/{name}"
        try:
            with open(f"{directory}/handle") as handle, open(f"{directory}/caps") as caps:
                return int(handle.read()), int(caps.read(), 0)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as exc:
            raise TransportError(f"can not read iSCSI transport {name}: {exc}") from exc

    # requests

    async def request(
        self,
        event: UEvent,
        handle: int,
        fields: Mapping[str, int],
        payload: bytes = b"",
        *,
        sock: socket.socket | None = None,
    ) -> Message:
        """One request and its reply.

        `sock` becomes the request's `endpoint`. Raises Refused with the kernel's errno,
        TransportError when the answer is lost, late (8) or the channel is closed.
        """
        [message] = await self._take_turn(event, handle, [(fields, payload)], sock)
        refused = _refusal(event, fields, message)
        if refused is not None:
            raise refused
        return message

    async def request_all(
        self, event: UEvent, handle: int, orders: Sequence[Order]
    ) -> list[Refused | None]:
        """Requests of one kind, one after the other in one trip to the worker thread.

        Returns what the kernel refused, in order; one refusal does not stop the rest. Raises
        TransportError as `request` does.
        """
        messages = await self._take_turn(event, handle, orders)
        return [
            _refusal(event, fields, message)
            for (fields, _), message in zip(orders, messages, strict=True)
        ]

    async def _take_turn(
        self,
        event: UEvent,
        handle: int,
        orders: Sequence[Order],
        sock: socket.socket | None = None,
    ) -> list[Message]:
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return await self._exchange(event, handle, orders, sock)
        except TimeoutError:
            words = _words(event, orders[0][0])
            text = f"kernel did not answer {words} in {self._deadline_s:g} s"
            raise TransportError(text, ExitCode.TRANSPORT_TIMEOUT) from None

    async def _exchange(
        self, event: UEvent, handle: int, orders: Sequence[Order], sock: socket.socket | None
    ) -> list[Message]:
        channel = self._channel
        if channel is None:
            raise TransportError("kernel interface is not open")
        new_reply = asyncio.get_running_loop().create_future
        self._pending = pending = [
            _Pending(event, handle, fields, next(self._cookies) % _COOKIE_MAX + 1, new_reply())
            for fields, _ in orders
        ]
        try:
            await self._send(channel, pending, [payload for _, payload in orders], sock)
            if self._channel is not channel:
                raise TransportError("kernel interface closed")
            channel.drain()
            for each in pending:
                each.is_sent = True
                each.fail_if_lost()
            return [await each.reply for each in pending]
        except BaseException:
            for each in pending:
                self._abandon(each)
            raise
        finally:
            self._pending = []

    async def _send(
        self,
        channel: Channel,
        requests: Sequence[_Pending],
        payloads: Sequence[bytes],
        sock: socket.socket | None,
    ) -> None:
        extra, copy = {}, -1
        if sock is not None:
            # Our own copy: the kernel looks the number up when the worker sends, and by then a
            # caller that gave up may have closed its socket and the number be another file.
            try:
                copy = extra["endpoint"] = os.dup(sock.fileno())
            except OSError as exc:
                text = f"kernel can not be given the connection: {exc.strerror}"
                raise TransportError(text) from exc
        bodies = [
            uevent.encode(
                each.event, each.handle, {**each.fields, **extra}, payload, cookie=each.cookie
            )
            for each, payload in zip(requests, payloads, strict=True)
        ]
        await channel.send(requests[0].event, bodies, close_fd=copy)

    def _abandon(self, pending: _Pending) -> None:
        reply = pending.reply
        if reply.done() and not reply.cancelled() and reply.exception() is None:
            self._discard(pending.event, reply.result())
        reply.cancel()

    def _discard(self, event: int, message: Message) -> None:
        """Undo what was made for somebody who gave up before the answer."""
        undoing = uevent.undoing(event, message)
        if undoing is not None:
            _LOG.warning("%s was answered too late, undoing it", UEvent(event).name.lower())
            self.queues.unsubscribe(undoing[1].get("sid", -1))
            self._spawn(self.request(undoing[0], message.transport_handle, undoing[1]))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("%s", task.exception())

    # events

    def _on_message(self, kind: int, body: bytes) -> None:
        try:
            message = uevent.parse(body)
            if kind:
                self._on_reply(kind, message)
            elif message.type in uevent.MULTICAST_REPLIES:
                self._answer(message, lambda pending: pending.is_data(message))
            else:
                self._on_event(message)
        except RemoteProtocolError as exc:
            _LOG.warning("ignored: %s", exc)

    def _on_reply(self, kind: int, message: Message) -> None:
        if not self._answer(message, lambda pending: pending.is_reply(kind, message)):
            self._discard(kind, message)
        elif kind in _CREATES and message.type == kind:
            # Here and not in the caller, which runs only after further events were read.
            self.queues.keep(uevent.reply_fields(UEvent(kind), message)["sid"])

    def _answer(self, message: Message, answers: Callable[[_Pending], bool]) -> bool:
        """Give a message to the request it answers; whether there is one."""
        pending = next((each for each in self._pending if answers(each)), None)
        if pending is not None and not pending.reply.done():
            pending.reply.set_result(message)
        return pending is not None

    def _on_event(self, message: Message) -> None:
        fields = uevent.event_fields(message)
        make = _EVENTS.get(message.type)
        if make is not None:
            if fields["sid"] in self.queues:
                self.queues.deliver(fields["sid"], make(fields, message))
        elif message.type == KEvent.HOST_EVENT:
            words = _LINK_WORDS.get(fields["code"], f"event {fields['code']}")
            _LOG.info("Host%d: %s.", fields["host_no"], words)
        elif not fields:
            _LOG.warning("unknown kernel event %d", message.type)

    def _on_lost(self) -> None:
        _LOG.warning("kernel events were lost, checking all sessions")
        self.queues.broadcast(EventsLost)
        for pending in self._pending:
            pending.is_overrun = True
            pending.fail_if_lost()


def _refusal(event: UEvent, fields: Mapping[str, int], message: Message) -> Refused | None:
    if message.type != KEvent.IF_ERROR:
        return None
    return Refused(_words(event, fields), -message.iferror)


def _words(event: UEvent, fields: Mapping[str, int]) -> str:
    """`stop_conn of session 3`, for messages; never a value."""
    if event == UEvent.SET_PARAM:
        return f"parameter {_name(Param, fields['param'])} of session {fields['sid']}"
    if event == UEvent.SET_HOST_PARAM:
        return f"parameter {_name(HostParam, fields['param'])} of host {fields['host_no']}"
    name = event.name.lower()
    return f"{name} of session {fields['sid']}" if "sid" in fields else name


def _name(numbers: type[Param] | type[HostParam], number: int) -> str:
    return numbers(number).name if number in {*map(int, numbers)} else str(number)
