"""Taking apart what stands on iSCSI disks before the logout at shutdown.

File systems are unmounted, then encrypted devices, volume groups and multipath maps removed, from
the highest down. What stands on a session that carries an excluded mount stays, with all of that
session.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

from pyiscsi.sysfs import mounts, stacks
from pyiscsi.sysfs.stacks import Block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyiscsi.sysfs.tree import SysfsTree

FOR_EVER = -1
_ROUNDS = 2
"""Mounts can cover each other in another order than mountinfo has."""

_REMOVERS: dict[str, tuple[str, ...]] = {
    stacks.CRYPT: ("cryptsetup", "close"),
    stacks.LVM: ("vgchange", "--available=n"),
    stacks.MULTIPATH: ("multipath", "-f"),
}
"""How a device of each kind is removed; the name of the device or of its group follows."""

_WORDS = {
    stacks.CRYPT: "encrypted device",
    stacks.LVM: "volume group",
    stacks.MULTIPATH: "multipath device",
}


class Plan:
    """What would be done now.

    `mount_points`: in the order in which they are unmounted. `removals`: (kind, name) of devices,
    the highest first. `kept`: sysfs directories of the sessions that must stay.
    """

    __slots__ = ("kept", "mount_points", "removals")

    def __init__(
        self, tree: SysfsTree, proc_root: str, excluded: Sequence[str], groups: Sequence[str]
    ) -> None:
        found = stacks.blocks(tree)
        by_number = {block.number: block for block in found}
        self.mount_points: list[str] = []
        self.kept: list[str] = []
        for number, point in reversed(mounts.mount_points(proc_root)):
            block = by_number.get(number)
            if block is None:
                continue
            if point in excluded:
                self.kept += sorted(block.sessions.difference(self.kept))
            else:
                self.mount_points.append(point)
        loose = [block for block in found if block.sessions.isdisjoint(self.kept)]
        self.removals = _removals(loose)
        self.removals += [(stacks.LVM, group) for group in groups if self._is_new(group)]

    def _is_new(self, group: str) -> bool:
        return (stacks.LVM, group) not in self.removals

    def lines(self) -> list[str]:
        """For an administrator who wants to see it."""
        parts = [
            ("would umount the following mount points", self.mount_points),
            *(
                (f"would remove each {words}", [n for k, n in self.removals if k == kind])
                for kind, words in _WORDS.items()
            ),
        ]
        if self.kept:
            parts.append(("sessions that stay, because of an excluded mount", self.kept))
        return [
            line
            for title, entries in parts
            for line in (f"{title}:", *(f"  {entry}" for entry in entries or ["(none)"]))
        ]

    def carry_out(self, proc_root: str) -> bool:
        """Do it; whether everything could be. What could not be is told on stderr."""
        is_done = True
        for attempt in range(_ROUNDS):
            for point in self.mount_points:
                done = _unmount(point, proc_root)
                if attempt == _ROUNDS - 1:
                    is_done = done and is_done
        for kind, name in self.removals:
            is_done = _remove(kind, name) and is_done
        return is_done


def _removals(found: Iterable[Block]) -> list[tuple[str, str]]:
    """Each device or group once; a volume group where its highest volume stands."""
    names = (
        (block.kind, block.group if block.kind == stacks.LVM else block.mapped)
        for block in found
        if block.kind in _REMOVERS
    )
    return list(dict.fromkeys(names))


def dismantle(
    tree: SysfsTree,
    proc_root: str,
    excluded: Sequence[str],
    groups: Sequence[str],
    timeout_s: int = 0,
) -> bool:
    """Take everything apart, again each second until `timeout_s` is over; whether it is all gone.

    FOR_EVER does not give up.
    """
    while not Plan(tree, proc_root, excluded, groups).carry_out(proc_root):
        if timeout_s == 0:
            return False
        time.sleep(1)
        timeout_s -= timeout_s > 0
    return True


def _unmount(point: str, proc_root: str) -> bool:
    """Whether nothing is mounted there any more; umount's own status can be wrong."""
    if not _is_mounted(point, proc_root):
        return True
    done = _run("umount", point)
    if done.returncode == 0 or not _is_mounted(point, proc_root):
        return True
    sys.stderr.write(f"Could not unmount {point}: {done.stderr.strip()}\n")
    return False


def _is_mounted(point: str, proc_root: str) -> bool:
    return any(mounted == point for _, mounted in mounts.mount_points(proc_root))


def _remove(kind: str, name: str) -> bool:
    command = _REMOVERS[kind]
    if shutil.which(command[0]) is None:
        return True
    done = _run(*command, name)
    if done.returncode == 0 or (kind == stacks.LVM and not _is_group(name)):
        return True
    sys.stderr.write(f"Could not remove {_WORDS[kind]} {name}: {done.stderr.strip()}\n")
    return False


def _is_group(name: str) -> bool:
    return bool(_run("vgs", "--noheadings", "-o", "vg_name", name).stdout.strip())


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
