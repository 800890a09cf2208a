"""Output: which stream, when, and what happens when a stream cannot be written."""

import io
import os
import subprocess
import sys

import pytest

from pyiscsi.cli.report import Output
from pyiscsi.errors import DaemonError, InvalidArgument, RecordError


class Streams:
    def __init__(self):
        self.stdout, self.stderr = io.BytesIO(), io.BytesIO()
        self.output = Output(self.stdout, self.stderr)

    @property
    def out(self):
        return self.stdout.getvalue()

    @property
    def err(self):
        return self.stderr.getvalue()


@pytest.fixture
def streams():
    return Streams()


def test_a_success_is_silent_on_stderr(streams):
    """os-brick and others take any byte on stderr for a failure."""
    streams.output.notice("something odd")
    streams.output.out("line")
    assert streams.output.finish(0) == 0
    assert (streams.out, streams.err) == (b"line\n", b"")


@pytest.mark.parametrize(
    ("act", "err"),
    [
        (lambda output: output.finish(0), b""),
        (lambda output: output.finish(7), b"odd\n"),
        (lambda output: (output.err("bad"), output.finish(7)), b"odd\niscsiadm: bad\n"),
        (lambda output: (output.raw_err("Try\n"), output.finish(7)), b"odd\nTry\n"),
    ],
)
def test_a_complaint_comes_before_the_first_error(streams, act, err):
    """What getopt says of a word is dropped where the command works all the same."""
    streams.output.complain("odd\n")
    act(streams.output)
    assert streams.err == err


def test_a_failure_shows_notices_first(streams):
    streams.output.notice("first")
    streams.output.err("second")
    streams.output.notice("third")
    assert streams.output.finish(7) == 7
    assert streams.err == b"iscsiadm: first\niscsiadm: second\niscsiadm: third\n"


def test_debugging_shows_notices(streams):
    streams.output.debug_level = 1
    streams.output.notice("odd")
    streams.output.finish(0)
    assert streams.err == b"iscsiadm: odd\n"


def test_debug_lines_appear_above_their_level(streams):
    streams.output.debug_level = 2
    streams.output.debug(1, "shown")
    streams.output.debug(2, "hidden")
    assert streams.err == b"iscsiadm: shown\n"


def test_undecodable_bytes_pass_unchanged(streams):
    name = b"iqn.\xff\xfe".decode("utf-8", "surrogateescape")
    streams.output.out(name)
    streams.output.err(name)
    streams.output.finish(1)
    assert streams.out == b"iqn.\xff\xfe\n"
    assert streams.err == b"iscsiadm: iqn.\xff\xfe\n"


def test_long_output_is_not_kept_whole(streams):
    for _ in range(3000):
        streams.output.out("x" * 99)
    assert len(streams.out) > 200_000
    streams.output.finish(0)
    assert len(streams.out) == 300_000


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (InvalidArgument("wrong"), 7, ["wrong"]),
        (InvalidArgument(), 7, ["invalid parameter"]),
        (RecordError("one\ntwo", exit_code=3), 3, ["one", "two"]),
        (DaemonError("refused", 24, ("a", "b")), 24, ["a", "b", "refused"]),
    ],
)
def test_exceptions(streams, error, status, lines):
    assert streams.output.report_error(error) == status
    assert streams.err.decode() == "".join(f"iscsiadm: {line}\n" for line in lines)


def test_a_full_disk_is_reported():
    """A listing that could not be written is no success."""
    code = (
        "from pyiscsi.cli.report import Output\nimport sys\n"
        "out = Output()\nout.out('x')\nsys.exit(out.finish(0))\n"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"iscsiadm: Could not write output: No space left on device\n"


def test_a_reader_that_left_is_no_news():
    """`iscsiadm -m node | head -1`: no traceback, the status SIGPIPE would give."""
    code = (
        "from pyiscsi.cli.iscsiadm import main\nimport sys\n"
        "sys.stdin.readline()\nsys.exit(main(['iscsiadm', '-h']))\n"
    )
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        os.close(reader)
        _, err = process.communicate(b"go\n")
    assert (process.returncode, err) == (141, b"")


def test_closed_streams_are_survived():
    code = "import sys\nfrom pyiscsi.cli.iscsiadm import main\nsys.exit(main(['iscsiadm', '-V']))\n"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-c", code], check=False
    )
    assert done.returncode == 0
