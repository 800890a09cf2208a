"""A Transport for tests: keeps the kernel's rules, records every call, fails where told to.

The rules are those of drivers/scsi/scsi_transport_iscsi.c that session logic must respect:
parameters only on a bound connection (-ENOTCONN); after an error BIND, START and SEND_PDU refuse
until STOP_CONN (-ENOTCONN); a session with connections is not destroyed (-EBUSY).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport.base import (
    ConnectionFailed,
    Event,
    EventsLost,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
    Statistics,
    StopFlag,
)
from pyiscsi.transport.numbers import Cap
from pyiscsi.transport.queues import EventQueues
from pyiscsi.transport.uevent import Refused

TCP_CAPS = Cap.RECOVERY_L0 | Cap.MULTI_R2T | Cap.HDRDGST | Cap.DATADGST


@dataclass(frozen=True)
class Call:
    """One operation as it was called; `arguments` by parameter name."""

    operation: str
    arguments: Mapping[str, object]

    def __getitem__(self, name: str) -> object:
        return self.arguments[name]


@dataclass
class Rule:
    """What happens at the next matching calls, instead of or besides the operation's own effect."""

    operation: str
    match: Mapping[str, object] = field(default_factory=dict)
    error: Exception | None = None
    events: tuple[Event, ...] = ()
    """Delivered before the operation returns, as the kernel may do."""
    gate: asyncio.Event | None = None
    """The operation waits for it first: a slow kernel."""
    times: int = 1

    def applies(self, call: Call) -> bool:
        return (
            self.times > 0
            and self.operation == call.operation
            and all(call.arguments.get(name) == value for name, value in self.match.items())
        )


Peer = Callable[["ScriptedTransport", Call], None]
"""Plays the target: called for each send_pdu, answers with `emit(PduReceived(...))`."""


