"""The 56-byte `struct iscsi_uevent` of NETLINK_ISCSI: bytes to numbers and back, nothing else.

Layout (Linux include/scsi/iscsi_if.h, native byte order): type u32 at 0, iferror u32 (a negative
errno on failure) at 4, transport_handle u64 at 8, union u (the request) at 16, union r (the reply
or the event) at 40; a payload may follow at 56. The kernel does not clear what it does not use, so
only the fields listed here may be read.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pyiscsi.errors import RemoteProtocolError, TransportError
from pyiscsi.transport.base import Statistics
from pyiscsi.transport.numbers import Cap, HostParam, KEvent, Param, UEvent

__all__ = [
    "BHS_BYTES",
    "Cap",
    "HostParam",
    "KEvent",
    "Message",
    "Param",
    "Refused",
    "UEVENT_BYTES",
    "UEvent",
    "decode_fields",
    "encode",
    "event_fields",
    "is_data",
    "is_reply",
    "parse",
    "parse_pdu",
    "parse_statistics",
    "reply_fields",
    "request_fields",
]

UEVENT_BYTES = 56
BHS_BYTES = 48
COOKIE_OFFSET = 36
"""Last four bytes of u: no request uses them and the kernel returns u as it came, so they tell a
late reply to a request we gave up on from the reply to the next one."""

_HEAD = struct.Struct("=IiQ")

Fields = tuple[tuple[str, int, str], ...]
"""Rows of name, offset from the start of the event, struct format."""

_SESSION: Fields = (("sid", 16, "I"),)
_CONN: Fields = (("sid", 16, "I"), ("cid", 20, "I"))
_HOST: Fields = (("host_no", 16, "I"),)
_HOST_COUNT: Fields = (("host_no", 16, "I"), ("count", 20, "I"))
_HOST_IDX: Fields = (("host_no", 16, "I"), ("idx", 20, "I"))
_ENDPOINT: Fields = (("endpoint", 16, "Q"),)

REQUESTS: Mapping[int, Fields] = {
    UEvent.CREATE_SESSION: (
        ("initial_cmdsn", 16, "I"),
        ("cmds_max", 20, "H"),
        ("queue_depth", 22, "H"),
    ),
    UEvent.DESTROY_SESSION: _SESSION,
    UEvent.CREATE_CONN: _CONN,
    UEvent.DESTROY_CONN: _CONN,
    UEvent.BIND_CONN: (*_CONN, ("endpoint", 24, "Q"), ("is_leading", 32, "I")),
    UEvent.SET_PARAM: (*_CONN, ("param", 24, "I"), ("length", 28, "I")),
    UEvent.START_CONN: _CONN,
    UEvent.STOP_CONN: (*_CONN, ("conn_handle", 24, "Q"), ("flag", 32, "I")),
    UEvent.SEND_PDU: (*_CONN, ("header_size", 24, "I"), ("data_size", 28, "I")),
    UEvent.GET_STATS: _CONN,
    UEvent.TRANSPORT_EP_CONNECT: (("non_blocking", 16, "I"),),
    UEvent.TRANSPORT_EP_POLL: (*_ENDPOINT, ("timeout_ms", 24, "I")),
    UEvent.TRANSPORT_EP_DISCONNECT: _ENDPOINT,
    UEvent.TGT_DSCVR: (("kind", 16, "I"), ("host_no", 20, "I"), ("enable", 24, "I")),
    UEvent.SET_HOST_PARAM: (("host_no", 16, "I"), ("param", 20, "I"), ("length", 24, "I")),
    UEvent.UNBIND_SESSION: _SESSION,
    UEvent.CREATE_BOUND_SESSION: (
        *_ENDPOINT,
        ("initial_cmdsn", 24, "I"),
        ("cmds_max", 28, "H"),
        ("queue_depth", 30, "H"),
    ),
    UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST: (*_HOST, ("non_blocking", 20, "I")),
    UEvent.PATH_UPDATE: _HOST,
    UEvent.SET_IFACE_PARAMS: _HOST_COUNT,
    UEvent.PING: (
        *_HOST,
        ("iface_num", 20, "I"),
        ("iface_type", 24, "I"),
        ("payload_size", 28, "I"),
        ("id", 32, "I"),
    ),
    UEvent.GET_CHAP: (*_HOST, ("num_entries", 20, "I"), ("idx", 24, "H")),
    UEvent.DELETE_CHAP: (*_HOST, ("idx", 20, "H")),
    UEvent.SET_FLASHNODE_PARAMS: (*_HOST_IDX, ("count", 24, "I")),
    UEvent.NEW_FLASHNODE: (*_HOST, ("length", 20, "I")),
    UEvent.DEL_FLASHNODE: _HOST_IDX,
    UEvent.LOGIN_FLASHNODE: _HOST_IDX,
    UEvent.LOGOUT_FLASHNODE: _HOST_IDX,
    UEvent.LOGOUT_FLASHNODE_SID: (*_HOST, ("sid", 20, "I")),
    UEvent.SET_CHAP: _HOST,
    UEvent.GET_HOST_STATS: _HOST,
    UEvent.DESTROY_SESSION_ASYNC: _SESSION,
}

_NEW_SESSION: Fields = (("sid", 40, "I"), ("host_no", 44, "I"))
_RETCODE: Fields = (("retcode", 40, "i"),)
_NEW_ENDPOINT: Fields = (("handle", 40, "Q"),)

REPLIES: Mapping[int, Fields] = {
    UEvent.CREATE_SESSION: _NEW_SESSION,
    UEvent.CREATE_BOUND_SESSION: _NEW_SESSION,
    UEvent.CREATE_CONN: (("sid", 40, "I"), ("cid", 44, "i")),
    UEvent.BIND_CONN: _RETCODE,
    UEvent.START_CONN: _RETCODE,
    UEvent.SEND_PDU: _RETCODE,
    UEvent.TRANSPORT_EP_CONNECT: _NEW_ENDPOINT,
    UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST: _NEW_ENDPOINT,
    UEvent.TRANSPORT_EP_POLL: _RETCODE,
    UEvent.NEW_FLASHNODE: (("idx", 40, "I"),),
}
"""Reply fields in r; a request that is not listed answers with success or failure only."""

MULTICAST_REPLIES = frozenset({UEvent.GET_STATS, UEvent.GET_CHAP, UEvent.GET_HOST_STATS})
"""Success is not answered but multicast as data, with nlmsg_type 0 and ev.type = the request."""

_CONN_EVENT: Fields = (("sid", 40, "I"), ("cid", 44, "I"))

EVENTS: Mapping[int, Fields] = {
    KEvent.RECV_PDU: (*_CONN_EVENT, ("recv_handle", 48, "Q")),
    KEvent.CONN_ERROR: (*_CONN_EVENT, ("error", 48, "I")),
    KEvent.DESTROY_SESSION: (("host_no", 40, "I"), ("sid", 44, "I")),
    KEvent.UNBIND_SESSION: _NEW_SESSION,
    KEvent.CREATE_SESSION: _NEW_SESSION,
    KEvent.PATH_REQ: (("host_no", 40, "I"),),
    KEvent.IF_DOWN: (("host_no", 40, "I"),),
    KEvent.CONN_LOGIN_STATE: (*_CONN_EVENT, ("state", 48, "I")),
    KEvent.HOST_EVENT: (("host_no", 40, "I"), ("data_size", 44, "I"), ("code", 48, "I")),
    KEvent.PING_COMP: (
        ("host_no", 40, "I"),
        ("status", 44, "I"),
        ("id", 48, "I"),
        ("data_size", 52, "I"),
    ),
}

_STATISTICS: Fields = (
    ("txdata_octets", 0, "Q"),
    ("rxdata_octets", 8, "Q"),
    ("noptx_pdus", 16, "I"),
    ("scsicmd_pdus", 20, "I"),
    ("tmfcmd_pdus", 24, "I"),
    ("login_pdus", 28, "I"),
    ("text_pdus", 32, "I"),
    ("dataout_pdus", 36, "I"),
    ("logout_pdus", 40, "I"),
    ("snack_pdus", 44, "I"),
    ("noprx_pdus", 48, "I"),
    ("scsirsp_pdus", 52, "I"),
    ("tmfrsp_pdus", 56, "I"),
    ("textrsp_pdus", 60, "I"),
    ("datain_pdus", 64, "I"),
    ("logoutrsp_pdus", 68, "I"),
    ("r2t_pdus", 72, "I"),
    ("async_pdus", 76, "I"),
    ("rjt_pdus", 80, "I"),
    ("digest_err", 84, "I"),
    ("timeout_err", 88, "I"),
)
"""struct iscsi_stats in the order it is printed."""
_CUSTOM_COUNT_OFFSET = 92
_CUSTOM_OFFSET = 96
_CUSTOM = struct.Struct("=64sQ")


class Refused(TransportError):
    """The kernel answered a request with an error; `errno` is positive."""

    def __init__(self, operation: str, number: int) -> None:
        name = errno.errorcode.get(number, str(number))
        super().__init__(f"kernel refused {operation}: {os.strerror(number)} ({name})")
        self.operation = operation
        self.errno = number


@dataclass(frozen=True, slots=True)
class Message:
    """One event as received: checked for length only."""

    type: int
    iferror: int
    """0, or a negative errno. Valid in IF_ERROR only."""
    transport_handle: int
    data: bytes
    """The whole message from the event's first byte on."""

    @property
    def payload(self) -> bytes:
        return self.data[UEVENT_BYTES:]

    @property
    def cookie(self) -> int:
        return int.from_bytes(self.data[COOKIE_OFFSET : COOKIE_OFFSET + 4], "little")


