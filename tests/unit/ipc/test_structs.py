"""Open-iscsi's structs: offsets counted by hand, a request of the real program, and rubbish."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import InvalidArgument, PyIscsiError
from pyiscsi.ipc import structs
from pyiscsi.ipc.structs import Command, Request
from pyiscsi.ipc.structs_layout import FIELDS, LAYOUTS, WORDS, Layout
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE

DATA = Path(__file__).resolve().parents[2] / "data/ipc"
SIZES = (16104, 16112, 16128)

STRINGS = {
    # key: offsets in the requests of 2.1.8, 2.1.11 and the development head (None: no such field)
    "node.name": (32, 32, 32),
    "node.session.auth.username": (340, 340, 340),
    "node.session.auth.password": (596, 596, 596),
    "node.session.auth.username_in": (856, 856, 856),
    "node.session.auth.password_in": (1112, 1112, 1112),
    "node.conn[0].address": (2252, 2260, 2260),
    "node.conn[0].tcp.congestion_control": (None, None, 3300),
    "iface.iscsi_ifacename": (3360, 3368, 3384),
    "iface.net_ifacename": (3432, 3440, 3456),
    "iface.ipaddress": (3448, 3456, 3472),
    "iface.hwaddress": (14516, 14524, 14540),
    "iface.transport_name": (14534, 14542, 14558),
    "iface.initiatorname": (14806, 14814, 14830),
    "node.discovery_address": (15068, 15076, 15092),
}
NUMBERS = {
    "node.tpgt": (288, 288, 288),
    "node.session.cmds_max": (316, 316, 316),
    "node.session.nr_sessions": (328, 328, 328),
    "node.session.timeo.replacement_timeout": (1392, 1392, 1392),
    "node.session.err_timeo.abort_timeout": (1396, 1396, 1396),
    "node.session.err_timeo.host_reset_timeout": (1400, 1400, 1400),
    "node.session.err_timeo.tgt_reset_timeout": (1408, 1408, 1408),
    "node.session.iscsi.FirstBurstLength": (1432, 1432, 1432),
    "node.session.iscsi.ERL": (1456, 1456, 1456),
    "node.session.sess_reopen_log_freq": (None, 2248, 2248),
    "node.conn[0].port": (3280, 3288, 3288),
    "node.conn[0].tcp.window_size": (3284, 3292, 3292),
    "node.conn[0].timeo.login_timeout": (3292, 3300, 3316),
    "node.conn[0].timeo.noop_out_interval": (3308, 3316, 3332),
    "node.conn[0].iscsi.MaxRecvDataSegmentLength": (3316, 3324, 3340),
    "iface.iface_num": (3428, 3436, 3452),
    "node.discovery_port": (16096, 16104, 16120),
}
ENUMS = (
    ("node.startup", "onboot", 2, (292, 292, 292)),
    ("node.leading_login", "Yes", 1, (296, 296, 296)),
    ("node.session.scan", "auto", 1, (332, 332, 332)),
    ("node.session.auth.authmethod", "CHAP", 1, (336, 336, 336)),
    ("node.session.iscsi.InitialR2T", "Yes", 1, (1424, 1424, 1424)),
    ("node.session.iscsi.FastAbort", "Yes", 1, (1460, 1460, 1460)),
    ("node.conn[0].startup", "automatic", 1, (2248, 2256, 2256)),
    ("node.conn[0].iscsi.HeaderDigest", "None,CRC32C", 3, (3324, 3332, 3348)),
    ("node.conn[0].iscsi.DataDigest", "CRC32C,None", 2, (3328, 3336, 3352)),
    ("node.discovery_type", "isns", 1, (15064, 15072, 15088)),
    ("node.discovery_type", "slp", 3, (15064, 15072, None)),
    ("node.discovery_type", "static", 4, (15064, 15072, None)),
    ("node.discovery_type", "static", 3, (None, None, 15088)),
    ("node.discovery_type", "fw", 5, (15064, 15072, None)),
    ("node.discovery_type", "fw", 4, (None, None, 15088)),
)
PLACES = (
    [(key, "placed here", 0, offsets) for key, offsets in STRINGS.items()]
    + [(key, "12345678", 12345678, offsets) for key, offsets in NUMBERS.items()]
    + list(ENUMS)
)
CASES = [
    (size, key, text, number, offset)
    for key, text, number, offsets in PLACES
    for size, offset in zip(SIZES, offsets, strict=True)
    if offset is not None
]
LOGIN = struct.pack("=II", 1, 0)


def login(size: int) -> bytearray:
    """A login whose record is all zero but for the algorithms, of which there are none."""
    data = bytearray(size)
    data[:8] = LOGIN
    data[1372:1392] = b"\xff" * 20
    return data


def raw_of(text: str, number: int) -> bytes:
    return struct.pack("=i", number) if number else text.encode()


@pytest.mark.parametrize(("size", "key", "text", "number", "offset"), CASES)
def test_decoding(size: int, key: str, text: str, number: int, offset: int) -> None:
    """D-004: every place of every release, one at a time."""
    data, raw = login(size), raw_of(text, number)
    data[offset : offset + len(raw)] = raw
    record = structs.decode_request(bytes(data)).record
    empty = structs.decode_request(bytes(login(size))).record
    assert {name: value for name, value in record.items() if value != empty[name]} == {key: text}


@pytest.mark.parametrize(("size", "key", "text", "number", "offset"), CASES)
def test_encoding(size: int, key: str, text: str, number: int, offset: int) -> None:
    """The same places the other way."""
    data = structs.encode_request(Request(Command.SESSION_LOGIN, 0, {key: text}), LAYOUTS[size])
    expected, raw = login(size), raw_of(text, number)
    expected[offset : offset + len(raw)] = raw
    assert data == expected


@pytest.mark.parametrize("size", SIZES)
def test_algorithms(size: int) -> None:
    """Five places of CHAP algorithms in the client's order, unused ones all ones."""
    data = login(size)
    struct.pack_into("=5I", data, 1372, 8, 6, 5, 7, 0xFFFFFFFF)
    request = structs.decode_request(bytes(data))
    assert request.record["node.session.auth.chap_algs"] == "SHA3-256,SHA1,MD5,SHA256"
    assert structs.encode_request(request, LAYOUTS[size]) == data


