"""iSCSI PDUs over a connected socket of our own: used for discovery, and by tests."""

from __future__ import annotations

import asyncio
import os
import socket

from pyiscsi.errors import TransportError
from pyiscsi.proto.effects import LoginResult
from pyiscsi.proto.framer import Framer
from pyiscsi.proto.limits import LOGIN_SEGMENT_MAX
from pyiscsi.proto.settings import LoginSettings

_READ_SIZE = 65536


class ConnectionClosed(TransportError):
    """The peer closed the connection in an orderly way."""


class UserspaceConnection:
    """One connection. Reading and writing may overlap, but each is for one task at a time.

    Deadlines are the caller's (`asyncio.timeout`); after a cancelled `send_pdu` only `close` may
    follow, since part of a PDU may be on the wire. `peer_address` is numeric, for messages.
    """

    def __init__(self, sock: socket.socket, *, segment_max: int = LOGIN_SEGMENT_MAX) -> None:
        self._sock = sock
        self._framer = Framer(segment_max)
        self._loop = asyncio.get_running_loop()
        self.peer_address = _peer_address(sock)
        self.says_goodbye = True

    @classmethod
    async def open(
        cls, sock: socket.socket, *, segment_max: int = LOGIN_SEGMENT_MAX
    ) -> UserspaceConnection:
        """Take over a connected socket; it belongs to the connection from now on."""
        sock.setblocking(False)
        return cls(sock, segment_max=segment_max)

    def adapt(self, settings: LoginSettings) -> LoginSettings:
        """All numbers are ours to choose here."""
        return settings

    async def log_in_itself(self, settings: LoginSettings) -> LoginResult | None:
        """Nobody else does."""
        return None

    async def enter_full_feature(self, result: LoginResult) -> None:
        """What the login agreed on holds from the next PDU on."""
        self._framer.segment_max = int(result["MaxRecvDataSegmentLength"])
        self._framer.use_digests(
            header=result["HeaderDigest"] == "CRC32C", data=result["DataDigest"] == "CRC32C"
        )

    async def send_pdu(self, header: bytes, data: bytes) -> None:
        """Send one PDU; `data` without padding. Raises TransportError."""
        try:
            await self._loop.sock_sendall(self._sock, self._framer.encode(header, data))
        except OSError as exc:
            raise TransportError(_reason(exc)) from exc

    async def receive(self) -> tuple[bytes, bytes]:
        """Header and data of the next PDU.

        Raises ConnectionClosed at its end, TransportError when it breaks, RemoteProtocolError
        for a data segment over the limit or a wrong digest. Cancelling loses nothing.
        """
        while (pdu := self._framer.next_pdu()) is None:
            try:
                received = await self._loop.sock_recv(self._sock, _READ_SIZE)
            except OSError as exc:
                raise TransportError(_reason(exc)) from exc
            if not received:
                raise ConnectionClosed("connection closed by the target")
            self._framer.feed(received)
        return pdu.header, pdu.data

    async def close(self) -> None:
        """Close; harmless when repeated."""
        self._sock.close()


def _peer_address(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def _reason(exc: OSError) -> str:
    return os.strerror(exc.errno) if exc.errno else str(exc)
