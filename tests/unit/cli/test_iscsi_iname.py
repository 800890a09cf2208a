"""iscsi-iname: prefix, shape of the name, usage on stderr."""

import io
import os
import re
import subprocess

import pytest

from pyiscsi.cli import iscsi_iname
from pyiscsi.cli.report import Output

USAGE = iscsi_iname._USAGE
DEFAULT = "iqn.2016-04.com.open-iscsi"


@pytest.fixture(autouse=True)
def _no_posix(monkeypatch):
    monkeypatch.delenv("POSIXLY_CORRECT", raising=False)


def run(*words):
    stdout, stderr = io.BytesIO(), io.BytesIO()
    status = iscsi_iname.main(
        ["iscsi-iname", *words], Output(stdout, stderr, program="iscsi-iname")
    )
    return status, stdout.getvalue().decode(), stderr.getvalue().decode()


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ([], DEFAULT),
        (["-p", "iqn.x"], "iqn.x"),
        (["--prefix=iqn.x"], "iqn.x"),
        (["--pre", "iqn.x"], "iqn.x"),
        (["-piqn.x"], "iqn.x"),
        (["-p", ""], ""),
        (["-p", "x" * 210], "x" * 210),
        (["-g"], f"InitiatorName={DEFAULT}"),
        (["--generate-iname-prefix", "-p", "iqn.x"], "InitiatorName=iqn.x"),
        (["-gp", "iqn.1993-08.org.debian:01"], "InitiatorName=iqn.1993-08.org.debian:01"),
    ],
)
def test_names(words, start):
    """CLI-371, CLI-372, CLI-373."""
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert re.fullmatch(f"{re.escape(start)}:[0-9a-f]{{6,12}}\n", out)


def test_two_names_differ():
    assert run()[1] != run()[1]


def test_digits_have_no_leading_zeros(monkeypatch):
    """CLI-371: six bytes give six to twelve digits."""
    for data, digits in ((b"\x00" * 6, "000000"), (b"\x0f\x10\xff\x00\x01\xab", "f10ff01ab")):
        monkeypatch.setattr(os, "urandom", lambda count, data=data: data[:count])
        assert run("-p", "p")[1] == f"p:{digits}\n"


@pytest.mark.parametrize("word", ["-h", "--help", "-hz"])
def test_help(word):
    """CLI-374."""
    assert run(word) == (0, "", USAGE)
    assert USAGE.startswith("Usage: iscsi-iname [OPTIONS]\nWhere OPTIONS are from:\n")
    assert f"    -p/--prefix <prefix>          -- set IQN prefix [{DEFAULT}]\n" in USAGE
    assert USAGE.endswith("where <prefix> has max length of 210\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["foo"], "unknown argument(s)"),
        (["-p", "iqn.x", "--", "-g"], "unknown argument(s)"),
        (["-p", "x" * 211], "error: prefix too long"),
        (["-p", "é" * 106], "error: prefix too long"),
        (["-z"], "iscsi-iname: invalid option -- 'z'"),
        (["-p"], "iscsi-iname: option requires an argument -- 'p'"),
    ],
)
def test_refused(words, complaint):
    """CLI-375, CLI-376."""
    assert run(*words) == (1, "", f"{complaint}\n{USAGE}")


ORIGINAL = "/usr/sbin/iscsi-iname"
LINES = [
    [], ["-h"], ["-gh"], ["-z"], ["-hz"], ["foo"], ["-"], ["--", "-g"], ["-p"], ["-p", "iqn.x"],
    ["-px", "-py"], ["-gp", "iqn.x"], ["--prefix"], ["--prefix="], ["--pre=a"], ["--gen"],
    ["--help=x"], ["--foo"], ["-p", "y" * 210], ["-p", "y" * 211], ["-p", "y" * 211, "-h"],
    ["foo", "-h"], ["-z", "foo"], [""],
]  # fmt: skip


@pytest.mark.upstream
@pytest.mark.skipif(not os.path.exists(ORIGINAL), reason="Debian's open-iscsi is not installed")
@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words)[:20])
def test_same_as_the_original(words):
    """CLI-371, CLI-372, CLI-373, CLI-374, CLI-375, CLI-376: but for the digits."""
    theirs = subprocess.run(
        ["iscsi-iname", *words], executable=ORIGINAL, capture_output=True, text=True, check=False
    )

    def shape(status, out, err):
        return status, re.sub(r":[0-9a-f]{6,12}\n\Z", ":DIGITS\n", out), err

    assert shape(*run(*words)) == shape(theirs.returncode, theirs.stdout, theirs.stderr)
