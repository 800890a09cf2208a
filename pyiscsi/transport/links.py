"""Setting up network devices: the four requests of rtnetlink(7) that adapters and booting need.

Layouts are those of Linux include/uapi/linux/rtnetlink.h, if_link.h and if_addr.h. Not pyroute2's:
it would bring OpenSSL into the initramfs (docs/adr/0004).
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from pyiscsi.errors import TransportError

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ERROR = struct.Struct("=i")

_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_ERROR_TYPE = 2
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_IFF_UP = 1
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO = 3, 5, 18
_INFO_KIND, _INFO_DATA, _VLAN_ID = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_TABLE_MAIN, _PROTOCOL_BOOT, _UNICAST = 254, 3, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_REPLY_MAX = 65536
_TIMEOUT_S = 10.0


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Links:
    """A context manager that holds the socket. Every method raises TransportError whose text is
    `(err N - REASON)`.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._number = 0

    def __enter__(self) -> Links:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        except OSError as error:
            raise _failure(error.errno) from error
        self._socket.settimeout(_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def bring_up(self, device: str) -> None:
        """As `ip link set DEVICE up`; other flags stay."""
        body = _IFINFO.pack(socket.AF_UNSPEC, 0, _index(device), _IFF_UP, _IFF_UP)
        self._request(_NEWLINK, 0, body)

    def add_vlan(self, device: str, vlan_id: int, name: str) -> None:
        """As `ip link add link DEVICE name NAME type vlan id N`."""
        data = _attribute(_VLAN_ID, struct.pack("=H", vlan_id))
        info = _attribute(_INFO_KIND, b"vlan") + _attribute(_INFO_DATA, data)
        body = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        body += _attribute(_IFLA_LINK, struct.pack("=i", _index(device)))
        body += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        body += _attribute(_IFLA_LINKINFO, info)
        self._request(_NEWLINK, _CREATE | _EXCL, body)

    def add_address(self, device: str, address: str, prefix_len: int) -> None:
        """As `ip addr replace ADDRESS/N dev DEVICE`; an IPv6 address can be used at once."""
        family = family_of(address)
        packed = socket.inet_pton(family, address)
        flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
        body = _IFADDR.pack(family, prefix_len, flags, _SCOPE_UNIVERSE, _index(device))
        body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        if family == socket.AF_INET and prefix_len < 31:
            last = int.from_bytes(packed, "big") | (1 << 32 - prefix_len) - 1
            body += _attribute(_IFA_BROADCAST, last.to_bytes(4, "big"))
        self._request(_NEWADDR, _CREATE | _REPLACE, body)

    def add_host_route(self, device: str, source: str, destination: str, gateway: str = "") -> None:
        """As `ip route add DESTINATION [via GATEWAY] dev DEVICE src SOURCE`; one that exists is
        left alone.
        """
        family = family_of(destination)
        packed = socket.inet_pton(family, destination)
        scope = _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
        body = _ROUTE.pack(
            family, len(packed) * 8, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, scope, _UNICAST, 0
        )
        body += _attribute(_RTA_DST, packed)
        body += _attribute(_RTA_PREFSRC, socket.inet_pton(family, source))
        body += _attribute(_RTA_OIF, struct.pack("=i", _index(device)))
        if gateway:
            body += _attribute(_RTA_GATEWAY, socket.inet_pton(family, gateway))
        self._request(_NEWROUTE, _CREATE | _EXCL, body, tolerated=errno.EEXIST)

    def _request(self, kind: int, flags: int, body: bytes, tolerated: int = 0) -> None:
        assert self._socket is not None
        self._number += 1
        flags |= _REQUEST | _ACK
        size = _HEADER.size + len(body)
        try:
            self._socket.send(_HEADER.pack(size, kind, flags, self._number, 0) + body)
            code = self._answer()
        except OSError as error:
            raise _failure(error.errno) from error
        if code not in (0, tolerated):
            raise _failure(code)

    def _answer(self) -> int:
        """The error number the kernel answers this request with, 0 for none."""
        assert self._socket is not None
        while True:
            reply = self._socket.recv(_REPLY_MAX)
            _, kind, _, number, _ = _HEADER.unpack_from(reply)
            if kind == _ERROR_TYPE and number == self._number:
                return -int(_ERROR.unpack_from(reply, _HEADER.size)[0])


def bring_up(device: str) -> None:
    """Links.bring_up() alone. Raises TransportError."""
    with Links() as links:
        links.bring_up(device)


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def _index(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except (OSError, ValueError) as error:
        raise _failure(errno.ENODEV) from error


def _failure(code: int | None) -> TransportError:
    code = code or errno.EIO
    return TransportError(f"(err {code} - {os.strerror(code)})")
