"""Writes an iBFT to standard output: everything that follows the ACPI header, which QEMU adds.

    python -m tests.kernel.modules.mkibft KEY=VALUE... > ibft.bin
    qemu-system-x86_64 ... -acpitable sig=iBFT,rev=1,oem_id=TESTED,data=ibft.bin

Keys are `init.*`, `nic0.*`, `nic1.*`, `tgt0.*`, `tgt1.*`; a part whose keys are absent is left out:

    init  flags isns slp radius1 radius2 name
    nic   flags ip prefix origin gw dns1 dns2 dhcp vlan mac bdf hostname
    tgt   flags ip port lun chap nic name user pass ruser rpass

`bdf` is the adapter's PCI place (`00:05.0`), `origin` 1 static or 3 DHCP, `chap` 0 none, 1 one way,
2 mutual. Layout: the iBFT specification, as drivers/firmware/iscsi_ibft.c reads it; little endian,
offsets count from the start of the ACPI header, structures begin on multiples of eight.
"""

from __future__ import annotations

import ipaddress
import struct
import sys
from collections.abc import Mapping

ACPI_HEADER_BYTES = 36
_RESERVED_BYTES = 12
_CONTROL = struct.Struct("<BBHBBHHHHHH")
_PARTS = ("init", "nic0", "tgt0", "nic1", "tgt1")
"""In the order of their offsets in the control structure."""


class Table:
    """The growing table: structures first, the strings they point at behind them."""

    def __init__(self) -> None:
        self.body = bytearray(_RESERVED_BYTES + _CONTROL.size)
        self._strings: list[tuple[int, bytes]] = []

    def start(self, kind: int, length: int, index: int, flags: str) -> int:
        """Begin a structure; returns its offset."""
        self._align()
        offset = ACPI_HEADER_BYTES + len(self.body)
        self.put("BBHBB", kind, 1, length, index, int(flags, 0))
        return offset

    def put(self, layout: str, *values: object) -> None:
        self.body += struct.pack("<" + layout, *values)

    def address(self, text: str) -> None:
        """Sixteen bytes; IPv4 as ::ffff:a.b.c.d."""
        packed = ipaddress.ip_address(text).packed if text else bytes(16)
        self.body += packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed

    def string(self, text: str) -> None:
        """A reference, filled in when all structures are there."""
        self._strings.append((len(self.body), text.encode()))
        self.put("HH", 0, 0)

    def finish(self, offsets: Mapping[str, int]) -> bytes:
        self._align()
        for place, text in self._strings:
            if text:
                struct.pack_into("<HH", self.body, place, len(text), self._end())
                self.body += text + b"\0"
        found = [offsets.get(part, 0) for part in _PARTS]
        _CONTROL.pack_into(self.body, _RESERVED_BYTES, 1, 1, _CONTROL.size, 0, 0, 0, *found)
        return bytes(self.body)

    def _end(self) -> int:
        return ACPI_HEADER_BYTES + len(self.body)

    def _align(self) -> None:
        self.body += bytes(-self._end() % 8)


def build(values: Mapping[str, str]) -> bytes:
    """The table of the given keys."""
    table = Table()
    offsets = {"init": _initiator(table, _part(values, "init"))}
    for index in range(2):
        nic, target = _part(values, f"nic{index}"), _part(values, f"tgt{index}")
        if nic:
            offsets[f"nic{index}"] = _nic(table, index, nic)
        if target:
            offsets[f"tgt{index}"] = _target(table, index, target)
    return table.finish(offsets)


def _part(values: Mapping[str, str], name: str) -> dict[str, str]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _initiator(table: Table, part: Mapping[str, str]) -> int:
    offset = table.start(2, 74, 0, part.get("flags", "3"))
    for key in ("isns", "slp", "radius1", "radius2"):
        table.address(part.get(key, ""))
    table.string(part.get("name", "iqn.2026-11.test:ibft-initiator"))
    return offset


def _nic(table: Table, index: int, part: Mapping[str, str]) -> int:
    offset = table.start(3, 102, index, part.get("flags", "3"))
    table.address(part.get("ip", ""))
    table.put("BB", int(part.get("prefix", "24")), int(part.get("origin", "3")))
    for key in ("gw", "dns1", "dns2", "dhcp"):
        table.address(part.get(key, ""))
    table.put("H", int(part.get("vlan", "0")))
    table.body += bytes.fromhex(part.get("mac", "52:54:00:12:34:56").replace(":", ""))
    table.put("H", _pci_place(part.get("bdf", "00:00.0")))
    table.string(part.get("hostname", ""))
    return offset


def _target(table: Table, index: int, part: Mapping[str, str]) -> int:
    offset = table.start(4, 54, index, part.get("flags", "3"))
    table.address(part.get("ip", ""))
    table.put("H", int(part.get("port", "3260")))
    table.body += struct.pack(">Q", int(part.get("lun", "0")) << 48)
    table.put("BB", int(part.get("chap", "0")), int(part.get("nic", str(index))))
    for key in ("name", "user", "pass", "ruser", "rpass"):
        table.string(part.get(key, ""))
    return offset


def _pci_place(text: str) -> int:
    """`BUS:DEVICE.FUNCTION`, in hexadecimal, as PCI packs it."""
    bus, _, rest = text.partition(":")
    device, _, function = rest.partition(".")
    return int(bus, 16) << 8 | int(device, 16) << 3 | int(function)


if __name__ == "__main__":
    sys.stdout.buffer.write(build(dict(word.split("=", 1) for word in sys.argv[1:])))
