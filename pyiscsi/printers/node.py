"""Node records by name, flat and as a tree (open-iscsi usr/iscsiadm.c print_nodes)."""

from __future__ import annotations

from pyiscsi.names import format_portal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiscsi.names import NodeKey


def flat_lines(keys: Iterable[NodeKey]) -> Iterator[str]:
    """`addr:port,tpgt target`. An unknown tpgt shows as 4294967295, as in the original."""
    for key in keys:
        portal = format_portal(key.address, key.port, key.tpgt & 0xFFFFFFFF)
        yield f"{portal} {key.target}"


def tree_lines(keys: Iterable[NodeKey]) -> Iterator[str]:
    """One Target line for a run of equal targets; Portal and Iface Name lines for every record."""
    target = None
    for key in keys:
        if key.target != target:
            target = key.target
            yield f"Target: {target}"
        yield f"\tPortal: {format_portal(key.address, key.port, key.tpgt)}"
        yield f"\t\tIface Name: {key.iface}"
