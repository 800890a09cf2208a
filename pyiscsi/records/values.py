"""Text of a value -> the text that is stored, per field type (open-iscsi usr/idbm.c)."""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument
from pyiscsi.names import leading_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.schema import Field

BLANKS = " \t\n\v\f\r"
_ULONG_MAX = 2**64 - 1
_WIDTHS = {"int32": 32, "uint32": 32, "uint16": 16, "uint8": 8}


def refuse(field: Field, text: str) -> InvalidArgument:
    """The error for a value the field cannot have. A secret is not repeated in it."""
    shown = "********" if field.secret else printable(text)
    return InvalidArgument(f"unknown value format '{shown}' for parameter name '{field.key}'")


def printable(text: str) -> str:
    """`text` with control characters escaped, so that it stays one line on a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c >= " " and c != "\x7f" else f"\\x{ord(c):02x}" for c in text)


def convert(field: Field, text: str) -> tuple[str, list[str]]:
    """The stored form of `text` and lines about what was dropped from a list.

    Numbers wrap and never fail, as strtoul(3) into a C integer of the field's width does; strings
    are cut to the field's size in bytes. Raises InvalidArgument for a word that is not one of an
    enum's.
    """
    if field.type == "string":
        return cut(text, field.max_len or 0), []
    if field.type == "enum_list":
        return _convert_list(field, text)
    if field.allowed is None:
        return wrap(text, field.type), []
    if text not in field.allowed:
        raise refuse(field, text)
    return text, []


def cut(text: str, size: int) -> str:
    """The first `size` bytes."""
    if len(text) <= size and text.isascii():
        return text
    data = text.encode("utf-8", "surrogateescape")
    return text if len(data) <= size else data[:size].decode("utf-8", "surrogateescape")


def wrap(text: str, type_: str) -> str:
    """strtoul(text, NULL, 10) stored in a C integer type, as decimal text."""
    width = _WIDTHS[type_]
    number = _strtoul(text) & (1 << width) - 1
    if type_ == "int32" and number >> 31:
        number -= 1 << 32
    return str(number)


def _strtoul(text: str) -> int:
    if len(text) < 10 and text.isascii() and text.isdigit():
        return int(text)
    number = leading_number(text)
    return number & _ULONG_MAX if abs(number) <= _ULONG_MAX else _ULONG_MAX


def _convert_list(field: Field, text: str) -> tuple[str, list[str]]:
    """Known words of a list in order, once each; separators are comma, blank and newline."""
    kept: list[str] = []
    lines: list[str] = []
    allowed = field.allowed or ()
    for word in text.replace(",", " ").replace("\n", " ").split(" "):
        if not word:
            continue
        if word not in allowed:
            lines.append(f"Ignoring unknown value '{printable(word)}' for '{field.key}'")
        elif word in kept:
            lines.append(f"Ignoring repeated value '{word}' for '{field.key}'")
        else:
            kept.append(word)
    return ",".join(kept), lines
