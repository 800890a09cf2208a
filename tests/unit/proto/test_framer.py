"""Streams: whole, byte by byte, with trailing bytes; padding, additional headers, digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.framer import Framer, RawPdu, digest
from pyiscsi.proto.pdu import BHS_SIZE, NopIn, TextResponse

DIGESTS = [(False, False), (True, False), (False, True), (True, True)]


def header_for(data_length, ahs_length=0):
    lengths = bytes([ahs_length // 4]) + data_length.to_bytes(3, "big")
    return b"\x20\x80\0\0" + lengths + bytes(BHS_SIZE - 8)


def framer(header=False, data=False, segment_max=8192):
    made = Framer(segment_max)
    made.use_digests(header=header, data=data)
    return made


def drain(source):
    pdus = []
    while (pdu := source.next_pdu()) is not None:
        pdus.append(pdu)
    return pdus


PDUS = [
    RawPdu(header_for(0), b"", b""),
    RawPdu(header_for(1), b"", b"x"),
    RawPdu(header_for(4), b"", b"abcd"),
    RawPdu(header_for(5, 8), b"12345678", b"hello"),
    RawPdu(header_for(0, 4), b"1234", b""),
    RawPdu(header_for(8192), b"", b"z" * 8192),
]


@pytest.mark.parametrize(("header", "data"), DIGESTS)
@pytest.mark.parametrize("pdu", PDUS, ids=range(len(PDUS)))
def test_three_ways_of_feeding(pdu, header, data):
    wire = framer(header, data).encode(pdu.header, pdu.data, pdu.ahs)
    assert len(wire) % 4 == 0

    whole = framer(header, data)
    whole.feed(wire)
    assert drain(whole) == [pdu]
    assert whole.pending == 0

    trailing = framer(header, data)
    trailing.feed(wire + wire[:7])
    assert drain(trailing) == [pdu]
    assert trailing.pending == 7

    single = framer(header, data)
    for position in range(len(wire)):
        assert single.next_pdu() is None, position
        single.feed(wire[position : position + 1])
    assert drain(single) == [pdu]


def test_digest_of_the_rfc():
    """RFC 7143 appendix A: 32 zero bytes and 32 bytes of ones."""
    assert digest(bytes(32)) == bytes.fromhex("aa36918a")
    assert digest(b"\xff" * 32) == bytes.fromhex("43aba862")


@pytest.mark.parametrize("position", [0, 20, 47, 48, 51, 52, 57, 60, 63])
def test_a_flipped_bit_is_noticed(position):
    wire = bytearray(framer(True, True).encode(header_for(5), b"hello"))
    wire[position] ^= 1
    reader = framer(True, True)
    reader.feed(bytes(wire))
    with pytest.raises(RemoteProtocolError, match="digest error"):
        reader.next_pdu()


def test_header_digest_is_checked_before_the_data_is_there():
    wire = bytearray(framer(True, True).encode(header_for(5), b"hello"))
    wire[50] ^= 1
    reader = framer(True, True)
    reader.feed(bytes(wire[:52]))
    with pytest.raises(RemoteProtocolError, match="header digest"):
        reader.next_pdu()


def test_too_long_segment_is_refused_from_its_header_alone():
    reader = framer(segment_max=100)
    reader.feed(header_for(101))
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        reader.next_pdu()


def test_digests_switched_on_between_two_pdus():
    plain = framer().encode(*NopIn().encode())
    digested = framer(True, True).encode(*TextResponse(True, 1, data=b"abc").encode())
    reader = framer()
    reader.feed(plain + digested)
    assert reader.next_pdu().data == b""
    reader.use_digests(header=True, data=True)
    assert reader.next_pdu().data == b"abc"


@given(
    st.lists(st.tuples(st.binary(max_size=70), st.integers(0, 3)), max_size=6),
    st.booleans(),
    st.booleans(),
    st.integers(1, 97),
)
def test_any_pieces_give_the_same_pdus(contents, header, data, size):
    expected = [RawPdu(header_for(len(d), a * 4), b"a" * a * 4, d) for d, a in contents]
    wire = b"".join(framer(header, data).encode(p.header, p.data, p.ahs) for p in expected)
    reader = framer(header, data)
    found = []
    for start in range(0, len(wire), size):
        reader.feed(wire[start : start + size])
        found += drain(reader)
    assert found == expected


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_are_framed_or_refused(noise, header, data):
    reader = framer(header, data, segment_max=200)
    reader.feed(noise)
    try:
        pdus = drain(reader)
    except RemoteProtocolError:
        return
    assert all(len(pdu.header) == BHS_SIZE and len(pdu.data) <= 200 for pdu in pdus)
