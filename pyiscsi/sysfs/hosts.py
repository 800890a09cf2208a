"""iSCSI hosts: adapters, and the host made for each software session."""

from __future__ import annotations

from pyiscsi.sysfs.devices import SCSI_HOSTS, host_state
from pyiscsi.sysfs.transports import name_from_driver
from pyiscsi.sysfs.tree import numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiscsi.sysfs.tree import SysfsTree

ISCSI_HOSTS = "class/iscsi_host"
ISCSI_IFACES = "class/iscsi_iface"


class Host:
    """One host. Attributes the kernel does not know are None."""

    __slots__ = (
        "hwaddress",
        "initiatorname",
        "ipaddress",
        "netdev",
        "number",
        "port_speed",
        "port_state",
        "state",
        "transport",
    )

    def __init__(self, tree: SysfsTree, number: int) -> None:
        base = f"{ISCSI_HOSTS}/host{number}"
        self.number = number
        self.transport = transport_of_host(tree, number)
        self.state = host_state(tree, number)
        self.ipaddress = tree.read(f"{base}/ipaddress")
        self.hwaddress = tree.read(f"{base}/hwaddress")
        self.netdev = tree.read(f"{base}/netdev")
        self.initiatorname = tree.read(f"{base}/initiatorname")
        self.port_state = tree.read(f"{base}/port_state")
        self.port_speed = tree.read(f"{base}/port_speed")


class KernelIface:
    """A network interface an adapter's own firmware keeps (`ipv4-iface-<host>-<n>`)."""

    __slots__ = ("_base", "_tree", "name")

    def __init__(self, tree: SysfsTree, name: str) -> None:
        self._tree = tree
        self._base = f"{ISCSI_IFACES}/{name}"
        self.name = name

    def get(self, attribute: str) -> str | None:
        return self._tree.read(f"{self._base}/{attribute}")


def host_numbers(tree: SysfsTree) -> list[int]:
    """In the original's order, that of the names as text."""
    found = (numbered(name, "host") for name in tree.names(ISCSI_HOSTS))
    return [number for number in found if number is not None]


def hosts(tree: SysfsTree) -> list[Host]:
    return [Host(tree, number) for number in host_numbers(tree)]


def kernel_ifaces(tree: SysfsTree, host_no: int) -> list[KernelIface]:
    prefixes = tuple(f"{family}-iface-{host_no}-" for family in ("ipv4", "ipv6"))
    names = tree.names(ISCSI_IFACES)
    return [KernelIface(tree, name) for name in names if name.startswith(prefixes)]


def transport_of_host(tree: SysfsTree, host_no: int) -> str | None:
    """Transport name of a host; None when the host is gone."""
    return name_from_driver(tree.read(f"{SCSI_HOSTS}/host{host_no}/proc_name")) or None


def find_host(
    tree: SysfsTree,
    hwaddress: str = "",
    netdev: str = "",
    ipaddress: str = "",
    *,
    transport: str = "",
) -> int | None:
    """The host an iface is bound to: by hardware address, else by netdev, else by IP address.

    `transport`: no host of another driver; that of a session over TCP shows the same device.
    """
    for name, wanted in (("hwaddress", hwaddress), ("netdev", netdev), ("ipaddress", ipaddress)):
        if wanted:
            found = _hosts_with(tree, name, wanted)
            return next((one for one in found if _may_be_of(tree, one, transport)), None)
    return None


def _hosts_with(tree: SysfsTree, attribute: str, wanted: str) -> Iterator[int]:
    for number in host_numbers(tree):
        value = tree.read(f"{ISCSI_HOSTS}/host{number}/{attribute}")
        if value is not None and value.lower() == wanted.lower():
            yield number


def _may_be_of(tree: SysfsTree, number: int, transport: str) -> bool:
    return not transport or transport_of_host(tree, number) in (None, transport)
