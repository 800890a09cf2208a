"""iscsid.conf: defaults of new records, and the few settings that are not about records.

Two readers, because the original has two: record defaults follow the strict grammar of record
files (usr/idbm.c), single settings and the initiator name a loose one (usr/iscsi_util.c).
"""

from __future__ import annotations

from pyiscsi.errors import RecordError
from pyiscsi.records.files import read
from pyiscsi.records.record import Record
from pyiscsi.records.text import tokenize
from pyiscsi.records.values import BLANKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiscsi.records.schema import Kind

SCALAR_LINE_MAX = 1023
"""Bytes fgets(3) puts into the loose reader's buffer of 1024."""


class Config:
    """iscsid.conf, read once. A missing file is an empty one.

    `problems`: lines about the file, each once; those about the value of a key appear when a kind
    that has the key asks for its defaults.
    """

    __slots__ = ("_found", "problems")

    def __init__(self, path: str) -> None:
        self.problems: list[str] = []
        self._found: list[tuple[int, str, str]] = []
        try:
            self._found, self.problems = tokenize(read(path))
        except RecordError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                self.problems.append(str(error))

    def defaults(self, kind: Kind, fmt: str = "2.1.8") -> Record:
        """Built-in defaults of a kind, overridden by the file."""
        record = Record(kind, fmt=fmt)
        for problem in record.merge(self._found):
            if problem.line not in self.problems:
                self.problems.append(problem.line)
        return record


def read_scalar(path: str, key: str) -> tuple[str | None, list[str]]:
    """The value of one setting: text after the first `=` behind the key, on the first line that
    has one; the key may stand anywhere in the line, but not behind a `#`.

    Returns (value or None, lines about the file).
    """
    try:
        data = read(path)
    except RecordError:
        return None, [f"can't open {key} configuration file {path}"]
    problems: list[str] = []
    for line in _short_lines(data):
        before, found, after = line.partition(key)
        if not found or "#" in before:
            continue
        _, equals, value = after.partition("=")
        value = value.strip(BLANKS)
        if value:
            return value, problems
        missing = "value" if equals else "'='."
        problems.append(f"Invalid config line for {key}. Missing {missing}")
    return None, problems


def _short_lines(data: bytes) -> Iterator[str]:
    for line in data.split(b"\n"):
        for start in range(0, len(line), SCALAR_LINE_MAX):
            piece = line[start : start + SCALAR_LINE_MAX].split(b"\0")[0]
            yield piece.decode("utf-8", "surrogateescape")
