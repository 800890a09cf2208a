"""A disk in memory: what a Linux initiator asks of a logical unit (SPC-4, SBC-3), and no more."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

BLOCK = 512
BLOCKS = 2048
_WRITE_CACHE = 0x04
_CACHING_PAGE = bytes([0x08, 0x12, _WRITE_CACHE]) + bytes(17)

INVALID_OPCODE = (0x05, 0x20, 0x00)
INVALID_FIELD = (0x05, 0x24, 0x00)
OUT_OF_RANGE = (0x05, 0x21, 0x00)
NO_UNIT = (0x05, 0x25, 0x00)

TEST_UNIT_READY, REPORT_LUNS, SYNCHRONIZE_CACHE = 0x00, 0xA0, 0x35
READS = {0x08, 0x28, 0x88}
WRITES = {0x0A, 0x2A, 0x8A}


class Refused(Exception):
    """CHECK CONDITION with this sense key, code and qualifier."""

    def __init__(self, sense: tuple[int, int, int]) -> None:
        super().__init__(sense)
        self.sense = sense


def sense_data(key: int, code: int, qualifier: int) -> bytes:
    """Fixed format."""
    return bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0])


@dataclass
class Disk:
    """LUN 0 of a target, 1 MiB. `serial` tells one disk from another."""

    serial: str = "misbehaving"

    def __post_init__(self) -> None:
        self.content = bytearray(BLOCK * BLOCKS)

    def read(self, cdb: bytes) -> bytes:
        """What a command that asks for data gets; nothing for one that asks for none.

        Raises Refused.
        """
        if cdb[0] in READS:
            start, count = self._extent(cdb)
            return bytes(self.content[start : start + count])
        handler = _ANSWERS.get(cdb[0])
        if handler is None:
            raise Refused(INVALID_OPCODE)
        return handler(self, cdb)

    def write(self, cdb: bytes, data: bytes) -> None:
        """Take the data of a write, or of any other command that sends some. Raises Refused."""
        if cdb[0] in WRITES:
            start, count = self._extent(cdb)
            self.content[start : start + count] = data[:count].ljust(count, b"\0")

    def _extent(self, cdb: bytes) -> tuple[int, int]:
        if cdb[0] in (0x08, 0x0A):
            first, count = int.from_bytes(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256
        elif cdb[0] in (0x28, 0x2A):
            first, count = struct.unpack_from(">I", cdb, 2)[0], struct.unpack_from(">H", cdb, 7)[0]
        else:
            first, count = struct.unpack_from(">QI", cdb, 2)
        if first + count > BLOCKS:
            raise Refused(OUT_OF_RANGE)
        return first * BLOCK, count * BLOCK

    def _inquiry(self, cdb: bytes) -> bytes:
        if not cdb[1] & 1:
            words = b"PYISCSI ".ljust(8) + b"MISBEHAVING DISK" + b"1   "
            return bytes([0, 0, 5, 2, 31, 0, 0, 2]) + words
        pages = {0x00: bytes([0x00, 0x80]), 0x80: self.serial.encode()}
        if cdb[2] not in pages:
            raise Refused(INVALID_FIELD)
        page = pages[cdb[2]]
        return bytes([0, cdb[2], 0, len(page)]) + page

    def _mode_sense(self, cdb: bytes) -> bytes:
        pages = _CACHING_PAGE if cdb[2] & 0x3F in (0x08, 0x3F) else b""
        if cdb[0] == 0x1A:
            return bytes([3 + len(pages), 0, 0, 0]) + pages
        return struct.pack(">HBBBBH", 6 + len(pages), 0, 0, 0, 0, 0) + pages

    def _capacity(self, cdb: bytes) -> bytes:
        if cdb[0] == 0x25:
            return struct.pack(">II", BLOCKS - 1, BLOCK)
        if cdb[1] & 0x1F != 0x10:
            raise Refused(INVALID_FIELD)
        return struct.pack(">QI", BLOCKS - 1, BLOCK).ljust(32, b"\0")

    def _luns(self, cdb: bytes) -> bytes:
        return struct.pack(">II8x", 8, 0)

    def _nothing(self, cdb: bytes) -> bytes:
        return b""


_ANSWERS: dict[int, Callable[[Disk, bytes], bytes]] = {
    TEST_UNIT_READY: Disk._nothing,
    0x03: lambda disk, cdb: sense_data(0, 0, 0),
    0x12: Disk._inquiry,
    0x1A: Disk._mode_sense,
    0x1B: Disk._nothing,
    0x25: Disk._capacity,
    SYNCHRONIZE_CACHE: Disk._nothing,
    0x5A: Disk._mode_sense,
    0x91: Disk._nothing,
    0x9E: Disk._capacity,
    REPORT_LUNS: Disk._luns,
}
