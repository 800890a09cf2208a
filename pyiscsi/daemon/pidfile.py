"""What keeps two daemons apart: the pid file and the lock beside the native socket."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from pyiscsi.errors import PyIscsiError


class AlreadyRunning(PyIscsiError):
    """Another daemon holds the lock."""


class LockedFile:
    """A file held under a POSIX lock for as long as we run.

    POSIX, because open-iscsi locks its pid file so (usr/iscsid.c, lockf). Such a lock belongs to
    the process: take it after the last fork, and open the file nowhere else.
    """

    def __init__(self, path: str, what: str) -> None:
        self.path = path
        self._what = what
        self._fd = -1

    def acquire(self) -> None:
        """Raises AlreadyRunning when it is locked, PyIscsiError when it cannot be made."""
        while self._fd < 0:
            fd = self._open()
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                raise AlreadyRunning(f"Unable to lock {self._what} {self.path}") from error
            if self._is_current(fd):
                self._fd = fd
            else:
                os.close(fd)  # its owner removed it between our open and our lock

    def write(self, text: str) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError as error:
            raise self._error("write", error) from error

    def release(self, *, remove: bool = True) -> None:
        if self._fd >= 0:
            if remove:
                with suppress(OSError):
                    os.unlink(self.path)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._error("create", error) from error

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _error(self, verb: str, error: OSError) -> PyIscsiError:
        return PyIscsiError(f"Unable to {verb} {self._what} {self.path}: {error.strerror}")


class PidFile(LockedFile):
    def __init__(self, path: str) -> None:
        super().__init__(path, "pid file")

    def acquire(self) -> None:
        super().acquire()
        self.write(f"{os.getpid()}\n")
