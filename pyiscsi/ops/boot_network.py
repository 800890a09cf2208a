"""`iscsistart -N`: network devices set up as the boot firmware says.

The address of the firmware is set whether it was a lease or not, and the target gets a route of
its own through the device, as in open-iscsi usr/iscsi_net_util.c.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from pyiscsi.errors import TransportError
from pyiscsi.firmware import node
from pyiscsi.firmware.checks import is_unset
from pyiscsi.transport.links import Links, family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyiscsi.env import Env
    from pyiscsi.firmware.entry import BootEntry
    from pyiscsi.sysfs.tree import SysfsTree

_OFFLOAD = "offload"
_DEVICE_NAME_MAX = 15
"""Bytes of a network device's name (IFNAMSIZ without the NUL)."""


class Report:
    """Where lines go: `say` gets those of progress, `complain` those about what is wrong."""

    __slots__ = ("complain", "say")

    def __init__(self, say: Callable[[str], None], complain: Callable[[str], None]) -> None:
        self.say = say
        self.complain = complain


def set_up(env: Env, tree: SysfsTree, entries: Iterable[BootEntry], report: Report) -> bool:
    """Set up the device of every target; whether all worked."""
    works = True
    for entry in entries:
        kind, name = _what(entry, tree, report)
        report.say(f"Setting up {kind} interface {name}")
        if kind == _OFFLOAD:
            continue  # the adapter's firmware has done it
        try:
            with Links() as links:
                _set_up(env, links, entry)
        except TransportError as error:
            report.say(f"Setting up {kind} interface {name} failed")
            report.complain(str(error))
            works = False
    return works


def _what(entry: BootEntry, tree: SysfsTree, report: Report) -> tuple[str, str]:
    """Kind and name of what an entry is reached through."""
    problems: list[str] = []
    iface = node.iface_of(entry, tree, problems)
    for line in problems:
        report.complain(line)
    if iface is None:
        return "software", entry.netdev
    return _OFFLOAD, iface["iface.iscsi_ifacename"]


def _set_up(env: Env, links: Links, entry: BootEntry) -> None:
    """Raises TransportError whose text is a line for the user."""
    prefix_len = _check(entry)
    device = _device(env, links, entry)
    for each in dict.fromkeys((entry.netdev, device)):
        with _explained(f"Could not bring up netdev {each}"):
            links.bring_up(each)
    with _explained(f"Could not set ip for {device}"):
        links.add_address(device, entry.ip_address, prefix_len)
    target = entry.address
    if _is_near(entry.ip_address, target, prefix_len):
        with _explained(f"Could not set route for {device}"):
            links.add_host_route(device, entry.ip_address, target)
        return
    gateway = entry.gateway
    if is_unset(gateway) or family_of(gateway) != family_of(target):
        raise TransportError(f"Invalid or missing gateway for {device}")
    with _explained(f"Could not set gateway for {device}"):
        links.add_host_route(device, entry.ip_address, target, gateway)


def _check(entry: BootEntry) -> int:
    """The length of the prefix. Raises TransportError for what makes a set-up impossible."""
    if not entry.netdev:
        raise TransportError("No netdev name in fw entry.")
    if is_unset(entry.ip_address):
        raise TransportError("Invalid or missing ipaddr in fw entry")
    if family_of(entry.address) != family_of(entry.ip_address):
        raise TransportError("Invalid or missing target ipaddr in fw entry")
    prefix_len = _prefix_len(entry)
    if prefix_len is None:
        raise TransportError("Invalid or missing netmask in fw entry")
    return prefix_len


def _prefix_len(entry: BootEntry) -> int | None:
    """From the mask, else from the firmware's own number; None where both say nothing."""
    is_v4 = family_of(entry.ip_address) == socket.AF_INET
    has_mask = not is_unset(entry.subnet_mask) and family_of(entry.subnet_mask) == socket.AF_INET
    if is_v4 and has_mask:
        mask = int.from_bytes(socket.inet_pton(socket.AF_INET, entry.subnet_mask), "big")
        ones = mask.bit_count()
        return ones if mask == (1 << 32) - (1 << 32 - ones) else None
    return entry.prefix_len if 0 < entry.prefix_len <= (32 if is_v4 else 128) else None


def _is_near(mine: str, other: str, prefix_len: int) -> bool:
    network = ipaddress.ip_network(f"{mine}/{prefix_len}", strict=False)
    return ipaddress.ip_address(other) in network


def _device(env: Env, links: Links, entry: BootEntry) -> str:
    """The network device, or that of its VLAN, which is made if there is none."""
    vlan_id = entry.vlan_id
    if not vlan_id:
        return entry.netdev
    name = _vlan_device(env, entry.netdev, vlan_id)
    if not name:
        name = f"{entry.netdev}.{vlan_id}"
        if len(name.encode()) > _DEVICE_NAME_MAX:
            name = f"vlan{vlan_id}"
        with _explained(f"No matching vlan found for fw entry, and could not make {name}"):
            links.add_vlan(entry.netdev, vlan_id, name)
    return name


def _vlan_device(env: Env, netdev: str, vlan_id: int) -> str:
    """The device of a VLAN (`name | id | device` in /proc/net/vlan/config), "" without one."""
    try:
        with open(f"{env.proc_root}/net/vlan/config", errors="surrogateescape") as table:
            rows = [[word.strip() for word in line.split("|")] for line in table]
    except OSError:
        return ""
    return next((row[0] for row in rows if row[1:] == [str(vlan_id), netdev]), "")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Puts in front of a TransportError what could not be done."""
    try:
        yield
    except TransportError as error:
        raise TransportError(f"{what} {error}") from error
