"""Having all changes of a file system written to its disk at once, with syncfs(2).

For many files that costs little more than fsync(2) for one, unless others have left the disk a lot
to write. Python has no name for it, so the C library is called; where that, or the kernel's word
about the outcome, is missing, the caller has to do with fsync.
"""

from __future__ import annotations

import os

from pyiscsi.errors import RecordError
from pyiscsi.records.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_REPORTS_SINCE = (5, 8)
"""Older kernels write as well, but do not say when that failed."""

_TRUSTED = {
    # statfs(2) f_type
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0x01021994: "tmpfs",
}
"""Local file systems. Overlays and those of user processes need not pass an error on."""

_STATFS_BYTES = 512

UNWRITTEN_KB = 400
"""For each of our files: what a slow disk writes in the time of the fsyncs that are saved."""
_UNWRITTEN = (b"Dirty:", b"Writeback:")


class Disk:
    """The file system of a directory, as open_disk() found it. Context manager."""

    __slots__ = ("_fd", "_syncfs")

    def __init__(self, fd: int, syncfs: Any) -> None:
        self._fd = fd
        self._syncfs = syncfs

    def sync(self) -> bool:
        """Whether all that was changed since the last call, or since it was opened, is on disk."""
        return bool(self._syncfs(self._fd) == 0)

    def __enter__(self) -> Disk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)


def open_disk(path: str, files: int, proc_root: str = "/proc") -> Disk | None:
    """None where only fsync(2) tells what is on disk, or costs less for so few files."""
    if not _kernel_reports() or _unwritten_kb(proc_root) > files * UNWRITTEN_KB:
        return None
    try:
        import ctypes

        library = ctypes.CDLL(None)
        answer = ctypes.create_string_buffer(_STATFS_BYTES)
        if library.statfs(os.fsencode(path), answer):
            return None
        if ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF not in _TRUSTED:
            return None
        return Disk(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), library.syncfs)
    except (ImportError, AttributeError, OSError):
        return None


def _unwritten_kb(proc_root: str) -> int:
    """What all file systems together still have to write; 0 where nobody tells."""
    try:
        rows = [line.split() for line in read(f"{proc_root}/meminfo").splitlines()]
        return sum(int(row[1]) for row in rows if row[0] in _UNWRITTEN)
    except (RecordError, ValueError, IndexError):
        return 0


def _kernel_reports() -> bool:
    numbers = os.uname().release.split(".")
    try:
        return (int(numbers[0]), int(numbers[1])) >= _REPORTS_SINCE
    except (IndexError, ValueError):
        return False
