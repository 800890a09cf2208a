"""Which discovered portals are wanted.

A target names all its portals, also those this machine cannot reach or that do not speak the
transport asked for; every login then waits for them in vain.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pyiscsi.errors import InvalidArgument

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class _Entry:
    """`network` None: a host name. `port` None: any."""

    network: _Network | None
    name: str
    port: int | None

    def holds(self, address: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is None:
            return self.name == address.lower()
        try:
            return ipaddress.ip_address(address.partition("%")[0]) in self.network
        except ValueError:
            return False


class AllowedPortals:
    """A list as `192.0.2.0/24, 198.51.100.7:3260, [2001:db8::/64]:3260, storage1`."""

    def __init__(self, text: str) -> None:
        """Raises InvalidArgument for an entry that is none. An empty list allows every portal."""
        self._entries = [_parse(word) for word in text.replace(",", " ").split()]

    def allows(self, address: str, port: int) -> bool:
        """Whether a portal is wanted; its address is never resolved."""
        return not self._entries or any(entry.holds(address, port) for entry in self._entries)


def _parse(word: str) -> _Entry:
    host, port = _split(word)
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InvalidArgument(f"{word} in a list of allowed portals has no valid port")
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        if not host or "/" in host or ":" in host or "[" in host:
            raise InvalidArgument(f"{word} in a list of allowed portals is no address") from None
        network = None
    return _Entry(network, host.lower(), None if port is None else int(port))


def _split(word: str) -> tuple[str, str | None]:
    """Host or network, and the port's text."""
    if word.startswith("["):
        host, closed, rest = word[1:].partition("]")
        if closed and rest[:1] in ("", ":"):
            return host, rest[1:] if rest else None
        return word, None
    host, colon, port = word.partition(":")
    return (word, None) if not colon or ":" in port else (host, port)
