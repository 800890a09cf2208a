"""iSNS on the wire: streams in any pieces, messages of several PDUs, headers that make no sense."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.isns_pdu import (
    FLAG_FIRST,
    FLAG_LAST,
    FLAG_SERVER,
    Attribute,
    Framer,
    Message,
    decode_attributes,
    encode_attributes,
)
from pyiscsi.proto.limits import ISNS_PDUS_MAX
from tests.unit.proto.isns_answers import ANSWERS, QUERY_ANSWER, message

ALONE = FLAG_SERVER | FLAG_FIRST | FLAG_LAST


def pdu(payload=b"", *, version=1, function=2, flags=ALONE, xid=5, number=0, length=None):
    size = len(payload) if length is None else length
    return struct.pack("!6H", version, function, size, flags, xid, number) + payload


def drain(framer):
    found = []
    while (one := framer.next_message()) is not None:
        found.append(one)
    return found


def read(*wire):
    framer = Framer()
    framer.feed(b"".join(wire))
    return drain(framer)


@pytest.mark.parametrize("wire", ANSWERS, ids=range(len(ANSWERS)))
def test_three_ways_of_feeding(wire):
    whole = message(wire)
    assert whole.is_response
    byte_by_byte = Framer()
    for number, byte in enumerate(wire):
        byte_by_byte.feed(bytes([byte]))
        found = byte_by_byte.next_message()
        assert found == (whole if number == len(wire) - 1 else None)
    trailed = Framer()
    trailed.feed(wire + wire + wire[:11])
    assert drain(trailed) == [whole, whole]
    assert trailed.pending == 11


def test_every_truncation_waits_for_more():
    for size in range(len(QUERY_ANSWER)):
        framer = Framer()
        framer.feed(QUERY_ANSWER[:size])
        assert framer.next_message() is None
        assert framer.pending == size


@given(st.binary(max_size=200_000).map(lambda data: data[: len(data) & ~3]))
def test_what_is_encoded_is_decoded(payload):
    one = Message(2, 9, payload)
    assert message(one.encode()) == one


def test_a_long_message_takes_several_pdus():
    """Numbered from 0, the first and the last marked, all of one transaction."""
    one = Message(0x8002, 9, bytes(range(256)) * 600, FLAG_SERVER)
    wire = one.encode()
    size = 0xFFFC + 12
    headers = [struct.unpack_from("!6H", wire, start) for start in range(0, len(wire), size)]
    flags = [FLAG_SERVER | FLAG_FIRST, FLAG_SERVER, FLAG_SERVER | FLAG_LAST]
    sizes = [0xFFFC, 0xFFFC, len(one.payload) - 2 * 0xFFFC]
    assert headers == [(1, 0x8002, sizes[n], flags[n], 9, n) for n in range(3)]
    assert message(wire) == one


def test_an_attribute_across_pdus():
    """RFC 4171 §5.3: boundaries of attributes are not those of PDUs."""
    whole = encode_attributes([(32, b"iqn.2026-11.test:one\0")])
    found = read(
        pdu(whole[:4], flags=FLAG_SERVER | FLAG_FIRST),
        pdu(b"", flags=FLAG_SERVER, number=1),
        pdu(whole[4:], flags=FLAG_SERVER | FLAG_LAST, number=2),
    )
    assert found == [Message(2, 5, whole, FLAG_SERVER)]
    (attribute,) = decode_attributes(found[0].payload)
    assert attribute == Attribute(32, b"iqn.2026-11.test:one\0\0\0\0")


@pytest.mark.parametrize(
    "wire",
    [
        pdu(version=2),
        pdu(b"abc", length=3),
        pdu(flags=FLAG_LAST),
        pdu(number=1),
        pdu(flags=ALONE | 0x2000),
        pdu(flags=FLAG_FIRST) + pdu(flags=FLAG_FIRST, number=1),
        pdu(flags=FLAG_FIRST) + pdu(flags=FLAG_LAST, number=2),
        pdu(flags=FLAG_FIRST) + pdu(flags=FLAG_LAST, number=1, xid=6),
        pdu(flags=FLAG_FIRST) + pdu(flags=FLAG_LAST, number=1, function=3),
    ],
)
def test_headers_that_make_no_sense(wire):
    with pytest.raises(RemoteProtocolError):
        read(wire)


def test_a_message_has_a_limit():
    """Told from the header, before its bytes are held."""
    framer = Framer(message_max=16)
    framer.feed(pdu(bytes(16)))
    assert drain(framer) == [Message(2, 5, bytes(16), FLAG_SERVER)]
    framer.feed(pdu(length=20))
    with pytest.raises(RemoteProtocolError):
        framer.next_message()
    framer = Framer(message_max=16)
    framer.feed(pdu(bytes(12), flags=FLAG_FIRST) + pdu(length=8, flags=0, number=1))
    with pytest.raises(RemoteProtocolError):
        framer.next_message()


def test_empty_pdus_do_not_go_on_for_ever():
    framer = Framer()
    framer.feed(pdu(flags=FLAG_FIRST))
    for number in range(1, ISNS_PDUS_MAX):
        framer.feed(pdu(flags=0, number=number))
        assert framer.next_message() is None
    framer.feed(pdu(flags=0, number=ISNS_PDUS_MAX))
    with pytest.raises(RemoteProtocolError):
        framer.next_message()


@given(st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.binary(max_size=40)), max_size=8))
def test_attributes(pairs):
    wire = encode_attributes(pairs)
    assert len(wire) % 4 == 0
    padded = [(tag, value + bytes(-len(value) % 4)) for tag, value in pairs]
    assert [tuple(one) for one in decode_attributes(wire)] == padded


def test_attributes_at_every_truncation():
    """Whole ones are read; the one that is cut is an error, however it was cut."""
    sizes = [12, 8, 32]
    wire = encode_attributes([(33, b"abcd"), (0, b""), (32, b"iqn.2026-11.test:one\0")])
    ends = [0, *(sum(sizes[: number + 1]) for number in range(len(sizes)))]
    assert ends[-1] == len(wire)
    for size in range(len(wire) + 1):
        if size in ends:
            assert len(list(decode_attributes(wire[:size]))) == ends.index(size)
        else:
            with pytest.raises(RemoteProtocolError):
                list(decode_attributes(wire[:size]))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 0xFFFFFFFC, 0xFFFFFFFF])
def test_attributes_with_wrong_lengths(length):
    with pytest.raises(RemoteProtocolError):
        list(decode_attributes(struct.pack("!2I", 32, length) + b"abcd"))