@pytest.mark.parametrize("size", SIZES)
def test_multiple(size: int) -> None:
    """The byte that asks for one more session."""
    data = login(size)
    assert not structs.decode_request(bytes(data)).multiple
    data[1476] = 1
    request = structs.decode_request(bytes(data))
    assert request.multiple
    assert structs.encode_request(request, LAYOUTS[size]) == data


def test_real_request() -> None:
    """D-004: what open-iscsi 2.1.8 sent for a record with many settings, byte for byte.

    Recorded from Debian's iscsiadm; the two pointers of its list head are zeroed.
    """
    stored = json.loads((DATA / "login-2.1.8.json").read_text())
    data = bytearray(stored["size"])
    for offset, raw in stored["bytes"].items():
        data[int(offset) : int(offset) + len(raw) // 2] = bytes.fromhex(raw)
    request = structs.decode_request(bytes(data))
    assert structs.encode_request(request, LAYOUTS[16104]) == data
    changed = {
        "node.name": "iqn.2026-11.test:golden",
        "node.tpgt": "3",
        "node.startup": "onboot",
        "node.conn[0].address": "192.0.2.7",
        "node.conn[0].port": "3261",
        "node.conn[0].iscsi.HeaderDigest": "CRC32C,None",
        "node.conn[0].iscsi.DataDigest": "None,CRC32C",
        "node.session.auth.authmethod": "CHAP",
        "node.session.auth.username": "joe",
        "node.session.auth.password": "secret-of-joe-12",
        "node.session.auth.password_length": "16",
        "node.session.auth.username_in": "tgt",
        "node.session.auth.password_in": "secret-of-tgt-12",
        "node.session.auth.password_in_length": "16",
        "node.session.auth.chap_algs": "SHA3-256,SHA1",
        "node.session.xmit_thread_priority": "-7",
        "node.session.err_timeo.host_reset_timeout": "61",
        "iface.iscsi_ifacename": "default",
    }
    known = {key: request.record[key] for key in changed}
    assert known == changed
    others = request.record.keys() - changed.keys()
    defaults = NODE.defaults("2.1.8")
    configured = {key for key in others if request.record[key] != defaults[key]}
    assert configured == CONFIGURED


CONFIGURED = {"node.session.initial_login_retry_max", "node.conn[0].timeo.login_timeout"}
"""What the recording machine's iscsid.conf set away from the defaults."""


def test_every_key_has_a_place() -> None:
    """The newest layout holds the whole record; no two fields of any layout overlap."""
    assert {key for key, *_ in LAYOUTS[16128].places} == NODE.fields.keys()
    for size, layout in LAYOUTS.items():
        end = structs.HEAD_SIZE
        for _, offset, _, length in sorted(layout.places, key=lambda place: place[1]):
            assert offset >= end
            end = offset + length
        assert end <= size


def test_words_are_the_records_own() -> None:
    """Enum values travel as positions in the words a record knows."""
    for key, _, _, kind, _ in FIELDS:
        if kind in WORDS:
            assert NODE.fields[key].allowed == WORDS[kind], key


def _texts(key: str, kind: str, size: int, layout: Layout) -> st.SearchStrategy[str]:
    field = NODE.fields[key]
    if kind == "string":
        plain = st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])
        return st.text(plain, max_size=min(size - 1, 60) // 4)
    if kind == "chap_algs":
        return st.permutations(field.allowed or ()).map(",".join)
    if field.allowed:
        return st.sampled_from(layout.words(kind))
    bits = 8 * size
    low = -(1 << bits - 1) if kind == "int32" else 0
    return st.integers(low, low + (1 << bits) - 1).map(str)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Layout, Request]:
    layout = draw(st.sampled_from(list(LAYOUTS.values())))
    chosen = draw(st.sets(st.sampled_from(layout.places), max_size=12))
    record = {key: draw(_texts(key, kind, size, layout)) for key, _, kind, size in chosen}
    sid = draw(st.integers(0, 2**31 - 1))
    return layout, Request(Command.SESSION_LOGIN, sid, record, multiple=draw(st.booleans()))


