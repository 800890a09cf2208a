"""The interface between session logic and whatever moves the PDUs.

Names follow usr/iscsi_ipc.h. Login, negotiation and recovery are written against `Transport` and
cannot tell the kernel from userspace. Failures raise TransportError; a kernel refusal carries the
errno in the text.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    import socket


class StopFlag(enum.IntEnum):
    """How STOP_CONN ends a connection (include/iscsi_if.h)."""

    TERMINATE = 1
    SUSPEND = 2
    RECOVER = 3


@dataclass(frozen=True, slots=True)
class PduReceived:
    sid: int
    cid: int
    header: bytes
    """Basic header segment, 48 bytes."""
    data: bytes
    """Data segment without padding."""


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    sid: int
    cid: int
    error: int
    """Kernel error number, 1001 and up (include/iscsi_if.h, enum iscsi_err)."""


@dataclass(frozen=True, slots=True)
class SessionUnbound:
    sid: int


@dataclass(frozen=True, slots=True)
class SessionDestroyed:
    sid: int


@dataclass(frozen=True, slots=True)
class LoginState:
    """Progress of a login done by the adapter itself (CAP_LOGIN_OFFLOAD)."""

    sid: int
    cid: int
    state: int


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The kernel dropped events (ENOBUFS); the session must be compared with sysfs."""

    sid: int


Event = PduReceived | ConnectionFailed | SessionUnbound | SessionDestroyed | LoginState | EventsLost


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of one connection, name to value, in the order they are printed."""

    counters: dict[str, int]
    custom: dict[str, int]


class Transport(Protocol):
    """One iSCSI transport (`tcp`, `iser`, ...): control operations and event queues.

    All operations are coroutines; at most one request is in flight to the kernel, and no event is
    ever handled inside a request. `cid` is the kernel's connection number, always 0 here.
    """

    name: str
    caps: int

    async def ep_connect(self, address: bytes, host_no: int) -> int:
        """Have the driver connect to a `struct sockaddr`; returns the endpoint's handle.

        `host_no`: the adapter to connect through, -1 to leave that to the driver.
        """
        ...

    async def ep_poll(self, endpoint: int, timeout_ms: int) -> bool:
        """Whether the endpoint is connected; raises Refused when it never will be."""
        ...

    async def ep_disconnect(self, endpoint: int) -> None: ...

    async def discover_targets(self, host_no: int, address: bytes) -> None:
        """Have the adapter ask a `struct sockaddr` for its targets, and log in to them itself."""
        ...

    async def create_session(
        self, *, initial_cmdsn: int, cmds_max: int, queue_depth: int, endpoint: int | None = None
    ) -> tuple[int, int]:
        """Make a session, on the adapter of `endpoint` if one is given; (sid, host number)."""
        ...

    async def create_conn(self, sid: int, cid: int) -> None: ...

    async def bind_conn(
        self, sid: int, cid: int, link: socket.socket | int, *, leading: bool
    ) -> None:
        """Give the kernel the connected socket, or the handle of the connected endpoint.

        Never twice without a stop_conn between.
        """
        ...

    async def set_params(self, sid: int, cid: int, params: Sequence[tuple[int, str]]) -> list[int]:
        """Set ISCSI_PARAM_* values in order, together.

        Returns those this kernel does not know. Raises the first refusal of another kind, when
        all were tried.
        """
        ...

    async def set_host_params(self, host_no: int, params: Sequence[tuple[int, str]]) -> list[int]:
        """The same for ISCSI_HOST_PARAM_*."""
        ...

    async def start_conn(self, sid: int, cid: int) -> None: ...

    async def stop_conn(self, sid: int, cid: int, flag: StopFlag) -> None: ...

    async def destroy_conn(self, sid: int, cid: int) -> None: ...

    async def destroy_session(self, sid: int) -> None: ...

    async def unbind_session(self, sid: int) -> None:
        """Ask for the devices to go; SessionUnbound tells when they are gone."""
        ...

    async def send_pdu(self, sid: int, cid: int, header: bytes, data: bytes) -> None:
        """Send one PDU; `data` is not padded, the transport pads."""
        ...

    async def get_stats(self, sid: int, cid: int) -> Statistics: ...

    def subscribe(self, sid: int) -> asyncio.Queue[Event]:
        """The queue that receives every event of session `sid` from now on.

        Events that arrived for a session of this process before it was subscribed are kept and
        delivered first, so nothing is lost between create_session and subscribe.
        """
        ...

    def unsubscribe(self, sid: int) -> None: ...
