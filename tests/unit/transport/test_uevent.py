"""The uevent codec against bytes laid out by hand from include/scsi/iscsi_if.h."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.transport import uevent
from pyiscsi.transport.numbers import HostParam, KEvent, Param, UEvent

HANDLE = 0x1122334455667788
HEAD = "0000000088776655 44332211"

# event, fields, u (24 bytes; shorter is filled with zeros)
REQUESTS = [
    (
        UEvent.CREATE_SESSION,
        {"initial_cmdsn": 0x01020304, "cmds_max": 128, "queue_depth": 32},
        "04030201 8000 2000",
    ),
    (UEvent.DESTROY_SESSION, {"sid": 5}, "05000000"),
    (UEvent.CREATE_CONN, {"sid": 5, "cid": 1}, "05000000 01000000"),
    (UEvent.DESTROY_CONN, {"sid": 5, "cid": 1}, "05000000 01000000"),
    (
        UEvent.BIND_CONN,
        {"sid": 5, "cid": 1, "endpoint": 9, "is_leading": 1},
        "05000000 01000000 0900000000000000 01000000",
    ),
    (
        UEvent.SET_PARAM,
        {"sid": 5, "cid": 1, "param": 15, "length": 7},
        "05000000 01000000 0f000000 07000000",
    ),
    (UEvent.START_CONN, {"sid": 5, "cid": 1}, "05000000 01000000"),
    (
        UEvent.STOP_CONN,
        {"sid": 5, "cid": 1, "conn_handle": 0, "flag": 3},
        "05000000 01000000 0000000000000000 03000000",
    ),
    (
        UEvent.SEND_PDU,
        {"sid": 5, "cid": 1, "header_size": 48, "data_size": 8},
        "05000000 01000000 30000000 08000000",
    ),
    (UEvent.GET_STATS, {"sid": 5, "cid": 1}, "05000000 01000000"),
    (UEvent.TRANSPORT_EP_CONNECT, {"non_blocking": 1}, "01000000"),
    (
        UEvent.TRANSPORT_EP_POLL,
        {"endpoint": 9, "timeout_ms": 1000},
        "0900000000000000 e8030000",
    ),
    (UEvent.TRANSPORT_EP_DISCONNECT, {"endpoint": 9}, "0900000000000000"),
    (UEvent.TGT_DSCVR, {"kind": 1, "host_no": 2, "enable": 1}, "01000000 02000000 01000000"),
    (
        UEvent.SET_HOST_PARAM,
        {"host_no": 2, "param": 2, "length": 5},
        "02000000 02000000 05000000",
    ),
    (UEvent.UNBIND_SESSION, {"sid": 5}, "05000000"),
    (
        UEvent.CREATE_BOUND_SESSION,
        {"endpoint": 9, "initial_cmdsn": 1, "cmds_max": 128, "queue_depth": 32},
        "0900000000000000 01000000 8000 2000",
    ),
    (
        UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST,
        {"host_no": 2, "non_blocking": 1},
        "02000000 01000000",
    ),
    (UEvent.PATH_UPDATE, {"host_no": 2}, "02000000"),
    (UEvent.SET_IFACE_PARAMS, {"host_no": 2, "count": 3}, "02000000 03000000"),
    (
        UEvent.PING,
        {"host_no": 2, "iface_num": 1, "iface_type": 2, "payload_size": 32, "id": 7},
        "02000000 01000000 02000000 20000000 07000000",
    ),
    (
        UEvent.GET_CHAP,
        {"host_no": 2, "num_entries": 3, "idx": 4},
        "02000000 03000000 0400",
    ),
    (UEvent.DELETE_CHAP, {"host_no": 2, "idx": 4}, "02000000 0400"),
    (
        UEvent.SET_FLASHNODE_PARAMS,
        {"host_no": 2, "idx": 4, "count": 1},
        "02000000 04000000 01000000",
    ),
    (UEvent.NEW_FLASHNODE, {"host_no": 2, "length": 5}, "02000000 05000000"),
    (UEvent.DEL_FLASHNODE, {"host_no": 2, "idx": 4}, "02000000 04000000"),
    (UEvent.LOGIN_FLASHNODE, {"host_no": 2, "idx": 4}, "02000000 04000000"),
    (UEvent.LOGOUT_FLASHNODE, {"host_no": 2, "idx": 4}, "02000000 04000000"),
    (UEvent.LOGOUT_FLASHNODE_SID, {"host_no": 2, "sid": 5}, "02000000 05000000"),
    (UEvent.SET_CHAP, {"host_no": 2}, "02000000"),
    (UEvent.GET_HOST_STATS, {"host_no": 2}, "02000000"),
    (UEvent.DESTROY_SESSION_ASYNC, {"sid": 5}, "05000000"),
]


@pytest.mark.parametrize(("event", "fields", "u"), REQUESTS, ids=[r[0].name for r in REQUESTS])
def test_encode(event: UEvent, fields: dict[str, int], u: str) -> None:
    expected = struct.pack("=I", event) + bytes.fromhex(HEAD)
    expected += bytes.fromhex(u).ljust(24, b"\0") + bytes(16) + b"tail"
    assert uevent.encode(event, HANDLE, fields, b"tail") == expected


@pytest.mark.parametrize(("event", "fields", "u"), REQUESTS, ids=[r[0].name for r in REQUESTS])
def test_round_trip(event: UEvent, fields: dict[str, int], u: str) -> None:
    message = uevent.parse(uevent.encode(event, HANDLE, fields, b"tail", cookie=0xFEDCBA98))
    assert (message.type, message.transport_handle) == (event, HANDLE)
    assert uevent.request_fields(message) == fields
    assert (message.cookie, message.payload) == (0xFEDCBA98, b"tail")


def test_every_request_is_covered() -> None:
    assert {row[0] for row in REQUESTS} == {*UEvent} - {UEvent.GET_PARAM}
    assert {*uevent.REQUESTS} == {row[0] for row in REQUESTS}


def test_no_request_uses_the_cookies_place() -> None:
    for event, rows in uevent.REQUESTS.items():
        for name, offset, form in rows:
            assert offset + struct.calcsize("=" + form) <= uevent.COOKIE_OFFSET, (event, name)


@pytest.mark.parametrize(
    "fields",
    [{}, {"sid": 1, "cid": 0}, {"sid": -1}, {"sid": 1 << 32}],
    ids=["missing", "extra", "negative", "too big"],
)
def test_encode_refuses_wrong_fields(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        uevent.encode(UEvent.DESTROY_SESSION, HANDLE, fields)


# event, r, fields
REPLIES = [
    (UEvent.CREATE_SESSION, "07000000 02000000", {"sid": 7, "host_no": 2}),
    (UEvent.CREATE_BOUND_SESSION, "07000000 02000000", {"sid": 7, "host_no": 2}),
    (UEvent.CREATE_CONN, "07000000 ffffffff", {"sid": 7, "cid": -1}),
    (UEvent.BIND_CONN, "95ffffff", {"retcode": -107}),
    (UEvent.START_CONN, "eaffffff", {"retcode": -22}),
    (UEvent.SEND_PDU, "00000000", {"retcode": 0}),
    (UEvent.TRANSPORT_EP_POLL, "01000000", {"retcode": 1}),
    (UEvent.TRANSPORT_EP_CONNECT, "8877665544332211", {"handle": HANDLE}),
    (UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST, "8877665544332211", {"handle": HANDLE}),
    (UEvent.NEW_FLASHNODE, "04000000", {"idx": 4}),
    (UEvent.STOP_CONN, "", {}),
]


@pytest.mark.parametrize(("event", "r", "fields"), REPLIES, ids=[r[0].name for r in REPLIES])
def test_reply(event: UEvent, r: str, fields: dict[str, int]) -> None:
    """D-021: what the kernel leaves uncleared (0xa5 here) is not read."""
    body = struct.pack("=I", event) + b"\xa5" * 36
    message = uevent.parse(body + bytes.fromhex(r).ljust(16, b"\xa5"))
    assert uevent.reply_fields(event, message) == fields


EVENTS = [
    (KEvent.RECV_PDU, "05000000 01000000 0900000000000000", {"sid": 5, "cid": 1}),
    (KEvent.CONN_ERROR, "05000000 01000000 f3030000", {"sid": 5, "cid": 1, "error": 1011}),
    (KEvent.DESTROY_SESSION, "02000000 05000000", {"host_no": 2, "sid": 5}),
    (KEvent.UNBIND_SESSION, "05000000 02000000", {"host_no": 2, "sid": 5}),
    (KEvent.CREATE_SESSION, "05000000 02000000", {"host_no": 2, "sid": 5}),
    (KEvent.PATH_REQ, "02000000", {"host_no": 2}),
    (KEvent.IF_DOWN, "02000000", {"host_no": 2}),
    (KEvent.CONN_LOGIN_STATE, "05000000 01000000 03000000", {"sid": 5, "cid": 1, "state": 3}),
    (KEvent.HOST_EVENT, "02000000 00000000 01000000", {"host_no": 2, "code": 1}),
    (KEvent.PING_COMP, "02000000 01000000 07000000 00000000", {"status": 1, "id": 7}),
]


@pytest.mark.parametrize(("event", "r", "fields"), EVENTS, ids=[e[0].name for e in EVENTS])
def test_event(event: KEvent, r: str, fields: dict[str, int]) -> None:
    body = struct.pack("=I", event) + b"\xa5" * 36
    message = uevent.parse(body + bytes.fromhex(r).ljust(16, b"\xa5"))
    found = uevent.event_fields(message)
    assert {name: found[name] for name in fields} == fields
    assert {*EVENTS_BY_TYPE} == {*KEvent} - {KEvent.IF_ERROR}


EVENTS_BY_TYPE = {row[0]: row for row in EVENTS}


def test_unknown_event_has_no_fields() -> None:
    assert uevent.event_fields(uevent.parse(struct.pack("=I", 250) + bytes(52))) == {}


def test_iferror_is_signed() -> None:
    message = uevent.parse(bytes.fromhex("67000000 daffffff").ljust(56, b"\0"))
    assert (message.type, message.iferror) == (KEvent.IF_ERROR, -38)


@pytest.mark.parametrize("length", range(56))
def test_short_event_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError):
        uevent.parse(bytes(length))


def test_pdu_loses_padding() -> None:
    header = bytes([0x23, 0x87, 0, 0, 0, 0, 0, 5]) + bytes(40)
    assert uevent.parse_pdu(header + b"A=bcd" + b"\xa5" * 3) == (header, b"A=bcd")


@pytest.mark.parametrize("cut", range(53))
def test_short_pdu_is_refused(cut: int) -> None:
    header = bytes([0x23, 0x87, 0, 0, 0, 0, 0, 5]) + bytes(40)
    with pytest.raises(RemoteProtocolError):
        uevent.parse_pdu((header + b"A=bcd")[:cut])


def statistics_payload() -> bytes:
    counters = struct.pack("=QQ19I", 1 << 40, 2, *range(3, 22)) + struct.pack("=I", 2)
    custom = [(b"eh_abort_cnt", 3), (b"x" * 64, 1 << 33)]
    return counters + b"".join(struct.pack("=64sQ", *entry) for entry in custom)


def test_statistics() -> None:
    found = uevent.parse_statistics(statistics_payload())
    assert [*found.counters.values()] == [1 << 40, *range(2, 22)]
    assert [*found.counters][:3] == ["txdata_octets", "rxdata_octets", "noptx_pdus"]
    assert [*found.counters][-3:] == ["rjt_pdus", "digest_err", "timeout_err"]
    assert found.custom == {"eh_abort_cnt": 3, "x" * 64: 1 << 33}


@pytest.mark.parametrize("cut", [0, 95, 96, 96 + 72, 96 + 143])
def test_short_statistics_are_refused(cut: int) -> None:
    with pytest.raises(RemoteProtocolError):
        uevent.parse_statistics(statistics_payload()[:cut])


def test_numbers() -> None:
    """Spot checks of the enumerations, counted in include/scsi/iscsi_if.h."""
    assert [UEvent(n).name for n in (11, 20, 30, 43)] == [
        "CREATE_SESSION",
        "GET_STATS",
        "PATH_UPDATE",
        "DESTROY_SESSION_ASYNC",
    ]
    assert [*map(int, Param)] == [*range(72)]
    assert (Param.TARGET_NAME, Param.PING_TMO, Param.DISCOVERY_SESS) == (15, 30, 43)
    assert [param.name for param in HostParam][:4] == [
        "HWADDRESS",
        "INITIATOR_NAME",
        "NETDEV_NAME",
        "IPADDRESS",
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        message = uevent.parse(data)
        uevent.event_fields(message)
        uevent.reply_fields(UEvent.CREATE_SESSION, message)
    except RemoteProtocolError:
        assert len(data) < uevent.UEVENT_BYTES
    for parse in (uevent.parse_pdu, uevent.parse_statistics):
        try:
            parse(data)
        except RemoteProtocolError:
            continue
