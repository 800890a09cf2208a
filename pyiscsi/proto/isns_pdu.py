"""iSNS messages on the wire: PDU header, attributes, messages split over PDUs (RFC 4171 §5.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.limits import ISNS_MESSAGE_MAX, ISNS_PDUS_MAX

VERSION = 1
RESPONSE_BIT = 0x8000
"""Added to a request's function in its response (§5.1.2)."""

FLAG_CLIENT = 0x8000
FLAG_SERVER = 0x4000
FLAG_AUTHENTICATION = 0x2000
FLAG_REPLACE = 0x1000
FLAG_LAST = 0x0800
FLAG_FIRST = 0x0400

_HEADER = struct.Struct("!6H")
_ATTRIBUTE = struct.Struct("!2I")
_PAYLOAD_MAX = 0xFFFC
"""Bytes of one PDU's payload: its length has 16 bits and is a multiple of four (§5.1.3)."""


class Attribute(NamedTuple):
    """One tag-length-value entry; the value as it is on the wire, padding included (§5.1.8)."""

    tag: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message, however many PDUs it takes. `flags` without first and last."""

    function: int
    xid: int
    payload: bytes = b""
    flags: int = FLAG_CLIENT

    @property
    def is_response(self) -> bool:
        return bool(self.function & RESPONSE_BIT)

    def encode(self) -> bytes:
        """All PDUs of the message."""
        starts = range(0, len(self.payload), _PAYLOAD_MAX) or range(1)
        pieces = [self.payload[start : start + _PAYLOAD_MAX] for start in starts]
        last = len(pieces) - 1
        found = []
        for number, piece in enumerate(pieces):
            flags = self.flags
            flags |= FLAG_FIRST if number == 0 else 0
            flags |= FLAG_LAST if number == last else 0
            found.append(
                _HEADER.pack(VERSION, self.function, len(piece), flags, self.xid, number) + piece
            )
        return b"".join(found)


def encode_attributes(attributes: Iterable[tuple[int, bytes]]) -> bytes:
    """Attributes one after the other, values padded to four bytes."""
    found = []
    for tag, value in attributes:
        padded = value + bytes(-len(value) % 4)
        found.append(_ATTRIBUTE.pack(tag, len(padded)) + padded)
    return b"".join(found)


def decode_attributes(payload: bytes) -> Iterator[Attribute]:
    """The attributes of a payload, one at a time; RemoteProtocolError where one makes no sense."""
    position = 0
    while position < len(payload):
        start = position + _ATTRIBUTE.size
        if start > len(payload):
            raise RemoteProtocolError("an iSNS message ends within an attribute")
        tag, length = _ATTRIBUTE.unpack_from(payload, position)
        position = start + length
        if length % 4:
            raise RemoteProtocolError(f"iSNS attribute {tag} has no length of whole words")
        if position > len(payload):
            raise RemoteProtocolError(f"iSNS attribute {tag} is longer than its message")
        yield Attribute(tag, payload[start:position])


class Framer:
    """Makes messages of a byte stream; messages follow one another and are never interleaved.

    Both raise RemoteProtocolError for a header that makes no sense, a PDU out of its order and a
    message beyond the limits; the stream is of no use any more then.
    """

    def __init__(self, message_max: int = ISNS_MESSAGE_MAX) -> None:
        self._message_max = message_max
        self._received = bytearray()
        self._first: tuple[int, int, int] | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Bytes held of messages that are not whole."""
        return len(self._received) + self._size

    def feed(self, data: bytes) -> None:
        self._received += data

    def next_message(self) -> Message | None:
        """The next whole message, None when more bytes are needed for it."""
        while len(self._received) >= _HEADER.size:
            version, function, length, flags, xid, number = _HEADER.unpack_from(self._received)
            if version != VERSION:
                raise RemoteProtocolError(f"iSNS protocol version {version} is not known")
            if length % 4:
                raise RemoteProtocolError("an iSNS PDU has no length of whole words")
            if flags & FLAG_AUTHENTICATION:
                raise RemoteProtocolError("authenticated iSNS messages are not supported")
            self._check_place(function, flags, xid, number)
            self._check_size(length)
            end = _HEADER.size + length
            if len(self._received) < end:
                return None
            message = self._take(function, flags, xid, bytes(self._received[_HEADER.size : end]))
            del self._received[:end]
            if message is not None:
                return message
        return None

    def _check_place(self, function: int, flags: int, xid: int, number: int) -> None:
        is_first = not self._pieces
        if bool(flags & FLAG_FIRST) != is_first or number != len(self._pieces):
            raise RemoteProtocolError(f"iSNS PDU {number} of a message is out of its order")
        if self._first is not None and self._first[:2] != (function, xid):
            raise RemoteProtocolError("iSNS messages are mixed")

    def _check_size(self, length: int) -> None:
        if self._size + length > self._message_max:
            raise RemoteProtocolError(f"an iSNS message is over {self._message_max} bytes")
        if len(self._pieces) >= ISNS_PDUS_MAX:
            raise RemoteProtocolError("an iSNS message has too many PDUs")

    def _take(self, function: int, flags: int, xid: int, piece: bytes) -> Message | None:
        self._first = self._first or (function, xid, flags & ~(FLAG_FIRST | FLAG_LAST))
        self._pieces.append(piece)
        self._size += len(piece)
        if not flags & FLAG_LAST:
            return None
        message = Message(function, xid, b"".join(self._pieces), self._first[2])
        self._first, self._pieces, self._size = None, [], 0
        return message
