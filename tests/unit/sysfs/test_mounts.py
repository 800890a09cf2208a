"""D-063: what keeps a session's disks busy, on a captured /proc and /sys."""

from pathlib import Path

import pytest

from pyiscsi.sysfs.mounts import holders_in_use
from pyiscsi.sysfs.sessions import Session
from pyiscsi.sysfs.tree import SysfsTree
from tests.unit.sysfs.capture import unpack


def in_use(tree: SysfsTree, root: Path, sid: int) -> list[str]:
    return holders_in_use(tree, Session(tree, sid), str(root / "proc"))


@pytest.mark.parametrize(
    ("sid", "lines"),
    [
        (1, ["sda1 is mounted on /tmp/m one"]),
        (2, ["dm-0 is mounted on /tmp/m2"]),
        (3, ["sdc is used as swap"]),
        (4, []),
        (5, []),
        (77, []),
    ],
)
def test_partition_holder_and_swap(shared_up: Path, sid: int, lines: list[str]) -> None:
    """D-063: file systems on partitions and on device mapper disks above them, and swap."""
    assert in_use(SysfsTree(str(shared_up / "sys")), shared_up, sid) == lines


def test_nothing_mounted_any_more(shared_down: Path) -> None:
    tree = SysfsTree(str(shared_down / "sys"))
    assert [in_use(tree, shared_down, sid) for sid in (1, 2, 3)] == [[], [], []]


def test_old_table_alone_is_enough(shared_up: Path, tmp_path: Path) -> None:
    tree = SysfsTree(str(shared_up / "sys"))
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text((shared_up / "proc/mounts").read_text())
    assert in_use(tree, tmp_path, 1) == ["sda1 is mounted on /tmp/m one"]
    assert in_use(tree, tmp_path, 2) == ["dm-0 is mounted on /tmp/m2"]


def test_device_number_is_enough(shared_up: Path, tmp_path: Path) -> None:
    """A root file system's source may be the meaningless /dev/root."""
    tree = SysfsTree(str(shared_up / "sys"))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("20 1 8:80 / / rw - ext4 /dev/root rw\n")
    assert in_use(tree, tmp_path, 4) == ["sdf is mounted on /"]


def test_holders_of_holders_and_loops(tmp_path: Path) -> None:
    """LVM above multipath; a ring of holders ends."""
    tree = unpack("up", tmp_path)
    root = Path(tree.root)
    (tmp_path / "proc/mounts").write_text("/dev/mapper/vg-lv /srv ext4 rw 0 0\n")
    (tmp_path / "proc/self/mountinfo").unlink()
    (root / "class/block/dm-1/dm").mkdir(parents=True)
    (root / "class/block/dm-1/dm/name").write_text("vg-lv\n")
    (root / "class/block/dm-1/holders").mkdir()
    (root / "class/block/dm-1/holders/dm-0").symlink_to("../../dm-0")
    (Path(tree.real("class/block/dm-0")) / "holders/dm-1").symlink_to("nowhere")
    assert in_use(tree, tmp_path, 2) == ["dm-1 is mounted on /srv"]


@pytest.mark.parametrize(
    "table",
    ["", "\n", "garbage\n", "1 2 3\n", " - \n", "36 35 98:0 /mnt1\n", "\\999 \\1 \\\n"],
)
def test_odd_tables(shared_up: Path, tmp_path: Path, table: str) -> None:
    tree = SysfsTree(str(shared_up / "sys"))
    (tmp_path / "proc/self").mkdir(parents=True)
    for name in ("mounts", "swaps", "self/mountinfo"):
        (tmp_path / "proc" / name).write_text(table)
    assert in_use(tree, tmp_path, 1) == []


def test_no_proc_at_all(shared_up: Path, tmp_path: Path) -> None:
    tree = SysfsTree(str(shared_up / "sys"))
    assert holders_in_use(tree, Session(tree, 1), str(tmp_path / "nothing")) == []
