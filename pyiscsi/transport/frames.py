"""Netlink framing: the 16-byte `struct nlmsghdr` before each message, padded to 4 bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pyiscsi.errors import RemoteProtocolError

_HEADER = struct.Struct("=IHHII")
"""Length with the header, type, flags, sequence (always 0 here), port id of the sender."""


def frame(kind: int, body: bytes, port_id: int) -> bytes:
    """One message. Its length is exact, the padding is left to the kernel."""
    return _HEADER.pack(_HEADER.size + len(body), kind, 0, 0, port_id) + body


def split(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each message. Raises RemoteProtocolError at one of impossible length."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            left = len(datagram) - offset
            raise RemoteProtocolError(f"kernel message of {length} bytes in {left}")
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
