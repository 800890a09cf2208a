"""News about the addresses of this machine's network devices (rtnetlink(7))."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

log = logging.getLogger("iscsid")

_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV6_IFADDR = 0x100
_ENOUGH = 1 << 16


class AddressNews:
    """Wakes those who wait for an address. What the news says is theirs to look up."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._changed = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Return when an address or a device has come or gone, or after `timeout_s` seconds."""
        self._open()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        """Listen from the first time somebody waits; without the socket, time alone ends a wait."""
        if self._socket is not None:
            return
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
            self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
        except OSError as error:
            log.warning("no news about network addresses: %s", error)
            return
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            while self._socket.recv(_ENOUGH):
                pass
        except BlockingIOError:
            pass
        except OSError as error:  # more news than fit (ENOBUFS) is news too
            log.debug("rtnetlink: %s", error)
        self._changed.set()
        self._changed = asyncio.Event()
