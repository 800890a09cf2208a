"""The CHAP table of an adapter: showing, setting and deleting entries.

Rules and texts of open-iscsi usr/iscsiadm.c (get, set and delete_host_chap_info).
"""

from __future__ import annotations

import errno

from pyiscsi.errors import ExitCode, InvalidArgument, PyIscsiError
from pyiscsi.ops.adapter import Adapter, failed
from pyiscsi.records.record import Record
from pyiscsi.records.schema import HOST_CHAP_IN, HOST_CHAP_OUT
from pyiscsi.records.values import printable
from pyiscsi.transport import uevent
from pyiscsi.transport.adapter import (
    CHAP_IN,
    CHAP_NAME_BYTES,
    CHAP_OUT,
    ChapEntry,
    decode_chap,
    encode_chap,
)
from pyiscsi.transport.numbers import UEvent
from pyiscsi.transport.uevent import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TABLE_MAX = 2048
ANY_INDEX = TABLE_MAX + 1
"""An index beyond every table: the driver takes a free entry."""
_INDEX_LIMIT = 0xFFFF
_AT_ONCE = 7
"""Entries asked for in one request, as many as fit into 4096 bytes."""

_USERNAMES = {"host.auth.username": CHAP_OUT, "host.auth.username_in": CHAP_IN}
_PASSWORDS = {"host.auth.password": CHAP_OUT, "host.auth.password_in": CHAP_IN}
_NO_PAIR = "Invalid username/password pair passed. Unable to determine the type of chap entry"


def entries(adapter: Adapter) -> Iterator[Record]:
    """The table's entries in its own order, each as a record. Raises PyIscsiError."""
    index = 0
    while index <= _INDEX_LIMIT:
        found = _some(adapter, index)
        yield from map(_record, found)
        if len(found) < _AT_ONCE or found[-1].index < index:
            return  # a driver that begins again would go on for ever
        index = found[-1].index + 1


def _some(adapter: Adapter, index: int) -> list[ChapEntry]:
    """As many entries from `index` on as come at once."""
    try:
        answer = adapter.ask(UEvent.GET_CHAP, {"num_entries": _AT_ONCE, "idx": index})
    except Refused as error:
        # The original adds errno, which a refusal does not set.
        raise failed(error, "get_chap_info failed. errno=0") from error
    return [*decode_chap(answer.payload, uevent.request_fields(answer)["num_entries"])]


def _record(entry: ChapEntry) -> Record:
    suffix, kind = ("", HOST_CHAP_OUT) if entry.kind == CHAP_OUT else ("_in", HOST_CHAP_IN)
    values = {
        "host.auth.tbl_idx": str(entry.index),
        f"host.auth.username{suffix}": _text(entry.username),
        f"host.auth.password{suffix}": _text(entry.password),
    }
    return Record(kind, values)


def _text(value: bytes) -> str:
    return printable(value.decode("utf-8", "surrogateescape"))


def entry_of(index: int | None, pairs: Sequence[tuple[str, str]]) -> ChapEntry:
    """The entry that name and value pairs describe; without `index` any free one.

    Raises InvalidArgument, PyIscsiError (1) for a pair too many.
    """
    kinds = [[known[key] for key, _ in pairs if key in known] for known in (_USERNAMES, _PASSWORDS)]
    if not all(kinds) or kinds[0][-1] != kinds[1][-1]:
        raise InvalidArgument(_NO_PAIR)
    if len(pairs) > len(kinds):
        raise PyIscsiError("Only one pair of username/password can be passed.")
    if index is not None and index > _INDEX_LIMIT:
        raise InvalidArgument("Invalid chap table index.")
    values = {
        key in _PASSWORDS: text.encode("utf-8", "surrogateescape")[:CHAP_NAME_BYTES]
        for key, text in pairs
    }
    number = ANY_INDEX if index is None else index
    return ChapEntry(number, kinds[0][-1], values[False], values[True])


def write(adapter: Adapter, entry: ChapEntry) -> None:
    """Put an entry into the table. Raises PyIscsiError: 28 while a target uses it."""
    try:
        adapter.ask(UEvent.SET_CHAP, {}, encode_chap(entry))
    except Refused as error:
        raise _refused(error, "CHAP setting failed", entry.index) from error


def delete(adapter: Adapter, index: int) -> None:
    """Take an entry out of the table. Raises PyIscsiError: 28 while a target uses it."""
    try:
        adapter.ask(UEvent.DELETE_CHAP, {"idx": index})
    except Refused as error:
        raise _refused(error, "CHAP Delete failed.", index) from error


def _refused(error: Refused, line: str, index: int) -> PyIscsiError:
    if error.errno == errno.EBUSY:
        return failed(error, line, f"CHAP index {index} is in use.", code=ExitCode.BUSY)
    return failed(error, line)
