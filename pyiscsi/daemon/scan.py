"""Work on a session's devices, off the event loop: open-iscsi forks for it, we use threads.

A write to sysfs may hang as long as a device does. Each runs in a thread of its own with a
deadline; a few at a time, because the SCSI layer serialises most of it anyway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pyiscsi.daemon.waits import in_thread
from pyiscsi.errors import PyIscsiError
from pyiscsi.sysfs import devices
from pyiscsi.sysfs.sessions import Session as SysfsSession
from pyiscsi.sysfs.tree import SysfsTree

log = logging.getLogger("iscsid")

SCAN_TIMEOUT_S = 60.0
ONLINE_TIMEOUT_S = 30.0
_AT_A_TIME = 8


class Scanner:
    """Scans for all sessions of the daemon. Nothing here raises: failures are log lines."""

    def __init__(self, tree: SysfsTree) -> None:
        self._tree = tree
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def scan(self, sid: int, host_no: int, queue_depth: int) -> None:
        """Look for LUNs on the session's host, then set each device's queue depth."""

        def work() -> None:
            devices.scan_host(self._tree, host_no)
            devices.set_queue_depth(SysfsSession(self._tree, sid), queue_depth)

        await self._run(f"session{sid}: scan of host{host_no}", work, SCAN_TIMEOUT_S)

    async def bring_back(self, sid: int, rescan: bool) -> None:
        """After a recovery: set devices running that went offline, then re-read their sizes."""

        def work() -> None:
            session = SysfsSession(self._tree, sid)
            devices.set_running(session)
            if rescan:
                devices.rescan(session)

        await self._run(f"session{sid}: bringing devices back", work, ONLINE_TIMEOUT_S)

    async def _run(self, what: str, work: Callable[[], None], timeout_s: float) -> None:
        async with self._slots:
            try:
                await in_thread(work, timeout_s)
            except TimeoutError:
                log.error("%s: not done after %d seconds", what, timeout_s)
            except (PyIscsiError, OSError) as error:
                log.error("%s: %s", what, error)


class Repeated:
    """Work that is asked for faster than it ends: one round runs, at most one more is due."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._due = 0

    def ask(self) -> bool:
        """Ask for a round; whether `run` has to be started for it."""
        self._due = min(self._due + 1, 2)
        return self._due == 1

    async def run(self) -> None:
        while self._due:
            await self._work()
            self._due -= 1
