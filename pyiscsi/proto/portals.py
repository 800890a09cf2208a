"""Addresses as targets send them: `TargetAddress=domainname[:port][,tag]` (RFC 7143 §13.8)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.names import ISCSI_PORT, UNKNOWN_TPGT
from pyiscsi.proto.limits import ADDRESS_MAX

_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_NUMBER_MAX = 65535


@dataclass(frozen=True, slots=True)
class Portal:
    """`address` as text, never resolved, without brackets; None stands for the portal asked."""

    address: str | None
    port: int
    tpgt: int = UNKNOWN_TPGT


def _number(text: str, low: int) -> int:
    number = int(text) if _NUMBER.fullmatch(text) else -1
    if not low <= number <= _NUMBER_MAX:
        raise RemoteProtocolError("a port or portal group tag in a TargetAddress is no number")
    return number


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%")
    if percent and not _ZONE.fullmatch(zone):
        return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _split(text: str) -> tuple[str, str | None]:
    """(address, port) of the part before the tag; port None when there is none."""
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(address) or (rest and not rest.startswith(":")):
            raise RemoteProtocolError("a TargetAddress in brackets is no IPv6 address")
        return address, rest[1:] if rest else None
    if _is_ipv6(text):
        return text, None
    address, colon, port = text.rpartition(":")
    if not colon:
        return text, None
    return address, port


def parse_target_address(text: str) -> Portal:
    """Read one TargetAddress. A missing port is 3260, a missing tag -1.

    An IPv6 address without brackets, which only broken targets send, is taken whole if it is one.
    Raises RemoteProtocolError for anything that is not a host name, IPv4 or IPv6 address, so that
    what comes out can become a path component or a line of output.
    """
    rest, comma, tag = text.partition(",")
    address, port = _split(rest)
    if len(address) > ADDRESS_MAX:
        raise RemoteProtocolError("the address in a TargetAddress is too long")
    if not (_is_ipv6(address) or _HOST.fullmatch(address)) or address in (".", ".."):
        raise RemoteProtocolError("a TargetAddress has an address that is not allowed")
    return Portal(
        address,
        ISCSI_PORT if port is None else _number(port, 1),
        _number(tag, 0) if comma else UNKNOWN_TPGT,
    )
