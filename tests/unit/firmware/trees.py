"""Trees of boot firmware made by hand: sysfs and Open Firmware's device tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyiscsi.env import Env
from pyiscsi.sysfs.tree import SysfsTree

MAC = "02:00:00:00:00:01"
NAME = {"initiator-name": "iqn.x:i"}
NIC = {"flags": "3", "index": "0", "mac": MAC, "ip-addr": "192.0.2.9", "origin": "1"}
DISK = {"flags": "3", "target-name": "iqn.x:t", "ip-addr": "192.0.2.1", "nic-assoc": "0"}
BOOT = {"initiator": NAME, "ethernet0": NIC, "target0": DISK}
UNSET_IPV6 = ":".join(["0000"] * 8)
"""What the kernel shows for 16 bytes of nothing."""
BOOTPATH = (
    "/pci@800000020000002/pci@2,4/ethernet@1:iscsi,itname=iqn.x:i,ciaddr=192.0.2.9,"
    "subnet-mask=255.255.255.0,siaddr=192.0.2.1,iport=3261,ilun=8000,iname=iqn.x:t,"
    "isid=00023d000001,ichapid=me,ichappw=mysecret,chapid=you,chappw=yoursecret"
)


class Place:
    """A machine's /sys and /proc below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = Env(
            sysfs_root=str(root / "sys"),
            proc_root=str(root / "proc"),
            config_root=str(root / "etc"),
            db_root=str(root / "db"),
            lock_dir=str(root / "lock"),
            socket_path=str(root / "iscsid.sock"),
        )
        self.tree = SysfsTree(str(root / "sys"))

    def write(self, path: str, content: str | bytes) -> None:
        """A file below the root, with its directories."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else f"{content}\n".encode()
        file.write_bytes(data)

    def firmware(self, table: Mapping[str, Mapping[str, str]], root: str = "ibft") -> None:
        """`/sys/firmware/<root>`: files by object."""
        for name, files in table.items():
            (self.root / "sys/firmware" / root / name).mkdir(parents=True, exist_ok=True)
            for file, content in files.items():
                self.write(f"sys/firmware/{root}/{name}/{file}", content)

    def netdev(self, name: str, mac: str = MAC, kind: str = "1") -> None:
        """A network device."""
        self.write(f"sys/class/net/{name}/address", mac)
        self.write(f"sys/class/net/{name}/type", kind)

    def adapter(self, number: int, transport: str = "qla4xxx") -> None:
        """A SCSI host with its driver loaded."""
        self.write(f"sys/class/scsi_host/host{number}/proc_name", transport)
        self.write(f"sys/class/iscsi_transport/{transport}/handle", "7")
        self.write(f"sys/class/iscsi_transport/{transport}/caps", "0x1")

    def open_firmware(self, bootpath: str = BOOTPATH) -> None:
        """A device tree with two network nodes, the second of which was booted from."""
        self.write("proc/device-tree/chosen/bootpath", bootpath.encode() + b"\0")
        pci = "proc/device-tree/pci@800000020000002/pci@2,4"
        self.write(f"{pci}/ethernet@1/local-mac-address", bytes.fromhex("0200000000010000"))
        self.write(f"{pci}/ethernet@0/local-mac-address", bytes.fromhex("02000000000a"))
        self.write(f"{pci}/scsi@3/name", "scsi")
