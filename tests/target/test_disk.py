"""The disk of the target program, met by a few commands over a session in this process."""

from __future__ import annotations

import asyncio
import struct

from pyiscsi.proto.effects import LoggedIn, SendPdu
from pyiscsi.proto.framer import Framer, RawPdu
from pyiscsi.proto.login import LoginMachine
from pyiscsi.proto.pdu import LogoutRequest, NopOut, decode
from pyiscsi.proto.settings import ChapSettings, LoginSettings
from tests.target import pdus
from tests.target.behaviours import TAG
from tests.target.disk import BLOCK, BLOCKS
from tests.target.manners import CHAP
from tests.target.running import serving
from tests.target.server import Target

SETTINGS = LoginSettings(
    "iqn.2026-11.test:initiator",
    "iqn.2026-11.test:good",
    bytes.fromhex("00023d000001"),
    auth=ChapSettings(CHAP.username, CHAP.password),
)


def _extent(code: int, first: int, count: int) -> bytes:
    """READ (10) or WRITE (10)."""
    return struct.pack(">BxIxH", code, first, count).ljust(16, b"\0")


class Initiator:
    """Enough of an initiator: one command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._framer = reader, writer, Framer(1 << 20)
        self._tag = 0

    async def send(self, header: bytes, data: bytes = b"") -> None:
        self._writer.write(self._framer.encode(header, data))
        await self._writer.drain()

    async def receive(self) -> RawPdu:
        while (raw := self._framer.next_pdu()) is None:
            received = await self._reader.read(65536)
            assert received, "the target has closed"
            self._framer.feed(received)
        return raw

    async def log_in(self) -> None:
        machine = LoginMachine(SETTINGS, lambda length: bytes(range(length)))
        effects = machine.start()
        while not any(isinstance(effect, LoggedIn) for effect in effects):
            for effect in effects:
                assert isinstance(effect, SendPdu), effect
                await self.send(effect.header, effect.data)
            raw = await self.receive()
            effects = machine.handle_pdu(raw.header, raw.data)

    async def command(self, cdb: bytes, expected: int, data: bytes = b"") -> tuple[int, bytes, int]:
        """(status, data or sense, residual count)."""
        self._tag += 1
        flags = 0x80 | (0x20 if data else 0x40 if expected else 0)
        header = struct.pack(
            ">BB2xI8sIIII16s", pdus.SCSI_COMMAND, flags, 0, bytes(8), self._tag, expected, 1, 0, cdb
        )
        await self.send(header)
        received = b""
        while True:
            raw = await self.receive()
            opcode, flags = raw.header[0], raw.header[1]
            residual = int.from_bytes(raw.header[44:48], "big")
            if opcode == pdus.DATA_IN:
                received += raw.data
                if flags & pdus.STATUS:
                    return raw.header[3], received, residual
            elif opcode == pdus.R2T:
                await self._send_data(data, raw.header[20:24])
            else:
                assert opcode == pdus.SCSI_RESPONSE
                return raw.header[3], raw.data[2:], residual

    async def _send_data(self, data: bytes, transfer_tag: bytes) -> None:
        for offset in range(0, len(data), 8192):
            part = data[offset : offset + 8192]
            final = offset + len(part) == len(data)
            header = struct.pack(
                ">BB2xI8sI4s4xI4xII4x", pdus.DATA_OUT, final and 0x80, len(part), bytes(8),
                self._tag, transfer_tag, 0, offset // 8192, offset,
            )  # fmt: skip
            await self.send(header, part)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def _talk(target: Target) -> dict[str, object]:
    initiator = Initiator(*await asyncio.open_connection("127.0.0.1", target.port))
    await initiator.log_in()
    block = bytes(range(256)) * 2 * 40
    found = {
        "inquiry": await initiator.command(b"\x12\0\0\0\x24\0".ljust(16, b"\0"), 255),
        "luns": await initiator.command(b"\xa0".ljust(16, b"\0"), 16),
        "size": await initiator.command(b"\x25".ljust(16, b"\0"), 8),
        "ready": await initiator.command(bytes(16), 0),
        "write": await initiator.command(_extent(0x2A, 7, 40), len(block), block),
        "read": await initiator.command(_extent(0x28, 7, 40), len(block)),
        "beyond": await initiator.command(_extent(0x28, BLOCKS, 1), BLOCK),
        "unknown": await initiator.command(b"\xc0".ljust(16, b"\0"), 0),
    }
    found["same"] = found["read"] == (0, block, 0)
    await initiator.send(*NopOut(initiator_task_tag=5, data=b"ping").encode())
    raw = await initiator.receive()
    found["pong"] = decode(raw.header, raw.data).data
    await initiator.send(*LogoutRequest(initiator_task_tag=6).encode())
    raw = await initiator.receive()
    found["logout"] = raw.header[0], raw.header[2]
    await initiator.close()
    return found


def test_disk() -> None:
    """What is written is read; sizes, residual counts and sense data are right."""

    async def test() -> dict[str, object]:
        async with asyncio.timeout(60), serving(["good"]) as [target]:
            return await _talk(target)

    found = asyncio.run(test())
    status, data, residual = found["inquiry"]  # type: ignore[misc]
    assert (status, data[8:16], len(data) + residual) == (0, b"PYISCSI ", 255)
    assert found["luns"] == (0, struct.pack(">II8x", 8, 0), 0)
    assert found["size"] == (0, struct.pack(">II", BLOCKS - 1, BLOCK), 0)
    assert found["ready"] == (0, b"", 0)
    assert found["write"] == (0, b"", 0)
    assert found["same"]
    for name, code in (("beyond", 0x21), ("unknown", 0x20)):
        status, sense, _ = found[name]  # type: ignore[misc]
        assert (status, sense[2], sense[12]) == (2, 5, code), name
    assert found["pong"] == b"ping"
    assert found["logout"] == (0x26, 0)


def test_acts_wait_for_their_release() -> None:
    """Nothing unasked for comes before, the NOP-In of the behaviour then."""

    async def test() -> None:
        async with asyncio.timeout(60), serving(["nop-in"]) as [target]:
            initiator = Initiator(*await asyncio.open_connection("127.0.0.1", target.port))
            await initiator.log_in()
            assert (await initiator.command(bytes(16), 0))[0] == 0
            target.release()
            raw = await initiator.receive()
            assert raw.header[0] == 0x20
            assert raw.header[20:24] == TAG.to_bytes(4, "big")
            await initiator.close()

    asyncio.run(test())


def test_a_logout_that_is_ignored_leaves_the_connection() -> None:
    """Neither an answer nor an end; NOP-Outs are answered as before."""

    async def test() -> None:
        async with asyncio.timeout(60), serving(["no-logout-answer"]) as [target]:
            target.release()
            initiator = Initiator(*await asyncio.open_connection("127.0.0.1", target.port))
            await initiator.log_in()
            await initiator.send(*LogoutRequest(initiator_task_tag=6).encode())
            await initiator.send(*NopOut(initiator_task_tag=7).encode())
            raw = await initiator.receive()
            assert (raw.header[0], raw.header[16:20]) == (0x20, bytes([0, 0, 0, 7]))
            await initiator.close()

    asyncio.run(test())
