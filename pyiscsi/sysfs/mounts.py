"""Whether something still uses a session's disks: file systems, swap, and what stacks on them.

Serves `iscsid.safe_logout`. Disks are compared by device number where the kernel gives it
(mountinfo) and by name, because btrfs and overlays show an anonymous number.
"""

from __future__ import annotations

import os

from pyiscsi.sysfs.devices import devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiscsi.sysfs.sessions import Session
    from pyiscsi.sysfs.tree import SysfsTree

BLOCK = "class/block"


def holders_in_use(tree: SysfsTree, session: Session, proc_root: str = "/proc") -> list[str]:
    """One line for each use of a disk, partition or holder (dm, md); none: free to log out."""
    users = _Users(proc_root)
    lines: list[str] = []
    for block in _all_blocks(tree, session):
        lines += users.of(tree, block)
    return lines


def _all_blocks(tree: SysfsTree, session: Session) -> Iterator[str]:
    """Names of the session's disks with their partitions and everything built on those."""
    waiting = [device.block for device in devices(tree, session) if device.block]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        yield name
        base = f"{BLOCK}/{name}"
        waiting += tree.names(f"{base}/holders")
        waiting += [n for n in tree.names(base) if tree.exists(f"{base}/{n}/partition")]


class _Users:
    """Who uses which block device: (source path, device number, words)."""

    def __init__(self, proc_root: str) -> None:
        self.entries = [
            *_mounts(f"{proc_root}/self/mountinfo"),
            *_old_mounts(f"{proc_root}/mounts"),
            *_swaps(f"{proc_root}/swaps"),
        ]

    def of(self, tree: SysfsTree, block: str) -> list[str]:
        number = tree.read(f"{BLOCK}/{block}/dev")
        mapped = tree.read(f"{BLOCK}/{block}/dm/name")
        # An exclamation mark stands for the slash in names like cciss/c0d0.
        paths = {f"/dev/{block.replace('!', '/')}"}
        if mapped:
            paths.add(f"/dev/mapper/{mapped}")
        uses = (
            words
            for path, used, words in self.entries
            if path in paths or (number and number in (used, _number_of(path)))
        )
        return [f"{block} {words}" for words in dict.fromkeys(uses)]


def _number_of(path: str) -> str:
    """`major:minor` behind a path such as /dev/disk/by-uuid/...; empty for anything else."""
    if not path.startswith("/dev/"):
        return ""
    try:
        device = os.stat(path).st_rdev
    except (OSError, ValueError):
        return ""
    return f"{os.major(device)}:{os.minor(device)}"


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().split("\n")
    except OSError:
        return []


def unescaped(text: str) -> str:
    """Undo the octal escapes of the mount tables."""
    head, *rest = text.split("\\")
    for part in rest:
        code = part[:3]
        octal = len(code) == 3 and all("0" <= c <= "7" for c in code)
        head += chr(int(code, 8)) + part[3:] if octal else "\\" + part
    return head


def mount_points(proc_root: str = "/proc") -> list[tuple[str, str]]:
    """(`major:minor`, mount point) of everything mounted, in the order it was mounted.

    The number is that of the source where the kernel shows an anonymous one (btrfs).
    """
    return [
        (_number_of(source) or number, point)
        for source, number, point in _mountinfo(f"{proc_root}/self/mountinfo")
    ]


def _mounts(path: str) -> Iterator[tuple[str, str, str]]:
    for source, number, point in _mountinfo(path):
        yield source, number, f"is mounted on {point}"


def _mountinfo(path: str) -> Iterator[tuple[str, str, str]]:
    """proc(5): ID parent major:minor root mountpoint options [fields] - type source options."""
    for line in _lines(path):
        before, dash, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if dash and len(left) > 4 and len(right) > 1:
            yield unescaped(right[1]), left[2], unescaped(left[4])


def _old_mounts(path: str) -> Iterator[tuple[str, str, str]]:
    for line in _lines(path):
        fields = line.split()
        if len(fields) > 1:
            yield unescaped(fields[0]), "", f"is mounted on {unescaped(fields[1])}"


def _swaps(path: str) -> Iterator[tuple[str, str, str]]:
    for line in _lines(path)[1:]:
        fields = line.split()
        if fields:
            yield unescaped(fields[0]), "", "is used as swap"
