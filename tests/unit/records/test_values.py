"""Text of values to stored text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import InvalidArgument
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, ISNS, NODE, SENDTARGETS
from pyiscsi.records.values import cut, wrap

INTEGERS = [
    # text, int32, uint8, uint16, uint32
    ("5", "5", "5", "5", "5"),
    ("abc", "0", "0", "0", "0"),
    ("12abc", "12", "12", "12", "12"),
    ("0x10", "0", "0", "0", "0"),
    ("010", "10", "10", "10", "10"),
    ("", "0", "0", "0", "0"),
    ("  7", "7", "7", "7", "7"),
    ("+7", "7", "7", "7", "7"),
    ("- 7", "0", "0", "0", "0"),
    ("--7", "0", "0", "0", "0"),
    ("-1", "-1", "255", "65535", "4294967295"),
    ("-5", "-5", "251", "65531", "4294967291"),
    ("300", "300", "44", "300", "300"),
    ("65536", "65536", "0", "0", "65536"),
    ("2147483647", "2147483647", "255", "65535", "2147483647"),
    ("2147483648", "-2147483648", "0", "0", "2147483648"),
    ("4294967296", "0", "0", "0", "0"),
    ("99999999999", "1215752191", "255", "59391", "1215752191"),
    ("18446744073709551615", "-1", "255", "65535", "4294967295"),
    ("18446744073709551616", "-1", "255", "65535", "4294967295"),
    ("-18446744073709551616", "-1", "255", "65535", "4294967295"),
    ("9" * 5000, "-1", "255", "65535", "4294967295"),
    ("0" * 5000 + "3", "3", "3", "3", "3"),
    ("\u0663", "0", "0", "0", "0"),
]


@pytest.mark.parametrize(("text", "int32", "uint8", "uint16", "uint32"), INTEGERS)
def test_integers_wrap(text, int32, uint8, uint16, uint32):
    """DB-030: strtoul and a C integer; never an error."""
    assert wrap(text, "int32") == int32
    assert wrap(text, "uint8") == uint8
    assert wrap(text, "uint16") == uint16
    assert wrap(text, "uint32") == uint32


@given(st.integers())
def test_integers_in_range_are_kept(number):
    """DB-030"""
    expected = (number + 2**31) % 2**32 - 2**31
    if abs(number) < 2**63:
        assert wrap(str(number), "int32") == str(expected)


def enumerations():
    for kind in (NODE, SENDTARGETS, ISNS, IFACE):
        for key, field in kind.fields.items():
            if field.type in ("enum", "bool") and field.can_update:
                yield pytest.param(kind, key, field.allowed, id=f"{kind.name}-{key}")


@pytest.mark.parametrize(("kind", "key", "allowed"), [*enumerations()])
def test_enumerations_are_exact(kind, key, allowed):
    """DB-031, DB-033: every word of the table, and no other spelling of it."""
    record = Record(kind)
    for word in allowed:
        record.set(key, word)
        assert record[key] == word
    before = record[key]
    wrong = [w.swapcase() for w in allowed] + [f"{w},x" for w in allowed] + ["", "1", "yes"]
    for word in wrong:
        expected = f"^unknown value format '{word}' for parameter name '{key}'$"
        with pytest.raises(InvalidArgument, match=expected.replace("[0]", r"\[0\]")):
            record.set(key, word)
    assert record[key] == before


ALGORITHMS = "node.session.auth.chap_algs"
LISTS = [
    ("MD5", "MD5", []),
    ("SHA256,MD5", "SHA256,MD5", []),
    ("SHA3-256 SHA1", "SHA3-256,SHA1", []),
    (",,SHA1, ,MD5,", "SHA1,MD5", []),
    ("MD5,MD5", "MD5", [f"Ignoring repeated value 'MD5' for '{ALGORITHMS}'"]),
    ("md5", "", [f"Ignoring unknown value 'md5' for '{ALGORITHMS}'"]),
    ("MD5\tSHA1", "", [f"Ignoring unknown value 'MD5\\x09SHA1' for '{ALGORITHMS}'"]),
    ("", "", []),
    (
        "SHA3-256,X,SHA256,SHA1,MD5,SHA1",
        "SHA3-256,SHA256,SHA1,MD5",
        [
            f"Ignoring unknown value 'X' for '{ALGORITHMS}'",
            f"Ignoring repeated value 'SHA1' for '{ALGORITHMS}'",
        ],
    ),
]


@pytest.mark.parametrize(("text", "stored", "lines"), LISTS)
@pytest.mark.parametrize("kind", [NODE, SENDTARGETS])
def test_algorithm_list(kind, text, stored, lines):
    """DB-032: separators, order, repetitions and unknown words; never an error."""
    record = Record(kind)
    assert record.set(ALGORITHMS, text) == lines
    assert record[ALGORITHMS] == stored
    assert (f"{ALGORITHMS} = ".encode() in record.render()) == bool(stored)
    again, _ = Record.parse(kind, record.render())
    assert again[ALGORITHMS] == (stored or "MD5")


@pytest.mark.parametrize(
    ("kind", "key", "size"),
    [
        (NODE, "node.session.auth.username", 255),
        (IFACE, "iface.hwaddress", 17),
        (IFACE, "iface.net_ifacename", 15),
        (IFACE, "iface.ipaddress", 255),
    ],
)
def test_strings_are_cut_silently(kind, key, size):
    """DB-034"""
    record = Record(kind)
    assert record.set(key, "x" * (size + 1)) == []
    assert record[key] == "x" * size


def test_cutting_counts_bytes():
    """DB-034, DB-025: a cut may split a character; the bytes stay what they were."""
    assert cut("äö", 3).encode("utf-8", "surrogateescape") == "äö".encode()[:3]
    assert cut("äö", 4) == "äö"


@pytest.mark.parametrize("character", ["\n", "\r", "\0"])
@pytest.mark.parametrize("key", ["node.startup", "node.session.auth.username", "node.tpgt"])
def test_line_breaks_are_refused(key, character):
    """DB-039: a value cannot become a second line."""
    record = Record(NODE)
    before = dict(record.values)
    with pytest.raises(InvalidArgument) as caught:
        record.set(key, f"abc{character}node.startup = automatic")
    shown = f"abc\\x{ord(character):02x}node.startup = automatic"
    assert str(caught.value) == f"unknown value format '{shown}' for parameter name '{key}'"
    assert caught.value.exit_code == 7
    assert record.values == before


def test_refused_secret_is_not_repeated():
    """DB-039: the message about a password does not hold it."""
    with pytest.raises(InvalidArgument) as caught:
        Record(NODE).set("node.session.auth.password", "hidden\nword")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("kind", [NODE, SENDTARGETS])
@pytest.mark.parametrize("suffix", ["password", "password_in"])
def test_password_sets_its_length(kind, suffix):
    """DB-040: the hidden length follows the password and is never written."""
    prefix = "node.session" if kind is NODE else "discovery.sendtargets"
    key = f"{prefix}.auth.{suffix}"
    record = Record(kind)
    record.set(key, "gehörig")
    assert record.get_int(f"{key}_length") == 8
    again, problems = Record.parse(kind, record.render())
    assert problems == []
    assert again.get_int(f"{key}_length") == 8
    assert b"_length" not in record.render()
    assert not any(name.endswith("_length") for name, _ in record.shown(secrets=True))


def test_blanks_round_a_value_go():
    """They would not survive the next reading of the file."""
    record = Record(NODE)
    record.set("node.session.auth.username", "  two words \t")
    assert record["node.session.auth.username"] == "two words"
    record.set("node.session.auth.username", "   ")
    assert record["node.session.auth.username"] == ""


def test_unknown_key_is_refused():
    with pytest.raises(InvalidArgument, match=r"^Unknown parameter node\.bogus\.$"):
        Record(NODE).set("node.bogus", "1")
