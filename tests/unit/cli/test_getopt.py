"""getopt.scan against glibc's own getopt_long, and the texts that matter by name."""

import ctypes
import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyiscsi.cli.getopt import ATTACHED_VALUE, NO_VALUE, PROBLEM, scan, shown_program
from pyiscsi.cli.options import OPTIONS

ROWS = [row[:3] for row in OPTIONS]


def read(*words, posix=False):
    return [
        (token.letter, token.problem or token.value) for token in scan(words, ROWS, posix=posix)
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "node"], [("m", "node")]),
        (["-mnode"], [("m", "node")]),
        (["-lm", "node"], [("l", ""), ("m", "node")]),
        (["-m=node"], [("m", "=node")]),
        (["--mode=node"], [("m", "node")]),
        (["--mode="], [("m", "")]),
        (["--mod", "node"], [("m", "node")]),
        (["--targ", "T"], [("T", "T")]),
        (["--portal", "P"], [("p", "P")]),
        (["--login"], [("l", "")]),
        (["--logout"], [("u", "")]),
        (["--logina", "all"], [("L", "all")]),
        (["foo", "-m", "node", "bar"], [("m", "node")]),
        (["-m", "node", "--", "-z"], [("m", "node")]),
        (["-m", "--"], [("m", "--")]),
        (["-", "-l"], [("l", "")]),
        (["-T", "-p"], [("T", "-p")]),
        (["--portal_type=ipv4"], [("A", "ipv4")]),
        (["-A", "ipv4"], [("A", "ipv4")]),
        (
            ["--discover", "--op", "new", "--op", "delete"],
            [("D", ""), ("o", "new"), ("o", "delete")],
        ),
    ],
)
def test_accepted(words, expected):
    """CLI-012, CLI-013, CLI-014, CLI-015, CLI-016, CLI-018, CLI-019, CLI-027, CLI-028, CLI-059."""
    assert read(*words) == expected


@pytest.mark.parametrize(
    ("words", "problem", "offender"),
    [
        (["-z"], "invalid option -- 'z'", "z"),
        (["-lz"], "invalid option -- 'z'", "z"),
        (["-m"], "option requires an argument -- 'm'", "m"),
        (["--nam"], "option '--name' requires an argument", "n"),
        (["--bogus=3"], "unrecognized option '--bogus=3'", ""),
        (["--login=x"], "option '--login' doesn't allow an argument", "l"),
        (["--portal_type", "ipv4"], "option '--portal_type' requires an argument", "A"),
        (
            ["--p"],
            "option '--p' is ambiguous; possibilities: "
            "'--portal' '--print' '--packetsize' '--portal_type'",
            "",
        ),
    ],
)
def test_complaints(words, problem, offender):
    """CLI-017, CLI-020, CLI-021, CLI-023, CLI-025, CLI-060."""
    (token,) = [token for token in scan(words, ROWS) if token.letter == PROBLEM]
    assert (token.problem, token.offender) == (problem, offender)


UNIQUE = {
    "m": "mode", "r": "rescan", "o": "op", "k": "killiscsid", "c": "count", "pr": "print",
    "pa": "packetsize", "portal_": "portal_type", "na": "name", "no": "no_wait", "si": "sid",
    "st": "stats", "sh": "show", "su": "submode", "di": "discover", "de": "debug",
    "ta": "targetname", "ty": "type", "va": "value", "ve": "version", "ho": "host", "he": "help",
    "ip": "ip", "ind": "index", "interf": "interface", "interv": "interval",
    "logina": "loginall", "logouta": "logoutall",
}  # fmt: skip
AMBIGUOUS = [
    "p", "po", "port", "n", "s", "i", "in", "int", "inte", "inter", "d", "t", "v", "h",
    "l", "lo", "log", "logi", "logo",
]  # fmt: skip


@pytest.mark.parametrize("prefix", UNIQUE)
def test_unique_prefixes(prefix):
    """CLI-013: the shortest unique prefix of every long option."""
    ((name, letter, kind),) = [row for row in ROWS if row[0] == UNIQUE[prefix]]
    word = f"--{prefix}" if kind == NO_VALUE else f"--{prefix}=5"
    assert read(word) == [(letter, "" if kind == NO_VALUE else "5")], name


@pytest.mark.parametrize("prefix", AMBIGUOUS)
def test_ambiguous_prefixes(prefix):
    """CLI-017: one letter less is refused, with all possibilities."""
    ((letter, problem),) = read(f"--{prefix}")
    assert letter == PROBLEM
    assert problem.startswith(f"option '--{prefix}' is ambiguous; possibilities: '--")


