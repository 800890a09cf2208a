"""What a command prints, and how an exception becomes text and an exit status.

Programs read the two streams apart: nothing may be on stderr when the status is 0. So remarks
that matter only if the command fails are kept back as notices until an error line is printed or
the command ends.
"""

from __future__ import annotations

import sys

from pyiscsi.errors import DaemonError, ExitCode, PyIscsiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

PROGRAM = "iscsiadm"
_FLUSH_AT = 65536
"""Characters kept before they are written: long listings are not held in memory whole."""

_BROKEN_PIPE = 141
"""The status a shell gives a program that SIGPIPE ended (128 + 13), as it ends the original."""


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Output:
    """The two streams of one command. Lines come without newline; bytes of names pass unchanged.

    `notices`: lines for stderr that a successful command leaves out. `debug_level`: the value of
    -d; above 0 notices are shown in any case.
    """

    __slots__ = (
        "_complaints", "_kept", "_size", "_stderr", "_stdout", "debug_level", "notices", "program",
    )  # fmt: skip

    def __init__(
        self, stdout: BinaryIO | None = None, stderr: BinaryIO | None = None, program: str = PROGRAM
    ) -> None:
        self._stdout = stdout or getattr(sys.stdout, "buffer", None)
        self._stderr = stderr or getattr(sys.stderr, "buffer", None)
        self._kept: list[str] = []
        self._size = 0
        self._complaints = ""
        self.program = program
        self.notices: list[str] = []
        self.debug_level = 0

    def out(self, line: str) -> None:
        """A line on stdout. Kept until finish(), flush() or enough has gathered."""
        self._kept.append(line)
        self._size += len(line)
        if self._size > _FLUSH_AT:
            self.flush()

    def out_lines(self, lines: Iterable[str]) -> None:
        """Lines of stdout; what a generator yields is written while it comes."""
        if isinstance(lines, list):
            self._kept += lines
            self._size += sum(map(len, lines))
            if self._size > _FLUSH_AT:
                self.flush()
            return
        for line in lines:
            self.out(line)

    def notice(self, line: str) -> None:
        """A line for stderr, shown only if the command fails."""
        self.notices.append(line)

    def err(self, line: str) -> None:
        """An error line; the command is going to end with a status other than 0."""
        self._show_notices()
        self.raw_err(f"{self.program}: {line}\n")

    def complain(self, text: str) -> None:
        """Text for stderr that comes before the first error, and not at all if there is none."""
        self._complaints += text

    def raw_err(self, text: str) -> None:
        text, self._complaints = self._complaints + text, ""
        if self._stderr is None:
            return
        try:
            self._stderr.write(encode(text))
            self._stderr.flush()
        except OSError:
            self._stderr = None

    def debug(self, level: int, line: str) -> None:
        """A line on stderr when -d is above `level`."""
        if self.debug_level > level:
            self.err(line)

    def flush(self) -> None:
        """Write stdout lines gathered so far. Raises OSError."""
        if self._kept and self._stdout is not None:
            self._stdout.write(encode("\n".join(self._kept) + "\n"))
            self._stdout.flush()
        self._kept.clear()
        self._size = 0

    def before_waiting(self) -> None:
        """Show what was printed so far to somebody who watches a terminal."""
        if self._stdout is not None and self._stdout.isatty():
            self.flush()

    def report_error(self, error: PyIscsiError) -> int:
        """Print an exception, one line of stderr for each of its lines; its exit status."""
        if isinstance(error, DaemonError):
            for line in error.messages:
                self.err(line)
        for line in str(error).split("\n"):
            self.err(line)
        return error.exit_code

    def finish(self, status: int) -> int:
        """Write everything that is still kept; the status to exit with."""
        try:
            self.flush()
        except BrokenPipeError:
            self._abandon_stdout()
            return _BROKEN_PIPE
        except OSError as error:
            self._abandon_stdout()
            self.err(f"Could not write output: {error.strerror}")
            return status or ExitCode.GENERIC
        if status or self.debug_level > 0:
            self._show_notices()
            self.raw_err("")
        self.notices.clear()
        return status

    def _abandon_stdout(self) -> None:
        """Drop what cannot be written, and keep the interpreter's own last flush from failing."""
        import os

        self._kept.clear()
        self._stdout = None
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)

    def _show_notices(self) -> None:
        lines = self.notices[:]
        self.notices.clear()
        for line in lines:
            self.raw_err(f"{self.program}: {line}\n")
