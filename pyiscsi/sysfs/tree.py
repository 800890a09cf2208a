"""Reading and writing small files below one root, tolerant of everything sysfs does.

Attributes vanish between listing and reading, answer ENOTCONN while a session is down, or hold
`<NULL>` or `(null)` where the kernel has no value: all of that reads as None.
"""

from __future__ import annotations

import os

from pyiscsi.errors import SysfsError

_READ_MAX = 4096
"""A sysfs attribute never exceeds one page."""

_ABSENT = ("<NULL>", "(null)")


def leading_int(text: str) -> int:
    """atoi(): sign and leading digits; 0 without any."""
    body = text.lstrip()
    end = 1 if body[:1] in ("+", "-") else 0
    while end < len(body) and "0" <= body[end] <= "9":
        end += 1
    try:
        return int(body[:end])
    except ValueError:
        return 0


def numbered(name: str, prefix: str) -> int | None:
    """The number of a kernel object: 12 for `session12`; None for any other name."""
    digits = name.removeprefix(prefix)
    if digits == name or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)


class SysfsTree:
    """A sysfs mounted at `root`. All paths are relative to it: `class/scsi_host/host0/state`."""

    __slots__ = ("root",)

    def __init__(self, root: str = "/sys") -> None:
        self.root = root.rstrip("/")

    def read(self, path: str) -> str | None:
        """The attribute without trailing newlines; None when it is absent or unreadable."""
        try:
            handle = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            data = os.read(handle, _READ_MAX)
        except OSError:
            return None
        finally:
            os.close(handle)
        text = data.decode("utf-8", "surrogateescape").rstrip("\n")
        return None if text.startswith(_ABSENT) else text

    def read_int(self, path: str, default: int | None = None) -> int | None:
        """The attribute as a number, read like atoi(); `off` is -1, absent is `default`."""
        text = self.read(path)
        if text is None:
            return default
        return -1 if text == "off" else leading_int(text)

    def names(self, path: str) -> list[str]:
        """Entries of a directory in string order; none when it does not exist."""
        try:
            return sorted(os.listdir(f"{self.root}/{path}"))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        return os.path.exists(f"{self.root}/{path}")

    def real(self, path: str) -> str:
        """The path with all links resolved, absolute."""
        return os.path.realpath(f"{self.root}/{path}")

    def link(self, path: str) -> str | None:
        """What a link says, unresolved; None where there is no link."""
        try:
            return os.readlink(f"{self.root}/{path}")
        except OSError:
            return None

    def write(self, path: str, text: str) -> None:
        """Write one attribute; blocks as long as the kernel works on it. Raises SysfsError."""
        try:
            handle = os.open(f"{self.root}/{path}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise SysfsError(f"Could not write {self.root}/{path}: {reason}") from error
