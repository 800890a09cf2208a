"""Network devices of this machine, for iface records that bind a session to one."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

from pyiscsi.errors import TransportError

_SIOCGIFADDR = 0x8915
_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER = 1
_IFREQ = struct.Struct("=16s24x")
_IF_INET6 = "/proc/net/if_inet6"


class DeviceNotReady(TransportError):
    """A network device is missing or has no address; rtnetlink tells when that changes."""


def find_by_hwaddress(hwaddress: str) -> str:
    """Name of the Ethernet device with this MAC address. Raises DeviceNotReady."""
    wanted = hwaddress.lower()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            reply = _ioctl(sock, _SIOCGIFHWADDR, name)
            if reply is not None and _mac(reply) == wanted:
                return name
    raise DeviceNotReady(f"no network device has the hardware address {hwaddress}")


def check_usable(device: str, family: int) -> None:
    """Raises DeviceNotReady while `device` has no address of `family`; it may get one later."""
    if device not in {name for _, name in socket.if_nameindex()}:
        raise DeviceNotReady(f"no network device {device}")
    if family == socket.AF_INET6:
        usable = _has_ipv6(device)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            usable = _ioctl(sock, _SIOCGIFADDR, device) is not None
    if not usable:
        version = "IPv6" if family == socket.AF_INET6 else "IPv4"
        raise DeviceNotReady(f"network device {device} has no {version} address yet")


def _ioctl(sock: socket.socket, request: int, device: str) -> bytes | None:
    """What the kernel put behind the name; None when the device or the answer is not there."""
    try:
        reply = fcntl.ioctl(sock, request, _IFREQ.pack(device.encode()))
    except OSError as exc:
        if exc.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
            return None
        raise TransportError(f"network device {device}: {exc.strerror}") from exc
    return reply[16:]


def _mac(sockaddr: bytes) -> str:
    (family,) = struct.unpack_from("=H", sockaddr)
    return sockaddr[2:8].hex(":") if family == _ARPHRD_ETHER else ""


def _has_ipv6(device: str) -> bool:
    try:
        with open(_IF_INET6) as table:
            return any(line.split()[-1] == device for line in table)
    except FileNotFoundError:
        return False
