"""What there are node records of, told from the names of directories alone.

For shells that complete a word: nothing is opened, locked or moved away, and what cannot be listed
is passed over in silence.
"""

from __future__ import annotations

import os

from pyiscsi.records.nodes import sorted_names, split_portal, usable_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def targets(root: str) -> list[str]:
    """Target names, bytewise."""
    return _names(f"{root}/nodes")


def portals(root: str, target: str = "") -> Iterator[tuple[str, str, int]]:
    """(target, address, port) of every portal directory, of one target or of all, bytewise."""
    for name in [target] if target else targets(root):
        for directory in _names(f"{root}/nodes/{name}"):
            portal = split_portal(directory)
            if portal:
                yield name, portal[0], portal[1]


def _names(path: str) -> list[str]:
    try:
        return sorted_names(usable_names(os.listdir(path)))
    except (OSError, ValueError):
        return []
