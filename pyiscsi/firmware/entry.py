"""One target that boot firmware names, and the network device it is reached through."""

from __future__ import annotations

from pyiscsi.firmware.checks import is_unset
from pyiscsi.names import ISCSI_PORT

_DEFAULTS = {"port": ISCSI_PORT, "prefix_len": 0, "origin": 0, "host_no": None}
_DHCP_ORIGIN = 3


class BootEntry:
    """Values are checked texts, "" where the firmware has none. Secrets are not part of repr().

    `root`: directory of sysfs `firmware/` the entry comes from, "" for Open Firmware; `nic` and
    `boot_target` are names in it. `host_no`: SCSI host of the adapter that booted, None where the
    kernel's own network stack did. `prefix_len`: -1 where sysfs has no such file.
    """

    __slots__ = (
        "address", "boot_target", "dhcp", "gateway", "host_no", "hwaddress", "initiator_name",
        "ip_address", "isid", "lun", "netdev", "nic", "origin", "password", "password_in", "port",
        "prefix_len", "primary_dns", "root", "secondary_dns", "subnet_mask", "target_name",
        "username", "username_in", "vlan",
    )  # fmt: skip

    root: str
    nic: str
    boot_target: str
    initiator_name: str
    isid: str
    hwaddress: str
    netdev: str
    ip_address: str
    subnet_mask: str
    gateway: str
    primary_dns: str
    secondary_dns: str
    dhcp: str
    vlan: str
    target_name: str
    address: str
    username: str
    password: str
    username_in: str
    password_in: str
    lun: str
    host_no: int | None
    port: int
    prefix_len: int
    origin: int

    def __init__(self, **values: str | int | None) -> None:
        for name in self.__slots__:
            setattr(self, name, values.pop(name, _DEFAULTS.get(name, "")))
        if values:
            raise TypeError(f"unknown {', '.join(values)}")

    def __repr__(self) -> str:
        return f"BootEntry({self.root!r}, {self.target_name!r}, {self.address!r}, {self.port})"

    @property
    def uses_dhcp(self) -> bool:
        """Whether the address is a lease: by its origin, or because a DHCP server is named."""
        return self.origin == _DHCP_ORIGIN or not is_unset(self.dhcp)

    @property
    def vlan_id(self) -> int:
        """0 without a VLAN."""
        return int(self.vlan or "0")
