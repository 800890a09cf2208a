"""The login machine against scripted answers (RFC 7143 §6.3, §11.12, §11.13)."""

import dataclasses

import pytest

from pyiscsi.errors import ExitCode, LocalProtocolError
from pyiscsi.proto.effects import LoggedIn, Redirect
from pyiscsi.proto.limits import LOGIN_RESPONSES_MAX
from pyiscsi.proto.pdu import NopIn
from pyiscsi.proto.text import decode_text, encode_text
from tests.unit.proto.login_answers import (
    DISCOVERY,
    ISID,
    NORMAL,
    OPERATIONAL,
    failure,
    machine,
    response,
    sent,
)


def test_first_request():
    """D-030: header and key order of the first PDU."""
    effects = machine(dataclasses.replace(NORMAL, exp_stat_sn=9)).start()
    header, data = effects[0].header, effects[0].data
    assert header[:4].hex() == "43870000"
    assert header[8:14] == ISID
    assert header[14:16] == b"\0\0"
    assert header[20:24] == bytes(4)
    assert header[28:32] == b"\0\0\0\x09"
    declarations = [
        ("InitiatorName", "iqn.me"),
        ("InitiatorAlias", "host"),
        ("TargetName", "iqn.target"),
        ("SessionType", "Normal"),
    ]
    assert decode_text(data) == declarations + OPERATIONAL


def test_empty_alias_and_discovery():
    """D-030: no alias key when it is empty, no TargetName in discovery."""
    request, pairs = sent(machine(DISCOVERY).start())
    assert [name for name, _ in pairs[:3]] == ["InitiatorName", "SessionType", "HeaderDigest"]
    assert pairs[1] == ("SessionType", "Discovery")
    assert pairs[-1] == ("MaxRecvDataSegmentLength", "32768")
    assert request.isid.hex() == "00023d000000"


def test_plain_login():
    """D-032: what was agreed on comes out, and the numbers that go on."""
    login = machine()
    login.start()
    answer = [
        ("TargetPortalGroupTag", "5"),
        ("TargetAlias", "disks"),
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "262144"),
        ("FirstBurstLength", "65536"),
        ("MaxOutstandingR2T", "1"),
        ("MaxRecvDataSegmentLength", "65536"),
        ("HeaderDigest", "None"),
    ]
    (effect,) = login.handle_pdu(*response(answer, tsih=7, stat_sn=0xFFFFFFFF))
    assert isinstance(effect, LoggedIn)
    result = effect.result
    assert result.target_portal_group_tag == 5
    assert result.target_alias == "disks"
    assert result.tsih == 7
    assert result.exp_stat_sn == 0
    assert result.max_xmit_data_segment_length == 65536
    assert result["InitialR2T"] is True
    assert result["ImmediateData"] is False
    assert result["MaxBurstLength"] == 262144
    assert result["FirstBurstLength"] == 65536
    assert result["MaxRecvDataSegmentLength"] == 262144
    assert result.warnings == ()


def test_negotiation_over_several_pdus():
    """Keys may be answered over several responses; ExpStatSN follows each."""
    login = machine()
    login.start()
    first = response([("ImmediateData", "No"), ("X-a", "1")], transit=False, nsg=0, stat_sn=4)
    request, pairs = sent(login.handle_pdu(*first))
    assert (request.transit, request.csg, request.nsg, request.exp_stat_sn) == (True, 1, 3, 5)
    assert pairs == [("X-a", "NotUnderstood")]
    (done,) = login.handle_pdu(*response([("InitialR2T", "No")], stat_sn=5))
    assert done.result["ImmediateData"] is False
    assert done.result["InitialR2T"] is False
    assert done.result.exp_stat_sn == 6


STATUSES = [
    (2, 1, ExitCode.LOGIN_AUTH_FAILED, False),
    (2, 2, ExitCode.LOGIN_AUTH_FAILED, False),
    (2, 0, ExitCode.FATAL_LOGIN, False),
    (2, 3, ExitCode.FATAL_LOGIN, False),
    (2, 5, ExitCode.FATAL_LOGIN, False),
    (2, 99, ExitCode.FATAL_LOGIN, False),
    (3, 0, ExitCode.LOGIN, True),
    (3, 1, ExitCode.LOGIN, True),
    (3, 2, ExitCode.LOGIN, True),
    (4, 0, ExitCode.FATAL_LOGIN, False),
    (255, 255, ExitCode.FATAL_LOGIN, False),
]


@pytest.mark.parametrize(("status_class", "detail", "code", "retryable"), STATUSES)
def test_statuses(status_class, detail, code, retryable):
    """D-035, D-036, D-037: class and detail to exit status, and whether to try again."""
    login = machine()
    login.start()
    answer = response(status_class=status_class, status_detail=detail, csg=0, nsg=0)
    failed = failure(login.handle_pdu(*answer))
    assert failed.error.exit_code == code
    assert failed.retryable is retryable
    assert (failed.error.status_class, failed.error.status_detail) == (status_class, detail)


