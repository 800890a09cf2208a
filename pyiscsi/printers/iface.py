"""Iface records, flat and as a tree with the nodes bound to them (open-iscsi usr/iface.c)."""

from __future__ import annotations

from pyiscsi.names import format_portal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from pyiscsi.names import NodeKey

    class IfaceView(Protocol):
        def __getitem__(self, key: str, /) -> str: ...


EMPTY = "<empty>"
_FLAT = (
    "iface.transport_name",
    "iface.hwaddress",
    "iface.ipaddress",
    "iface.net_ifacename",
    "iface.initiatorname",
)


def flat_lines(ifaces: Iterable[IfaceView]) -> Iterator[str]:
    """`name transport,hwaddress,ipaddress,netdev,initiatorname`."""
    for iface in ifaces:
        yield f"{iface['iface.iscsi_ifacename']} {','.join(iface[key] or EMPTY for key in _FLAT)}"


def tree_lines(name: str, keys: Iterable[NodeKey]) -> Iterator[str]:
    """One iface and the node records bound to it, a Target line for each run of equal targets."""
    yield f"Iface: {name}"
    target = None
    for key in keys:
        if key.target != target:
            target = key.target
            yield f"\tTarget: {target}"
        yield f"\t\tPortal: {format_portal(key.address, key.port, key.tpgt)}"
