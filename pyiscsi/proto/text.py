"""Text format: NUL-terminated `key=value` pairs (RFC 7143 §6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pyiscsi.errors import LocalProtocolError, RemoteProtocolError
from pyiscsi.proto.limits import KEY_NAME_MAX, LOGIN_PAIRS_MAX, VALUE_MAX

Pair = tuple[str, str]

_KEY_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.+@_-]*", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}|0[xX][0-9A-Fa-f]{1,8}", re.ASCII)


def encode_text(pairs: Iterable[Pair], limit: int | None = None) -> bytes:
    """Pairs to bytes. Raises LocalProtocolError for a NUL, a bad key or more than `limit` bytes."""
    parts = []
    for key, value in pairs:
        name = key.encode("utf-8", "surrogateescape")
        text = value.encode("utf-8", "surrogateescape")
        if not _KEY_NAME.fullmatch(name) or len(name) > KEY_NAME_MAX or b"\0" in text:
            raise LocalProtocolError(f"text key {key!r} cannot be sent")
        parts.append(name + b"=" + text + b"\0")
    data = b"".join(parts)
    if limit is not None and len(data) > limit:
        raise LocalProtocolError(f"{len(data)} bytes of text do not fit in {limit}")
    return data


def decode_text(data: bytes, *, pairs_max: int = LOGIN_PAIRS_MAX) -> list[Pair]:
    """Bytes to pairs, in order, duplicates included.

    A missing last NUL and empty strings between pairs (padding counted as data) are tolerated, as
    open-iscsi does. Raises RemoteProtocolError for anything that is no pair and for too long keys
    and values.
    """
    pairs: list[Pair] = []
    for item in data.split(b"\0"):
        if not item:
            continue
        name, equals, value = item.partition(b"=")
        if not equals:
            raise RemoteProtocolError("text without '=' where key=value is expected")
        if len(name) > KEY_NAME_MAX or not _KEY_NAME.fullmatch(name):
            raise RemoteProtocolError("a text key has a name that is not allowed")
        if len(value) > VALUE_MAX:
            raise RemoteProtocolError(f"the value of {name.decode()} is {len(value)} bytes long")
        if len(pairs) >= pairs_max:
            raise RemoteProtocolError(f"more than {pairs_max} text keys in one message")
        pairs.append((name.decode("ascii"), value.decode("utf-8", "surrogateescape")))
    return pairs


def parse_number(key: str, value: str, low: int, high: int) -> int:
    """A decimal or hexadecimal constant within [low, high]; RemoteProtocolError otherwise."""
    number = int(value, 0) if _NUMBER.fullmatch(value) else -1
    if not low <= number <= high:
        raise RemoteProtocolError(f"{key} has a value outside {low} to {high}")
    return number


def printable(text: str, limit: int = 255) -> str:
    """Text from a peer made safe for one line of output."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown + "..." if len(text) > limit else shown


class TextAssembler:
    """Joins the parts of one message sent with the C bit (RFC 7143 §6.2), up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes, *, cont: bool) -> bytes | None:
        """The whole message, or None while more parts are announced."""
        self._size += len(data)
        if self._size > self._limit:
            raise RemoteProtocolError(f"a text message is longer than {self._limit} bytes")
        self._parts.append(data)
        if cont:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return whole
