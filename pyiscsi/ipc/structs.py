"""The messages of open-iscsi's management socket: bytes to values and back, nothing else.

A client sends one struct and gets one back (usr/mgmt_ipc.h): no version, no length, no framing.
Requests have one of three sizes (see structs_layout), responses one. A record is the map of keys
to texts that records.Record gives and takes; secrets in it do not show in `repr`.
"""

from __future__ import annotations

import struct

from pyiscsi import __version__
from pyiscsi.errors import InvalidArgument, IpcError
from pyiscsi.ipc.structs_layout import (
    CHAP_ALGORITHMS,
    FIELDS,
    IFACE_BYTES,
    LAYOUT_2_1_8,
    LAYOUTS,
    MULTIPLE_OFFSET,
    NUMBERS,
    UNUSED_ALGORITHM,
    known_sizes,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiscsi.ipc.structs_layout import Layout

RESPONSE_SIZE = 2464
HEAD_SIZE = 16
REQUEST_SIZE_MIN = min(LAYOUTS)
REQUEST_SIZE_MAX = max(LAYOUTS)
PAYLOAD_MAX = 65536
"""Largest payload of a NOTIFY command."""


class Command:
    """Numbers of requests; 3 and what is above 19 were never given."""

    SESSION_LOGIN = 1
    SESSION_LOGOUT = 2
    SESSION_ACTIVESTAT = 4
    CONN_ADD = 5
    CONN_REMOVE = 6
    SESSION_STATS = 7
    CONFIG_INAME = 8
    CONFIG_IALIAS = 9
    CONFIG_FILE = 10
    IMMEDIATE_STOP = 11
    SESSION_SYNC = 12
    SESSION_INFO = 13
    ISNS_DEV_ATTR_QUERY = 14
    SEND_TARGETS = 15
    NOTIFY_ADD_NODE = 16
    NOTIFY_DEL_NODE = 17
    NOTIFY_ADD_PORTAL = 18
    NOTIFY_DEL_PORTAL = 19


WITH_RECORD = frozenset({Command.SESSION_LOGIN, Command.SESSION_SYNC})
"""Requests whose layout matters: all others are in the first HEAD_SIZE bytes."""

WITH_PAYLOAD = frozenset(range(Command.NOTIFY_ADD_NODE, Command.NOTIFY_DEL_PORTAL + 1))

CONNECTION_STATES = (
    "FREE",
    "TRANSPORT WAIT",
    "IN LOGIN",
    "LOGGED IN",
    "IN LOGOUT",
    "LOGOUT REQUESTED",
    "CLEANUP WAIT",
)
STAGES = ("NO CHANGE", "CLEANUP", "REOPEN", "REDIRECT")
"""The words iscsiadm has for SESSION_INFO's numbers; any other number is UNKNOWN."""
UNKNOWN = "Unknown"
_UNKNOWN_NUMBER = 4
"""In place of a stage without a word: a session that is gone."""

_PDU_COUNTERS = (
    *("noptx_pdus", "scsicmd_pdus", "tmfcmd_pdus", "login_pdus", "text_pdus", "dataout_pdus"),
    *("logout_pdus", "snack_pdus", "noprx_pdus", "scsirsp_pdus", "tmfrsp_pdus", "textrsp_pdus"),
    *("datain_pdus", "logoutrsp_pdus", "r2t_pdus", "async_pdus", "rjt_pdus"),
    *("digest_err", "timeout_err"),
)
COUNTERS = (
    ("txdata_octets", 0, "=Q"),
    ("rxdata_octets", 8, "=Q"),
    *((name, 16 + 4 * index, "=I") for index, name in enumerate(_PDU_COUNTERS)),
)
"""Name, offset and format in struct iscsi_stats (the kernel's include/scsi/iscsi_if.h)."""

CUSTOM_MAX = 32
_CUSTOM = struct.Struct("=64sQ")
_GET_STATS = 20
_EVENT, _STATS, _CUSTOM_COUNT, _CUSTOMS = 8, 64, 156, 160

_HEAD = struct.Struct("=IIii")
_ANSWER = struct.Struct("=Ii")
_TEXT_OFFSET, _TEXT_SIZE = 8, 255
_ALGORITHMS = struct.Struct("=5I")
_ALGORITHM_NUMBERS = {name: number for number, name in CHAP_ALGORITHMS.items()}


class Malformed(IpcError):
    """Bytes that are not a message of this protocol."""

    exit_code = 16


class Head:
    """What every request begins with. `number` is the session id; the host of SEND_TARGETS."""

    __slots__ = ("command", "number", "payload_length")

    def __init__(self, command: int, payload_length: int, number: int) -> None:
        self.command = command
        self.payload_length = payload_length
        self.number = number


class Request:
    """A whole request. `record` is empty unless the command is one of WITH_RECORD."""

    __slots__ = ("command", "multiple", "record", "sid")

    def __init__(
        self,
        command: int,
        sid: int = 0,
        record: Mapping[str, str] | None = None,
        *,
        multiple: bool = False,
    ) -> None:
        self.command = command
        self.sid = sid
        self.record = dict(record or {})
        self.multiple = multiple

    def __repr__(self) -> str:
        return f"<Request {self.command} of session {self.sid}>"


def decode_head(data: bytes) -> Head:
    """The first HEAD_SIZE bytes of a request. Raises Malformed when there are fewer."""
    if len(data) < HEAD_SIZE:
        raise Malformed(f"request of {len(data)} bytes")
    command, payload_length, number, _ = _HEAD.unpack_from(data)
    return Head(command, payload_length, number)


def unknown_size(size: int) -> Malformed:
    return Malformed(
        f"request of {size} bytes is of no known release of open-iscsi; "
        f"iscsid {__version__} knows those of {known_sizes()}"
    )


def decode_request(data: bytes) -> Request:
    """A request of one of the known sizes.

    Raises Malformed for another size, InvalidArgument for a value its field cannot have.
    """
    layout = LAYOUTS.get(len(data))
    if layout is None:
        raise unknown_size(len(data))
    head = decode_head(data)
    if head.command not in WITH_RECORD:
        return Request(head.command, head.number)
    record = {
        key: _decode(layout, data[offset : offset + size], kind, key)
        for key, offset, kind, size in layout.places
    }
    return Request(head.command, head.number, record, multiple=data[MULTIPLE_OFFSET] != 0)


def encode_request(request: Request, layout: Layout) -> bytes:
    """The struct of a release. Keys the record does not have are 0 and empty.

    Raises InvalidArgument for a value that does not fit; what the release has no place for is
    left out.
    """
    data = bytearray(layout.size)
    _HEAD.pack_into(data, 0, request.command, 0, request.sid, 0)
    if request.command in WITH_RECORD:
        for key, offset, kind, size in layout.places:
            raw = _encode(layout, request.record.get(key, ""), kind, size, key)
            data[offset : offset + len(raw)] = raw
        data[MULTIPLE_OFFSET] = request.multiple
    return bytes(data)


def encode_iface(record: Mapping[str, str]) -> bytes:
    """struct iface_rec of the `iface.` settings in a record, the same in all releases.

    Raises InvalidArgument for a value that does not fit.
    """
    data = bytearray(IFACE_BYTES)
    for key, block, offset, kind, size in FIELDS:
        if block == "iface":
            raw = _encode(LAYOUT_2_1_8, record.get(key, ""), kind, size, key)
            data[offset : offset + len(raw)] = raw
    return bytes(data)


def _decode(layout: Layout, raw: bytes, kind: str, key: str) -> str:
    if kind == "string":
        if b"\0" not in raw:
            raise InvalidArgument(f"{key} does not end")
        return _text(raw)
    if kind == "chap_algs":
        return _decode_algorithms(raw, key)
    if kind in NUMBERS:
        return str(struct.unpack(NUMBERS[kind], raw)[0])
    number: int = struct.unpack("=i", raw)[0]
    if kind == "bool":
        return "Yes" if number else "No"
    words = layout.words(kind)
    if not 0 <= number < len(words):
        raise InvalidArgument(f"{key} has no value {number}")
    return words[number]


def _decode_algorithms(raw: bytes, key: str) -> str:
    numbers = [number for number in _ALGORITHMS.unpack(raw) if number != UNUSED_ALGORITHM]
    unknown = [number for number in numbers if number not in CHAP_ALGORITHMS]
    if unknown:
        raise InvalidArgument(f"{key} has no value {unknown[0]}")
    return ",".join(CHAP_ALGORITHMS[number] for number in numbers)


def _encode(layout: Layout, text: str, kind: str, size: int, key: str) -> bytes:
    if kind == "string":
        return _raw(text, size, key)
    if kind == "chap_algs":
        return _encode_algorithms(text, key)
    if kind in NUMBERS:
        try:
            return struct.pack(NUMBERS[kind], int(text or "0"))
        except (ValueError, struct.error) as error:
            raise InvalidArgument(f"{key} is not a number of {size} bytes") from error
    words = layout.words(kind)
    if text and text not in words:
        raise InvalidArgument(f"iscsid's protocol has no word for this value of {key}")
    return struct.pack("=i", words.index(text) if text else 0)


def _encode_algorithms(text: str, key: str) -> bytes:
    names = text.split(",") if text else []
    if len(names) > 5 or not _ALGORITHM_NUMBERS.keys() >= set(names):
        raise InvalidArgument(f"iscsid's protocol has no number for this value of {key}")
    numbers = [_ALGORITHM_NUMBERS[name] for name in names]
    return _ALGORITHMS.pack(*numbers, *[UNUSED_ALGORITHM] * (5 - len(numbers)))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _raw(text: str, size: int, what: str) -> bytes:
    """The bytes of a C string that fits `size` bytes with its NUL."""
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) >= size or b"\0" in raw:
        raise InvalidArgument(f"{what} does not fit {size - 1} bytes")
    return raw


