"""What discovery found, and the discovery records (open-iscsi usr/idbm.c)."""

from __future__ import annotations

from pyiscsi.names import format_portal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyiscsi.names import NodeKey

    Section = tuple[str, Sequence[tuple[tuple[str, int] | None, Sequence[NodeKey]]]]
    """Heading, and for each discovery record its (address, port) and the nodes linked to it.

    None stands where a section has no such records (static, firmware, old iSNS links).
    """

NOTHING = "No targets found."


def found_flat_lines(keys: Iterable[NodeKey]) -> Iterator[str]:
    """`addr:port,tpgt target` for each portal and iface."""
    for key in keys:
        yield f"{format_portal(key.address, key.port, key.tpgt)} {key.target}"


def found_tree_lines(keys: Iterable[NodeKey]) -> Iterator[str]:
    """Target and Portal lines where they change, an Iface Name line always."""
    target = portal = ""
    for key in keys:
        if key.target != target:
            target, portal = key.target, ""
            yield f"Target: {target}"
        shown = format_portal(key.address, key.port, key.tpgt)
        if shown != portal:
            portal = shown
            yield f"\tPortal: {portal}"
        yield f"\t\tIface Name: {key.iface}"


def address_lines(addresses: Iterable[tuple[str, int]], kind: str) -> Iterator[str]:
    """`addr:port via kind`; IPv6 addresses without brackets, as in the original."""
    for address, port in addresses:
        yield f"{address}:{port} via {kind}"


def section_lines(sections: Iterable[Section]) -> Iterator[str]:
    """The -P 1 listing of all discovery records."""
    for heading, records in sections:
        yield f"{heading}:"
        empty = True
        for source, keys in records:
            if source:
                yield f"DiscoveryAddress: {source[0]},{source[1]}"
            yield from found_tree_lines(keys)
            empty = empty and not (source or keys)
        if empty:
            yield NOTHING
