"""What the daemon's ends of both sockets share: accepting clients, and refusing some quietly."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from pyiscsi.ipc import stream

QUIET_S = 10.0
"""Between two lines about refused users: anyone may connect, as often as he likes."""

CHUNK = 1 << 16

_log = logging.getLogger("iscsid")


def peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Process and user of a client."""
    return stream.peer(writer.get_extra_info("socket"))


class Refusals:
    """Logs who was refused: the first at once, those of the next QUIET_S seconds as a number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until = float("-inf")
        self._unsaid = 0

    def note(self, uid: int) -> None:
        if self._clock() < self._quiet_until:
            self._unsaid += 1
            return
        self.flush()
        _log.error("Unauthorized user with UID=%u", uid)
        self._quiet_until = self._clock() + QUIET_S

    def flush(self) -> None:
        if self._unsaid:
            _log.error("%d more requests of unauthorized users", self._unsaid)
        self._unsaid = 0


class StreamServer:
    """Accepts clients on a listening socket, each served in a task of its own."""

    backlog = 1

    def __init__(self) -> None:
        self.refusals = Refusals()
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_closing = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client to its end; may raise ConnectionError when it leaves before."""
        raise NotImplementedError

    async def start(self, listener: socket.socket) -> None:
        # Since 3.13 asyncio would remove the socket's file, which may be systemd's or not there.
        options: dict[str, Any] = {}
        if sys.version_info >= (3, 13):
            options["cleanup_socket"] = False
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=listener, backlog=self.backlog, limit=CHUNK, **options
        )

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        self.refusals.flush()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._is_closing:  # accepted in the very moment
            writer.transport.abort()
            return
        self._clients.add(task)
        try:
            await self.serve(reader, writer)
        except asyncio.CancelledError:
            # Only our end cancels us; asyncio's stream protocol would log it as an error.
            pass
        except ConnectionError:
            _log.debug("a client left before its answer")
        finally:
            self._clients.discard(task)
            writer.transport.abort()


class StreamConnection:
    """One client, and what it has sent that nobody has taken yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
