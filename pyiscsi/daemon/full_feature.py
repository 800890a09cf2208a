"""What reaches the daemon while a session is in full feature phase, and what is done about it.

The kernel moves the data and answers NOPs; the daemon sees lost connections and asynchronous
messages (RFC 7143 §11.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pyiscsi.daemon.kernel_session import CID, KernelSession
from pyiscsi.daemon.logout import ConnectionLost, send_logout
from pyiscsi.daemon.messages import INVALID_HOST, SessionLog, kernel_error_text
from pyiscsi.errors import PyIscsiError, RemoteProtocolError
from pyiscsi.proto.pdu import AsyncEvent, AsyncMessage, LogoutResponse, NopIn, decode
from pyiscsi.proto.states import ConnectionEvent, ConnectionState, connection_number
from pyiscsi.sysfs.sessions import SESSIONS
from pyiscsi.sysfs.sessions import Session as SysfsSession
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.base import (
    ConnectionFailed,
    Event,
    EventsLost,
    PduReceived,
    SessionDestroyed,
)

LOOK_EVERY_S = 60.0
_REPORTED_LUNS_CHANGED = (0x3F, 0x0E)
"""Additional sense code and qualifier (SPC-4)."""
_TIME2WAIT_MAX_S = 3600
"""Upper bound of the RFC for DefaultTime2Wait; a target could otherwise park us for 18 hours."""
_RECOVERY_FAILED = (2, 3)
"""Logout responses that carry a Time2Wait to keep (RFC 7143 §11.15.1)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The connection is gone, or has to go; reconnect after `time2wait_s` seconds."""

    reason: str
    time2wait_s: int


class SessionOver(Exception):
    """The session cannot go on and is taken down; the text says why."""


def exists(tree: SysfsTree, sid: int) -> bool:
    return tree.exists(f"{SESSIONS}/session{sid}")


def is_healthy(tree: SysfsTree, sid: int) -> bool:
    """Whether the kernel shows the session logged in over a live connection."""
    session = SysfsSession(tree, sid)
    return session.state == "LOGGED_IN" and session.connection_state in ("up", None)


class Watcher:
    """Reads one session's events until its connection is lost.

    `time2wait_s` is the negotiated DefaultTime2Wait. `scan` is called when the target's units
    have changed, `happens` for each state change that the target causes here.
    """

    def __init__(
        self,
        kernel: KernelSession,
        tree: SysfsTree,
        log: SessionLog,
        *,
        logout_timeout_s: float,
        time2wait_s: int,
        scan: Callable[[], None],
        happens: Callable[[ConnectionEvent], None],
    ) -> None:
        self._kernel = kernel
        self._tree = tree
        self._log = log
        self._logout_timeout_s = logout_timeout_s
        self._scan = scan
        self._happens = happens
        self._time2wait_s = time2wait_s

    async def until_lost(self) -> Loss:
        """Handle events until the connection is lost; raises SessionOver when it all is."""
        while True:
            loss: Loss | None = None
            match await self._next_event():
                case ConnectionFailed(error=error):
                    loss = self._failed(error)
                case PduReceived() as event:
                    loss = await self._pdu(event)
                case SessionDestroyed():
                    self._kernel.gone()
                    raise SessionOver("destroyed in the kernel")
                case EventsLost():
                    loss = self._look()
            if loss is not None:
                return loss

    async def _next_event(self) -> Event:
        """The next event; EventsLost after a long silence, in case one did get lost."""
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                return await self._kernel.events.get()
        except TimeoutError:
            return EventsLost(self._kernel.sid)

    def _failed(self, error: int) -> Loss:
        text = kernel_error_text(error)
        self._log.warning(
            "Kernel reported iSCSI connection %d:%d error (%d - %s) state (%d)",
            self._kernel.sid, CID, error, text, connection_number(ConnectionState.LOGGED_IN),
        )  # fmt: skip
        if error == INVALID_HOST:
            raise SessionOver(text)
        return self._loss(text)

    def _loss(self, reason: str) -> Loss:
        return Loss(reason, self._time2wait_s)

    def _look(self) -> Loss | None:
        """Events were dropped: what they said must be read from sysfs."""
        sid = self._kernel.sid
        if not exists(self._tree, sid):
            self._kernel.gone()
            raise SessionOver("vanished from the kernel")
        if is_healthy(self._tree, sid):
            return None
        self._log.warning("connection%d:%d failed while kernel events were lost", sid, CID)
        return self._loss("connection failed")

    async def _pdu(self, event: PduReceived) -> Loss | None:
        try:
            pdu = decode(event.header, event.data)
        except RemoteProtocolError as error:
            self._log.error("connection%d:%d: %s", self._kernel.sid, CID, error)
            return self._loss(str(error))
        match pdu:
            case AsyncMessage():
                return await self._async_message(pdu)
            case LogoutResponse():
                return self._logged_out(pdu)
            case NopIn():
                self._log.error("connection%d:%d: NOP-In left to us", self._kernel.sid, CID)
            case _:
                opcode = event.header[0] & 0x3F
                self._log.error(
                    "connection%d:%d: unsupported opcode 0x%x", self._kernel.sid, CID, opcode
                )
        return None

    async def _async_message(self, message: AsyncMessage) -> Loss | None:
        conn = f"connection{self._kernel.sid}:{CID}"
        match message.event:
            case AsyncEvent.SCSI_EVENT:
                if sense_code(message.data) == _REPORTED_LUNS_CHANGED:
                    self._scan()
            case AsyncEvent.LOGOUT_REQUEST:
                seconds = message.parameter3
                self._log.warning("%s: Target requests logout within %u seconds", conn, seconds)
                self._happens(ConnectionEvent.LOGOUT_REQUESTED)
                return await self._log_out_for_target()
            case AsyncEvent.DROP_CONNECTION | AsyncEvent.DROP_ALL_CONNECTIONS:
                self._time2wait_s = min(message.parameter2, _TIME2WAIT_MAX_S)
                self._log.warning("%s: Target drops the connection", conn)
            case AsyncEvent.RENEGOTIATE:
                self._log.warning("%s: Target requests renegotiation", conn)
                return self._loss("renegotiation requested")
            case _:
                self._log.warning("%s: AEN not supported (event %d)", conn, message.event)
        return None

    async def _log_out_for_target(self) -> Loss:
        self._happens(ConnectionEvent.LOGOUT_STARTED)
        try:
            response = await send_logout(self._kernel, self._logout_timeout_s)
        except (ConnectionLost, TimeoutError, PyIscsiError) as error:
            return self._loss(f"logout for the target: {error}")
        return self._logged_out(response)

    def _logged_out(self, response: LogoutResponse) -> Loss:
        if response.response in _RECOVERY_FAILED:
            self._time2wait_s = min(response.time2wait, _TIME2WAIT_MAX_S)
        return self._loss("logged out")


def sense_code(data: bytes) -> tuple[int, int] | None:
    """(ASC, ASCQ) of the sense data in an asynchronous SCSI event; None when there is none.

    Two bytes of length come first (RFC 7143 §11.9.4); fixed and descriptor formats (SPC-4 §4.5).
    """
    sense = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if not sense:
        return None
    offset = 2 if sense[0] & 0x7F in (0x72, 0x73) else 12
    return (sense[offset], sense[offset + 1]) if len(sense) > offset + 1 else None
