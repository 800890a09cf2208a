"""What stands on iSCSI disks: order, kinds and names, on a captured sysfs with devices added."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyiscsi.sysfs import stacks
from pyiscsi.sysfs.stacks import Block
from pyiscsi.sysfs.tree import SysfsTree


def add_mapped(tree: SysfsTree, name: str, mapped: str, uuid: str, *below: str) -> None:
    """A device-mapper device `name` on the devices `below`."""
    folder = Path(tree.root) / "class/block" / name
    (folder / "dm").mkdir(parents=True)
    (folder / "holders").mkdir()
    (folder / "dm/name").write_text(f"{mapped}\n")
    (folder / "dm/uuid").write_text(f"{uuid}\n")
    (folder / "dev").write_text(f"253:{name.partition('-')[2]}\n")
    for lower in below:
        holders = Path(tree.real(f"class/block/{lower}")) / "holders"
        holders.mkdir(exist_ok=True)
        (holders / name).symlink_to(folder)


def folder(tree: SysfsTree, sid: int) -> str:
    return tree.real(f"class/iscsi_session/session{sid}/device")


def by_name(tree: SysfsTree) -> dict[str, Block]:
    return {block.name: block for block in stacks.blocks(tree)}


def test_captured(up: SysfsTree) -> None:
    """Disks with their sessions, a partition above its disk, a device above that."""
    found = by_name(up)
    assert found["sda"].sessions == {folder(up, 1)}
    assert (found["sda"].height, found["sda1"].height) == (0, 1)
    assert found["sda1"].sessions == {folder(up, 1)}
    assert found["dm-0"].sessions == {folder(up, 2)}
    assert found["dm-0"].number == up.read("class/block/dm-0/dev")


def test_volume_on_crypt_on_multipath(own: SysfsTree) -> None:
    """The highest comes first; a device on two disks stands on both sessions."""
    add_mapped(own, "dm-5", "mpatha", "mpath-36001405", "sdd", "sde")
    add_mapped(own, "dm-6", "secret", "CRYPT-LUKS2-0123-secret", "dm-5")
    add_mapped(own, "dm-7", "my--group-volume--1", "LVM-abcdef", "dm-6")
    found = by_name(own)
    on_two = found["sdd"].sessions | found["sde"].sessions
    assert len(on_two) == 2
    above = [block for block in stacks.blocks(own) if block.sessions == on_two]
    assert [block.name for block in above] == ["dm-7", "dm-6", "dm-5"]
    assert [block.kind for block in above] == ["LVM", "CRYPT", "mpath"]
    assert found["dm-7"].group == "my-group"
    assert found["dm-5"].mapped == "mpatha"


def test_longest_way_counts(own: SysfsTree) -> None:
    """A device on a disk and on something above that same disk is removed before both."""
    add_mapped(own, "dm-5", "lower", "", "sdd")
    add_mapped(own, "dm-6", "upper", "", "sdd", "dm-5")
    found = by_name(own)
    assert (found["dm-5"].height, found["dm-6"].height) == (1, 2)


def test_ring_ends(own: SysfsTree) -> None:
    """Damaged links do not keep a shutdown from ending."""
    add_mapped(own, "dm-5", "one", "", "sdd")
    add_mapped(own, "dm-6", "two", "", "dm-5")
    (Path(own.root) / "class/block/dm-6/holders/dm-5").symlink_to("nowhere")
    assert {"dm-5", "dm-6"} <= by_name(own).keys()


@pytest.mark.parametrize(
    ("mapped", "group"),
    [("vg-lv", "vg"), ("a--b-c--d", "a-b"), ("vg-pool-tpool", "vg"), ("", "")],
)
def test_group_names(own: SysfsTree, mapped: str, group: str) -> None:
    """lvm doubles hyphens that belong to a name."""
    add_mapped(own, "dm-5", mapped, "LVM-x", "sdd")
    assert by_name(own)["dm-5"].group == group