class ScriptedTransport:
    """See the module. `calls` is the record; `when` adds rules; `emit` delivers an event."""

    def __init__(
        self,
        *,
        name: str = "tcp",
        caps: int = TCP_CAPS,
        first_sid: int = 1,
        peer: Peer | None = None,
    ) -> None:
        self.name = name
        self.caps = caps
        self.calls: list[Call] = []
        self.rules: list[Rule] = []
        self.peer = peer
        self.statistics = Statistics(counters={"txdata_octets": 0}, custom={})
        self.sessions: dict[int, int] = {}
        """sid to host number."""
        self.connections: dict[tuple[int, int], str] = {}
        """(sid, cid) to created, bound, started, failed or stopped."""
        self.params: dict[tuple[int, int], dict[int, str]] = {}
        self.host_params: dict[int, dict[int, str]] = {}
        self.endpoints: set[int] = set()
        """Handles of those that are connected."""
        self._next_endpoint = 0
        self._next_sid = first_sid
        self._queues = EventQueues()

    # what a test says

    def when(
        self,
        operation: str,
        *,
        match: Mapping[str, object] | None = None,
        error: Exception | None = None,
        events: tuple[Event, ...] = (),
        gate: asyncio.Event | None = None,
        times: int = 1,
    ) -> None:
        self.rules.append(Rule(operation, match or {}, error, events, gate, times))

    def emit(self, event: Event) -> None:
        """Deliver an event; a ConnectionFailed also puts the connection into its failed state."""
        if isinstance(event, ConnectionFailed) and (event.sid, event.cid) in self.connections:
            self.connections[event.sid, event.cid] = "failed"
        self._queues.deliver(event.sid, event)

    def lose_events(self) -> None:
        """As after ENOBUFS: every subscriber gets EventsLost."""
        self._queues.broadcast(EventsLost)

    def reply_pdu(self, sid: int, header: bytes, data: bytes = b"", cid: int = 0) -> None:
        self.emit(PduReceived(sid, cid, header, data))

    def operations(self, sid: int | None = None) -> list[str]:
        """Names of the calls so far, of one session when `sid` is given."""
        return [c.operation for c in self.calls if sid is None or c.arguments.get("sid") == sid]

    # Transport

    async def ep_connect(self, address: bytes, host_no: int) -> int:
        await self._call("ep_connect", address=address, host_no=host_no)
        self._next_endpoint += 1
        self.endpoints.add(self._next_endpoint)
        return self._next_endpoint

    async def ep_poll(self, endpoint: int, timeout_ms: int) -> bool:
        """Connected, unless a rule's error says otherwise; BlockingIOError stands for not yet."""
        try:
            await self._call("ep_poll", endpoint=endpoint, timeout_ms=timeout_ms)
        except BlockingIOError:
            return False
        self._require("ep_poll", endpoint in self.endpoints, errno.EINVAL)
        return True

    async def ep_disconnect(self, endpoint: int) -> None:
        await self._call("ep_disconnect", endpoint=endpoint)
        self._require("ep_disconnect", endpoint in self.endpoints, errno.EINVAL)
        self.endpoints.remove(endpoint)

    async def discover_targets(self, host_no: int, address: bytes) -> None:
        await self._call("discover_targets", host_no=host_no, address=address)

    async def create_session(
        self, *, initial_cmdsn: int, cmds_max: int, queue_depth: int, endpoint: int | None = None
    ) -> tuple[int, int]:
        bound = {} if endpoint is None else {"endpoint": endpoint}
        await self._call(
            "create_session",
            initial_cmdsn=initial_cmdsn, cmds_max=cmds_max, queue_depth=queue_depth, **bound,
        )  # fmt: skip
        sid = self._next_sid
        self._next_sid += 1
        self.sessions[sid] = sid - 1
        self._queues.keep(sid)
        return sid, sid - 1

    async def create_conn(self, sid: int, cid: int) -> None:
        await self._call("create_conn", sid=sid, cid=cid)
        self._require("create_conn", sid in self.sessions, errno.EINVAL)
        self._require("create_conn", (sid, cid) not in self.connections, errno.EEXIST)
        self.connections[sid, cid] = "created"
        self.params[sid, cid] = {}

    async def bind_conn(
        self, sid: int, cid: int, link: socket.socket | int, *, leading: bool
    ) -> None:
        await self._call("bind_conn", sid=sid, cid=cid, sock=link, leading=leading)
        self._state("bind_conn", sid, cid, "created", "stopped")
        self.connections[sid, cid] = "bound"

    async def set_params(self, sid: int, cid: int, params: Sequence[tuple[int, str]]) -> list[int]:
        """Each is a call `set_param` for `calls` and `when`."""
        return await _set_all(params, lambda param, value: self._set_param(sid, cid, param, value))

    async def set_host_params(self, host_no: int, params: Sequence[tuple[int, str]]) -> list[int]:
        """Each is a call `set_host_param` for `calls` and `when`."""
        return await _set_all(
            params, lambda param, value: self._set_host_param(host_no, param, value)
        )

    async def _set_param(self, sid: int, cid: int, param: int, value: str) -> None:
        await self._call("set_param", sid=sid, cid=cid, param=int(param), value=value)
        self._state("set_param", sid, cid, "bound", "started")
        self.params[sid, cid][int(param)] = value

    async def _set_host_param(self, host_no: int, param: int, value: str) -> None:
        await self._call("set_host_param", host_no=host_no, param=int(param), value=value)
        self._require("set_host_param", host_no in self.sessions.values(), errno.ENODEV)
        self.host_params.setdefault(host_no, {})[int(param)] = value

    async def start_conn(self, sid: int, cid: int) -> None:
        await self._call("start_conn", sid=sid, cid=cid)
        self._state("start_conn", sid, cid, "bound")
        self.connections[sid, cid] = "started"

    async def stop_conn(self, sid: int, cid: int, flag: StopFlag) -> None:
        await self._call("stop_conn", sid=sid, cid=cid, flag=flag)
        self._require("stop_conn", (sid, cid) in self.connections, errno.EINVAL)
        self.connections[sid, cid] = "stopped"

    async def destroy_conn(self, sid: int, cid: int) -> None:
        await self._call("destroy_conn", sid=sid, cid=cid)
        self._require("destroy_conn", (sid, cid) in self.connections, errno.EINVAL)
        del self.connections[sid, cid]

    async def destroy_session(self, sid: int) -> None:
        await self._call("destroy_session", sid=sid)
        self._require("destroy_session", sid in self.sessions, errno.EINVAL)
        self._require("destroy_session", all(s != sid for s, _ in self.connections), errno.EBUSY)
        del self.sessions[sid]
        self.emit(SessionDestroyed(sid))
        self._queues.forget(sid)

    async def unbind_session(self, sid: int) -> None:
        await self._call("unbind_session", sid=sid)
        self._require("unbind_session", sid in self.sessions, errno.EINVAL)
        self.emit(SessionUnbound(sid))

    async def send_pdu(self, sid: int, cid: int, header: bytes, data: bytes) -> None:
        call = await self._call("send_pdu", sid=sid, cid=cid, header=header, data=data)
        self._state("send_pdu", sid, cid, "bound", "started")
        if self.peer is not None:
            self.peer(self, call)

    async def get_stats(self, sid: int, cid: int) -> Statistics:
        await self._call("get_stats", sid=sid, cid=cid)
        self._require("get_stats", (sid, cid) in self.connections, errno.EEXIST)
        return self.statistics

    def subscribe(self, sid: int) -> asyncio.Queue[Event]:
        return self._queues.subscribe(sid)

    def unsubscribe(self, sid: int) -> None:
        self._queues.unsubscribe(sid)

    # inner parts

    async def _call(self, operation: str, **arguments: object) -> Call:
        """Record the call and carry out the first rule that applies to it."""
        call = Call(operation, arguments)
        self.calls.append(call)
        await asyncio.sleep(0)
        rule = next((rule for rule in self.rules if rule.applies(call)), None)
        if rule is not None:
            rule.times -= 1
            if rule.gate is not None:
                await rule.gate.wait()
            for event in rule.events:
                self.emit(event)
            if rule.error is not None:
                raise rule.error
        return call

    def _require(self, operation: str, condition: bool, number: int) -> None:
        if not condition:
            raise Refused(operation, number)

    def _state(self, operation: str, sid: int, cid: int, *allowed: str) -> None:
        state = self.connections.get((sid, cid))
        self._require(operation, state is not None, errno.EINVAL)
        self._require(operation, state in allowed, errno.ENOTCONN)


async def _set_all(
    params: Sequence[tuple[int, str]], set_one: Callable[[int, str], Awaitable[None]]
) -> list[int]:
    unknown: list[int] = []
    refused: list[Refused] = []
    for param, value in params:
        try:
            await set_one(param, value)
        except Refused as error:
            if error.errno == errno.ENOSYS:
                unknown.append(param)
            else:
                refused.append(error)
    if refused:
        raise refused[0]
    return unknown


class ScriptedKernel:
    """Stands for Kernel: one ScriptedTransport, or the failure of having none."""

    def __init__(self, *transports: ScriptedTransport) -> None:
        self.transports = {transport.name: transport for transport in transports}
        self.is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def transport(self, name: str) -> ScriptedTransport:
        try:
            return self.transports[name]
        except KeyError:
            raise TransportError(exit_code=ExitCode.TRANSPORT_NOT_FOUND) from None
