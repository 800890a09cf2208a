"""Targets of the kernel's own iSCSI target (LIO), made by writing configfs.

Runs in the guest as root with `target_core_file` and `iscsi_target_mod` loaded and configfs mounted
(Documentation/target in the kernel tree; the attribute names are those of
drivers/target/iscsi/iscsi_target_configfs.c). Disks are sparse files in /tmp.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path("/sys/kernel/config/target")
ISCSI = ROOT / "iscsi"
DISKS = ROOT / "core/fileio_0"
DISK_FILES = Path("/tmp")

Secret = tuple[str, str]
"""A CHAP name and its secret."""


def create_target(
    iqn: str,
    portals: Sequence[str],
    *,
    luns: int = 1,
    size_mb: int = 16,
    tpgt: int = 1,
    chap: Secret | None = None,
    mutual: Secret | None = None,
) -> None:
    """Make and enable a target that any initiator may use.

    `portals` are `ADDRESS:PORT` or `[ADDRESS]:PORT`. With `chap` an initiator must know that name
    and secret; with `mutual` the target answers an initiator's challenge with that one. A second
    call with another `tpgt` adds a portal group.
    """
    group = _group(iqn, tpgt)
    group.mkdir(parents=True)
    for lun in range(luns):
        _create_lun(group, lun, _disk_name(iqn, tpgt, lun), size_mb)
    for portal in portals:
        add_portal(iqn, portal, tpgt)
    attributes = group / "attrib"
    _write(attributes / "generate_node_acls", "1")
    _write(attributes / "demo_mode_write_protect", "0")
    _write(attributes / "authentication", "1" if chap else "0")
    if chap:
        _write_secrets(group / "auth", chap, mutual)
        _write(group / "param/AuthMethod", "CHAP")
    set_enabled(iqn, True, tpgt)


def add_lun(iqn: str, lun: int, *, size_mb: int = 16, tpgt: int = 1) -> None:
    """One more disk for a target in use; initiators see it after a rescan."""
    _create_lun(_group(iqn, tpgt), lun, _disk_name(iqn, tpgt, lun), size_mb)


def add_portal(iqn: str, portal: str, tpgt: int = 1, *, netns: str = "") -> None:
    """Listen on one more address, of the network namespace `netns` if one is named."""
    folder = _group(iqn, tpgt) / "np" / portal
    if netns:
        # the listening socket belongs to the namespace of the process that makes the directory
        subprocess.run(["nsenter", f"--net=/run/netns/{netns}", "mkdir", str(folder)], check=True)
    else:
        folder.mkdir()


def delete_target(iqn: str) -> None:
    """Remove a target with its portal groups and disks; the kernel drops its sessions."""
    target = ISCSI / iqn
    for group in sorted(target.glob("tpgt_*")):
        _write(group / "enable", "0")
        for lun in sorted((group / "lun").glob("lun_*")):
            disks = [entry for entry in lun.iterdir() if entry.is_symlink()]
            for link in disks:
                link.unlink()
            lun.rmdir()
            for link in disks:
                (DISKS / link.name).rmdir()
                (DISK_FILES / link.name).unlink(missing_ok=True)
        for portal in sorted((group / "np").iterdir()):
            portal.rmdir()
        group.rmdir()
    target.rmdir()


def targets() -> list[str]:
    """Names of the targets that exist."""
    if not ISCSI.is_dir():
        return []
    return sorted(entry.name for entry in ISCSI.iterdir() if (entry / "fabric_statistics").is_dir())


def delete_all() -> None:
    """Back to a machine without targets and without discovery authentication."""
    for iqn in targets():
        delete_target(iqn)
    set_discovery_chap(None)


def set_enabled(iqn: str, enabled: bool, tpgt: int = 1) -> None:
    """Switch a portal group on or off; off drops its connections at once."""
    _write(_group(iqn, tpgt) / "enable", "1" if enabled else "0")


def set_chap(iqn: str, chap: Secret, mutual: Secret | None = None, tpgt: int = 1) -> None:
    """Change the secrets of an existing portal group made with `chap`."""
    _write_secrets(_group(iqn, tpgt) / "auth", chap, mutual)


def set_attribute(iqn: str, name: str, value: str, tpgt: int = 1) -> None:
    """Write one of the portal group's `attrib` files."""
    _write(_group(iqn, tpgt) / "attrib" / name, value)


def set_parameter(iqn: str, name: str, value: str, tpgt: int = 1) -> None:
    """Write one of the text keys the target offers, by its RFC 7143 name (`MaxBurstLength`)."""
    _write(_group(iqn, tpgt) / "param" / name, value)


def set_discovery_chap(chap: Secret | None, mutual: Secret | None = None) -> None:
    """Secrets that discovery sessions must use; None asks for none."""
    if chap is None and not ISCSI.is_dir():
        return
    ISCSI.mkdir(parents=True, exist_ok=True)
    folder = ISCSI / "discovery_auth"
    if chap:
        _write_secrets(folder, chap, mutual)
    _write(folder / "enforce_discovery_auth", "1" if chap else "0")


def _group(iqn: str, tpgt: int) -> Path:
    return ISCSI / iqn / f"tpgt_{tpgt}"


def _disk_name(iqn: str, tpgt: int, lun: int) -> str:
    return "d" + hashlib.sha256(f"{iqn} {tpgt} {lun}".encode()).hexdigest()[:12]


def _create_lun(group: Path, lun: int, disk: str, size_mb: int) -> None:
    size = size_mb << 20
    backing = DISK_FILES / disk
    with backing.open("wb") as file:
        file.truncate(size)
    store = DISKS / disk
    store.mkdir(parents=True)
    _write(store / "control", f"fd_dev_name={backing},fd_dev_size={size}")
    _write(store / "wwn/vpd_unit_serial", disk)
    _write(store / "enable", "1")
    folder = group / "lun" / f"lun_{lun}"
    folder.mkdir()
    (folder / disk).symlink_to(store)


def _write_secrets(folder: Path, chap: Secret, mutual: Secret | None) -> None:
    _write(folder / "userid", chap[0])
    _write(folder / "password", chap[1])
    if mutual:
        _write(folder / "userid_mutual", mutual[0])
        _write(folder / "password_mutual", mutual[1])


def _write(path: Path, text: str) -> None:
    """One write call: configfs takes each as one complete value."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
