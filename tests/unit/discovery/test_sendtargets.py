"""Discovery against the scripted target: results, CHAP, lines and exit statuses."""

import dataclasses

import pytest

from pyiscsi.discovery.sendtargets import SendTargetsRequest, retry_delay
from pyiscsi.errors import ExitCode
from pyiscsi.proto.pdu import LoginRequest, LogoutRequest, TextRequest
from pyiscsi.proto.portals import Portal
from pyiscsi.proto.sendtargets import FoundTarget
from pyiscsi.proto.settings import ChapSettings
from pyiscsi.proto.text import decode_text
from tests.integration.target import ChapPolicy, Faults, Script
from tests.unit.discovery.driving import (
    FOUND,
    USER,
    discover,
    failed,
)


def test_one_target_and_a_polite_end():
    """D-080: sequence numbers advance, and the session is logged out."""
    outcome = discover()
    assert outcome.targets == FOUND
    assert outcome.lines == []
    login, text, logout = outcome.target.requests
    assert isinstance(login, LoginRequest)
    assert isinstance(text, TextRequest)
    assert isinstance(logout, LogoutRequest)
    assert login.isid.hex() == "00023d000000"
    assert (login.cmd_sn, login.exp_stat_sn) == (1, 0)
    assert (text.cmd_sn, text.initiator_task_tag) == (1, 1)
    assert logout.cmd_sn == 2
    assert logout.exp_stat_sn == text.exp_stat_sn + 1
    keys = dict(decode_text(login.data))
    assert keys["InitiatorAlias"] == "alias"
    assert keys["SessionType"] == "Discovery"
    assert keys["MaxRecvDataSegmentLength"] == "32768"


@pytest.mark.parametrize("part", [1, 5, 60, 8192])
def test_answers_in_many_pdus(part):
    """D-080: keys split over PDUs, each asked for with CmdSN and ExpStatSN of its own."""
    outcome = discover(Script(text_part=part))
    assert outcome.targets == FOUND
    requests = outcome.target.requests
    assert len(requests) == 2 + -(-len(Script().text) // part)
    numbers = [request.exp_stat_sn for request in requests[1:]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [request.cmd_sn for request in requests] == [1, *range(1, len(requests))]


def test_byte_by_byte():
    outcome = discover(Script(text_part=20, faults=Faults(byte_by_byte=True)))
    assert outcome.targets == FOUND


def test_segments_as_large_as_we_declared():
    text = b"".join(
        b"TargetName=iqn.x:%d\0TargetAddress=10.0.0.1:3260,1\0" % i for i in range(2000)
    )
    outcome = discover(Script(text=text, text_part=32768))
    assert len(outcome.targets) == 2000


def test_target_without_address_is_at_the_portal_asked():
    """D-080."""
    outcome = discover(Script(text=b"TargetName=iqn.x\0"))
    assert outcome.targets == [FoundTarget("iqn.x", [Portal("127.0.0.1", outcome.target.port)])]


def test_no_targets():
    assert discover(Script(text=b"")).targets == []


def test_bad_entries_are_told_and_left_out():
    text = b"TargetName=iqn.x/../../etc\0TargetAddress=a\0TargetName=iqn.y\0TargetAddress=b\0"
    outcome = discover(Script(text=text))
    assert outcome.targets == [FoundTarget("iqn.y", [Portal("b", 3260)])]
    assert outcome.lines == ["Discovery TargetName invalid, ignoring"]


@pytest.mark.parametrize("name", ["MD5", "SHA1", "SHA256", "SHA3-256"])
def test_chap(name):
    """D-081, D-033: discovery with CHAP, each algorithm."""
    auth = dataclasses.replace(USER, algorithms=(name,))
    outcome = discover(Script(chap=ChapPolicy("user", "secret-secret")), auth=auth)
    assert outcome.targets == FOUND
    assert outcome.lines == []


MUTUAL = dataclasses.replace(USER, username_in="target", password_in="other-secret!")


def test_mutual_chap_in_continued_answers():
    """D-081, D-034."""
    policy = ChapPolicy("user", "secret-secret", "target", "other-secret!")
    script = Script(chap=policy, faults=Faults(login_part=30))
    assert discover(script, auth=MUTUAL).targets == FOUND


@pytest.mark.parametrize(
    ("own_secret", "lines"),
    [
        (
            "wrong",
            (
                "failing authentication, received incorrect CHAP response from target ",
                "Login authentication failed with target , Authentication request failed",
            ),
        ),
        (
            "secret-secret",
            ("Login authentication failed with target , Local password same as remote",),
        ),
    ],
)
def test_target_that_cannot_prove_itself(own_secret, lines):
    """D-081, D-034: 19, and no second attempt."""
    policy = ChapPolicy("user", "secret-secret", "target", own_secret)
    outcome = discover(Script(chap=policy), auth=MUTUAL)
    failed(
        outcome,
        ExitCode.FATAL_LOGIN,
        *lines,
        "discovery login to 127.0.0.1 failed, giving up 5",
    )
    assert outcome.target.connections == 1


def test_mutual_chap_without_own_secret():
    outcome = discover(auth=ChapSettings("", "", "target", "other-secret!"))
    assert outcome.error.exit_code == ExitCode.LOGIN_AUTH_FAILED
    assert outcome.target.requests == []


@pytest.mark.parametrize("auth", [None, ChapSettings("user", "wrong"), ChapSettings("x", "y")])
def test_refused_authentication(auth):
    """D-081, D-035, CLI-141: 24 with the two lines, after one attempt."""
    outcome = discover(Script(chap=ChapPolicy("user", "secret-secret")), auth=auth)
    failed(
        outcome,
        ExitCode.LOGIN_AUTH_FAILED,
        "Login failed to authenticate with target ",
        "discovery login to 127.0.0.1 rejected: initiator failed authorization",
    )
    assert outcome.target.connections == 1


def test_refused_authorization():
    outcome = discover(Script(faults=Faults(status={1: (2, 2)})))
    failed(
        outcome,
        ExitCode.LOGIN_AUTH_FAILED,
        "discovery login to 127.0.0.1 rejected: initiator failed authorization",
    )


def test_initiator_error():
    """D-081, D-036."""
    outcome = discover(Script(faults=Faults(status={1: (2, 3)})))
    failed(
        outcome,
        ExitCode.FATAL_LOGIN,
        "discovery login to 127.0.0.1 rejected: initiator error (02/03), non-retryable, giving up",
    )
    assert outcome.target.connections == 1


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(0, 0), (1, 1), (9, 1), (10, 2), (19, 2), (20, 5), (25, 5), (26, 15), (33, 15), (34, 60)],
)
def test_delays(failures, delay):
    """D-082."""
    assert retry_delay(failures) == delay


@pytest.mark.parametrize(
    ("configured", "declared"),
    [(32768, "32768"), (32770, "32768"), (0, "512"), (1 << 30, "16777212")],
)
def test_declared_segment_length(configured, declared):
    outcome = discover(max_recv_data_segment_length=configured)
    keys = dict(decode_text(outcome.target.requests[0].data))
    assert keys["MaxRecvDataSegmentLength"] == declared


def test_secrets_are_in_no_repr():
    request = SendTargetsRequest("127.0.0.1", 3260, "iqn.me", auth=MUTUAL)
    assert "secret" not in repr(request)
