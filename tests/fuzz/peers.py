"""Fuzz targets for what comes from the network: PDUs, text, login, discovery."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.names import is_discovered_name_valid
from pyiscsi.proto import isns, isns_pdu
from pyiscsi.proto.effects import Failed, LoggedIn, Redirect
from pyiscsi.proto.framer import Framer
from pyiscsi.proto.limits import LOGIN_SEGMENT_MAX
from pyiscsi.proto.login import LoginMachine
from pyiscsi.proto.pdu import (
    AsyncEvent,
    AsyncMessage,
    LoginResponse,
    LogoutResponse,
    NopIn,
    Reject,
    TextResponse,
    decode,
)
from pyiscsi.proto.portals import parse_target_address
from pyiscsi.proto.sendtargets import SendTargetsMachine, TargetsFound, parse_sendtargets
from pyiscsi.proto.settings import ChapSettings, LoginSettings
from pyiscsi.proto.text import decode_text, encode_text, parse_number
from tests.fuzz.mutations import damaged

ISID = bytes.fromhex("00023d000001")
PLAIN = LoginSettings("iqn.me", "iqn.target", ISID)
CHAP = ChapSettings("user", "secret-secret", algorithms=("SHA256", "MD5"))
MUTUAL = dataclasses.replace(CHAP, username_in="target", password_in="other-secret!")
SETTINGS = (
    PLAIN,
    dataclasses.replace(PLAIN, auth=CHAP),
    dataclasses.replace(PLAIN, auth=MUTUAL, header_digest="CRC32C,None"),
    dataclasses.replace(PLAIN, discovery=True, target_name=""),
)
ANSWERS = (
    [("TargetPortalGroupTag", "1"), ("AuthMethod", "CHAP")],
    [("AuthMethod", "None")],
    [("CHAP_A", "5"), ("CHAP_I", "9"), ("CHAP_C", "0x00112233445566778899aabbccddeeff")],
    [("CHAP_N", "target"), ("CHAP_R", "0x00112233445566778899aabbccddeeff")],
    [("HeaderDigest", "None"), ("MaxRecvDataSegmentLength", "65536"), ("InitialR2T", "Yes")],
    [("FirstBurstLength", "8192"), ("MaxBurstLength", "16777215"), ("X-new", "NotUnderstood")],
    [("TargetAddress", "[2001:db8::1]:3260,1")],
    [],
)
FOUND = encode_text(
    [
        ("TargetName", "iqn.2026-11.test:one"),
        ("TargetAddress", "10.0.0.1:3260,1"),
        ("TargetAddress", "[2001:db8::1]:3260,2"),
        ("TargetName", "eui.0123456789abcdef"),
        ("TargetAddress", "storage.example.org,7"),
    ]
)


def _login_responses() -> list[bytes]:
    stages = ((0, 0, False), (0, 1, True), (1, 1, False), (1, 3, True))
    found = []
    for pairs in ANSWERS:
        for csg, nsg, transit in stages:
            response = LoginResponse(transit, csg, nsg, ISID, data=encode_text(pairs))
            found.append(b"".join(response.encode()))
    moved = LoginResponse(False, 0, 0, ISID, status_class=1, status_detail=2)
    return [*found, b"".join(dataclasses.replace(moved, data=encode_text(ANSWERS[6])).encode())]


LOGIN_RESPONSES = _login_responses()
PDUS = [
    *LOGIN_RESPONSES,
    b"".join(TextResponse(True, 1, data=FOUND).encode()),
    b"".join(LogoutResponse(0, 2).encode()),
    b"".join(NopIn().encode()),
    b"".join(Reject(4, data=bytes(48)).encode()),
    b"".join(AsyncMessage(AsyncEvent.LOGOUT_REQUEST).encode()),
]


def _split(data: bytes) -> tuple[bytes, bytes]:
    return data[:48].ljust(48, b"\0"), data[48:]


def pdu(data: bytes) -> None:
    """Any header and data decode into a PDU or a protocol error; what decodes encodes again."""
    header, segment = _split(data)
    decode(header, segment).encode()


def stream(data: bytes) -> None:
    """A byte stream in pieces never holds more than one PDU of the largest size."""
    framer = Framer()
    for start in range(0, len(data), 61):
        framer.feed(data[start : start + 61])
        while framer.next_pdu() is not None:
            pass
        assert framer.pending <= LOGIN_SEGMENT_MAX + 48 + 4 * 255 + 64


def text(data: bytes) -> None:
    """Key=value text, and each value as a number and an address."""
    for key, value in decode_text(data):
        for parse in (lambda v, k=key: parse_number(k, v, 0, 1 << 24), parse_target_address):
            try:
                parse(value)
            except RemoteProtocolError:
                continue


def login(conversation: tuple[LoginSettings, list[bytes]]) -> None:
    """Whatever the target answers, and in whatever order, the login ends in an effect."""
    settings, answers = conversation
    machine = LoginMachine(settings, lambda length: bytes(range(length)))
    effects = machine.start()
    for answer in answers:
        if any(isinstance(effect, LoggedIn | Redirect | Failed) for effect in effects):
            return
        effects = machine.handle_pdu(*_split(answer))
        assert effects


def discovery(answers: list[bytes]) -> None:
    """A SendTargets exchange ends in targets or a protocol error; names found are safe to use."""
    machine = SendTargetsMachine()
    machine.start()
    for answer in answers:
        effects = machine.handle_pdu(*_split(answer))
        for effect in effects:
            if isinstance(effect, TargetsFound):
                _check_names(effect)
                return


def sendtargets(data: bytes) -> None:
    """The text of a discovery answer."""
    _check_names(parse_sendtargets(data))


def _check_names(found: TargetsFound) -> None:
    for target in found.targets:
        assert target.name.isprintable()
        assert "/" not in target.name
        for portal in target.portals:
            assert "/" not in (portal.address or "")
            assert 0 <= portal.port <= 65535


def isns_answer(data: bytes) -> None:
    """A stream from an iSNS server in pieces: each message as any answer, and as a notice."""
    framer = isns_pdu.Framer(message_max=4096)
    for start in range(0, len(data), 61):
        framer.feed(data[start : start + 61])
        while (message := framer.next_message()) is not None:
            _read_isns(message)
        assert framer.pending < 4096 + 12 + 61


def _read_isns(message: isns_pdu.Message) -> None:
    answer = isns.answer_notice(message)
    assert answer.is_response
    for _ in isns_pdu.decode_attributes(answer.payload[4:]):
        pass
    readers = (isns.read_portals, isns.read_registration_period, isns.has_entity)
    for read in readers:
        try:
            found = read(message.payload[4:])
        except RemoteProtocolError:
            continue
        if isinstance(found, isns.PortalsFound):
            for portal in found.portals:
                assert is_discovered_name_valid(portal.target)
                assert "/" not in portal.address
                assert 0 < portal.port < 65536
                assert 0 <= portal.tpgt < 65536
    isns.read_response(isns.query_targets("iqn.me", message.xid), message)
    change = isns.read_state_change(message)
    assert all(name.isprintable() for name, _ in change.events)


def _isns_answers() -> list[bytes]:
    notice = isns_pdu.encode_attributes(
        [(32, b"iqn.me\0"), (4, bytes(8)), (35, b"\0\0\0\x08"), (32, b"iqn.target\0")]
    )
    group = [(48, b"iqn.target\0"), (49, bytes(10) + b"\xff\xff\x0a\0\0\1")]
    group += [(50, b"\0\0\x0c\xbc"), (51, b"\0\0\0\1")]
    found = bytes(4) + isns_pdu.encode_attributes([(33, b"\0\0\0\1"), (0, b""), *group, *group])
    period = bytes(4) + isns_pdu.encode_attributes([(1, b"host"), (2, bytes(4)), (6, bytes(4))])
    messages = [(0x8002, found), (0x8001, period), (0x0008, notice), (0x000D, notice)]
    wires = [isns_pdu.Message(function, 1, payload).encode() for function, payload in messages]
    first, last = wires[0][:10] + b"\0\0", wires[0][:10] + b"\0\1"
    parts = (
        first[:4] + b"\0\x20\x44\0" + first[8:] + found[:32],
        last[:4] + (len(found) - 32).to_bytes(2) + b"\x48\0" + last[8:] + found[32:],
    )
    return [*wires, b"".join(wires), b"".join(parts)]


CONVERSATIONS = st.tuples(
    st.sampled_from(SETTINGS), st.lists(damaged(LOGIN_RESPONSES, 3), max_size=12)
)
TEXT_RESPONSES = [
    b"".join(TextResponse(True, 1, data=FOUND).encode()),
    b"".join(TextResponse(False, 1, data=FOUND[:40], target_transfer_tag=7).encode()),
    b"".join(TextResponse(False, 1, data=FOUND[40:], target_transfer_tag=7, cont=True).encode()),
]
TARGETS = {
    "pdu": (damaged(PDUS), pdu),
    "stream": (damaged([b"".join(PDUS), *PDUS]), stream),
    "text": (damaged([encode_text(pairs) for pairs in ANSWERS] + [FOUND]), text),
    "login": (CONVERSATIONS, login),
    "discovery": (st.lists(damaged(TEXT_RESPONSES, 3), max_size=8), discovery),
    "sendtargets": (damaged([FOUND]), sendtargets),
    "isns": (damaged(_isns_answers()), isns_answer),
}
