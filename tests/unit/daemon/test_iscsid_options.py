"""D-090: the command line of iscsid, byte for byte (Debian's iscsid 2.1.8 is the source)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyiscsi.cli.iscsid import HELP, daemon_options, main, read_options
from pyiscsi.daemon.app import Options
from pyiscsi.env import Env

TRY = "Try `iscsid --help' for more information.\n"

COMPLAINTS = [
    (["-z"], "iscsid: invalid option -- 'z'"),
    (["--foo"], "iscsid: unrecognized option '--foo'"),
    (["-d"], "iscsid: option requires an argument -- 'd'"),
    (["--config"], "iscsid: option '--config' requires an argument"),
    (["--p"], "iscsid: option '--pid' requires an argument"),
    (["--no-pid-file=x"], "iscsid: option '--no-pid-file' doesn't allow an argument"),
    (["-n", "-p", "f"], "error: Conflicting PID-file options requested"),
    (["-f", "-p", "f"], "error: PID file specified but unused in foreground mode"),
    (["-np", "f", "-f"], "error: Conflicting PID-file options requested"),
    (["-f", "-z", "-h"], "iscsid: invalid option -- 'z'"),
]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Env:
    monkeypatch.chdir(tmp_path)
    return Env(config_root="/c", pid_file="/p")


@pytest.mark.parametrize(("words", "line"), COMPLAINTS)
def test_usage_errors(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """CLI-378, CLI-379, CLI-380."""
    assert main(["iscsid", *words]) == 1
    assert capsys.readouterr() == ("", f"{line}\n{TRY}")


@pytest.mark.upstream
@pytest.mark.skipif(not os.path.exists("/usr/sbin/iscsid"), reason="needs Debian's iscsid")
@pytest.mark.parametrize("words", [words for words, _ in COMPLAINTS] + [["-h"], ["-v"]])
def test_usage_is_that_of_the_original(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = subprocess.run(
        ["iscsid", *words], executable="/usr/sbin/iscsid", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    status = main(["iscsid", *words])
    assert (status, *capsys.readouterr()) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """CLI-377: the first of -h and -v counts, and what follows is not looked at."""
    assert main(["iscsid", "-v", "-z"]) == 0
    assert capsys.readouterr() == ("iscsid version 2.1.8\n", "")
    assert main(["iscsid", "word", "-fh"]) == 0
    assert capsys.readouterr() == (HELP, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Options("/c/iscsid.conf", "/c/initiatorname.iscsi", pid_file="/p")),
        (["-n"], Options("/c/iscsid.conf", "/c/initiatorname.iscsi")),
        (["-f"], Options("/c/iscsid.conf", "/c/initiatorname.iscsi", foreground=True)),
        (["-fn"], Options("/c/iscsid.conf", "/c/initiatorname.iscsi", foreground=True)),
        (
            ["-c", "/x", "--initiatorname=/y", "-d8", "-u", "5", "-g", "06", "-p", "/z", "word"],
            Options("/x", "/y", debug=8, uid=5, gid=6, pid_file="/z"),
        ),
        (
            ["--fore", "--deb", "2x", "--uid", "x"],
            Options("/c/iscsid.conf", "/c/initiatorname.iscsi", foreground=True, debug=2, uid=0),
        ),
    ],
)
def test_options(env: Env, words: list[str], expected: Options) -> None:
    chosen = read_options(["iscsid", *words])
    assert isinstance(chosen, dict)
    assert daemon_options(chosen, env) == expected


def test_relative_paths_are_those_of_the_caller(env: Env, tmp_path: Path) -> None:
    """The daemon changes to / and tells iscsiadm its configuration file."""
    chosen = read_options(["iscsid", "-c", "conf", "-i", "./name", "-p", "../pid"])
    assert isinstance(chosen, dict)
    options = daemon_options(chosen, env)
    assert options.config_file == str(tmp_path / "conf")
    assert options.initiatorname_file == str(tmp_path / "name")
    assert options.pid_file == str(tmp_path.parent / "pid")


def test_the_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyiscsi.cli.iscsid", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "iscsid version 2.1.8\n"
