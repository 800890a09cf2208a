"""Reading many record files that have most of their lines in common.

A line is plain when it is empty, a comment, or `key = value` with a key of the kind by its current
name and a value that is stored without a word about it. Each plain line is taken apart once; a file
with any other line is left to the parser that knows them all.
"""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument
from pyiscsi.records.text import LINE_MAX, decode, split
from pyiscsi.records.values import convert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.schema import Kind

KNOWN_MAX = 1024
"""Lines remembered: those of the first records. What later ones have of their own is read anew."""

_NOTHING = ("", "")


class PlainLines(dict[bytes, tuple[str, str]]):
    """(key, stored value) by line, for one kind of record. No secret is remembered."""

    __slots__ = ("_fields", "_secrets")

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self._fields = kind.fields
        self._secrets = kind.secrets

    def read(self, data: bytes) -> dict[str, str] | None:
        """What a record file sets, secrets' lengths included; None when it is not plain."""
        lines = data.split(b"\n")
        if lines.pop():
            return None
        try:
            values = dict(map(self.__getitem__, lines))
        except InvalidArgument:
            return None
        values.pop("", None)
        for key, length in self._secrets.items():
            if length and key in values:
                values[length] = str(len(values[key].encode("utf-8", "surrogateescape")))
        return values

    def __missing__(self, line: bytes) -> tuple[str, str]:
        """Raises InvalidArgument for a line that is not plain."""
        pair = self._take_apart(line)
        if len(self) < KNOWN_MAX and pair[0] not in self._secrets:
            self[line] = pair
        return pair

    def _take_apart(self, line: bytes) -> tuple[str, str]:
        stripped = line.strip()
        if len(line) >= LINE_MAX or b"\0" in line:
            raise InvalidArgument
        if not stripped or stripped[0] == 35:  # '#'
            return _NOTHING
        key, text, trouble = split(stripped)
        field = self._fields.get(decode(key))
        if trouble or not text or field is None or field.hidden:
            raise InvalidArgument
        value, lines = convert(field, decode(text))
        if lines:
            raise InvalidArgument
        return field.key, value
