"""All that boot firmware says: Open Firmware, or else the table and the adapters of sysfs."""

from __future__ import annotations

from pyiscsi.firmware import ibft, openfirmware

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.env import Env
    from pyiscsi.firmware.entry import BootEntry
    from pyiscsi.sysfs.tree import SysfsTree


def entries(env: Env, tree: SysfsTree, problems: list[str]) -> list[BootEntry]:
    """Every target the firmware names. `problems`: lines about what was left out."""
    found = _device_tree(env, tree, problems)
    if found is not None:
        return [found]
    return [one for place in ibft.directories(tree, problems) for one in place.entries()]


def boot_initiator(env: Env, tree: SysfsTree) -> str | None:
    """Name of the initiator that booted ("" if not said), None if nothing was booted from."""
    found = _device_tree(env, tree, [])
    if found is not None:
        return found.initiator_name
    names = (place.boot_initiator() for place in ibft.directories(tree, []))
    return next((name for name in names if name is not None), None)


def _device_tree(env: Env, tree: SysfsTree, problems: list[str]) -> BootEntry | None:
    return openfirmware.entry(f"{env.proc_root}/device-tree", tree, problems)
