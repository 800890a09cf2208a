"""Transport's operations as requests to the kernel."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Mapping, Sequence
from typing import Protocol

from pyiscsi.errors import LocalProtocolError, TransportError
from pyiscsi.transport import uevent
from pyiscsi.transport.base import Event, EventsLost, SessionDestroyed, Statistics, StopFlag
from pyiscsi.transport.numbers import UEvent
from pyiscsi.transport.queues import EventQueues
from pyiscsi.transport.uevent import Message, Refused

_SEND_TARGETS = 1
"""enum iscsi_tgt_dscvr."""

REMOVAL_TIMEOUT_S = 60.0
"""How long a session's disks may take to go; other sessions do not wait for them."""


class Requester(Protocol):
    """The part of Kernel that operations need."""

    queues: EventQueues
    removes_aside: bool
    """Whether DESTROY_SESSION_ASYNC is known to it, as far as was found out."""

    async def request(
        self,
        event: UEvent,
        handle: int,
        fields: Mapping[str, int],
        payload: bytes = b"",
        *,
        sock: socket.socket | None = None,
    ) -> Message: ...

    async def request_all(
        self, event: UEvent, handle: int, orders: Sequence[tuple[Mapping[str, int], bytes]]
    ) -> list[Refused | None]: ...


class KernelTransport:
    """One transport of the kernel (base.Transport); its handle is that of one module load."""

    def __init__(self, kernel: Requester, name: str, handle: int, caps: int) -> None:
        self.name = name
        self.caps = caps
        self._kernel = kernel
        self._handle = handle

    async def ep_connect(self, address: bytes, host_no: int) -> int:
        event, fields = UEvent.TRANSPORT_EP_CONNECT, {"non_blocking": 1}
        if host_no >= 0:
            event = UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST
            fields = {"non_blocking": 1, "host_no": host_no}
        reply = await self._kernel.request(event, self._handle, fields, address)
        handle = uevent.reply_fields(event, reply)["handle"]
        if not handle:
            raise Refused(event.name.lower(), errno.EIO)
        return handle

    async def ep_poll(self, endpoint: int, timeout_ms: int) -> bool:
        event, fields = UEvent.TRANSPORT_EP_POLL, {"endpoint": endpoint, "timeout_ms": timeout_ms}
        reply = await self._kernel.request(event, self._handle, fields)
        retcode = uevent.reply_fields(event, reply)["retcode"]
        if retcode < 0:
            raise Refused(event.name.lower(), -retcode)
        return retcode > 0

    async def ep_disconnect(self, endpoint: int) -> None:
        event = UEvent.TRANSPORT_EP_DISCONNECT
        await self._kernel.request(event, self._handle, {"endpoint": endpoint})

    async def discover_targets(self, host_no: int, address: bytes) -> None:
        fields = {"kind": _SEND_TARGETS, "host_no": host_no, "enable": 0}
        await self._kernel.request(UEvent.TGT_DSCVR, self._handle, fields, address)

    async def create_session(
        self, *, initial_cmdsn: int, cmds_max: int, queue_depth: int, endpoint: int | None = None
    ) -> tuple[int, int]:
        fields = {
            "initial_cmdsn": initial_cmdsn,
            "cmds_max": cmds_max,
            "queue_depth": queue_depth,
        }
        if endpoint is not None:
            try:
                bound = {**fields, "endpoint": endpoint}
                return await self._create(UEvent.CREATE_BOUND_SESSION, bound)
            except Refused as refused:
                if refused.errno not in (errno.ENOSYS, errno.EINVAL):
                    raise  # those two are what kernels before 2.6.26 say
        return await self._create(UEvent.CREATE_SESSION, fields)

    async def _create(self, event: UEvent, fields: dict[str, int]) -> tuple[int, int]:
        reply = await self._kernel.request(event, self._handle, fields)
        new = uevent.reply_fields(event, reply)
        return new["sid"], new["host_no"]

    async def create_conn(self, sid: int, cid: int) -> None:
        reply = await self._on_conn(UEvent.CREATE_CONN, sid, cid)
        if uevent.reply_fields(UEvent.CREATE_CONN, reply)["cid"] < 0:
            raise TransportError(f"kernel refused create_conn of session {sid}")

    async def bind_conn(
        self, sid: int, cid: int, link: socket.socket | int, *, leading: bool
    ) -> None:
        sock, endpoint = (None, link) if isinstance(link, int) else (link, 0)
        fields = {"sid": sid, "cid": cid, "endpoint": endpoint, "is_leading": leading}
        reply = await self._kernel.request(UEvent.BIND_CONN, self._handle, fields, sock=sock)
        _check_retcode(UEvent.BIND_CONN, sid, reply)

    async def set_params(self, sid: int, cid: int, params: Sequence[tuple[int, str]]) -> list[int]:
        fields = {"sid": sid, "cid": cid}
        return await self._set(UEvent.SET_PARAM, fields, params)

    async def set_host_params(self, host_no: int, params: Sequence[tuple[int, str]]) -> list[int]:
        return await self._set(UEvent.SET_HOST_PARAM, {"host_no": host_no}, params)

    async def start_conn(self, sid: int, cid: int) -> None:
        reply = await self._on_conn(UEvent.START_CONN, sid, cid)
        _check_retcode(UEvent.START_CONN, sid, reply)

    async def stop_conn(self, sid: int, cid: int, flag: StopFlag) -> None:
        fields = {"sid": sid, "cid": cid, "conn_handle": 0, "flag": flag}
        await self._kernel.request(UEvent.STOP_CONN, self._handle, fields)

    async def destroy_conn(self, sid: int, cid: int) -> None:
        await self._on_conn(UEvent.DESTROY_CONN, sid, cid)

    async def destroy_session(self, sid: int) -> None:
        """Removing disks may take long: a kernel that can (Linux 5.6) does it beside requests."""
        events = self._kernel.queues.queue(sid)
        while not events.empty():
            events.get_nowait()  # an EventsLost of earlier would pass for the end
        if await self._is_destroyed_aside(sid):
            await _until_destroyed(sid, events)
        else:
            await self._kernel.request(UEvent.DESTROY_SESSION, self._handle, {"sid": sid})
        self._kernel.queues.forget(sid)

    async def _is_destroyed_aside(self, sid: int) -> bool:
        """Whether the kernel has taken the request that it answers at once; asked once for all."""
        if not self._kernel.removes_aside:
            return False
        try:
            await self._kernel.request(UEvent.DESTROY_SESSION_ASYNC, self._handle, {"sid": sid})
        except Refused as refused:
            if refused.errno != errno.ENOSYS:
                raise
            self._kernel.removes_aside = False
        return self._kernel.removes_aside

    async def unbind_session(self, sid: int) -> None:
        await self._kernel.request(UEvent.UNBIND_SESSION, self._handle, {"sid": sid})

    async def send_pdu(self, sid: int, cid: int, header: bytes, data: bytes) -> None:
        if len(header) != uevent.BHS_BYTES:
            raise LocalProtocolError(f"PDU header of {len(header)} bytes")
        padded = data + bytes(-len(data) % 4)
        fields = {"sid": sid, "cid": cid, "header_size": len(header), "data_size": len(padded)}
        reply = await self._kernel.request(UEvent.SEND_PDU, self._handle, fields, header + padded)
        _check_retcode(UEvent.SEND_PDU, sid, reply)

    async def get_stats(self, sid: int, cid: int) -> Statistics:
        reply = await self._on_conn(UEvent.GET_STATS, sid, cid)
        return uevent.parse_statistics(reply.payload)

    def subscribe(self, sid: int) -> asyncio.Queue[Event]:
        return self._kernel.queues.subscribe(sid)

    def unsubscribe(self, sid: int) -> None:
        self._kernel.queues.unsubscribe(sid)

    async def _on_conn(self, event: UEvent, sid: int, cid: int) -> Message:
        return await self._kernel.request(event, self._handle, {"sid": sid, "cid": cid})

    async def _set(
        self, event: UEvent, owner: dict[str, int], params: Sequence[tuple[int, str]]
    ) -> list[int]:
        if not params:
            return []
        orders = []
        for param, value in params:
            payload = value.encode("utf-8", "surrogateescape") + b"\0"
            if b"\0" in payload[:-1]:
                raise LocalProtocolError(f"parameter {param} contains a NUL")
            orders.append(({**owner, "param": param, "length": len(payload)}, payload))
        unknown = []
        for (param, _), refused in zip(
            params, await self._kernel.request_all(event, self._handle, orders), strict=True
        ):
            if refused is not None and refused.errno != errno.ENOSYS:
                raise refused
            if refused is not None:
                unknown.append(param)
        return unknown


async def _until_destroyed(sid: int, events: asyncio.Queue[Event]) -> None:
    """Until the kernel says that the session is gone, or may have said so."""
    try:
        async with asyncio.timeout(REMOVAL_TIMEOUT_S):
            while not isinstance(event := await events.get(), SessionDestroyed | EventsLost):
                pass
            events.put_nowait(event)  # for the subscriber
    except TimeoutError:
        raise TransportError(f"session {sid} is still being removed by the kernel") from None


def _check_retcode(event: UEvent, sid: int, reply: Message) -> None:
    """BIND, START and SEND_PDU succeed as requests and fail in `retcode`, a negative errno."""
    retcode = uevent.reply_fields(event, reply)["retcode"]
    if retcode:
        raise Refused(f"{event.name.lower()} of session {sid}", -retcode)
