"""How a session ends: devices, Logout, connection, session (RFC 7143 §11.14).

A target that does not answer holds nothing up: the session is gone within the logout timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from pyiscsi.daemon.firmware_login import does_login
from pyiscsi.daemon.kernel_session import CID, KernelSession
from pyiscsi.daemon.login_driver import connection_error
from pyiscsi.daemon.waits import in_thread
from pyiscsi.errors import Busy, PyIscsiError
from pyiscsi.proto.logout import logout_request, logout_result
from pyiscsi.proto.pdu import LogoutResponse, Opcode
from pyiscsi.sysfs.mounts import holders_in_use
from pyiscsi.sysfs.sessions import Session as SysfsSession
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.base import Event, PduReceived, SessionUnbound

log = logging.getLogger("iscsid")

T = TypeVar("T")
MOUNTS_TIMEOUT_S = 10.0
_OPCODE = 0x3F

LOOK_EVERY_S = 0.5
"""How soon it is noticed that a target has fallen silent."""
LAST_WORDS_S = 0.5
"""What the Logout PDU is given at least; with this the logout is still answered in time."""
_PROGRESS = ("scsirsp_pdus", "datain_pdus", "r2t_pdus")
"""Counters that grow while a target answers SCSI commands: one that only answers NOP-Outs would
otherwise keep a logout waiting for ever."""


async def refuse_when_in_use(tree: SysfsTree, sid: int, proc_root: str) -> None:
    """Raise Busy (28), naming the uses, while a disk of the session is mounted, swap or held."""
    session = SysfsSession(tree, sid)
    try:
        uses = await in_thread(lambda: holders_in_use(tree, session, proc_root), MOUNTS_TIMEOUT_S)
    except TimeoutError:
        uses = ["the mount table could not be read in time"]
    if uses:
        log.error("session%d: not logged out: %s", sid, "; ".join(uses))
        raise Busy


class ConnectionLost(Exception):
    """The connection failed while something was awaited on it."""


async def close_session(
    kernel: KernelSession,
    tree: SysfsTree,
    timeout_s: float,
    *,
    connected: bool,
    before_pdu: Callable[[], None] = lambda: None,
) -> None:
    """Log out and take the session down; whatever the target does, the session ends.

    `connected`: in full feature phase; otherwise there is nobody to say goodbye to. `before_pdu`
    is called when the devices are gone and the Logout PDU is next. Raises PyIscsiError when the
    kernel kept something.
    """
    said_goodbye = False
    if connected:
        try:
            patience_ends = await _remove_devices(kernel, tree, timeout_s)
            before_pdu()
            left_s = patience_ends - asyncio.get_running_loop().time()
            if not does_login(kernel):  # what logs in by itself logs out by itself
                await send_logout(kernel, max(left_s, LAST_WORDS_S))
            said_goodbye = True
        except (ConnectionLost, TimeoutError, PyIscsiError) as error:
            reason = str(error) or "no answer in time"
            log.info("connection%d:%d: ended without the target: %s", kernel.sid, CID, reason)
    await kernel.destroy(abort=not said_goodbye)


async def _remove_devices(kernel: KernelSession, tree: SysfsTree, timeout_s: float) -> float:
    """UNBIND_SESSION: the kernel flushes and removes the disks.

    That takes as long as there is data to write, so only silence ends the waiting: `timeout_s`
    without a SCSI command answered by the target, which is TimeoutError. sysfs is asked too,
    because the event that it is done may have been lost. Returns the loop time at which the
    target's silence will have been long enough.
    """
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + timeout_s
    await kernel.unbind()
    answered = await _answered(kernel)
    while True:
        try:
            async with asyncio.timeout(max(0, min(LOOK_EVERY_S, patience_ends - loop.time()))):
                await _wait_for(kernel, lambda event: isinstance(event, SessionUnbound) or None)
                return patience_ends
        except TimeoutError:
            if SysfsSession(tree, kernel.sid).target_state == "UNBOUND":
                return patience_ends
            before, answered = answered, await _answered(kernel)
            if answered != before:
                patience_ends = loop.time() + timeout_s
            elif loop.time() >= patience_ends:
                raise


async def _answered(kernel: KernelSession) -> tuple[int, ...]:
    try:
        statistics = await kernel.transport.get_stats(kernel.sid, CID)
    except PyIscsiError:
        return ()
    return tuple(statistics.counters.get(name, 0) for name in _PROGRESS)


async def send_logout(kernel: KernelSession, timeout_s: float) -> LogoutResponse:
    """Logout "close the session" and its answer. Raises ConnectionLost or TimeoutError."""
    header, data = logout_request(cid=CID)
    await kernel.send(header, data)
    async with asyncio.timeout(timeout_s):
        return await _wait_for(kernel, _logout_response)


def _logout_response(event: Event) -> LogoutResponse | None:
    if not isinstance(event, PduReceived) or event.header[0] & _OPCODE != Opcode.LOGOUT_RESPONSE:
        return None
    return logout_result(event.header, event.data)


async def _wait_for(kernel: KernelSession, wanted: Callable[[Event], T | None]) -> T:
    while True:
        event = await kernel.events.get()
        found = wanted(event)
        if found is not None:
            return found
        error = connection_error(event)
        if error is not None:
            raise ConnectionLost(str(error))
