"""Payloads for adapters against what open-iscsi 2.1.8 sent (strace of its sendmsg), and back."""

from __future__ import annotations

import socket
import struct

import pytest

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.transport import adapter
from pyiscsi.transport.adapter import CHAP_IN, CHAP_OUT, ChapEntry


def entry(index: int, kind: int, name: str, secret: str) -> ChapEntry:
    return ChapEntry(index, kind, name.encode(), secret.encode())


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (entry(2049, CHAP_OUT, "alice", "secretsecret1"),
         "0c000000 02000000 0000 0108"
         "0e000100 04000000 0100 00000000 0000"
         "0f000200 05000000 0200 616c696365 00"
         "17000300 0d000000 0300 73656372657473656372657431 00"
         "0b000400 01000000 0400 0d 00"),
        (entry(3, CHAP_IN, "bob", "s"),
         "0c000000 02000000 0000 0300"
         "0e000100 04000000 0100 01000000 0000"
         "0d000200 03000000 0200 626f62 000000"
         "0b000300 01000000 0300 73 00"
         "0b000400 01000000 0400 01 00"),
    ],
)  # fmt: skip
def test_chap_entry(given: ChapEntry, sent: str) -> None:
    assert adapter.encode_chap(given).hex() == sent.replace(" ", "")


def test_chap_secret_of_greatest_length() -> None:
    """Its length is one byte."""
    assert adapter.encode_chap(entry(0, CHAP_OUT, "u", "p" * 255))[-4:] == b"\x04\x00\xff\x00"


def test_chap_index_has_16_bits() -> None:
    with pytest.raises(ValueError, match="65536"):
        adapter.encode_chap(entry(65536, CHAP_OUT, "u", "p"))


def test_chap_entry_does_not_show_its_secret() -> None:
    assert "secretsecret1" not in repr(entry(0, CHAP_OUT, "alice", "secretsecret1"))


def raw_entry(index: int, kind: int, name: bytes, secret: bytes) -> bytes:
    """struct iscsi_chap_rec, with junk where the kernel leaves some."""
    return (
        struct.pack("=H2sI", index, b"\xa5\xa5", kind)
        + name.ljust(256, b"\0")
        + secret.ljust(256, b"\0")
        + bytes([len(secret) & 0xFF])
        + b"\xa5\xa5\xa5"
    )


def test_chap_table() -> None:
    payload = raw_entry(0, 0, b"alice", b"secret") + raw_entry(5, 1, b"\xff", b"x" * 256)
    found = [*adapter.decode_chap(payload + b"more room", 2)]
    assert found == [
        ChapEntry(0, CHAP_OUT, b"alice", b"secret"),
        ChapEntry(5, CHAP_IN, b"\xff", b"x" * 256),
    ]
    assert [*adapter.decode_chap(payload, 1)] == found[:1]
    assert [*adapter.decode_chap(b"", 0)] == []


@pytest.mark.parametrize("length", [0, 523, 524, 1047])
def test_chap_table_cut_short(length: int) -> None:
    with pytest.raises(RemoteProtocolError):
        [*adapter.decode_chap(bytes(length), 2)]


@pytest.mark.parametrize(
    ("number", "value", "sent"),
    [
        (30, "4000deadbeef", "10001e00 06000000 1e00 4000deadbeef"),
        (1, b"ipv4\0".hex(), "0f000100 05000000 0100 6970763400 00"),
        (35, "c0000209", "0e002300 04000000 2300 c0000209 0000"),
        (32, "bc0c", "0c002000 02000000 2000 bc0c"),
        (51, "02000000", "0e003300 04000000 3300 02000000 0000"),
        (16, "01", "0b001000 01000000 1000 01 00"),
    ],
)
def test_flashnode_setting(number: int, value: str, sent: str) -> None:
    assert adapter.attribute(number, bytes.fromhex(value)).hex() == sent.replace(" ", "")


@pytest.mark.parametrize(
    ("number", "value", "sent"),
    [
        (4, "01", "11000400 00000000 01000000 0400 01 02 01 000000"),
        (1, "c000020b", "14000100 00000000 04000000 0100 01 02 c000020b"),
        (19, "dc05", "12001300 00000000 02000000 1300 01 02 dc05 0000"),
    ],
)
def test_network_setting(number: int, value: str, sent: str) -> None:
    made = adapter.net_attribute(
        number, bytes.fromhex(value), iface_num=0, family=adapter.IPV4, kind=adapter.NET_PARAM
    )
    assert made.hex() == sent.replace(" ", "")


def test_addresses() -> None:
    four = adapter.encode_sockaddr(socket.inet_pton(socket.AF_INET, "192.0.2.1"))
    six = adapter.encode_sockaddr(socket.inet_pton(socket.AF_INET6, "fe80::1"), scope_id=1)
    assert four.hex() == "02000000c00002010000000000000000"
    assert six.hex() == "0a00000000000000fe80000000000000000000000000000101000000"
    assert (adapter.AF_INET, adapter.AF_INET6) == (socket.AF_INET, socket.AF_INET6)


def test_host_statistics() -> None:
    payload = struct.pack("=3QI", 7, 1 << 63, 9, 0)
    assert adapter.decode_host_statistics(payload, ["a", "b", "c"]) == {
        "a": 7,
        "b": 1 << 63,
        "c": 9,
    }
    with pytest.raises(RemoteProtocolError):
        adapter.decode_host_statistics(payload[:23], ["a", "b", "c"])