def test_positionals():
    """iscsi-iname refuses positional words, so they can be asked for."""
    others = []
    scan(["a", "-l", "b", "--", "-c"], ROWS, positionals=others)
    assert others == ["a", "b", "-c"]
    others = []
    scan(["a", "-l"], ROWS, posix=True, positionals=others)
    assert others == ["a", "-l"]


class LongOption(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("has_arg", ctypes.c_int),
        ("flag", ctypes.c_void_p),
        ("val", ctypes.c_int),
    )


def glibc(words, posix):
    """Tokens as scan() gives them, from getopt_long of the C library in this process."""
    libc = ctypes.CDLL(None)
    words = ["prog", *words]
    argv = (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
    rows = [LongOption(name.encode(), kind, None, ord(letter)) for name, letter, kind in ROWS]
    table = (LongOption * (len(rows) + 1))(*rows)
    text = "".join(letter + (":" if kind else "") for _, letter, kind in ROWS)
    optarg = ctypes.c_char_p.in_dll(libc, "optarg")
    optopt = ctypes.c_int.in_dll(libc, "optopt")
    ctypes.c_int.in_dll(libc, "optind").value = 0
    found = []
    with Complaints() as complaints:
        while True:
            optarg.value = None
            code = libc.getopt_long(
                len(words), argv, (("+" if posix else "") + text).encode(), table, None
            )
            if code < 0:
                return found
            if chr(code) == PROBLEM:
                offender = chr(optopt.value) if optopt.value else ""
                found.append((PROBLEM, complaints.last(), offender))
            elif chr(code) == "A" and optarg.value is None:
                problem = "option '--portal_type' requires an argument"
                found.append((PROBLEM, problem, "A"))
            else:
                found.append((chr(code), (optarg.value or b"").decode(), ""))


class Complaints:
    """What the C library writes to stderr, line by line."""

    def __enter__(self):
        self.saved = os.dup(2)
        self.file = tempfile.TemporaryFile()
        os.dup2(self.file.fileno(), 2)
        self.seen = 0
        return self

    def last(self):
        text = os.pread(self.file.fileno(), 65536, self.seen)
        self.seen += len(text)
        return text.decode().strip().removeprefix("prog: ")

    def __exit__(self, *_):
        os.dup2(self.saved, 2)
        os.close(self.saved)
        self.file.close()


WORDS = st.one_of(
    st.sampled_from(["-", "--", "-m", "node", "-T", "foo", "-z", "--=", "--=x", "-l", "-W", "-:"]),
    st.sampled_from([f"--{row[0]}" for row in ROWS]),
    st.sampled_from([f"--{row[0]}" for row in ROWS]).flatmap(
        lambda word: st.integers(2, len(word)).map(lambda size: word[:size])
    ),
    st.sampled_from([f"--{row[0]}=v" for row in ROWS]),
    st.text(alphabet="lmTpzA=-x;?", min_size=1, max_size=5).map(lambda text: f"-{text}"),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=6), st.booleans())
def test_equals_glibc(words, posix):
    """CLI-012, CLI-028: any line, permuted or not, is read as the C library reads it."""
    mine = [
        (token.letter, token.problem or token.value, token.offender)
        for token in scan(words, ROWS, posix=posix)
    ]
    assert mine == glibc(words, posix)


def test_the_table_names_every_option_once():
    assert len({row[0] for row in ROWS}) == len(ROWS)
    assert "".join(sorted(row[1] for row in ROWS)) == "".join(
        sorted("RlDVhmabcCpPTHiIUkLdrnvosStuxAW")
    )
    assert [row[0] for row in ROWS if row[2] == ATTACHED_VALUE] == ["portal_type"]


def test_shown_program(tmp_path):
    """CLI-021: getopt's lines begin with the program as it was typed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        script = tmp_path / name / "iscsiadm"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    path = f"{tmp_path}/none:{tmp_path}/one:{tmp_path}/two"
    assert shown_program(f"{tmp_path}/one/iscsiadm", path) == "iscsiadm"
    assert shown_program(f"{tmp_path}/two/iscsiadm", path) == f"{tmp_path}/two/iscsiadm"
    assert shown_program("./iscsiadm", path) == "./iscsiadm"
    assert shown_program("iscsiadm", None) == "iscsiadm"
    assert shown_program("/x/cli/iscsiadm.py", path) == "iscsiadm"
