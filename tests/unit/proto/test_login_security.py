"""The security stage of a login, and answers of hostile targets (RFC 7143 §6.3.2, §12)."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import ExitCode
from pyiscsi.proto.chap import chap_response, decode_binary, encode_binary
from pyiscsi.proto.effects import Failed, LoggedIn, Redirect, SendPdu
from pyiscsi.proto.login import AuthenticationFailed
from pyiscsi.proto.pdu import LoginResponse
from pyiscsi.proto.settings import ChapSettings
from pyiscsi.proto.text import encode_text
from tests.unit.proto.login_answers import (
    DISCOVERY,
    ISID,
    MUTUAL_LOGIN,
    NORMAL,
    ONE_WAY_LOGIN,
    OPERATIONAL,
    failure,
    machine,
    response,
    security,
    sent,
)


@pytest.mark.parametrize(
    ("code", "name"), [("8", "sha3_256"), ("7", "sha256"), ("6", "sha1"), ("5", "md5")]
)
def test_one_way_chap(code, name):
    """D-033: the exchange PDU by PDU, with each algorithm."""
    login = machine(ONE_WAY_LOGIN)
    request, pairs = sent(login.start())
    assert (request.transit, request.csg, request.nsg) == (True, 0, 1)
    assert pairs[3:] == [("SessionType", "Normal"), ("AuthMethod", "CHAP,None")]
    request, pairs = sent(
        login.handle_pdu(*security([("AuthMethod", "CHAP"), ("TargetAlias", "x")]))
    )
    assert (request.transit, request.csg, request.nsg) == (False, 0, 0)
    assert pairs == [("CHAP_A", "8,7,6,5")]
    challenge = [("CHAP_A", code), ("CHAP_I", "9"), ("CHAP_C", "0x0011")]
    request, pairs = sent(login.handle_pdu(*security(challenge)))
    assert (request.transit, request.csg, request.nsg) == (True, 0, 1)
    proof = encode_binary(chap_response(code, 9, "secret-secret", b"\0\x11"))
    assert pairs == [("CHAP_N", "user"), ("CHAP_R", proof)]
    request, pairs = sent(login.handle_pdu(*security(transit=True)))
    assert (request.transit, request.csg, request.nsg) == (True, 1, 3)
    assert pairs == OPERATIONAL
    (done,) = login.handle_pdu(*response([("TargetPortalGroupTag", "1")]))
    assert isinstance(done, LoggedIn)


def test_target_without_authentication():
    """One-way CHAP is an offer; a target that wants none goes on at once."""
    login = machine(ONE_WAY_LOGIN)
    login.start()
    request, pairs = sent(login.handle_pdu(*security([("AuthMethod", "None")], transit=True)))
    assert request.csg == 1
    assert pairs == OPERATIONAL


def mutual_at_proof():
    login = machine(MUTUAL_LOGIN)
    request, pairs = sent(login.start())
    assert (request.transit, pairs[-1]) == (False, ("AuthMethod", "CHAP"))
    login.handle_pdu(*security([("AuthMethod", "CHAP")]))
    challenge = [("CHAP_A", "5"), ("CHAP_I", "9"), ("CHAP_C", "0x0011")]
    request, pairs = sent(login.handle_pdu(*security(challenge)))
    assert request.transit
    assert [name for name, _ in pairs] == ["CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"]
    return login, dict(pairs)


def proof(keys, secret, name="target"):
    challenge = decode_binary(keys["CHAP_C"])
    value = chap_response("5", int(keys["CHAP_I"]), secret, challenge)
    return [("CHAP_N", name), ("CHAP_R", encode_binary(value))]


def test_mutual_chap():
    """D-034: the target proves itself in the answer to our proof."""
    login, keys = mutual_at_proof()
    request, _ = sent(login.handle_pdu(*security(proof(keys, "other-secret!"), transit=True)))
    assert request.csg == 1
    (done,) = login.handle_pdu(*response())
    assert isinstance(done, LoggedIn)


@pytest.mark.parametrize(
    ("secret", "name", "finding", "reason"),
    [
        ("wrong-secret!", "target", "CHAP response", "Authentication request failed"),
        ("other-secret!", "tarkin", "username", "Authentication request failed"),
        ("secret-secret", "target", "", "Local password same as remote"),
    ],
)
def test_mutual_chap_with_a_false_target(secret, name, finding, reason):
    """D-034: a wrong proof is fatal, 19, with the text administrators know."""
    login, keys = mutual_at_proof()
    failed = failure(login.handle_pdu(*security(proof(keys, secret, name), transit=True)))
    assert isinstance(failed.error, AuthenticationFailed)
    assert failed.error.exit_code == ExitCode.FATAL_LOGIN
    assert not failed.retryable
    expected = f"Login authentication failed with target iqn.target, {reason}"
    if finding:
        first = f"failing authentication, received incorrect {finding} from target iqn.target"
        expected = f"{first}\n{expected}"
    assert str(failed.error) == expected


def test_target_that_skips_its_proof():
    login, _ = mutual_at_proof()
    failed = failure(login.handle_pdu(*security(transit=True)))
    assert failed.error.exit_code == ExitCode.FATAL_LOGIN


PREMATURE = [
    (ONE_WAY_LOGIN, security([("AuthMethod", "CHAP")], transit=True), "not complete"),
    (MUTUAL_LOGIN, security([("AuthMethod", "CHAP")], transit=True), "not on previous message"),
    (ONE_WAY_LOGIN, security([], transit=True), "AuthMethod key not present"),
    (ONE_WAY_LOGIN, security([("AuthMethod", "CHAP")] * 2), "more than once"),
    (MUTUAL_LOGIN, security([("AuthMethod", "None")]), "AuthMethod negotiation failed"),
]


@pytest.mark.parametrize(("settings", "answer", "reason"), PREMATURE)
def test_answers_that_would_go_round_the_authentication(settings, answer, reason):
    """D-034: T before the end, no method, keys twice."""
    login = machine(settings)
    login.start()
    failed = failure(login.handle_pdu(*answer))
    assert failed.error.exit_code == ExitCode.FATAL_LOGIN
    assert reason in str(failed.error)


@pytest.mark.parametrize(
    "auth", [ChapSettings("", "", "target", "secret-secret"), ChapSettings("u", "s", "t", "")]
)
def test_mutual_chap_without_own_secret_is_refused(auth):
    """open-iscsi goes on without any authentication."""
    failed = failure(machine(dataclasses.replace(NORMAL, auth=auth)).start())
    assert failed.error.exit_code == ExitCode.LOGIN_AUTH_FAILED
    assert not failed.retryable


def test_operational_keys_in_the_security_stage():
    login = machine(ONE_WAY_LOGIN)
    login.start()
    answer = security([("AuthMethod", "CHAP"), ("MaxBurstLength", "65536")])
    assert "security stage" in str(failure(login.handle_pdu(*answer)).error)


def test_unknown_keys_in_the_security_stage_are_answered():
    login = machine(ONE_WAY_LOGIN)
    login.start()
    answer = security([("AuthMethod", "CHAP"), ("X-a", "1"), ("X-b", "NotUnderstood")])
    _, pairs = sent(login.handle_pdu(*answer))
    assert pairs == [("CHAP_A", "8,7,6,5"), ("X-a", "NotUnderstood")]


_TEXT = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R", "InitialR2T",
                 "MaxBurstLength", "HeaderDigest", "TargetPortalGroupTag", "TargetAddress", "X-a"]
            ),
            st.one_of(
                st.sampled_from(
                    ["CHAP", "None", "5", "9", "0x00", "0b", "Yes", "Reject", "NotUnderstood", ""]
                ),
                st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12),
            ),
        ),
        max_size=5,
    ).map(encode_text),
)  # fmt: skip
_ANSWERS = st.builds(
    LoginResponse,
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 3),
    st.just(ISID),
    cont=st.booleans(),
    version_active=st.sampled_from([0, 0, 0, 1]),
    status_class=st.sampled_from([0, 0, 0, 0, 1, 2, 3, 9]),
    status_detail=st.integers(0, 12),
    stat_sn=st.integers(0, 0xFFFFFFFF),
    data=_TEXT,
)


@given(st.sampled_from([NORMAL, ONE_WAY_LOGIN, MUTUAL_LOGIN, DISCOVERY]), st.lists(_ANSWERS))
def test_whatever_the_target_answers_comes_out_as_an_effect(settings, answers):
    login = machine(settings)
    effects = login.start()
    for answer in answers:
        effects = login.handle_pdu(*answer.encode())
        (effect,) = effects
        if not isinstance(effect, SendPdu):
            break
    if isinstance(effects[0], LoggedIn) and settings.auth and settings.auth.mutual:
        pytest.fail("logged in although the target never proved itself")


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_bytes_end_the_login_or_go_on(header, data):
    login = machine()
    login.start()
    (effect,) = login.handle_pdu(header, data)
    assert isinstance(effect, SendPdu | LoggedIn | Redirect | Failed)


def test_secrets_are_in_no_effect_or_error():
    login, keys = mutual_at_proof()
    failed = failure(login.handle_pdu(*security(proof(keys, "wrong-secret!"))))
    assert "secret" not in repr((failed, str(failed.error), MUTUAL_LOGIN))