@given(requests())
def test_round_trip(case: tuple[Layout, Request]) -> None:
    layout, request = case
    found = structs.decode_request(structs.encode_request(request, layout))
    assert (found.command, found.sid, found.multiple) == (1, request.sid, request.multiple)
    assert {key: found.record[key] for key in request.record} == request.record


@pytest.mark.parametrize("size", SIZES)
def test_whole_record(size: int) -> None:
    """A record of ours survives; what 2.1.8 has no place for keeps its default."""
    record = Record(NODE)
    record.set("node.name", "iqn.2026-11.test:\udcff")
    record.set("node.session.auth.password", "secret-of-joe-12")
    request = Request(Command.SESSION_LOGIN, 0, record.to_map())
    found = structs.decode_request(structs.encode_request(request, LAYOUTS[size]))
    again = Record.from_map(NODE, found.record)
    assert again.values == record.values


def test_secrets_do_not_show() -> None:
    request = Request(Command.SESSION_LOGIN, 0, {"node.session.auth.password": "hidden-secret"})
    assert "hidden" not in repr(request)
    with pytest.raises(InvalidArgument) as caught:
        structs.encode_request(
            Request(1, 0, {"node.session.auth.password": "hidden" * 50}), LAYOUTS[16104]
        )
    assert "hidden" not in str(caught.value)


BAD_VALUES = (
    ("node.name", "x" * 255),
    ("node.name", "a\0b"),
    ("node.tpgt", "many"),
    ("node.tpgt", str(2**31)),
    ("iface.prefix_len", "256"),
    ("node.startup", "sometimes"),
    ("node.session.auth.chap_algs", "MD4"),
    ("node.session.auth.chap_algs", "MD5,MD5,MD5,MD5,MD5,MD5"),
)


@pytest.mark.parametrize(("key", "text"), BAD_VALUES)
def test_values_that_do_not_fit(key: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(key)):
        structs.encode_request(Request(1, 0, {key: text}), LAYOUTS[16104])


@pytest.mark.parametrize(("offset", "value"), [(292, 3), (292, -1), (336, 2), (1372, 4)])
def test_numbers_without_a_word(offset: int, value: int) -> None:
    data = login(16104)
    struct.pack_into("=i", data, offset, value)
    with pytest.raises(InvalidArgument, match="has no value"):
        structs.decode_request(bytes(data))


def test_text_without_an_end() -> None:
    """A field's text leaves room for its NUL; the error does not tell the text."""
    data = login(16104)
    data[16 + 288 + 292 : 16 + 288 + 292 + 256] = b"s" * 256
    with pytest.raises(InvalidArgument, match=r"node.session.auth.password does not end$"):
        structs.decode_request(bytes(data))


