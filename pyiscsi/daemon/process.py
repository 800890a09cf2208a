"""What the daemon does to its own process: background, priority, memory, privileges."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from pyiscsi.errors import PyIscsiError

NICE = -10
OOM_SCORE_ADJ = -1000
OPEN_FILES = 16384
UMASK = 0o077
START_TIMEOUT_S = 90.0
"""How long the parent waits for its child to listen; systemd gives a service as much."""

THREAD_STACK_BYTES = 512 * 1024
"""Locked memory counts each thread's whole stack; our threads resolve names and write files."""

_PR_SET_NAME = 15
_PR_SET_IO_FLUSHER = 57
_MCL_CURRENT = 1
_MCL_FUTURE = 2
_MCL_ONFAULT = 4
_M_ARENA_MAX = -8

_log = logging.getLogger("iscsid")


class Readiness:
    """The child's end of the pipe through which the parent learns how the start went."""

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def announce(self) -> None:
        """We listen: the parent may exit 0. Standard streams go to /dev/null."""
        if self._fd < 0:
            return
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if null > 2:
            os.close(null)
        with suppress(BrokenPipeError):  # the parent gave up waiting or was killed
            os.write(self._fd, b"1")
        os.close(self._fd)
        self._fd = -1


def daemonize(started: Callable[[int], None]) -> Readiness:
    """Go on in a child with its own session; the parent never returns.

    The parent exits 0 when the child has announced itself (after calling `started(pid)`), else
    with 1. Threads and event loops must not exist yet.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        os._exit(_await_child(read_end, pid, started))
    os.close(read_end)
    os.setsid()
    os.chdir("/")
    return Readiness(write_end)


def _await_child(read_end: int, pid: int, started: Callable[[int], None]) -> int:
    readable, _, _ = select.select([read_end], [], [], START_TIMEOUT_S)
    if readable and os.read(read_end, 1) == b"1":
        started(pid)
        return 0
    if not readable:
        os.kill(pid, signal.SIGTERM)
    return 1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: object) -> None:
    if _libc().prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_name(name: str = "iscsid") -> None:
    """The command name that ps, pidof and killall see; scripts look for `iscsid`."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))


def set_io_flusher() -> None:
    """Let memory reclaim not wait for the disks we are about to repair (prctl(2), Linux 5.6)."""
    _prctl(_PR_SET_IO_FLUSHER, ctypes.c_ulong(1))


def raise_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, NICE)


def protect_from_oom_killer(proc_root: str) -> None:
    with open(f"{proc_root}/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(OOM_SCORE_ADJ))


def raise_open_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def unlimit_locked_memory() -> None:
    """So that an unprivileged uid (-u) can still allocate once all memory is locked."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)


def lock_memory() -> None:
    """Keep all our pages in memory: we may run the disk they would be read from.

    Everything mapped now is read in and locked; mappings made later are locked page by page as
    they are touched, or the unused stack of every thread would count.
    """
    libc = _libc()
    for flags in (_MCL_CURRENT, _MCL_FUTURE | _MCL_ONFAULT):
        if libc.mlockall(flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def limit_thread_memory() -> None:
    """Small stacks and few malloc arenas; must run before the first thread starts."""
    threading.stack_size(THREAD_STACK_BYTES)
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:  # glibc only
        mallopt(_M_ARENA_MAX, 2)


def drop_privileges(uid: int | None, gid: int | None) -> None:
    """Become the user of -u and the group of -g. Raises PyIscsiError."""
    try:
        if gid is not None:
            os.setgid(gid)
        if (uid is not None or gid is not None) and os.geteuid() == 0:
            os.setgroups([])
        if uid is not None:
            _try(unlimit_locked_memory, "lift the limit of locked memory")
            os.setuid(uid)
    except (OSError, OverflowError) as error:
        raise PyIscsiError(f"Unable to run as uid {uid}, gid {gid}: {error}") from error


def harden(proc_root: str) -> None:
    """Apply every protection; one that is not permitted is logged, and the daemon goes on."""
    steps: tuple[tuple[Callable[[], None], str], ...] = (
        (raise_open_files, "raise the limit of open files"),
        (lambda: protect_from_oom_killer(proc_root), "adjust the OOM killer's score"),
        (set_io_flusher, "set PR_SET_IO_FLUSHER; recovery may hang when memory is low"),
    )
    for step, what in steps:
        _try(step, what)


def stay_in_memory() -> None:
    """lock_memory(), or a line in the log; may wait for a disk.

    open-iscsi ends when memory cannot be locked; in a container without the privilege that would
    leave no daemon at all.
    """
    _try(lock_memory, "lock memory")


def take_precedence() -> None:
    """Run before others from now on.

    Not earlier: a daemon that starts again has work of a second or two, which must not keep the
    kernel's own threads from serving the sessions that are there.
    """
    _try(raise_priority, "raise the priority")


def _try(step: Callable[[], None], what: str) -> None:
    try:
        step()
    except (OSError, ValueError) as error:
        _log.warning("could not %s: %s", what, error)
