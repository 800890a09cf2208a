"""Boot firmware that tells of the target in the device tree: Open Firmware of Power machines.

What was booted from is one line, the property `chosen/bootpath`:

    /pci@800000020000002/pci@2,4/ethernet@1:iscsi,itname=iqn...,ciaddr=192.0.2.9,iname=iqn...

a device, qualifiers and `name=value` pairs, in names of the firmware's point of view: `iname` is
the target's. Meaning as in open-iscsi usr/fwparam_ibft/fwparam_ppc.c.
"""

from __future__ import annotations

import os

from pyiscsi.firmware import checks
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.firmware.ibft import netdev_of
from pyiscsi.names import ISCSI_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.sysfs.tree import SysfsTree

_BOOTPATH = "chosen/bootpath"
_WORD = "iscsi"
_NETWORK_NODES = ("ethernet", "iscsi-toe")
_MAC_SIZE = 6
_READ_MAX = 4096

_PARAMETERS: dict[str, tuple[str, Callable[[str], bool]]] = {
    # name: attribute of BootEntry, test
    "ciaddr": ("ip_address", checks.is_address),
    "subnet-mask": ("subnet_mask", checks.is_address),
    "siaddr": ("address", checks.is_address),
    "iport": ("port", checks.is_port),
    "ilun": ("lun", checks.is_word),
    "iname": ("target_name", checks.is_name),
    "itname": ("initiator_name", checks.is_name),
    "isid": ("isid", checks.is_word),
    "ichapid": ("username", checks.is_chap),
    "ichappw": ("password", checks.is_chap),
    "chapid": ("username_in", checks.is_chap),
    "chappw": ("password_in", checks.is_chap),
}


def entry(root: str, tree: SysfsTree, problems: list[str]) -> BootEntry | None:
    """The target of the device tree at `root`, None if it names none that can be used.

    `tree`: sysfs, which knows the network devices.
    """
    text = (
        (_read(f"{root}/{_BOOTPATH}") or b"").partition(b"\0")[0].decode("utf-8", "surrogateescape")
    )
    if _WORD not in text:
        return None
    device, values = parse_bootpath(text, problems)
    mac = _read(f"{root}{device}/local-mac-address") if device else None
    is_whole = values.get("target_name") and not checks.is_unset(values.get("address", ""))
    if not is_whole or len(mac or b"") < _MAC_SIZE:
        problems.append(f"{_BOOTPATH} of the device tree names no usable target")
        return None
    assert mac is not None
    hwaddress = mac[:_MAC_SIZE].hex(":")
    netdev = netdev_of(tree, hwaddress) or _name_by_place(root, device)
    port = int(values.pop("port", ISCSI_PORT))
    return BootEntry(hwaddress=hwaddress, netdev=netdev, port=port, **values)


def parse_bootpath(text: str, problems: list[str]) -> tuple[str, dict[str, str]]:
    """The device's path in the tree ("" if it is none), and attributes of a BootEntry.

    Qualifiers and parameters without a use are passed over. Lines about values that are left out
    go to `problems`; they do not repeat them. With a wrong CHAP value all are left out: the login
    would prove less than the firmware asks for.
    """
    device, _, rest = text.strip().partition(":")
    values: dict[str, str] = {}
    for word in rest.split(","):
        name, equals, value = word.strip().partition("=")
        if not equals or name not in _PARAMETERS:
            continue
        attribute, is_valid = _PARAMETERS[name]
        # The number of a partition may follow the last value.
        shorter = value.rpartition(":")[0]
        fitting = next((one for one in (value, shorter) if is_valid(one)), "")
        if fitting:
            values[attribute] = fitting
        else:
            problems.append(f"{_BOOTPATH}: {name} has no valid value, left out")
            if is_valid is checks.is_chap:
                return "", {}
    return device if _is_device_path(device) else "", values


def _is_device_path(path: str) -> bool:
    parts = path.split("/")
    return (
        len(parts) > 1
        and not parts[0]
        and all(checks.is_word(part) and part not in (".", "..") for part in parts[1:])
    )


def _name_by_place(root: str, device: str) -> str:
    """`ethN`, N counting the network nodes of the tree in the order of their paths."""
    nodes = []
    for folder, names, _ in os.walk(root):
        place = folder.removeprefix(root)
        nodes += [f"{place}/{name}" for name in names if any(n in name for n in _NETWORK_NODES)]
    nodes.sort()
    return f"eth{nodes.index(device)}" if device in nodes else ""


def _read(path: str) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return os.read(handle, _READ_MAX)
    except OSError:
        return None
    finally:
        os.close(handle)
