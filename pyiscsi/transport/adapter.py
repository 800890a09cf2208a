"""Payloads of what a host's driver is asked: bytes to values and back, nothing else.

Linux include/scsi/iscsi_if.h, native byte order. Lists of settings are netlink attributes (length
and type, both u16, padded to 4) whose payload is packed: length u32, number u16, value; for network
settings the number of the interface u32 comes first, and two u8, the address family and the kind of
number, before the value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pyiscsi.errors import RemoteProtocolError

AF_INET = 2
AF_INET6 = 10
"""Linux's numbers; socket would be imported for nothing else."""

IPV4 = 1
IPV6 = 2
"""enum iscsi_iface_type."""

NET_PARAM = 2
IFACE_PARAM = 5
"""enum iscsi_param_type: what a number of a network setting counts."""

CHAP_OUT = 0
CHAP_IN = 1
"""enum chap_type_e: who proves itself to whom; out is the initiator to the target."""

CHAP_NAME_BYTES = 255
"""Longest name or secret of a CHAP entry; the kernel's fields end with NUL."""

_ATTRIBUTE = struct.Struct("=HH")
_SETTING = struct.Struct("=IH")
_NET_SETTING = struct.Struct("=IIHBB")
_CHAP_ENTRY = struct.Struct("=HxxI256s256sBxxx")
_CHAP_INDEX, _CHAP_TYPE, _CHAP_USERNAME, _CHAP_PASSWORD, _CHAP_PASSWORD_LENGTH = range(5)
"""enum iscsi_chap_param."""


@dataclass(frozen=True, slots=True)
class ChapEntry:
    """One entry of an adapter's CHAP table. `kind`: CHAP_OUT or CHAP_IN."""

    index: int
    kind: int
    username: bytes
    password: bytes = field(repr=False)


def attribute(number: int, value: bytes) -> bytes:
    """A setting of a CHAP entry or a flashnode."""
    return _attribute(number, _SETTING.pack(len(value), number) + value)


def net_attribute(number: int, value: bytes, *, iface_num: int, family: int, kind: int) -> bytes:
    """A network setting. `family`: IPV4 or IPV6; `kind`: NET_PARAM or IFACE_PARAM."""
    header = _NET_SETTING.pack(iface_num, len(value), number, family, kind)
    return _attribute(number, header + value)


def _attribute(kind: int, payload: bytes) -> bytes:
    header = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind)
    return header + payload + bytes(-len(payload) % 4)


def encode_chap(entry: ChapEntry) -> bytes:
    """SET_CHAP's payload. Raises ValueError for an index beyond 16 bits."""
    if not 0 <= entry.index <= 0xFFFF:
        raise ValueError(f"CHAP table index {entry.index}")
    length = len(entry.password) & 0xFF
    settings = (
        (_CHAP_INDEX, struct.pack("=H", entry.index)),
        (_CHAP_TYPE, struct.pack("=I", entry.kind)),
        (_CHAP_USERNAME, entry.username),
        (_CHAP_PASSWORD, entry.password),
        (_CHAP_PASSWORD_LENGTH, bytes([length])),
    )
    return b"".join(attribute(number, value) for number, value in settings)


def decode_chap(payload: bytes, count: int) -> Iterator[ChapEntry]:
    """The first `count` entries of GET_CHAP's answer; RemoteProtocolError when it is shorter."""
    if len(payload) < count * _CHAP_ENTRY.size:
        raise RemoteProtocolError(f"{count} CHAP entries in {len(payload)} bytes")
    for at in range(count):
        index, kind, username, password, _ = _CHAP_ENTRY.unpack_from(payload, at * _CHAP_ENTRY.size)
        yield ChapEntry(index, kind, username.split(b"\0", 1)[0], password.split(b"\0", 1)[0])


def decode_host_statistics(payload: bytes, names: Iterable[str]) -> dict[str, int]:
    """GET_HOST_STATS' answer: one u64 for each of `names`, in the kernel's order.

    Raises RemoteProtocolError when it is cut short.
    """
    wanted = [*names]
    if len(payload) < 8 * len(wanted):
        raise RemoteProtocolError(f"host statistics of {len(payload)} bytes")
    return dict(zip(wanted, struct.unpack_from(f"={len(wanted)}Q", payload), strict=True))


def encode_sockaddr(address: bytes, *, port: int = 0, scope_id: int = 0) -> bytes:
    """struct sockaddr_in or sockaddr_in6 for a packed address of 4 or 16 bytes."""
    in_network_order = port.to_bytes(2, "big")
    if len(address) == 4:
        return struct.pack("=H2s4s8x", AF_INET, in_network_order, address)
    return struct.pack("=H2sI16sI", AF_INET6, in_network_order, 0, address, scope_id)