def test_text_of_a_refused_authentication():
    """D-035: the line of the original, trailing blank included for discovery."""
    for settings, text in [
        (NORMAL, "Login failed to authenticate with target iqn.target"),
        (DISCOVERY, "Login failed to authenticate with target "),
    ]:
        login = machine(settings)
        login.start()
        failed = failure(login.handle_pdu(*response(status_class=2, status_detail=1)))
        assert str(failed.error) == text


@pytest.mark.parametrize(
    ("detail", "address", "redirect"),
    [
        (1, "10.0.0.2", Redirect("10.0.0.2", 3260, False)),
        (2, "10.0.0.2:3261,4", Redirect("10.0.0.2", 3261, True)),
        (1, "[2001:db8::2]:3261", Redirect("2001:db8::2", 3261, False)),
        (7, "10.0.0.2", Redirect("10.0.0.2", 3260, False)),
    ],
)
def test_redirects(detail, address, redirect):
    """D-038: temporary and permanent."""
    login = machine()
    login.start()
    answer = response([("TargetAddress", address)], status_class=1, status_detail=detail)
    assert login.handle_pdu(*answer) == [redirect]


@pytest.mark.parametrize("address", [None, "", "a/b", "\x01", "[::1", "host:0"])
def test_redirect_to_nowhere_is_a_failure(address):
    """D-038: without a usable address there is nothing to follow, so no loop either."""
    login = machine()
    login.start()
    pairs = [] if address is None else [("TargetAddress", address)]
    failed = failure(login.handle_pdu(*response(pairs, status_class=1, status_detail=1)))
    assert failed.error.exit_code == ExitCode.FATAL_LOGIN
    assert failed.error.status_class == 1
    assert not failed.retryable


BROKEN = {
    "stage of another phase": response(csg=0, nsg=1),
    "reserved stage": response(csg=2),
    "stage that is over": response(csg=3),
    "next stage below": response(nsg=0),
    "next stage equal": response(nsg=1),
    "next stage reserved": response(nsg=2),
    "version": response(version_active=1),
    "unfinished text with T": response(cont=True),
    "other opcode": NopIn().encode(),
    "draft 8 opcode": (bytes([0xE3]) + response()[0][1:], b""),
    "reserved bit": (bytes([0x63]) + response()[0][1:], b""),
    "no header": (b"", b""),
    "no text": response(data=b"nonsense"),
    "oversize data": response(data=b"X-a=" + b"x" * 9000),
    "unknown digest": response([("HeaderDigest", "CRC64")]),
    "error recovery": response([("ErrorRecoveryLevel", "2")]),
    "connections": response([("MaxConnections", "4")]),
    "duplicate": response([("InitialR2T", "Yes"), ("InitialR2T", "Yes")]),
    "security key": response([("AuthMethod", "CHAP")]),
    "too many keys": response([(f"X-{i}", "1") for i in range(200)]),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_broken_answers_end_the_login(answer):
    """Wrong opcode, version, stage, key: fatal, 19, never an exception."""
    login = machine()
    login.start()
    failed = failure(login.handle_pdu(*answer))
    assert failed.error.exit_code == ExitCode.FATAL_LOGIN
    assert failed.error.status_class == -1
    assert not failed.retryable
    with pytest.raises(LocalProtocolError):
        login.handle_pdu(*response())


@pytest.mark.parametrize("size", [1, 7, 20])
def test_continued_answers_are_joined(size):
    """RFC 7143 §6.2: the C bit is honoured, each part asked for with an empty request."""
    text = encode_text([("ImmediateData", "No"), ("X-a", "1")])
    parts = [text[i : i + size] for i in range(0, len(text), size)]
    login = machine()
    login.start()
    for part in parts[:-1]:
        unfinished = response(data=part, cont=True, transit=False, nsg=0)
        request, _ = sent(login.handle_pdu(*unfinished))
        assert request.data == b""
    (done,) = login.handle_pdu(*response(data=parts[-1]))
    assert done.result["ImmediateData"] is False


def test_a_target_that_never_comes_to_an_end():
    login = machine()
    login.start()
    for _ in range(LOGIN_RESPONSES_MAX):
        sent(login.handle_pdu(*response(transit=False, nsg=0)))
    assert "no end" in str(failure(login.handle_pdu(*response(transit=False, nsg=0))).error)


def test_tags_are_compared_only_where_they_are_ours():
    userspace = machine(dataclasses.replace(DISCOVERY, initiator_task_tag=3, cmd_sn=1))
    request, _ = sent(userspace.start())
    assert (request.initiator_task_tag, request.cmd_sn) == (3, 1)
    assert "another task" in str(failure(userspace.handle_pdu(*response())).error)

    kernel = machine()
    kernel.start()
    assert isinstance(kernel.handle_pdu(*response(initiator_task_tag=99))[0], LoggedIn)


def test_driver_mistakes():
    login = machine()
    with pytest.raises(LocalProtocolError):
        login.handle_pdu(*response())
    login.start()
    with pytest.raises(LocalProtocolError):
        login.start()
    login.handle_pdu(*response())
    with pytest.raises(LocalProtocolError):
        login.handle_pdu(*response())
    with pytest.raises(LocalProtocolError):
        machine(dataclasses.replace(NORMAL, initiator_name="iqn.\0")).start()