@given(st.binary(max_size=200))
def test_short_requests(data: bytes) -> None:
    with pytest.raises(structs.Malformed):
        structs.decode_request(data)


@given(st.sampled_from(SIZES), st.lists(st.tuples(st.integers(0, 16127), st.binary(max_size=40))))
def test_random_requests(size: int, changes: list[tuple[int, bytes]]) -> None:
    """Whatever arrives: a record a Record can be made of, or one of our errors."""
    data = login(size)
    for offset, raw in changes:
        data[offset : offset + len(raw)] = raw
    try:
        request = structs.decode_request(bytes(data[:size]).ljust(size, b"\0"))
    except PyIscsiError:
        return
    if request.command in structs.WITH_RECORD:
        Record.from_map(NODE, request.record).node_key()
        assert structs.encode_request(request, LAYOUTS[size])


def test_responses() -> None:
    """D-012: literal offsets of every kind of response."""
    text = structs.encode_text(10, "/etc/iscsi/iscsid.conf")
    assert len(text) == 2464
    assert text[:31] == struct.pack("=II", 10, 0) + b"/etc/iscsi/iscsid.conf\0"
    states = structs.encode_states(13, "LOGGED IN", "REOPEN")
    assert states[:16] == struct.pack("=IIII", 13, 0, 2, 3)
    custom = {"eh_abort_cnt": 5, "x" * 80: 2**64 - 1}
    numbers = structs.encode_statistics(
        7, 9, {"txdata_octets": 1, "timeout_err": 2**32 + 3}, custom
    )
    assert len(numbers) == 2464
    assert struct.unpack_from("=I", numbers, 8) == (20,)
    assert struct.unpack_from("=I", numbers, 24) == (9,)
    assert struct.unpack_from("=Q", numbers, 64) == (1,)
    assert struct.unpack_from("=II", numbers, 64 + 88) == (3, 2)
    assert numbers[160:173] == b"eh_abort_cnt\0"
    assert struct.unpack_from("=Q", numbers, 160 + 64) == (5,)
    assert numbers[232:296] == b"x" * 63 + b"\0"


WORDS_OF_STATES = (
    (("FREE", "NO CHANGE"), (0, 0)),
    (("TRANSPORT WAIT", "CLEANUP"), (1, 1)),
    (("IN LOGIN", "REOPEN"), (2, 2)),
    (("LOGGED IN", "REDIRECT"), (3, 3)),
    (("IN LOGOUT", "NO CHANGE"), (4, 0)),
    (("LOGOUT REQUESTED", "NO CHANGE"), (5, 0)),
    (("CLEANUP WAIT", "Unknown"), (6, 4)),
)


@pytest.mark.parametrize(("words", "numbers"), WORDS_OF_STATES)
def test_states(words: tuple[str, str], numbers: tuple[int, int]) -> None:
    """D-011: the numbers iscsiadm turns into these words: stage at 8, connection at 12."""
    data = structs.encode_states(13, *words)
    assert struct.unpack_from("=ii", data, 8) == (numbers[1], numbers[0])
    assert structs.Response(data).states == words


def test_reading_responses() -> None:
    counters = {name: index for index, (name, _, _) in enumerate(structs.COUNTERS)}
    custom = {f"custom_{index}": index for index in range(40)}
    response = structs.Response(structs.encode_statistics(7, 1, counters, custom))
    assert response.counters == counters
    assert response.custom == dict(list(custom.items())[:32])
    assert structs.Response(structs.encode_text(8, "iqn.x")).text == "iqn.x"
    assert structs.Response(structs.encode_answer(1, 24)).error == 24


@given(st.binary(max_size=64), st.integers(0, 2400))
def test_random_responses(raw: bytes, offset: int) -> None:
    """Whatever a daemon sends: values, or one of our errors."""
    data = bytearray(2464)
    data[offset : offset + len(raw)] = raw
    response = structs.Response(bytes(data[:2464]).ljust(2464, b"\0"))
    assert isinstance(response.text, str)
    assert len(response.states) == 2
    assert len(response.counters) == 21
    try:
        assert len(response.custom) <= 32
    except structs.Malformed:
        assert offset <= 160


@pytest.mark.parametrize("size", [0, 8, 2463, 2465])
def test_responses_of_another_size(size: int) -> None:
    with pytest.raises(structs.Malformed, match=str(size)):
        structs.Response(bytes(size))
