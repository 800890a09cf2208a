"""iscsi_discovery: its command line. What it does is in tests/integration and tests/kernel."""

import io

import pytest

from pyiscsi.cli import iscsi_discovery
from pyiscsi.cli.options import Done
from pyiscsi.cli.report import Output
from tests.unit.cli.commands import Machine

PROGRAM = "/usr/sbin/iscsi_discovery"
USAGE = iscsi_discovery.USAGE.format(program=PROGRAM)


def read(*words):
    """The wish, or (status, stdout, stderr) of a refusal."""
    stdout, stderr = io.BytesIO(), io.BytesIO()
    out = Output(stdout, stderr)
    try:
        return iscsi_discovery.read_options([PROGRAM, *words], out)
    except Done as done:
        status = out.finish(done.status)
    return status, stdout.getvalue().decode(), stderr.getvalue().decode()


def test_options():
    wish = read("10.0.0.1")
    assert (wish.address, wish.port, wish.transport) == ("10.0.0.1", 3260, "tcp")
    assert [wish.debug, wish.only, wish.manual, wish.stay] == [False] * 4
    wish = read("10.0.0.1", "-lmd", "-p3261", "-t", "iser", "-f", "word", "-p", "1")
    assert (wish.address, wish.port, wish.transport) == ("10.0.0.1", 3261, "iser")
    assert [wish.debug, wish.only, wish.manual, wish.stay] == [True] * 4


def test_nothing():
    """CLI-396: the usage on stdout."""
    assert read() == (1, USAGE, "")
    assert USAGE.startswith(
        f"Usage: {PROGRAM} <IP> [-p <port>] [-d] [-t <tcp|iser> [-f]] [-m] [-l]\nOptions:\n-p\t\t"
    )


@pytest.mark.parametrize(
    "word",
    [
        "foo",
        "127.0.0.256",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.",
        "-h",
        "fe80::1",
        "1.2.3.x",
        "",
        "1.2.3.4;id",
    ],
)
def test_no_address(word):
    """CLI-397."""
    assert read(word, "-l") == (1, f"{word} is not a vaild IP address!\n", "")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-z"], f"{PROGRAM}: illegal option -- z\n"),
        (["--login"], f"{PROGRAM}: illegal option -- -\n"),
        (["-l", "-p"], f"{PROGRAM}: option requires an argument -- p\n"),
        (["-p", "iscsi"], ""),
        (["-p", "65536"], ""),
        (["-p", "0"], ""),
    ],
)
def test_wrong_options(words, complaint):
    assert read("10.0.0.1", *words) == (1, USAGE, complaint)


def test_without_a_daemon(tmp_path, monkeypatch):
    """CLI-396: asked before anything else; iscsid is not started."""
    machine = Machine(tmp_path, monkeypatch)
    machine.conf(f"iscsid.startup = touch {tmp_path}/started")
    for words in ([], ["foo"], ["10.0.0.1"]):
        stdout, stderr = io.BytesIO(), io.BytesIO()
        status = iscsi_discovery.main([PROGRAM, *words], Output(stdout, stderr))
        assert (status, stdout.getvalue(), stderr.getvalue()) == (
            1, b"iscsid is not running\nExiting...\n", b"",
        )  # fmt: skip
    assert not (tmp_path / "started").exists()
