"""Reading and replacing single files of the database, so that a crash loses nothing.

A new text goes to a temporary file directly in the database root, which no program scans, is
synced and renamed over the old one. Other rooms see only RecordError.
"""

from __future__ import annotations

import errno
import os
import stat

from pyiscsi.errors import ExitCode, RecordError

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
TEMPORARY = ".pyiscsi."
QUARANTINE = ".pyiscsi-quarantine"
STALE_AFTER_S = 60
"""Age of a temporary file whose writer must be gone: twice the wait for the database lock."""
SIZE_MAX = 1 << 20
"""More than any record can fill (256 keys); a guard against reading a disk image by mistake."""


def failure(path: str, error: OSError) -> RecordError:
    """The error for a file or directory that can't be used; to others than root it says why."""
    line = f"Could not open {path}: {error.strerror}"
    if isinstance(error, PermissionError) and os.geteuid():
        line = f"Maybe you are not root?\n{line}"
    return RecordError(line, path)


def exists(path: str) -> bool:
    """Whether there is such a name. Raises RecordError where that cannot be known."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise failure(path, error) from error
    return True


def has_vanished(error: RecordError) -> bool:
    """Whether a file could not be read because somebody has deleted it since it was listed."""
    was_missing = isinstance(error.__cause__, FileNotFoundError)
    had_no_file = error.exit_code == ExitCode.INVALID  # an iface's (ifaces.py)
    return (was_missing or had_no_file) and not os.path.lexists(error.path)


def read(path: str) -> bytes:
    """The bytes of a regular file. Raises RecordError, also for devices, pipes and directories."""
    return read_with_status(path)[0]


def read_with_status(path: str) -> tuple[bytes, os.stat_result]:
    """As read(), and the file's owner and mode."""
    try:
        # Non-blocking, or a pipe put there by mistake would hold the command for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file")
            if status.st_size > SIZE_MAX:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return _read_all(fd, status.st_size), status
        finally:
            os.close(fd)
    except OSError as error:
        raise failure(path, error) from error


def _read_all(fd: int, size: int) -> bytes:
    """To its end, which a read that brings less than it asked for has reached."""
    data = os.read(fd, size + 1)
    while len(data) > size and (more := os.read(fd, SIZE_MAX)):
        data += more
    return data


def make_directories(root: str, path: str, *, durable: bool = True) -> None:
    """Make `path` and what is missing between it and `root`, each 0700 whatever the umask.

    Not `durable`: the caller syncs them.
    """
    if os.path.isdir(path):
        return
    if path != root:
        make_directories(root, os.path.dirname(path), durable=durable)
    try:
        os.mkdir(path, DIRECTORY_MODE)
        os.chmod(path, DIRECTORY_MODE)
        if durable:
            sync_directory(os.path.dirname(path))
    except FileExistsError:
        if not os.path.isdir(path):
            raise RecordError(f"Could not make {path}: Not a directory", path) from None
    except OSError as error:
        raise RecordError(f"Could not make {path}: {error.strerror}", path) from error


def ensure_root(root: str) -> None:
    """Make the database root, one level, as every iscsiadm command does first."""
    if os.path.isdir(root):
        return
    try:
        os.mkdir(root, DIRECTORY_MODE)
        os.chmod(root, DIRECTORY_MODE)
    except OSError as error:
        lines = f"Could not make {root} {error.errno}\nexiting due to idbm configuration error"
        raise RecordError(lines, root) from error


def replace(root: str, path: str, data: bytes) -> None:
    """Make `data` the content of `path`: either all of it or, on RecordError, none.

    An existing file keeps its mode and owner; a new one is 0600. A symbolic link is followed.
    The caller holds the database lock.
    """
    make_directories(root, os.path.dirname(path))
    if os.path.islink(path):
        path = os.path.realpath(path)
    remove_stale(root)
    try:
        temporary, fd = create_temporary(temporary_stem(root))
    except OSError as error:
        raise failure(path, error) from error
    try:
        try:
            fill(fd, data)
            _adopt(fd, path)
            os.fsync(fd)
        finally:
            os.close(fd)
        _move(temporary, path, data)
    except OSError as error:
        raise failure(path, error) from error
    finally:
        remove_quietly(temporary)


def temporary_stem(root: str) -> str:
    """What the names of this process's temporary files begin with."""
    return f"{root}/{TEMPORARY}{os.getpid()}."


def create_temporary(stem: str, number: int = 0) -> tuple[str, int]:
    """Path and descriptor of a new file, with the first free number. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        name = f"{stem}{number}"
        try:
            return name, os.open(name, flags, FILE_MODE)
        except FileExistsError:
            number += 1


def fill(fd: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        data = data[os.write(fd, data) :]


def _adopt(fd: int, path: str) -> None:
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, FILE_MODE)
        return
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    adopt_ownership(fd, os.fstat(fd), old)


def adopt_ownership(fd: int, new: os.stat_result, old: os.stat_result) -> None:
    """Give a file that is `new` the owner and mode of the `old` one. Raises OSError."""
    is_given = (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid)
    if is_given:
        os.fchown(fd, old.st_uid, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    if is_given or mode != stat.S_IMODE(new.st_mode):
        os.fchmod(fd, mode)


def _move(temporary: str, path: str, data: bytes) -> None:
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _overwrite(path, data)
    sync_directory(os.path.dirname(path))


def _overwrite(path: str, data: bytes) -> None:
    """In place, for a record directory that is a file system of its own."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fill(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def make_private(path: str) -> None:
    """Give a file that will be replaced by a new one, not changed, the mode of new ones."""
    try:
        os.chmod(path, FILE_MODE)
    except OSError:
        return


def remove_empty(path: str) -> bool:
    """Remove a directory if nothing is in it."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def remove_stale(root: str) -> None:
    """Remove temporary files that killed writers left behind."""
    import time

    oldest = time.time() - STALE_AFTER_S
    try:
        names = os.listdir(root)
    except OSError:
        return
    for name in names:
        if not name.startswith(TEMPORARY):
            continue
        path = f"{root}/{name}"
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_mtime < oldest:
            remove_quietly(path)


def quarantine(root: str, path: str) -> str:
    """Move a damaged file out of the scanned directories; returns where it is now."""
    directory = f"{root}/{QUARANTINE}"
    make_directories(root, directory)
    relative = os.path.relpath(path, root).replace("/", "%")[-200:]
    for number in range(1, 10000):
        place = f"{directory}/{relative}.{number}"
        if not os.path.lexists(place):
            break
    try:
        os.rename(path, place)
        sync_directory(directory)
    except OSError as error:
        raise failure(path, error) from error
    return place


def convert_to_directory(root: str, path: str, name: str) -> None:
    """Turn the file `path` into a directory that holds it under `name`; the lock is held.

    The directory is made complete under a temporary name first. A crash between the last two
    steps leaves the record there, `.pyiscsi.<pid>.d` in the root, where it can be found.
    """
    temporary = f"{root}/{TEMPORARY}{os.getpid()}.d"
    data = read(path)
    try:
        os.mkdir(temporary, DIRECTORY_MODE)
        os.chmod(temporary, DIRECTORY_MODE)
        try:
            replace(root, f"{temporary}/{name}", data)
            os.unlink(path)
        except (OSError, RecordError):
            remove_quietly(f"{temporary}/{name}")
            remove_empty(temporary)
            raise
        os.rename(temporary, path)
        sync_directory(os.path.dirname(path))
    except OSError as error:
        raise failure(path, error) from error
