"""The grammar of record files and iscsid.conf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.records.text import is_torn, render, tokenize

NO_SEPARATOR = "does not have '=' separator"
NO_VALUE = "does not have value"

LINES = [
    # line, value of the key `k` or complaint
    ("k = v", "v"),
    ("k =v", "v"),
    ("\t k\t=\tv \t", "v"),
    ("k = v\r", "v"),
    ("k\v=\fv", "v"),
    ("k=v", NO_SEPARATOR),
    ("k= v", NO_SEPARATOR),
    ("k==v", "v"),
    ("k= =v", "v"),
    ("k == v", "= v"),
    ("k v", NO_SEPARATOR),
    ("k", NO_VALUE),
    ("k=", NO_VALUE),
    ("k =", NO_VALUE),
    ("k = v # c", "v # c"),
    ('k = "v w"', '"v w"'),
    ("k = a  b", "a  b"),
    ("= v", NO_SEPARATOR),
    ("== v", None),
    ("", None),
    ("   ", None),
    ("# k = v", None),
    ("  #k = v", None),
    ("k = <empty>", "<empty>"),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_line(line, expected):
    """DB-020, DB-024, DB-091: every form of a line."""
    found, problems = tokenize(f"{line}\n".encode())
    if expected is None:
        assert (found, problems) == ([], [])
    elif expected in (NO_SEPARATOR, NO_VALUE):
        assert (found, problems) == ([], [f"Config file line 1 {expected}"])
    else:
        assert (found, problems) == ([(1, "k", expected)], [])


def test_all_lines_count():
    """DB-023: text before the header, after the footer and a second record are all read."""
    data = b"a = 1\n# BEGIN RECORD 9.9\nb = 2\n# END RECORD\nc = 3\n# BEGIN RECORD\na = 4\n"
    found, problems = tokenize(data)
    assert found == [(1, "a", "1"), (3, "b", "2"), (5, "c", "3"), (7, "a", "4")]
    assert problems == []


def test_last_line_without_newline_is_dropped():
    """DB-022"""
    assert tokenize(b"a = 1\nb = 2") == ([(1, "a", "1")], ["Config file line 2 too long."])


@pytest.mark.parametrize(
    ("length", "pieces"), [(2046, 0), (2047, 1), (2048, 1), (3000, 1), (4094, 2), (5000, 2)]
)
def test_long_line_falls_into_numbered_pieces(length, pieces):
    """DB-021, DB-025: every full buffer is a line of its own, and so is the rest."""
    line = b"#" * length
    found, problems = tokenize(line + b"\nk = v\n")
    assert problems[:pieces] == [f"Config file line {n} too long." for n in range(1, pieces + 1)]
    assert found == [(pieces + 2, "k", "v")]


def test_tail_of_a_long_line_is_read():
    """DB-021: what is behind the buffer's end is parsed, with the next number."""
    data = b"x" * 2047 + b"k = v\nl = w\n"
    found, problems = tokenize(data)
    assert found == [(2, "k", "v"), (3, "l", "w")]
    assert problems == ["Config file line 1 too long."]


def test_nul_hides_the_newline():
    """DB-025"""
    found, problems = tokenize(b"a\0b = c\nk = v\n\0\n")
    assert found == [(2, "k", "v")]
    assert problems == ["Config file line 1 too long.", "Config file line 3 too long."]


@pytest.mark.parametrize(
    ("line", "key", "complaints"),
    [
        ("k" * 127 + " = v", "k" * 127, []),
        ("k" * 128 + " = v", "k" * 127, ["key too long."]),
        ("k" * 129 + " = v", None, ["key too long.", NO_SEPARATOR]),
        ("k" * 128, None, ["key too long.", NO_VALUE]),
    ],
)
def test_long_key(line, key, complaints):
    """DB-025: the 128th byte is taken for the delimiter."""
    found, problems = tokenize(f"{line}\n".encode())
    assert problems == [f"Config file line 1 {words}" for words in complaints]
    assert found == ([(1, key, "v")] if key else [])


@pytest.mark.parametrize(("length", "too_long"), [(255, False), (256, True), (1900, True)])
def test_long_value(length, too_long):
    """DB-025: cut to 255 bytes, and used."""
    found, problems = tokenize(b"k = " + b"v" * length + b"\n")
    assert found == [(1, "k", "v" * 255)]
    assert problems == (["Config file line 1 value too long."] if too_long else [])


def test_any_bytes_round_trip():
    """DB-025: invalid UTF-8 is kept as it is."""
    value = bytes(range(128, 256))
    found, _ = tokenize(b"k = " + value + b"\n")
    assert render([("k", found[0][2])], "2.1.8").splitlines()[1] == b"k = " + value


@given(st.binary(max_size=6000))
def test_no_bytes_break_the_reader(data):
    """DB-025: any file is read, and nothing that is read is over the limits."""
    found, problems = tokenize(data)
    for number, key, value in found:
        assert number >= 1
        assert 0 < len(key.encode("utf-8", "surrogateescape")) <= 127
        assert 0 < len(value.encode("utf-8", "surrogateescape")) <= 255
    assert all(line.startswith("Config file line ") for line in problems)


_WORD = st.text(st.characters(blacklist_characters="=# \t\n\v\f\r\0", codec="utf-8"), min_size=1)


@given(st.dictionaries(_WORD.map(lambda t: t[:30]), _WORD.map(lambda t: t[:60]), max_size=8))
def test_written_text_is_read_back(pairs):
    """DB-014"""
    # What str.strip() counts as a blank and C does not is not in the grammar.
    found, problems = tokenize(render(pairs.items(), "2.1.8"))
    assert {key: value for _, key, value in found} == pairs
    assert problems == []


def test_render():
    """DB-014, DB-016: header of the format, empty values left out, newline at the end."""
    assert render([("a", "1"), ("b", ""), ("c", "<empty>")], "2.1.8") == (
        b"# BEGIN RECORD 2.1.8\na = 1\nc = <empty>\n# END RECORD\n"
    )
    assert render([], "master") == b"# BEGIN RECORD 2.1.11\n# END RECORD\n"


WHOLE = b"# BEGIN RECORD 2.1.8\nnode.name = a\n# END RECORD\n"


@pytest.mark.parametrize("size", range(len(WHOLE) - 1))
def test_every_truncation_of_a_record_is_torn(size):
    """DB-105: a record that was cut off anywhere while it was written is told from a whole one."""
    assert is_torn(WHOLE[:size])


@pytest.mark.parametrize(
    ("data", "torn"),
    [
        (b"", True),
        (b"\n \n", True),
        (b"\0" * 4096, True),
        (WHOLE[:25] + b"\0" + WHOLE[26:], True),
        (WHOLE, False),
        (WHOLE[:-1], False),
        (b"node.name = a\n", False),
        (b"# my notes\nnode.name = a\n", False),
    ],
)
def test_is_torn(data, torn):
    """DB-023: files written by hand need neither header nor footer; cut-off ones are told."""
    assert is_torn(data) is torn
