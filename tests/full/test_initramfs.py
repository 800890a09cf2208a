"""Machines that start from an initramfs image of Debian's making, with the root disk on iSCSI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.full import lab

CREDENTIALS = f"{lab.USER}:{lab.SECRET}:{lab.USER_IN}:{lab.SECRET_IN}"


@pytest.fixture(autouse=True)
def _possible() -> None:
    lab.skip_unless_possible()


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The /etc/iscsi an image is made with."""
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "initiatorname.iscsi").write_text(f"InitiatorName={lab.INITIATOR}\n")
    return folder


def stands_on_iscsi(disk: Path, console: str) -> None:
    """The machine came up, on the disk of the session."""
    lines = lab.proof(disk)
    assert lines, console
    assert lines[0].split()[1] == "/"
    assert lines[0].startswith("/dev/sd")
    assert lines[1:] == [lab.TARGET, lab.INITIATOR, "1"]


@pytest.mark.parametrize("whose", ["ours", "debian"])
@pytest.mark.usefixtures("settings")
def test_initramfs_tools(tmp_path: Path, whose: str) -> None:
    """root=iscsi:... with mutual CHAP, network by DHCP."""
    image = lab.image(tmp_path, "initramfs-tools", whose)
    disk = lab.root_disk(tmp_path)
    with lab.target(disk) as target:
        words = f"ip=dhcp root=iscsi:{CREDENTIALS}@{lab.HOST}::{target.port}:1:{lab.TARGET}"
        console = lab.boot(f"initramfs-tools, {whose}", image, words)
    stands_on_iscsi(disk, console)


def test_initramfs_tools_file(tmp_path: Path, settings: Path) -> None:
    """What to log in to comes from /etc/iscsi/iscsi.initramfs; one of two paths is dead."""
    disk = lab.root_disk(tmp_path)
    with lab.target(disk) as target:
        (settings / "iscsi.initramfs").write_text(
            f'ISCSI_TARGET_IP="10.0.2.99 {lab.HOST}"\nISCSI_TARGET_PORT={target.port}\n'
            f"ISCSI_TARGET_NAME={lab.TARGET}\n"
            f"ISCSI_USERNAME={lab.USER}\nISCSI_PASSWORD={lab.SECRET}\n"
            f"ISCSI_IN_USERNAME={lab.USER_IN}\nISCSI_IN_PASSWORD={lab.SECRET_IN}\n"
        )
        image = lab.image(tmp_path, "initramfs-tools", "ours")
        words = f"ip=dhcp root=LABEL={lab.LABEL}"
        console = lab.boot("initramfs-tools, ours, two paths", image, words)
    stands_on_iscsi(disk, console)


@pytest.mark.parametrize("origin", ["static", "dhcp"])
@pytest.mark.usefixtures("settings")
def test_initramfs_tools_firmware(tmp_path: Path, origin: str) -> None:
    """iscsi_auto: network, names and secrets come from an ACPI table."""
    image = lab.image(tmp_path, "initramfs-tools", "ours")
    disk = lab.root_disk(tmp_path)
    numbers = {"static": "1", "dhcp": "3"}
    with lab.target(disk) as target:
        table = lab.firmware_table(tmp_path, target.port, nic0_origin=numbers[origin])
        words = f"iscsi_auto root=LABEL={lab.LABEL}"
        console = lab.boot(f"initramfs-tools, ours, {origin} iBFT", image, words, table)
    stands_on_iscsi(disk, console)


@pytest.mark.usefixtures("settings")
def test_dracut(tmp_path: Path) -> None:
    """netroot=iscsi:... with mutual CHAP, network by DHCP.

    Debian 12's open-iscsi does not come up like that: its iscsid.service runs startup-checks.sh,
    which dracut's module does not copy.
    """
    image = lab.image(tmp_path, "dracut", "ours")
    disk = lab.root_disk(tmp_path)
    # dracut's script asks for the targets, and takes the one whose portal is the one it was given
    with lab.routed_target(disk) as (target, prefix):
        words = f"ip=dhcp rd.neednet=1 rd.iscsi.initiator={lab.INITIATOR} root=LABEL={lab.LABEL}"
        words += f" netroot=iscsi:{CREDENTIALS}@{lab.ROUTED}::{target.port}:1:{lab.TARGET}"
        console = lab.boot("dracut, ours", image, words, prefix=prefix)
    stands_on_iscsi(disk, console)
