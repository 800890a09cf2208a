"""Boot firmware as the kernel shows it below `/sys/firmware`: the table of the iSCSI boot firmware
(`ibft`) and what adapters boot from (`iscsi_boot<host>`), both of one form.

Which files must be there and what stands for what is missing follows open-iscsi
usr/fwparam_ibft/fwparam_sysfs.c.
"""

from __future__ import annotations

from pyiscsi.firmware import checks
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.names import ISCSI_PORT
from pyiscsi.sysfs.tree import numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.sysfs.tree import SysfsTree

_FIRMWARE = "firmware"
_IBFT = "ibft"
_ADAPTER_PREFIX = "iscsi_boot"
_BOOT_SELECTED = 2
_NO_PREFIX = _NO_NUMBER = -1
_PREFIX_MAX = 128
_ARPHRD_ETHER = 1
_NETDEVS = "class/net"

_NIC_TEXTS = (
    # attribute of BootEntry, file, test
    ("ip_address", "ip-addr", checks.is_address),
    ("vlan", "vlan", checks.is_vlan),
    ("subnet_mask", "subnet-mask", checks.is_address),
    ("gateway", "gateway", checks.is_address),
    ("primary_dns", "primary-dns", checks.is_address),
    ("secondary_dns", "secondary-dns", checks.is_address),
    ("dhcp", "dhcp", checks.is_address),
)
_CHAP_TEXTS = (
    # attribute of BootEntry, file
    ("username", "chap-name"),
    ("password", "chap-secret"),
    ("username_in", "rev-chap-name"),
    ("password_in", "rev-chap-name-secret"),
)


class Unusable(Exception):
    """A target or network device that says too little to be used."""


