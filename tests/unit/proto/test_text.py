"""key=value text and its limits (RFC 7143 §6.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import LocalProtocolError, RemoteProtocolError
from pyiscsi.proto.limits import KEY_NAME_MAX, LOGIN_PAIRS_MAX, VALUE_MAX
from pyiscsi.proto.text import (
    TextAssembler,
    decode_text,
    encode_text,
    parse_number,
    printable,
)

DECODED = [
    (b"", []),
    (b"A=1\0", [("A", "1")]),
    (b"A=1", [("A", "1")]),
    (b"A=1\0\0\0\0B=\0", [("A", "1"), ("B", "")]),
    (b"A==x=y\0", [("A", "=x=y")]),
    (b"A=1\0A=2\0", [("A", "1"), ("A", "2")]),
    (b"X-com.cisco.x_y@z+w=1\0", [("X-com.cisco.x_y@z+w", "1")]),
    (b"A=\xff\xc3\xa9\0", [("A", "\udcff\u00e9")]),
    (b"K" * KEY_NAME_MAX + b"=1", [("K" * KEY_NAME_MAX, "1")]),
    (b"K=" + b"v" * VALUE_MAX, [("K", "v" * VALUE_MAX)]),
]

REFUSED = [
    b"A",
    b"=1\0",
    b"A=1\0B\0",
    b"A b=1\0",
    b"A\n=1\0",
    b"\xffA=1\0",
    b"K" * (KEY_NAME_MAX + 1) + b"=1",
    b"K=" + b"v" * (VALUE_MAX + 1),
    b"A=1\0" * (LOGIN_PAIRS_MAX + 1),
]


@pytest.mark.parametrize(("data", "pairs"), DECODED)
def test_decoding(data, pairs):
    assert decode_text(data) == pairs


@pytest.mark.parametrize("data", REFUSED)
def test_what_is_no_text_is_refused(data):
    with pytest.raises(RemoteProtocolError):
        decode_text(data)


@given(st.binary())
def test_any_bytes_are_pairs_or_refused(data):
    try:
        pairs = decode_text(data)
    except RemoteProtocolError:
        return
    assert decode_text(encode_text(pairs)) == pairs


_KEYS = st.from_regex(r"\A[A-Z][A-Za-z0-9.+@_-]{0,62}\Z")
_VALUES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=500)


@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=20))
def test_round_trip(pairs):
    assert decode_text(encode_text(pairs)) == pairs


@pytest.mark.parametrize(
    ("pairs", "limit"),
    [([("A", "x\0y")], None), ([("A=", "x")], None), ([("", "x")], None), ([("A", "123")], 5)],
)
def test_what_cannot_be_sent_is_our_error(pairs, limit):
    with pytest.raises(LocalProtocolError):
        encode_text(pairs, limit)


@pytest.mark.parametrize(
    ("value", "number"),
    [("0", 0), ("12", 12), ("0x1f", 31), ("0X1F", 31), ("65535", 65535)],
)
def test_numbers(value, number):
    assert parse_number("K", value, 0, 65535) == number


@pytest.mark.parametrize(
    "value",
    ["", "-1", "+1", "1_0", " 1", "1 ", "01", "65536", "0x", "1e3", "Yes", "\u0661", "9" * 5000],
)
def test_no_numbers(value):
    with pytest.raises(RemoteProtocolError):
        parse_number("K", value, 0, 65535)


def test_continued_text_is_joined_and_limited():
    text = TextAssembler(10)
    assert text.add(b"A=12", cont=True) is None
    assert text.add(b"", cont=True) is None
    assert text.add(b"34\0", cont=False) == b"A=1234\0"
    assert text.add(b"B=1\0", cont=False) == b"B=1\0"
    assert text.add(b"123456", cont=True) is None
    with pytest.raises(RemoteProtocolError):
        text.add(b"12345", cont=True)


def test_text_of_a_peer_is_shown_on_one_line():
    assert printable("a\nb\x1b[31m\udcff") == "a?b?[31m?"
    assert printable("x" * 300) == "x" * 255 + "..."