def encode(
    event: UEvent,
    handle: int,
    fields: Mapping[str, int],
    payload: bytes = b"",
    *,
    cookie: int = 0,
) -> bytes:
    """A request. Every field of the event's row must be given, and no other.

    Raises ValueError for a wrong field or a number that does not fit it.
    """
    rows = REQUESTS[event]
    if fields.keys() != {name for name, _, _ in rows}:
        raise ValueError(f"{event.name} takes {[name for name, _, _ in rows]}, not {[*fields]}")
    buffer = bytearray(UEVENT_BYTES)
    _HEAD.pack_into(buffer, 0, event, 0, handle)
    for name, offset, form in rows:
        try:
            struct.pack_into("=" + form, buffer, offset, fields[name])
        except struct.error as exc:
            raise ValueError(f"{event.name} {name}={fields[name]}: {exc}") from None
    buffer[COOKIE_OFFSET : COOKIE_OFFSET + 4] = cookie.to_bytes(4, "little")
    return bytes(buffer) + payload


def parse(data: bytes) -> Message:
    """The event in a netlink message body. Raises RemoteProtocolError when it is too short."""
    if len(data) < UEVENT_BYTES:
        raise RemoteProtocolError(f"kernel event of {len(data)} bytes, expected {UEVENT_BYTES}")
    kind, iferror, handle = _HEAD.unpack_from(data)
    return Message(kind, iferror, handle, data)