class Response:
    """A whole response; which of its parts means anything depends on the command."""

    __slots__ = ("_data", "command", "error")

    def __init__(self, data: bytes) -> None:
        """Raises Malformed when the size is wrong."""
        if len(data) != RESPONSE_SIZE:
            raise Malformed(f"response of {len(data)} bytes in place of {RESPONSE_SIZE}")
        self.command, self.error = _ANSWER.unpack_from(data)
        self._data = data

    @property
    def text(self) -> str:
        """Of the CONFIG commands."""
        return _text(self._data[_TEXT_OFFSET : _TEXT_OFFSET + _TEXT_SIZE])

    @property
    def states(self) -> tuple[str, str]:
        """Of SESSION_INFO: the words for connection and stage."""
        stage, connection = struct.unpack_from("=ii", self._data, 8)
        return _word(CONNECTION_STATES, connection), _word(STAGES, stage)

    @property
    def counters(self) -> dict[str, int]:
        """Of SESSION_STATS."""
        data = self._data
        return {name: struct.unpack_from(form, data, _STATS + at)[0] for name, at, form in COUNTERS}

    @property
    def custom(self) -> dict[str, int]:
        """Of SESSION_STATS: counters the transport named. Raises Malformed."""
        (count,) = struct.unpack_from("=I", self._data, _CUSTOM_COUNT)
        if count > CUSTOM_MAX:
            raise Malformed(f"response announces {count} statistics")
        found = {}
        for index in range(count):
            name, value = _CUSTOM.unpack_from(self._data, _CUSTOMS + index * _CUSTOM.size)
            found[_text(name)] = value
        return found


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else UNKNOWN


