"""Flashnodes, flat (open-iscsi usr/flashnode.c)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class FlashnodeView(Protocol):
        def __getitem__(self, key: str, /) -> str: ...


EMPTY = "<empty>"


def flat_lines(transport: str, nodes: Iterable[tuple[int, FlashnodeView]]) -> Iterator[str]:
    """`qla4xxx: [0] address:port,tpgt target` for each index and its settings."""
    for index, node in nodes:
        address = node["flashnode.conn[0].ipaddress"]
        shown = address if not address or "." in address else f"[{address}]"
        port = node["flashnode.conn[0].port"]
        yield (
            f"{transport}: [{index}] {shown or EMPTY}:{port if port != '0' else EMPTY},"
            f"{node['flashnode.session.tpgt']} {node['flashnode.session.targetname'] or EMPTY}"
        )
