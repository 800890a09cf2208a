"""Byte stream to PDUs and back (RFC 7143 §11.2): padding, additional headers, digests."""

from __future__ import annotations

from dataclasses import dataclass

import crcmod.predefined

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.limits import LOGIN_SEGMENT_MAX
from pyiscsi.proto.pdu import BHS_SIZE, segment_lengths

DIGEST_SIZE = 4

crc32c = crcmod.predefined.mkCrcFun("crc-32c")


def _padding(length: int) -> int:
    return -length % 4


def digest(data: bytes) -> bytes:
    """CRC32C as it goes over the wire: least significant byte first (RFC 7143 §13.1)."""
    return int(crc32c(data)).to_bytes(DIGEST_SIZE, "little")


@dataclass(frozen=True, slots=True)
class RawPdu:
    """A PDU as it came: `ahs` whole and undecoded, `data` without padding."""

    header: bytes
    ahs: bytes
    data: bytes


class Framer:
    """One direction of a connection each way. Digests are off until `use_digests()`, which is to
    be called between two PDUs, after the final login response.

    `segment_max` is the largest data segment we accept; RemoteProtocolError ends the stream for a
    longer one and for a digest that does not match.
    """

    def __init__(self, segment_max: int = LOGIN_SEGMENT_MAX) -> None:
        self.segment_max = segment_max
        self._header_digest = False
        self._data_digest = False
        self._buffer = bytearray()

    def use_digests(self, *, header: bool, data: bool) -> None:
        self._header_digest = header
        self._data_digest = data

    def encode(self, header: bytes, data: bytes, ahs: bytes = b"") -> bytes:
        """The bytes of one PDU; `ahs` is a multiple of four bytes and announced in `header`."""
        parts = [header, ahs]
        if self._header_digest:
            parts.append(digest(header + ahs))
        if data:
            padded = data + bytes(_padding(len(data)))
            parts.append(padded)
            if self._data_digest:
                parts.append(digest(padded))
        return b"".join(parts)

    def feed(self, data: bytes) -> None:
        """Take bytes from the stream; `next_pdu()` gives them back as PDUs."""
        self._buffer += data

    @property
    def pending(self) -> int:
        """Bytes received that do not make a whole PDU yet."""
        return len(self._buffer)

    def next_pdu(self) -> RawPdu | None:
        """One whole PDU, or None when more bytes are needed. Raises RemoteProtocolError."""
        if len(self._buffer) < BHS_SIZE:
            return None
        ahs_length, data_length = segment_lengths(bytes(self._buffer[:BHS_SIZE]))
        if data_length > self.segment_max:
            raise RemoteProtocolError(
                f"a data segment of {data_length} bytes is over the limit of {self.segment_max}"
            )
        headers = BHS_SIZE + ahs_length
        data_start = headers + (DIGEST_SIZE if self._header_digest else 0)
        data_end = data_start + data_length + _padding(data_length)
        total = data_end + (DIGEST_SIZE if self._data_digest and data_length else 0)
        if self._header_digest and len(self._buffer) >= data_start:
            self._compare(headers, data_start, 0, "header")
        if len(self._buffer) < total:
            return None
        if total > data_end:
            self._compare(data_end, total, data_start, "data")
        whole = bytes(self._buffer[:total])
        del self._buffer[:total]
        ahs = whole[BHS_SIZE:headers]
        return RawPdu(whole[:BHS_SIZE], ahs, whole[data_start : data_start + data_length])

    def _compare(self, start: int, end: int, covered_from: int, what: str) -> None:
        if bytes(self._buffer[start:end]) != digest(bytes(self._buffer[covered_from:start])):
            raise RemoteProtocolError(f"{what} digest error")