def encode_answer(command: int, error: int = 0) -> bytes:
    """A response that tells success or failure only."""
    data = bytearray(RESPONSE_SIZE)
    _ANSWER.pack_into(data, 0, command, error)
    return bytes(data)


def encode_text(command: int, text: str) -> bytes:
    """The answer to a CONFIG command. Raises InvalidArgument when the text is too long."""
    data = bytearray(encode_answer(command))
    raw = _raw(text, _TEXT_SIZE, "the answer")
    data[_TEXT_OFFSET : _TEXT_OFFSET + len(raw)] = raw
    return bytes(data)


def encode_states(command: int, connection: str, stage: str) -> bytes:
    """The answer to SESSION_INFO, from the words that iscsiadm shows."""
    data = bytearray(encode_answer(command))
    numbers = [
        words.index(word) if word in words else unknown
        for words, word, unknown in (
            (STAGES, stage, _UNKNOWN_NUMBER),
            (CONNECTION_STATES, connection, len(CONNECTION_STATES)),
        )
    ]
    struct.pack_into("=ii", data, 8, *numbers)
    return bytes(data)


def encode_statistics(
    command: int, sid: int, counters: Mapping[str, int], custom: Mapping[str, int]
) -> bytes:
    """The answer to SESSION_STATS, which holds the first CUSTOM_MAX of the transport's counters.

    Numbers wrap at their field's width, as the kernel's own do.
    """
    data = bytearray(encode_answer(command))
    # The kernel's event comes first, as the original passes it on.
    struct.pack_into("=IIQI", data, _EVENT, _GET_STATS, 0, 0, sid)
    for name, at, form in COUNTERS:
        width = 8 * struct.calcsize(form)
        struct.pack_into(form, data, _STATS + at, counters.get(name, 0) & (1 << width) - 1)
    shown = list(custom.items())[:CUSTOM_MAX]
    struct.pack_into("=I", data, _CUSTOM_COUNT, len(shown))
    for index, (name, value) in enumerate(shown):
        raw = name.encode("utf-8", "surrogateescape")[:63]
        _CUSTOM.pack_into(data, _CUSTOMS + index * _CUSTOM.size, raw, value & 2**64 - 1)
    return bytes(data)
