"""Header codecs of RFC 7143 §11, byte for byte and against whatever a peer may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import LocalProtocolError, RemoteProtocolError
from pyiscsi.proto.logout import logout_request, logout_result
from pyiscsi.proto.pdu import (
    BHS_SIZE,
    AsyncMessage,
    LoginRequest,
    LoginResponse,
    LogoutReason,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Reject,
    TextRequest,
    TextResponse,
    decode,
    next_serial,
)

ISID = bytes.fromhex("00023d000001")
LUN = bytes.fromhex("0001000000000000")

# What stands in each header, in groups of the RFC's figures: opcode flags fields, lengths, LUN or
# ISID and TSIH, task tag, then words 20 to 44.
PDUS = [
    (
        LoginRequest(True, 1, 3, ISID, tsih=0x1234, initiator_task_tag=0x01020304, cid=5,
                     cmd_sn=6, exp_stat_sn=7, data=b"a=b\0"),
        "43870000 00000004 00023d000001 1234 01020304 0005 0000 00000006 00000007" + "00" * 16,
    ),
    (
        LoginRequest(False, 0, 0, ISID, cont=True, version_max=1, version_min=2),
        "43400102 00000000 00023d000001 0000 00000000 0000 0000 00000000 00000000" + "00" * 16,
    ),
    (
        LoginResponse(True, 0, 1, ISID, version_max=1, version_active=0, tsih=2,
                      initiator_task_tag=3, stat_sn=4, exp_cmd_sn=5, max_cmd_sn=6,
                      status_class=2, status_detail=1),
        "23810100 00000000 00023d000001 0002 00000003 00000000 00000004 00000005 00000006"
        "0201" + "00" * 10,
    ),
    (
        TextRequest(True, 1, immediate=True, lun=LUN, target_transfer_tag=0xFFFFFFFF, cmd_sn=2,
                    exp_stat_sn=3, data=b"SendTargets=All\0"),
        "44800000 00000010 0001000000000000 00000001 ffffffff 00000002 00000003" + "00" * 16,
    ),
    (
        TextResponse(False, 1, cont=True, target_transfer_tag=9, stat_sn=2, exp_cmd_sn=3,
                     max_cmd_sn=4, data=b"xyz"),
        "24400000 00000003 0000000000000000 00000001 00000009 00000002 00000003 00000004"
        + "00" * 12,
    ),
    (
        LogoutRequest(LogoutReason.CLOSE_CONNECTION, initiator_task_tag=8, cid=3, cmd_sn=4,
                      exp_stat_sn=5),
        "46810000 00000000 0000000000000000 00000008 0003 0000 00000004 00000005" + "00" * 16,
    ),
    (
        LogoutResponse(2, initiator_task_tag=8, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3, time2wait=4,
                       time2retain=20),
        "26800200 00000000 0000000000000000 00000008 00000000 00000001 00000002 00000003"
        "00000000 0004 0014 00000000",
    ),
    (
        NopOut(initiator_task_tag=1, immediate=False, cmd_sn=2, exp_stat_sn=3, data=b"ping"),
        "00800000 00000004 0000000000000000 00000001 ffffffff 00000002 00000003" + "00" * 16,
    ),
    (
        NopIn(target_transfer_tag=7, lun=LUN, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3),
        "20800000 00000000 0001000000000000 ffffffff 00000007 00000001 00000002 00000003"
        + "00" * 12,
    ),
    (
        Reject(4, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3, data_sn=5, data=b"h" * 48),
        "3f800400 00000030 0000000000000000 ffffffff 00000000 00000001 00000002 00000003"
        "00000005 0000000000000000",
    ),
    (
        AsyncMessage(1, lun=LUN, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3, vendor_code=9,
                     parameter1=10, parameter2=11, parameter3=12),
        "32800000 00000000 0001000000000000 ffffffff 00000000 00000001 00000002 00000003"
        "0109 000a 000b 000c 00000000",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("pdu", "header"), PDUS, ids=lambda v: type(v).__name__)
def test_headers_are_those_of_the_rfc(pdu, header):
    """D-030 (header of the login request): every field where RFC 7143 has it."""
    assert pdu.encode() == (bytes.fromhex(header), pdu.data)
    assert decode(bytes.fromhex(header), pdu.data) == pdu


@pytest.mark.parametrize("pdu", [pdu for pdu, _ in PDUS], ids=lambda v: type(v).__name__)
def test_truncated_headers_and_data_are_refused(pdu):
    header, data = pdu.encode()
    for length in range(BHS_SIZE):
        with pytest.raises(RemoteProtocolError):
            decode(header[:length], data)
    for length in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            decode(header, data[:length])
    with pytest.raises(RemoteProtocolError):
        decode(header, data + b"\0")
    with pytest.raises(RemoteProtocolError):
        decode(header + b"\0", data)


@given(st.binary(min_size=BHS_SIZE, max_size=BHS_SIZE), st.binary(max_size=64))
def test_any_bytes_are_decoded_or_refused(header, data):
    try:
        pdu = decode(header, data)
    except RemoteProtocolError:
        return
    assert decode(*pdu.encode()) == pdu


@pytest.mark.parametrize("opcode", [*range(256)])
def test_every_opcode_is_known_or_refused(opcode):
    known = {0x00, 0x40, 0x03, 0x43, 0x04, 0x44, 0x06, 0x46}
    known |= {0x20, 0x23, 0x24, 0x26, 0x32, 0x3F}
    header = bytes([opcode, *bytes(BHS_SIZE - 1)])
    if opcode in known:
        assert (opcode & 0x3F) == decode(header, b"").OPCODE
    else:
        with pytest.raises(RemoteProtocolError):
            decode(header, b"")


@pytest.mark.parametrize(
    "pdu",
    [
        LoginRequest(True, 1, 3, ISID, tsih=0x10000),
        LoginRequest(True, 1, 3, ISID, cmd_sn=-1),
        TextRequest(True, 1 << 32),
        NopOut(data=bytes(0x1000000)),
    ],
)
def test_what_does_not_fit_is_our_error(pdu):
    with pytest.raises(LocalProtocolError):
        pdu.encode()


def test_serial_numbers_wrap():
    assert [next_serial(n) for n in (0, 0xFFFFFFFF)] == [1, 0]


def test_logout_is_immediate_and_closes_the_session():
    """D-060: Logout with reason 0, flags 0x80, opcode 0x46."""
    header, data = logout_request(cid=1, cmd_sn=2, exp_stat_sn=3, initiator_task_tag=4)
    assert header[:2].hex() == "4680"
    assert data == b""
    assert decode(header, data) == LogoutRequest(
        initiator_task_tag=4, cid=1, cmd_sn=2, exp_stat_sn=3
    )


def test_only_a_logout_response_answers_a_logout():
    answer = LogoutResponse(1, time2wait=2)
    assert logout_result(*answer.encode()) == answer
    with pytest.raises(RemoteProtocolError):
        logout_result(*NopIn().encode())
