"""PDUs of the SCSI command path, which `pyiscsi.proto.pdu` leaves to the kernel (RFC 7143 §11.3-8).

Requests are read, responses are written. Layouts start at byte 0 of the basic header segment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pyiscsi.proto.framer import RawPdu
from pyiscsi.proto.pdu import NO_LUN, RESERVED_TAG

SCSI_COMMAND, TASK_MANAGEMENT, DATA_OUT = 0x01, 0x02, 0x05
SCSI_RESPONSE, TASK_RESPONSE, DATA_IN, R2T = 0x21, 0x22, 0x25, 0x31

FINAL, STATUS = 0x80, 0x01
OVERFLOW, UNDERFLOW = 0x04, 0x02
GOOD, CHECK_CONDITION = 0x00, 0x02

_COMMAND = struct.Struct(">BB2xI8sIIII16s")
_TASK = struct.Struct(">BB2xI8sIIII12x4x")
_DATA_OUT = struct.Struct(">BB2xI8sII4xI4xII4x")
_RESPONSE = struct.Struct(">BBBBI8xI4xIIIIII")
_TASK_RESPONSE = struct.Struct(">BBBxI8xI4xIII12x")
_DATA_IN = struct.Struct(">BBxBI8sIIIIIIII")
_LENGTH = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class ScsiCommand:
    initiator_task_tag: int
    lun: bytes
    cdb: bytes
    expected: int
    """Bytes the initiator wants to receive or send."""
    immediate: bool
    cmd_sn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """Abort, reset and the like."""

    initiator_task_tag: int
    function: int
    immediate: bool
    cmd_sn: int


@dataclass(frozen=True, slots=True)
class DataOut:
    initiator_task_tag: int
    final: bool
    offset: int
    data: bytes


def _command(raw: RawPdu) -> ScsiCommand:
    opcode, _, _, lun, tag, expected, cmd_sn, _, cdb = _COMMAND.unpack(raw.header)
    return ScsiCommand(tag, lun, cdb, expected, bool(opcode & 0x40), cmd_sn, raw.data)


def _task(raw: RawPdu) -> TaskRequest:
    opcode, flags, _, _, tag, _, cmd_sn, _ = _TASK.unpack(raw.header)
    return TaskRequest(tag, flags & 0x7F, bool(opcode & 0x40), cmd_sn)


def _data_out(raw: RawPdu) -> DataOut:
    _, flags, _, _, tag, _, _, _, offset = _DATA_OUT.unpack(raw.header)
    return DataOut(tag, bool(flags & FINAL), offset, raw.data)


READERS = {SCSI_COMMAND: _command, TASK_MANAGEMENT: _task, DATA_OUT: _data_out}


@dataclass(frozen=True, slots=True)
class ScsiResponse:
    """`sense` as the command set has it, without the length that goes before it."""

    initiator_task_tag: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    status: int = GOOD
    sense: bytes = b""
    residual: int = 0

    def encode(self) -> tuple[bytes, bytes]:
        data = struct.pack(">H", len(self.sense)) + self.sense if self.sense else b""
        flags = FINAL | (self.residual and UNDERFLOW)
        header = _RESPONSE.pack(
            SCSI_RESPONSE, flags, 0, self.status, len(data), self.initiator_task_tag,
            self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn, 0, 0, self.residual,
        )  # fmt: skip
        return header, data


@dataclass(frozen=True, slots=True)
class DataIn:
    """`last` carries the status GOOD and the residual count, the others no StatSN."""

    initiator_task_tag: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    number: int
    offset: int
    data: bytes
    last: bool = False
    residual: int = 0

    def encode(self) -> tuple[bytes, bytes]:
        flags = (FINAL | STATUS | (self.residual and UNDERFLOW)) if self.last else 0
        header = _DATA_IN.pack(
            DATA_IN, flags, GOOD, len(self.data), NO_LUN, self.initiator_task_tag, RESERVED_TAG,
            self.stat_sn if self.last else 0, self.exp_cmd_sn, self.max_cmd_sn, self.number,
            self.offset, self.residual,
        )  # fmt: skip
        return header, self.data


@dataclass(frozen=True, slots=True)
class ReadyToTransfer:
    """Asks for all of a write's data at once."""

    initiator_task_tag: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    length: int

    def encode(self) -> tuple[bytes, bytes]:
        header = _DATA_IN.pack(
            R2T, FINAL, 0, 0, NO_LUN, self.initiator_task_tag, 1,
            self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn, 0, 0, self.length,
        )  # fmt: skip
        return header, b""


@dataclass(frozen=True, slots=True)
class TaskResponse:
    """`response` 0: function complete."""

    initiator_task_tag: int
    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int
    response: int = 0

    def encode(self) -> tuple[bytes, bytes]:
        header = _TASK_RESPONSE.pack(
            TASK_RESPONSE, FINAL, self.response, 0, self.initiator_task_tag, self.stat_sn,
            self.exp_cmd_sn, self.max_cmd_sn,
        )  # fmt: skip
        return header, b""
