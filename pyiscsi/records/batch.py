"""Replacing many record files for about the price of one.

Each file is as safe as with files.replace(): its new text is on disk before it takes the place of
the old one. But all texts go to the disk in one go, and the lock is held only while they take their
places, for which a file must still be what its new text was made from.
"""

from __future__ import annotations

import os

from pyiscsi.errors import RecordError
from pyiscsi.records.files import (
    adopt_ownership,
    create_temporary,
    failure,
    fill,
    make_directories,
    read,
    remove_quietly,
    remove_stale,
    sync_directory,
    temporary_stem,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.records.database import Database
    from pyiscsi.records.disk import Disk


SETTLED_NS = 3_000_000_000
"""A file that was as old when it was read gets another ctime when it changes again; with a younger
one the change may fall into the same tick of the file system's clock."""


class Text:
    """The whole text of a file, on its way to the disk.

    `old`: owner and mode it is to have, None for those of a new file. `temporary`: where it is,
    "" if it is nowhere, and `made`: as what it was made there.
    """

    __slots__ = ("data", "made", "old", "temporary")

    def __init__(self, data: bytes, old: os.stat_result | None = None) -> None:
        self.data = data
        self.old = old
        self.made: os.stat_result | None = None
        self.temporary = ""

    def drop(self) -> None:
        """Remove what has not got its place."""
        if self.temporary:
            remove_quietly(self.temporary)
        self.temporary = ""


class Change:
    """A new text for the file at `path`, made from `before`, which is all that was read there not
    before `read_at_ns` of time.time_ns(); `status` is what the file was then.
    """

    __slots__ = ("before", "path", "read_at_ns", "status", "text")

    def __init__(
        self, path: str, before: bytes, status: os.stat_result, read_at_ns: int, data: bytes
    ) -> None:
        self.path = path
        self.before = before
        self.status = status
        self.read_at_ns = read_at_ns
        self.text = Text(data, status)


def write_out(root: str, disk: Disk, texts: Sequence[Text]) -> None:
    """Write temporary files and have them on disk; one that failed has none."""
    remove_stale(root)
    stem = temporary_stem(root)
    made: os.stat_result | None = None
    for number, text in enumerate(texts):
        try:
            text.temporary, fd = create_temporary(stem, number)
            try:
                # All of them are made by the same process in the same directory.
                made = text.made = made or os.fstat(fd)
                if text.old:
                    adopt_ownership(fd, made, text.old)
                fill(fd, text.data)
            finally:
                os.close(fd)
        except OSError:
            text.drop()
    if not disk.sync():
        for text in texts:
            text.drop()


def replace_all(database: Database, disk: Disk, changes: Sequence[Change]) -> list[bool]:
    """Make all changes that can be made this way; tells for each whether it was.

    One that was not has left no trace: its file changed meanwhile, is a link or on another file
    system, or the disk is full. Raises RecordError when the lock cannot be had; then none is made.
    What a signal that ends the program leaves is as after a crash: see files.remove_stale().
    """
    try:
        write_out(database.root, disk, [change.text for change in changes])
        with database.lock:
            done = [_move(change) for change in changes]
    finally:
        for change in changes:
            change.text.drop()
    if disk.sync():
        return done
    return [ok and _sync(change) for ok, change in zip(done, changes, strict=True)]


def _move(change: Change) -> bool:
    try:
        if not (change.text.temporary and _is_unchanged(change)):
            return False
        os.rename(change.text.temporary, change.path)
    except (OSError, RecordError):
        return False
    change.text.temporary = ""
    return True


def _is_unchanged(change: Change) -> bool:
    """Whether it is still the file that was read, and its text the same. A link never is."""
    if _identity(os.lstat(change.path)) != _identity(change.status):
        return False
    if change.status.st_ctime_ns < change.read_at_ns - SETTLED_NS:
        return True
    return read(change.path) == change.before


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _sync(change: Change) -> bool:
    try:
        sync_directory(os.path.dirname(change.path))
    except OSError:
        return False
    return True


def put(root: str, text: Text, path: str) -> bool:
    """Give a text that was written out its place, in directories that are made for it.

    False, and nothing is done but for directories, where it needs more than a rename. The lock is
    held, and the caller syncs what changed. Raises RecordError.
    """
    if not text.temporary:
        return False
    make_directories(root, os.path.dirname(path), durable=False)
    try:
        if not _fits(path, text.made):
            return False
        os.rename(text.temporary, path)
    except OSError:
        return False
    text.temporary = ""
    return True


def _fits(path: str, made: os.stat_result | None) -> bool:
    """Whether nothing is there yet, or a file of the same owner and mode as ours."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return True
    names = ("st_uid", "st_gid", "st_mode")
    return all(getattr(there, name) == getattr(made, name) for name in names)


def sync_upwards(root: str, path: str) -> None:
    """Have the entries of a file and of the directories above it on disk. Raises RecordError."""
    try:
        while path != root:
            path = os.path.dirname(path)
            sync_directory(path)
    except OSError as error:
        raise failure(path, error) from error
