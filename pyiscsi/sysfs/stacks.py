"""What stands on iSCSI disks: partitions, and device-mapper or md devices in any order.

The kernel's `holders` links say it for every kind of device, so nothing depends on which programs
are installed.
"""

from __future__ import annotations

from pyiscsi.sysfs.devices import devices
from pyiscsi.sysfs.mounts import BLOCK
from pyiscsi.sysfs.sessions import SESSIONS, sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.sysfs.tree import SysfsTree

MULTIPATH = "mpath"
CRYPT = "CRYPT"
LVM = "LVM"

_HIGHEST = 32
"""Nothing is stacked so high; ends a ring, which the kernel does not allow."""


class Block:
    """One block device above a session.

    `number` is `major:minor`; `kind` what made a device-mapper device (`mpath`, `CRYPT`, `LVM`, by
    the prefix of its uuid), else empty; `mapped` its device-mapper name; `height` the longest way
    down to a disk; `sessions` the sysfs directories of all sessions below.
    """

    __slots__ = ("height", "kind", "mapped", "name", "number", "sessions")

    def __init__(self, tree: SysfsTree, name: str) -> None:
        base = f"{BLOCK}/{name}"
        uuid = tree.read(f"{base}/dm/uuid") or ""
        self.name = name
        self.number = tree.read(f"{base}/dev") or ""
        self.kind = uuid.partition("-")[0]
        self.mapped = tree.read(f"{base}/dm/name") or ""
        self.height = 0
        self.sessions: set[str] = set()

    def __repr__(self) -> str:
        return f"Block({self.name}, {self.kind or 'plain'}, height {self.height})"

    @property
    def group(self) -> str:
        """The volume group of a logical volume: dm doubles the hyphens of both names."""
        marked = self.mapped.replace("--", "\0")
        return marked.partition("-")[0].replace("\0", "-")


def blocks(tree: SysfsTree) -> list[Block]:
    """Every block device above an iSCSI session, the highest first, then by name."""
    found: dict[str, Block] = {}
    for session in sessions(tree):
        folder = tree.real(f"{SESSIONS}/session{session.sid}/device")
        for device in devices(tree, session):
            if device.block:
                _climb(tree, found, device.block, folder, 0)
    return sorted(found.values(), key=lambda block: (-block.height, block.name))


def _climb(tree: SysfsTree, found: dict[str, Block], name: str, folder: str, height: int) -> None:
    """Note a device as standing on the session `folder`, and all that stands on it."""
    if height > _HIGHEST:
        return
    if name not in found:
        found[name] = Block(tree, name)
    block = found[name]
    block.sessions.add(folder)
    block.height = max(block.height, height)
    base = f"{BLOCK}/{name}"
    partitions = [n for n in tree.names(base) if tree.exists(f"{base}/{n}/partition")]
    for above in (*partitions, *tree.names(f"{base}/holders")):
        _climb(tree, found, above, folder, height + 1)
