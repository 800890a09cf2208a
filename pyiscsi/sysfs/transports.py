"""iSCSI transports the kernel has loaded."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.sysfs.tree import SysfsTree

TRANSPORTS = "class/iscsi_transport"


class TransportInfo:
    """`handle` names the transport to the kernel; `caps` are its CAP_ bits."""

    __slots__ = ("caps", "handle", "name")

    def __init__(self, name: str, handle: int, caps: int) -> None:
        self.name = name
        self.handle = handle
        self.caps = caps


def transport(tree: SysfsTree, name: str) -> TransportInfo | None:
    """A loaded transport; None when its driver is not there."""
    if not name or "/" in name:
        return None
    handle = tree.read(f"{TRANSPORTS}/{name}/handle")
    caps = tree.read(f"{TRANSPORTS}/{name}/caps")
    if handle is None or caps is None:
        return None
    try:
        return TransportInfo(name, int(handle), int(caps, 0))
    except ValueError:
        return None


def transports(tree: SysfsTree) -> list[TransportInfo]:
    found = (transport(tree, name) for name in tree.names(TRANSPORTS))
    return [one for one in found if one is not None]


def name_from_driver(driver: str | None) -> str:
    """The transport behind a SCSI host's `proc_name`: software drivers carry a prefix."""
    return (driver or "").removeprefix("iscsi_")
