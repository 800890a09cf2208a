"""CHAP: algorithms, encodings, what is refused (RFC 7143 §12.1, RFC 1994)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.proto.chap import (
    ChapFailure,
    ChapInitiator,
    chap_response,
    decode_binary,
    encode_binary,
    usable_algorithms,
)
from pyiscsi.proto.settings import ChapSettings

ONE_WAY = ChapSettings("user", "secret-secret")
MUTUAL = ChapSettings("user", "secret-secret", "target", "other-secret!", ("SHA256", "MD5"))
CHALLENGE = bytes(range(16))
ASKED = {"CHAP_A": "5", "CHAP_I": "7", "CHAP_C": encode_binary(CHALLENGE)}


def counting_bytes(length):
    return bytes(range(100, 100 + length))


def at_challenge(settings):
    chap = ChapInitiator(settings, counting_bytes)
    chap.start()
    chap.receive({"AuthMethod": "CHAP"})
    return chap


def at_proof(settings=MUTUAL, **asked):
    chap = at_challenge(settings)
    return chap, dict(chap.receive(ASKED | asked))


def proof_of(sent, secret, code="5"):
    challenge = decode_binary(sent["CHAP_C"])
    return encode_binary(chap_response(code, int(sent["CHAP_I"]), secret, challenge))


RESPONSES = [
    ("5", "md5"),
    ("6", "sha1"),
    ("7", "sha256"),
    ("8", "sha3_256"),
]


@pytest.mark.parametrize(("code", "name"), RESPONSES)
def test_responses(code, name):
    """D-033: MD5, SHA1, SHA256, SHA3-256 over identifier, secret, challenge."""
    wanted = hashlib.new(name, b"\x07secret-secret" + CHALLENGE).digest()
    assert chap_response(code, 7, "secret-secret", CHALLENGE) == wanted


def test_secrets_may_hold_any_bytes():
    assert chap_response("5", 1, "\udcff\u00e4", b"c") == hashlib.md5(b"\x01\xff\xc3\xa4c").digest()


BINARY = [
    ("0x00", b"\0"),
    ("0XaBc", b"\x0a\xbc"),
    ("0x0abc", b"\x0a\xbc"),
    ("0bAAEC", b"\0\1\2"),
    ("0BAAE=", b"\0\1"),
    ("0x" + "ff" * 1024, b"\xff" * 1024),
    ("", None),
    ("0x", None),
    ("0b", None),
    ("00ff", None),
    ("0xfg", None),
    ("0x 1", None),
    ("0b=", None),
    ("0bA", None),
    ("0bAA", None),
    ("0bA AA", None),
    ("0x" + "ff" * 1025, None),
    ("0x\u0661", None),
]


@pytest.mark.parametrize(("text", "value"), BINARY)
def test_binary_values(text, value):
    assert decode_binary(text) == value


@given(st.binary(min_size=1, max_size=1024))
def test_binary_round_trip(value):
    assert decode_binary(encode_binary(value)) == value
    assert encode_binary(value) == encode_binary(value).lower()


@given(st.text(max_size=60))
def test_any_text_is_binary_or_not(text):
    value = decode_binary(text)
    assert value is None or 0 < len(value) <= 1024


def test_algorithms_in_configured_order_without_the_refused():
    """D-033: CHAP_A in the record's order; what the library refuses (FIPS) is left out."""
    names = ("SHA3-256", "SHA256", "SHA1", "MD5", "ROT13")
    assert usable_algorithms(names) == ["8", "7", "6", "5"]

    def fips(name):
        if name == "md5":
            raise ValueError("disabled for FIPS")
        return object()

    assert usable_algorithms(names, fips) == ["8", "7", "6"]


def test_one_way():
    chap = ChapInitiator(ONE_WAY, counting_bytes)
    assert chap.check() == ""
    assert chap.start() == [("AuthMethod", "CHAP,None")]
    assert chap.may_transit
    assert chap.receive({"AuthMethod": "CHAP"}) == [("CHAP_A", "5")]
    assert not chap.may_transit
    proof = encode_binary(chap_response("5", 7, "secret-secret", CHALLENGE))
    assert chap.receive(ASKED) == [("CHAP_N", "user"), ("CHAP_R", proof)]
    assert chap.may_transit
    assert chap.complete
    assert chap.receive({}) == []


def test_target_that_wants_no_authentication():
    chap = ChapInitiator(ONE_WAY, counting_bytes)
    chap.start()
    assert chap.receive({"AuthMethod": "None"}) == []
    assert chap.complete


@pytest.mark.parametrize(("code", "name", "size"), [("7", "SHA256", 32), ("5", "MD5", 16)])
def test_mutual(code, name, size):
    """D-034: own challenge as long as the digest; the right proof completes."""
    chap = ChapInitiator(MUTUAL, counting_bytes)
    assert chap.start() == [("AuthMethod", "CHAP")]
    assert not chap.may_transit
    assert chap.receive({"AuthMethod": "CHAP"}) == [("CHAP_A", "7,5")]
    sent = dict(chap.receive(ASKED | {"CHAP_A": code}))
    assert list(sent) == ["CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"]
    assert len(decode_binary(sent["CHAP_C"])) == size
    assert chap.may_transit
    assert not chap.complete
    proof = proof_of(sent, "other-secret!", code)
    assert chap.receive({"CHAP_N": "target", "CHAP_R": proof}) == []
    assert chap.complete


