"""iSCSI PDUs outside the SCSI command path: header codecs (RFC 7143 §11).

Each class packs to `(header, data)` with a 48-byte basic header segment and unpadded data, and is
read back by `decode()`. Both sides' PDUs are here, because the scripted target of the tests is
built from the same parts.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pyiscsi.errors import LocalProtocolError, RemoteProtocolError

BHS_SIZE = 48
RESERVED_TAG = 0xFFFFFFFF
"""Tag value that names no task (RFC 7143 §11.2.1.8)."""
NO_LUN = bytes(8)

_OPCODE_MASK = 0x3F
_IMMEDIATE = 0x40
_FINAL = 0x80
_CONTINUE = 0x40
_SEGMENT_LENGTH_MASK = 0xFFFFFF
_SERIAL_MASK = 0xFFFFFFFF


class Opcode(enum.IntEnum):
    NOP_OUT = 0x00
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    LOGOUT_REQUEST = 0x06
    NOP_IN = 0x20
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    LOGOUT_RESPONSE = 0x26
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class LoginStage(enum.IntEnum):
    """CSG and NSG values (RFC 7143 §11.12.3)."""

    SECURITY_NEGOTIATION = 0
    LOGIN_OPERATIONAL_NEGOTIATION = 1
    FULL_FEATURE_PHASE = 3


class LogoutReason(enum.IntEnum):
    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_CONNECTION_FOR_RECOVERY = 2


class AsyncEvent(enum.IntEnum):
    SCSI_EVENT = 0
    LOGOUT_REQUEST = 1
    DROP_CONNECTION = 2
    DROP_ALL_CONNECTIONS = 3
    RENEGOTIATE = 4
    VENDOR = 255


def next_serial(number: int) -> int:
    """The serial number after `number`, 32 bits (RFC 1982)."""
    return (number + 1) & _SERIAL_MASK


class Pdu(Protocol):
    """What every PDU of this module is."""

    @property
    def data(self) -> bytes: ...

    def encode(self) -> tuple[bytes, bytes]: ...


class _Layout:
    """Header fields in wire order; the struct skips what RFC 7143 reserves."""

    def __init__(self, form: str, names: str) -> None:
        self.struct = struct.Struct(form)
        self.names = names.split()

    def pack(self, opcode: int, flags: int, pdu: Pdu) -> bytes:
        if len(pdu.data) > _SEGMENT_LENGTH_MASK:
            raise LocalProtocolError(f"a data segment of {len(pdu.data)} bytes cannot be sent")
        own = {"opcode": opcode, "flags": flags, "lengths": len(pdu.data)}
        values = (own[name] if name in own else getattr(pdu, name) for name in self.names)
        try:
            return self.struct.pack(*values)
        except struct.error as exc:
            raise LocalProtocolError(f"{type(pdu).__name__} cannot be encoded: {exc}") from exc

    def unpack(self, header: bytes) -> dict[str, int | bytes]:
        return dict(zip(self.names, self.struct.unpack(header), strict=True))


_LOGIN_REQUEST = _Layout(
    ">BBBBI6sHIH2xII16x",
    "opcode flags version_max version_min lengths isid tsih initiator_task_tag cid cmd_sn"
    " exp_stat_sn",
)
_LOGIN_RESPONSE = _Layout(
    ">BBBBI6sHI4xIIIBB10x",
    "opcode flags version_max version_active lengths isid tsih initiator_task_tag stat_sn"
    " exp_cmd_sn max_cmd_sn status_class status_detail",
)
_REQUEST_WITH_TAGS = _Layout(
    ">BB2xI8sIIII16x",
    "opcode flags lengths lun initiator_task_tag target_transfer_tag cmd_sn exp_stat_sn",
)
_RESPONSE_WITH_TAGS = _Layout(
    ">BB2xI8sIIIII12x",
    "opcode flags lengths lun initiator_task_tag target_transfer_tag stat_sn exp_cmd_sn max_cmd_sn",
)
_LOGOUT_REQUEST = _Layout(
    ">BB2xI8xIH2xII16x", "opcode flags lengths initiator_task_tag cid cmd_sn exp_stat_sn"
)
_LOGOUT_RESPONSE = _Layout(
    ">BBBxI8xI4xIII4xHH4x",
    "opcode flags response lengths initiator_task_tag stat_sn exp_cmd_sn max_cmd_sn time2wait"
    " time2retain",
)
_REJECT = _Layout(
    ">BBBxI8xI4xIIII8x",
    "opcode flags reason lengths initiator_task_tag stat_sn exp_cmd_sn max_cmd_sn data_sn",
)
_ASYNC_MESSAGE = _Layout(
    ">BB2xI8sI4xIIIBBHHH4x",
    "opcode flags lengths lun initiator_task_tag stat_sn exp_cmd_sn max_cmd_sn event vendor_code"
    " parameter1 parameter2 parameter3",
)


def _login_flags(transit: bool, cont: bool, csg: int, nsg: int) -> int:
    return (transit and _FINAL) | (cont and _CONTINUE) | (csg & 3) << 2 | (nsg & 3)


def _text_flags(final: bool, cont: bool) -> int:
    return (final and _FINAL) | (cont and _CONTINUE)


def _read_login_flags(flags: int) -> dict[str, int]:
    stages = {"csg": flags >> 2 & 3, "nsg": flags & 3}
    return {"transit": bool(flags & _FINAL), "cont": bool(flags & _CONTINUE), **stages}


def _read_text_flags(flags: int) -> dict[str, int]:
    return {"final": bool(flags & _FINAL), "cont": bool(flags & _CONTINUE)}


def _no_flags(flags: int) -> dict[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class LoginRequest:
    OPCODE: ClassVar[Opcode] = Opcode.LOGIN_REQUEST
    transit: bool
    csg: int
    nsg: int
    isid: bytes
    cont: bool = False
    version_max: int = 0
    version_min: int = 0
    tsih: int = 0
    initiator_task_tag: int = 0
    cid: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        flags = _login_flags(self.transit, self.cont, self.csg, self.nsg)
        return _LOGIN_REQUEST.pack(self.OPCODE | _IMMEDIATE, flags, self), self.data


@dataclass(frozen=True, slots=True)
class LoginResponse:
    OPCODE: ClassVar[Opcode] = Opcode.LOGIN_RESPONSE
    transit: bool
    csg: int
    nsg: int
    isid: bytes
    cont: bool = False
    version_max: int = 0
    version_active: int = 0
    tsih: int = 0
    initiator_task_tag: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    status_class: int = 0
    status_detail: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        flags = _login_flags(self.transit, self.cont, self.csg, self.nsg)
        return _LOGIN_RESPONSE.pack(self.OPCODE, flags, self), self.data


@dataclass(frozen=True, slots=True)
class TextRequest:
    OPCODE: ClassVar[Opcode] = Opcode.TEXT_REQUEST
    final: bool
    initiator_task_tag: int
    cont: bool = False
    immediate: bool = False
    lun: bytes = NO_LUN
    target_transfer_tag: int = RESERVED_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        opcode = self.OPCODE | (self.immediate and _IMMEDIATE)
        return _REQUEST_WITH_TAGS.pack(opcode, _text_flags(self.final, self.cont), self), self.data


@dataclass(frozen=True, slots=True)
class TextResponse:
    OPCODE: ClassVar[Opcode] = Opcode.TEXT_RESPONSE
    final: bool
    initiator_task_tag: int
    cont: bool = False
    lun: bytes = NO_LUN
    target_transfer_tag: int = RESERVED_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        flags = _text_flags(self.final, self.cont)
        return _RESPONSE_WITH_TAGS.pack(self.OPCODE, flags, self), self.data


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """`reason` is a LogoutReason or what a peer sent in its place."""

    OPCODE: ClassVar[Opcode] = Opcode.LOGOUT_REQUEST
    reason: int = LogoutReason.CLOSE_SESSION
    initiator_task_tag: int = 0
    immediate: bool = True
    cid: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        opcode = self.OPCODE | (self.immediate and _IMMEDIATE)
        return _LOGOUT_REQUEST.pack(opcode, _FINAL | self.reason & 0x7F, self), self.data


@dataclass(frozen=True, slots=True)
class LogoutResponse:
    """`response` 0 is success (RFC 7143 §11.15.1); times are seconds."""

    OPCODE: ClassVar[Opcode] = Opcode.LOGOUT_RESPONSE
    response: int = 0
    initiator_task_tag: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    time2wait: int = 0
    time2retain: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        return _LOGOUT_RESPONSE.pack(self.OPCODE, _FINAL, self), self.data


@dataclass(frozen=True, slots=True)
class NopOut:
    OPCODE: ClassVar[Opcode] = Opcode.NOP_OUT
    initiator_task_tag: int = RESERVED_TAG
    target_transfer_tag: int = RESERVED_TAG
    immediate: bool = True
    lun: bytes = NO_LUN
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        opcode = self.OPCODE | (self.immediate and _IMMEDIATE)
        return _REQUEST_WITH_TAGS.pack(opcode, _FINAL, self), self.data


@dataclass(frozen=True, slots=True)
class NopIn:
    OPCODE: ClassVar[Opcode] = Opcode.NOP_IN
    initiator_task_tag: int = RESERVED_TAG
    target_transfer_tag: int = RESERVED_TAG
    lun: bytes = NO_LUN
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        return _RESPONSE_WITH_TAGS.pack(self.OPCODE, _FINAL, self), self.data


@dataclass(frozen=True, slots=True)
class Reject:
    """`data` is the header of the PDU the target refused (RFC 7143 §11.17)."""

    OPCODE: ClassVar[Opcode] = Opcode.REJECT
    reason: int
    initiator_task_tag: int = RESERVED_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data_sn: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        return _REJECT.pack(self.OPCODE, _FINAL, self), self.data


@dataclass(frozen=True, slots=True)
class AsyncMessage:
    """`event` is an AsyncEvent or a number this module does not know."""

    OPCODE: ClassVar[Opcode] = Opcode.ASYNC_MESSAGE
    event: int
    lun: bytes = NO_LUN
    initiator_task_tag: int = RESERVED_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    vendor_code: int = 0
    parameter1: int = 0
    parameter2: int = 0
    parameter3: int = 0
    data: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        return _ASYNC_MESSAGE.pack(self.OPCODE, _FINAL, self), self.data


AnyPdu = (
    LoginRequest | LoginResponse | TextRequest | TextResponse | LogoutRequest | LogoutResponse
    | NopOut | NopIn | Reject | AsyncMessage
)  # fmt: skip

_DECODERS = {
    # opcode: class, layout, reader of the flags byte, whether an immediate bit is kept
    Opcode.LOGIN_REQUEST: (LoginRequest, _LOGIN_REQUEST, _read_login_flags, False),
    Opcode.LOGIN_RESPONSE: (LoginResponse, _LOGIN_RESPONSE, _read_login_flags, False),
    Opcode.TEXT_REQUEST: (TextRequest, _REQUEST_WITH_TAGS, _read_text_flags, True),
    Opcode.TEXT_RESPONSE: (TextResponse, _RESPONSE_WITH_TAGS, _read_text_flags, False),
    Opcode.LOGOUT_REQUEST: (LogoutRequest, _LOGOUT_REQUEST, lambda f: {"reason": f & 0x7F}, True),
    Opcode.LOGOUT_RESPONSE: (LogoutResponse, _LOGOUT_RESPONSE, _no_flags, False),
    Opcode.NOP_OUT: (NopOut, _REQUEST_WITH_TAGS, _no_flags, True),
    Opcode.NOP_IN: (NopIn, _RESPONSE_WITH_TAGS, _no_flags, False),
    Opcode.REJECT: (Reject, _REJECT, _no_flags, False),
    Opcode.ASYNC_MESSAGE: (AsyncMessage, _ASYNC_MESSAGE, _no_flags, False),
}


def segment_lengths(header: bytes) -> tuple[int, int]:
    """(additional header bytes, data bytes) that follow a basic header segment, unpadded."""
    return header[4] * 4, int.from_bytes(header[5:8], "big")


def decode(header: bytes, data: bytes) -> AnyPdu:
    """Read one PDU. `data` is the data segment without padding or digest.

    Raises RemoteProtocolError for a header of the wrong size, an opcode outside this module, set
    reserved bits in a target's opcode byte, and a data segment that is not as long as announced.
    """
    if len(header) != BHS_SIZE:
        raise RemoteProtocolError(f"a header of {len(header)} bytes instead of {BHS_SIZE}")
    found = _DECODERS.get(header[0] & _OPCODE_MASK)  # type: ignore[call-overload]
    if found is None:
        raise RemoteProtocolError(f"unexpected opcode 0x{header[0]:02x}")
    pdu_class, layout, read_flags, keeps_immediate = found
    allowed = 0 if header[0] & 0x20 else _IMMEDIATE
    if header[0] & ~_OPCODE_MASK & ~allowed:
        raise RemoteProtocolError(f"reserved bits are set in opcode 0x{header[0]:02x}")
    fields = layout.unpack(header)
    announced = int(fields["lengths"]) & _SEGMENT_LENGTH_MASK
    if announced != len(data):
        raise RemoteProtocolError(f"{len(data)} bytes of data where {announced} were announced")
    del fields["opcode"], fields["lengths"]
    fields.update(read_flags(int(fields.pop("flags"))))
    if keeps_immediate:
        fields["immediate"] = bool(header[0] & _IMMEDIATE)
    return pdu_class(**fields, data=data)  # type: ignore[no-any-return]