class Directory:
    """One directory of firmware data. `problems` are lines about what was left out and why."""

    def __init__(self, tree: SysfsTree, root: str, problems: list[str]) -> None:
        self._tree = tree
        self.root = root
        self._problems = problems
        self._base = f"{_FIRMWARE}/{root}"

    def entries(self) -> list[BootEntry]:
        """The targets that can be used, by number."""
        found = []
        for name in self._names("target"):
            try:
                target = self._target(name)
                nic = self._nic(self._nic_of(name))
            except Unusable as error:
                if error.args:
                    self._problems.append(f"{self._base}/{name}: {error}")
                continue
            found.append(self._entry(target, nic))
        return found

    def boot_initiator(self) -> str | None:
        """The initiator's name, "" if there is none; None unless a target and a device are marked
        as those that were booted from.
        """
        try:
            self._nic(self._selected("ethernet"))
            self._target(self._selected("target"))
        except Unusable:
            return None
        return self._initiator()

    def _entry(self, target: dict[str, str | int], nic: dict[str, str | int]) -> BootEntry:
        host_no = numbered(self.root, _ADAPTER_PREFIX)
        isid = self._text("initiator/isid", checks.is_word)
        return BootEntry(
            root=self.root,
            host_no=host_no,
            initiator_name=self._initiator(),
            isid=isid,
            **target,
            **nic,
        )

    def _initiator(self) -> str:
        return self._text("initiator/initiator-name", checks.is_name)

    def _names(self, kind: str) -> list[str]:
        if not self._tree.exists(f"{self._base}/initiator"):
            return []
        numbers = [numbered(name, kind) for name in self._tree.names(self._base)]
        return [f"{kind}{number}" for number in sorted(n for n in numbers if n is not None)]

    def _selected(self, kind: str) -> str:
        for name in self._names(kind):
            if self._number(f"{name}/flags", 0) & _BOOT_SELECTED:
                return name
        raise Unusable

    def _nic_of(self, target: str) -> str:
        wanted = self._number(f"{target}/nic-assoc", _NO_NUMBER)
        if wanted == _NO_NUMBER:
            raise Unusable
        nics = self._names("ethernet")
        for name in nics:
            if self._number(f"{name}/index", _NO_NUMBER) == wanted:
                return name
        raise Unusable(f"Invalid nic-assoc of {wanted}. Max id {len(nics)}.")

    def _nic(self, name: str) -> dict[str, str | int]:
        hwaddress = self._text(f"{name}/mac", checks.is_hwaddress)
        if not self._number(f"{name}/flags", 0) or not hwaddress:
            raise Unusable
        prefix = self._number(f"{name}/prefix-len", _NO_PREFIX)
        values: dict[str, str | int] = {
            key: self._text(f"{name}/{file}", test) for key, file, test in _NIC_TEXTS
        }
        return values | {
            "nic": name,
            "hwaddress": hwaddress,
            "netdev": self._netdev(name, hwaddress) if self.root == _IBFT else "",
            "prefix_len": prefix if 0 <= prefix <= _PREFIX_MAX else _NO_PREFIX,
            "origin": self._number(f"{name}/origin", 0),
        }

    def _netdev(self, name: str, hwaddress: str) -> str:
        """The device of the link `device`, where there is one; "" where there is no link.

        The card may have another address for its iSCSI side than its network device has. Raises
        Unusable where the link leads to no network device and none has the address.
        """
        device = f"{self._base}/{name}/device"
        if not self._tree.exists(device):
            return ""
        old = [entry for entry in self._tree.names(device) if entry.startswith("net:")]
        for entry in [*old, *self._tree.names(f"{device}/net")]:
            return entry.removeprefix("net:")
        found = netdev_of(self._tree, hwaddress)
        if not found:
            raise Unusable(f"no network device has the hardware address {hwaddress}")
        return found

    def _target(self, name: str) -> dict[str, str | int]:
        target_name = self._text(f"{name}/target-name", checks.is_name)
        address = self._text(f"{name}/ip-addr", checks.is_address)
        if not self._number(f"{name}/flags", 0) or not target_name or checks.is_unset(address):
            raise Unusable
        values: dict[str, str | int] = {key: self._chap(name, file) for key, file in _CHAP_TEXTS}
        return values | {
            "boot_target": name,
            "target_name": target_name,
            "address": address,
            "port": self._port(f"{name}/port"),
            "lun": self._text(f"{name}/lun", checks.is_word),
        }

    def _chap(self, target: str, file: str) -> str:
        """Not left out when it is wrong: the login would prove less than the firmware asks for."""
        text = self._tree.read(f"{self._base}/{target}/{file}") or ""
        if text and not checks.is_chap(text):
            raise Unusable(f"{file} is no CHAP name or secret")
        return text

    def _port(self, path: str) -> int:
        text = self._tree.read(f"{self._base}/{path}")
        if not text:
            return ISCSI_PORT
        if not checks.is_port(text):
            raise Unusable("port is no port number")
        return int(text)

    def _number(self, path: str, default: int) -> int:
        number = self._tree.read_int(f"{self._base}/{path}")
        return default if number is None else number

    def _text(self, path: str, is_valid: Callable[[str], bool]) -> str:
        text = self._tree.read(f"{self._base}/{path}") or ""
        if text and not is_valid(text):
            line = f"{self._base}/{path}: no valid value, left out"
            if line not in self._problems:
                self._problems.append(line)
            return ""
        return text


def netdev_of(tree: SysfsTree, hwaddress: str) -> str:
    """The Ethernet device with this address, "" if there is none."""
    for name in tree.names(_NETDEVS):
        address = tree.read(f"{_NETDEVS}/{name}/address") or ""
        is_ethernet = tree.read_int(f"{_NETDEVS}/{name}/type") == _ARPHRD_ETHER
        if is_ethernet and address.lower() == hwaddress.lower():
            return name
    return ""


def directories(tree: SysfsTree, problems: list[str]) -> list[Directory]:
    """The table first, then adapters by host number."""
    hosts = [numbered(name, _ADAPTER_PREFIX) for name in tree.names(_FIRMWARE)]
    adapters = [
        f"{_ADAPTER_PREFIX}{number}" for number in sorted(n for n in hosts if n is not None)
    ]
    return [Directory(tree, root, problems) for root in (_IBFT, *adapters)]