PROOFS = [
    ("target", "wrong-secret!", "Authentication request failed"),
    ("another", "other-secret!", "Authentication request failed"),
    ("Target", "other-secret!", "Authentication request failed"),
    ("target", "secret-secret", "Local password same as remote"),
]


@pytest.mark.parametrize(("name", "secret", "reason"), PROOFS)
def test_false_proofs(name, secret, reason):
    """D-034: wrong secret, wrong name, our own secret sent back."""
    chap, sent = at_proof()
    with pytest.raises(ChapFailure, match=reason):
        chap.receive({"CHAP_N": name, "CHAP_R": proof_of(sent, secret)})
    assert not chap.complete


def test_equal_secrets_on_both_sides_are_refused():
    """D-034: identical secrets would let a target answer with what we sent."""
    same = ChapSettings("user", "secret-secret", "target", "secret-secret")
    chap, sent = at_proof(same)
    with pytest.raises(ChapFailure, match="Local password same as remote"):
        chap.receive({"CHAP_N": "target", "CHAP_R": proof_of(sent, "secret-secret")})


def test_reflected_challenge_is_refused():
    chap = at_challenge(MUTUAL)
    with pytest.raises(ChapFailure, match="CHAP challenge bad"):
        chap.receive(ASKED | {"CHAP_C": encode_binary(counting_bytes(16))})


CHALLENGES = [
    ({"CHAP_A": "9"}, "CHAP algorithm negotiation failed"),
    ({"CHAP_A": "6"}, "CHAP algorithm negotiation failed"),
    ({"CHAP_A": "7,5"}, "CHAP algorithm negotiation failed"),
    ({"CHAP_I": "256"}, "CHAP identifier bad"),
    ({"CHAP_I": "0x100"}, "CHAP identifier bad"),
    ({"CHAP_I": "-1"}, "CHAP identifier bad"),
    ({"CHAP_I": ""}, "CHAP identifier bad"),
    ({"CHAP_I": "9" * 1000}, "CHAP identifier bad"),
    ({"CHAP_C": "0x"}, "CHAP challenge bad"),
    ({"CHAP_C": "hello"}, "CHAP challenge bad"),
    ({"CHAP_C": "0x" + "00" * 1025}, "CHAP challenge bad"),
    ({"CHAP_N": "x"}, "Unexpected key present"),
    ({"AuthMethod": "CHAP"}, "Unexpected key present"),
]


@pytest.mark.parametrize(("change", "reason"), CHALLENGES)
def test_bad_challenges(change, reason):
    chap = at_challenge(MUTUAL)
    with pytest.raises(ChapFailure, match=reason):
        chap.receive(ASKED | change)


@pytest.mark.parametrize("identifier", ["0", "255", "0xff", "0X0"])
def test_identifier_forms(identifier):
    chap = at_challenge(ONE_WAY)
    proof = chap_response("5", int(identifier, 0), "secret-secret", CHALLENGE)
    sent = chap.receive(ASKED | {"CHAP_I": identifier})
    assert sent[1] == ("CHAP_R", encode_binary(proof))


@pytest.mark.parametrize("missing", ["CHAP_A", "CHAP_I", "CHAP_C"])
def test_missing_keys(missing):
    chap = at_challenge(ONE_WAY)
    asked = {key: value for key, value in ASKED.items() if key != missing}
    with pytest.raises(ChapFailure, match=f"{missing} key not present"):
        chap.receive(asked)


@pytest.mark.parametrize("response", ["0x00", "0x" + "00" * 17, "", "nonsense"])
def test_proof_of_wrong_length(response):
    chap, _ = at_proof()
    with pytest.raises(ChapFailure, match="CHAP response bad"):
        chap.receive({"CHAP_N": "target", "CHAP_R": response})


@pytest.mark.parametrize("method", ["None", "KRB5", "Reject", "", "chap"])
def test_methods_that_were_not_offered(method):
    chap = ChapInitiator(MUTUAL, counting_bytes)
    chap.start()
    with pytest.raises(ChapFailure, match="AuthMethod negotiation failed"):
        chap.receive({"AuthMethod": method})


def test_keys_after_the_end_are_refused():
    chap = at_challenge(ONE_WAY)
    chap.receive(ASKED)
    with pytest.raises(ChapFailure, match="Unexpected key present"):
        chap.receive(ASKED)


UNUSABLE = [
    ChapSettings("", "", "target", "other-secret!"),
    ChapSettings("user", "", "", "other-secret!"),
    ChapSettings("user", "secret-secret", "target", ""),
    ChapSettings("user", "secret-secret", "", "other-secret!"),
    ChapSettings("user", "secret-secret", algorithms=()),
    ChapSettings("user", "secret-secret", algorithms=("ROT13",)),
]


@pytest.mark.parametrize("settings", UNUSABLE)
def test_settings_that_cannot_work_are_told(settings):
    assert ChapInitiator(settings, counting_bytes).check()


def test_short_secrets_are_warned_of():
    assert ChapInitiator(ChapSettings("user", "short"), counting_bytes).warnings()
    assert not ChapInitiator(ONE_WAY, counting_bytes).warnings()


def test_secrets_stay_out_of_repr():
    shown = repr(MUTUAL)
    assert "'user'" in shown
    assert "secret" not in shown
