"""The text of record files and iscsid.conf: lines in, key/value pairs out, and back.

The reading rules are open-iscsi's (usr/idbm.c, idbm_recinfo_config) with the length checks of
Debian's 2.1.8: bytes, no quotes, no continuation, `key = value` with a blank before the `=`.
"""

from __future__ import annotations

from pyiscsi.records.schema import HEADER_VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BEGIN = "# BEGIN RECORD"
END = "# END RECORD"
KEY_MAX = 127
VALUE_MAX = 255
LINE_MAX = 2047
"""Bytes of a line with its newline: what fgets(3) puts into a buffer of 2048."""


def tokenize(data: bytes) -> tuple[list[tuple[int, str, str]], list[str]]:
    """(line number, key, value) of every usable line, and open-iscsi's words about the others.

    Numbers count the pieces an over-long line falls into, as the original does. Nothing raises:
    any bytes are a file. Text is utf-8 with surrogateescape, so that it can be written back.
    """
    found: list[tuple[int, str, str]] = []
    problems: list[str] = []
    for number, line in enumerate(_pieces(data), 1):
        if line is None:
            problems.append(f"Config file line {number} too long.")
            continue
        if not line or line[0] == 35:  # '#'
            continue
        key, value, trouble = split(line)
        problems += [f"Config file line {number} {words}" for words in trouble]
        if key and value:
            found.append((number, decode(key), decode(value)))
    return found, problems


def _pieces(data: bytes) -> Iterator[bytes | None]:
    """What successive fgets(3) calls return, stripped; None for one without its newline.

    A NUL byte hides the newline from C, so such a piece is None too; and so is a last line that
    is not ended.
    """
    lines = data.split(b"\n")
    last = lines.pop()
    for line in lines:
        if len(line) >= LINE_MAX:
            yield from (None,) * (len(line) // LINE_MAX)
            line = line[len(line) - len(line) % LINE_MAX :]
        yield None if b"\0" in line else line.strip()
    if last:
        yield from (None,) * (-(-len(last) // LINE_MAX))


def split(line: bytes) -> tuple[bytes, bytes, list[str]]:
    """Key, value and complaints; the value is empty when the line says nothing usable."""
    trouble = []
    key = line.split(None, 1)[0].split(b"=", 1)[0]
    if len(key) > KEY_MAX:
        trouble.append("key too long.")
        key = key[:KEY_MAX]
    # One byte is taken for the delimiter whatever it is: `k=v` loses its only `=` here.
    rest = line[len(key) + 1 :].lstrip()
    if rest and rest[0] != 61:  # '='
        return key, b"", [*trouble, "does not have '=' separator"]
    value = rest[1:].lstrip()
    if not value:
        return key, b"", [*trouble, "does not have value"]
    if len(value) > VALUE_MAX:
        trouble.append("value too long.")
        value = value[:VALUE_MAX]
    return key, value, trouble


def decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def is_torn(data: bytes) -> bool:
    """Whether a record file was cut off while it was written, emptied by a crash, or is no text.

    Files written by hand, without header and footer, are whole. A NUL is never written into a
    record, so it means blocks lost in a crash or another file altogether.
    """
    if b"\0" in data or not data.strip():
        return True
    begin = BEGIN.encode()
    return (data.startswith(begin) or begin.startswith(data)) and END.encode() not in data


def render(pairs: Iterable[tuple[str, str]], fmt: str) -> bytes:
    """The bytes of a record file. Pairs with empty values are left out."""
    version = HEADER_VERSIONS.get(fmt, HEADER_VERSIONS["2.1.8"])
    lines = [f"{BEGIN} {version}"]
    lines += [f"{key} = {value}" for key, value in pairs if value]
    lines += [END, ""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")
