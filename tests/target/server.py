"""The target: login and discovery as `tests.integration.target` has them, then a disk.

    async with Target(behaviour, address, port) as target: ...

Each connection is served by one `Manners` of the behaviour. What those say about the full feature
phase holds from `target.released` on, so that a test can first log in and then look on.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from pyiscsi.proto.framer import RawPdu
from pyiscsi.proto.pdu import RESERVED_TAG, NopOut, decode
from tests.integration.target.script import Script
from tests.integration.target.server import Connection, ScriptedTarget
from tests.target import pdus
from tests.target.disk import NO_UNIT, REPORT_LUNS, WRITES, Disk, Refused, sense_data
from tests.target.manners import Behaviour, Manners

_SEGMENT = 8192
_WINDOW = 64
_NO_UNIT = sense_data(*NO_UNIT)


class Target(ScriptedTarget):
    """`manners` replaces those of the behaviour for every connection that is made from now on."""

    def __init__(
        self,
        behaviour: Behaviour,
        address: str = "127.0.0.1",
        port: int = 0,
        release_after_s: float | None = None,
    ) -> None:
        super().__init__(Script(), address, port)
        self.behaviour = behaviour
        self.release_after_s = release_after_s
        """Seconds after a login; None: whoever owns the target releases it."""
        self.others: list[Target] = [self]
        """All that a SendTargets answer names."""
        self.manners: Manners | None = None
        self.disk = Disk(behaviour.name)
        self.released = asyncio.Event()
        self.released_at = 0.0
        self.connected_at: list[float] = []
        """When each connection was made; both by the monotonic clock."""

    @property
    def commands(self) -> list[int]:
        """First byte of each SCSI command, connection after connection."""
        return [each.cdb[0] for each in [*self.requests] if isinstance(each, pdus.ScsiCommand)]

    @property
    def aborts(self) -> int:
        """How often a task or more was to be aborted or reset."""
        return sum(isinstance(request, pdus.TaskRequest) for request in [*self.requests])

    @property
    def iqn(self) -> str:
        return f"iqn.2026-11.test:{self.behaviour.name}"

    @property
    def listing(self) -> bytes:
        """The SendTargets answer."""
        pairs = [
            f"TargetName={each.iqn}\0TargetAddress={each.address}:{each.port},1\0"
            for each in self.others
        ]
        return "".join(pairs).encode()

    def release(self) -> None:
        """From now on the manners of the full feature phase hold."""
        self.released_at = time.monotonic()
        self.released.set()

    def connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> DiskConnection:
        self.connected_at.append(time.monotonic())
        manners = self.manners or self.behaviour.manners(self.connections)
        return DiskConnection(self, manners, reader, writer)


class DiskConnection(Connection):
    """One connection, to its end."""

    def __init__(
        self,
        target: Target,
        manners: Manners,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(target, manners.script_of(target.listing), reader, writer)
        self._owner = target
        self._manners = manners
        self._exp_cmd_sn = 0
        self._writes: dict[int, tuple[bytes, bytearray]] = {}
        """Commands that wait for their data, by task tag."""
        self._act: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        try:
            await super().serve()
        finally:
            if self._act is not None:
                self._act.cancel()

    # What an act of `tests.target.behaviours` may do.

    async def send(self, make: Callable[..., Any], **fields: Any) -> None:
        """One PDU that nobody asked for, with the numbers of this moment."""
        await self._send(make(**self._serials(), **fields))

    async def send_bytes(self, data: bytes) -> None:
        await self._write(data)

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """RST in place of FIN."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    # Requests.

    def _decode(self, raw: RawPdu) -> Any:
        read = pdus.READERS.get(raw.header[0] & 0x3F)
        return read(raw) if read else decode(raw.header, raw.data)

    def _enter_full_feature_phase(self) -> None:
        if self._login.discovery:
            return
        if self._manners.closes_behind_login:
            self.close()
        if self._owner.release_after_s is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._owner.release_after_s, self._owner.release)
        if self._manners.act is not None:
            self._act = asyncio.create_task(self._misbehave(self._manners.act))

    async def _misbehave(self, act: Callable[[DiskConnection], Any]) -> None:
        await self._owner.released.wait()
        with contextlib.suppress(ConnectionError):
            await act(self)

    async def _answer(self, request: Any) -> None:
        if self._manners.late_s:
            await asyncio.sleep(self._manners.late_s)
        if self._is_ignored(request):
            return
        if self._step == self._manners.reset_at:
            self.reset()
            return
        if self._step in self._manners.prefix:
            await self._write(self._manners.prefix[self._step])
        match request:
            case pdus.ScsiCommand():
                await self._command(request)
            case pdus.DataOut():
                await self._data_out(request)
            case pdus.TaskRequest():
                await self._send(pdus.TaskResponse(**self._numbers(request)))
            case NopOut(initiator_task_tag=tag) if tag == RESERVED_TAG:
                return  # the answer to a NOP-In of ours
            case _:
                await super()._answer(request)

    def _is_last(self, request: Any) -> bool:
        return super()._is_last(request) and not self._is_ignored(request)

    def _is_ignored(self, request: Any) -> bool:
        if not self._owner.released.is_set():
            return False
        return self._manners.ignores(request)

    def _numbers(self, request: Any) -> dict[str, Any]:
        immediate = getattr(request, "immediate", True)
        self._exp_cmd_sn = request.cmd_sn if immediate else request.cmd_sn + 1 & 0xFFFFFFFF
        return {"initiator_task_tag": request.initiator_task_tag, **self._serials()}

    def _serials(self) -> dict[str, Any]:
        return {
            "stat_sn": self._stat_sn,
            "exp_cmd_sn": self._exp_cmd_sn,
            "max_cmd_sn": self._exp_cmd_sn + _WINDOW & 0xFFFFFFFF,
        }

    async def _command(self, command: pdus.ScsiCommand) -> None:
        numbers = self._numbers(command)
        if any(command.lun) and command.cdb[0] != REPORT_LUNS:
            await self._conclude(pdus.ScsiResponse(**numbers, status=2, sense=_NO_UNIT))
        elif command.cdb[0] in WRITES:
            self._writes[command.initiator_task_tag] = command.cdb, bytearray()
            await self._send(pdus.ReadyToTransfer(**numbers, length=command.expected))
        else:
            await self._read(command, numbers)

    async def _read(self, command: pdus.ScsiCommand, numbers: dict[str, Any]) -> None:
        try:
            data = self._owner.disk.read(command.cdb)[: command.expected]
        except Refused as refused:
            sense = sense_data(*refused.sense)
            await self._conclude(pdus.ScsiResponse(**numbers, status=2, sense=sense))
            return
        residual = command.expected - len(data)
        if not data:
            await self._conclude(pdus.ScsiResponse(**numbers, residual=residual))
            return
        for number, offset in enumerate(range(0, len(data), _SEGMENT)):
            part = data[offset : offset + _SEGMENT]
            last = offset + len(part) == len(data)
            pdu = pdus.DataIn(
                **numbers, number=number, offset=offset, data=part, last=last,
                residual=residual if last else 0,
            )  # fmt: skip
            await (self._conclude(pdu) if last else self._send(pdu))

    async def _data_out(self, out: pdus.DataOut) -> None:
        cdb, data = self._writes[out.initiator_task_tag]
        data[out.offset : out.offset + len(out.data)] = out.data
        if not out.final:
            return
        del self._writes[out.initiator_task_tag]
        self._owner.disk.write(cdb, bytes(data))
        tag = out.initiator_task_tag
        await self._conclude(pdus.ScsiResponse(initiator_task_tag=tag, **self._serials()))

    async def _conclude(self, pdu: Any) -> None:
        """The PDU that ends a command and takes a StatSN."""
        if self._owner.released.is_set() and self._manners.damage:
            pdu = dataclasses.replace(pdu, **self._manners.damage)
        await self._send(pdu)
        self._stat_sn += 1

    async def _send(self, pdu: Any) -> None:
        header, data = pdu.encode()
        await self.send_bytes(self._framer.encode(header, data))