def decode_fields(rows: Fields, data: bytes) -> dict[str, int]:
    return {name: struct.unpack_from("=" + form, data, offset)[0] for name, offset, form in rows}


def request_fields(message: Message) -> dict[str, int]:
    """The request half (u) of a request, or of a reply, which returns it unchanged."""
    return decode_fields(REQUESTS[message.type], message.data)


def is_reply(message: Message, kind: int, event: int, handle: int, cookie: int) -> bool:
    """Whether a message of nlmsg_type `kind` answers that request: type and event are its own."""
    return (
        kind == event
        and message.type in (event, KEvent.IF_ERROR)
        and message.transport_handle == handle
        and message.cookie == cookie
    )


def is_data(message: Message, event: int, handle: int, fields: Mapping[str, int]) -> bool:
    """Whether a multicast message is the data that request asked for.

    The same request of another process has the same answer. What was asked comes back in u, except
    a count, which is that of the answer.
    """
    if message.type != event or message.transport_handle != handle:
        return False
    echoed = request_fields(message)
    return all(
        echoed[name] == fields[name] for name in ("sid", "cid", "host_no", "idx") if name in echoed
    )


def reply_fields(event: UEvent, message: Message) -> dict[str, int]:
    return decode_fields(REPLIES.get(event, ()), message.data)


_UNDOING = {
    # request: the one that undoes it, its field, the answer's field
    UEvent.CREATE_SESSION: (UEvent.DESTROY_SESSION, "sid", "sid"),
    UEvent.CREATE_BOUND_SESSION: (UEvent.DESTROY_SESSION, "sid", "sid"),
    UEvent.TRANSPORT_EP_CONNECT: (UEvent.TRANSPORT_EP_DISCONNECT, "endpoint", "handle"),
    UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST: (
        UEvent.TRANSPORT_EP_DISCONNECT, "endpoint", "handle",
    ),
}  # fmt: skip


def undoing(event: int, reply: Message) -> tuple[UEvent, dict[str, int]] | None:
    """The request, with its fields, that takes back what a request has made; None for nothing."""
    if event not in _UNDOING or reply.type != event:
        return None
    undo, field, made = _UNDOING[UEvent(event)]
    number = reply_fields(UEvent(event), reply)[made]
    return (undo, {field: number}) if number or field == "sid" else None


def event_fields(message: Message) -> dict[str, int]:
    """The fields of a kernel event; {} for one that is not known."""
    return decode_fields(EVENTS.get(message.type, ()), message.data)


def parse_pdu(payload: bytes) -> tuple[bytes, bytes]:
    """Header and data segment of RECV_PDU's payload; netlink padding is cut off.

    The data length is the PDU's own DataSegmentLength (RFC 7143 §11.2.1.6). Raises
    RemoteProtocolError when the payload is shorter than that.
    """
    header = payload[:BHS_BYTES]
    length = int.from_bytes(header[5:8], "big")
    if len(payload) < BHS_BYTES + length:
        raise RemoteProtocolError(f"PDU of {len(payload)} bytes announces {length} bytes of data")
    return header, payload[BHS_BYTES : BHS_BYTES + length]


def parse_statistics(payload: bytes) -> Statistics:
    """struct iscsi_stats with its custom counters; RemoteProtocolError when it is cut short."""
    if len(payload) < _CUSTOM_OFFSET:
        raise RemoteProtocolError(f"statistics of {len(payload)} bytes")
    (count,) = struct.unpack_from("=I", payload, _CUSTOM_COUNT_OFFSET)
    if len(payload) < _CUSTOM_OFFSET + count * _CUSTOM.size:
        raise RemoteProtocolError(f"{count} custom statistics in {len(payload)} bytes")
    custom = {}
    for index in range(count):
        name, value = _CUSTOM.unpack_from(payload, _CUSTOM_OFFSET + index * _CUSTOM.size)
        custom[name.split(b"\0", 1)[0].decode("ascii", "replace")] = value
    return Statistics(counters=decode_fields(_STATISTICS, payload), custom=custom)
