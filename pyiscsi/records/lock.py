"""The database lock that open-iscsi's programs take: a hard link `lock.write` in a directory.

open-iscsi links its file `lock`, which says nothing about the owner, so the lock of a program that
was killed stays. Ours is a link to `lock.pyiscsi`, and only the process that also has the kernel's
lock (flock) on that file may make or remove it. The kernel gives that one back whatever ends the
process; a `lock.write` of ours met with the flock in hand is left over from a dead process and is
taken over as it is. The signals that end a program are held back while it has the lock (the order
of steps is that of idbm_lock in open-iscsi's usr/idbm.c).
"""

from __future__ import annotations

import os

from pyiscsi.errors import RecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pyiscsi.env import Env

TRIES = 3000
INTERVAL_S = 0.01

_NUMBER_WIDTH = 20
"""Of the process number in the lock file, so that a shorter one covers a longer one."""


class DatabaseLock:
    """Context manager; re-entrant in a thread, exclusive between threads and programs.

    Entering raises RecordError when the lock directory cannot be used or when nobody gave the
    lock back within `tries` x `interval_s`; a living program's lock is never removed.
    """

    __slots__ = (
        "_depth", "_directory", "_fd", "_held_back", "_interval_s", "_proc", "_thread", "_tries",
    )  # fmt: skip

    def __init__(self, env: Env, tries: int = TRIES, interval_s: float = INTERVAL_S) -> None:
        import _thread  # threading itself costs the start of every command a millisecond

        self._directory = env.lock_dir
        self._proc = env.proc_root
        self._tries = tries
        self._interval_s = interval_s
        self._thread = _thread.RLock()
        self._depth = 0
        self._fd = -1
        self._held_back: set[int] = set()

    def __enter__(self) -> DatabaseLock:
        if not self._thread.acquire(timeout=self._tries * self._interval_s):
            raise self._timed_out()
        try:
            if self._depth == 0:
                self._acquire()
            self._depth += 1
        except BaseException:
            self._thread.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        try:
            if self._depth == 0:
                self._release()
        finally:
            self._thread.release()

    @property
    def _file(self) -> str:
        return f"{self._directory}/lock.pyiscsi"

    @property
    def _link(self) -> str:
        return f"{self._directory}/lock.write"

    def _acquire(self) -> None:
        self._prepare()
        for attempt in range(self._tries):
            if attempt:
                import time

                time.sleep(self._interval_s)
            if self._try():
                return
        raise self._timed_out()

    def _prepare(self) -> None:
        try:
            os.mkdir(self._directory, 0o700)
            os.chmod(self._directory, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise RecordError(
                f"Could not open {self._directory}: {error.strerror}", self._directory
            ) from error
        try:
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(fd, 0o600)
            finally:
                os.close(fd)
        except FileExistsError:
            pass
        except OSError as error:
            raise self._refused(error) from error

    def _try(self) -> bool:
        """One attempt. On success the ending signals stay held back until the release."""
        before = _hold_back_more(_ending_signals())
        fd = -1
        taken = False
        try:
            fd = os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
            taken = self._flock(fd) and self._make_link(fd)
            if taken:
                self._fd, self._held_back = fd, before
        except OSError as error:
            raise self._refused(error) from error
        finally:
            if not taken:
                if fd >= 0:
                    os.close(fd)
                _hold_back_only(before)
        return taken

    def _flock(self, fd: int) -> bool:
        """The kernel's lock, if nobody has it; the file must still be the one that has the name."""
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return _is_same(fd, self._file)

    def _make_link(self, fd: int) -> bool:
        """The lock every program knows; True also for one that a dead process of ours left."""
        _sign(fd)
        try:
            os.link(self._file, self._link)
        except FileExistsError:
            return _is_same(fd, self._link)
        return True

    def _release(self) -> None:
        before, self._held_back = self._held_back, set()
        fd, self._fd = self._fd, -1
        try:
            if _is_same(fd, self._link):  # open-iscsi 2.1.8 removes others' after its own timeout
                os.unlink(self._link)
        finally:
            os.close(fd)
            _hold_back_only(before)

    def _refused(self, error: OSError) -> RecordError:
        lines = f"Maybe you are not root?\nCould not lock discovery DB: {self._link}"
        return RecordError(f"{lines}: {error.strerror}", self._link)

    def _timed_out(self) -> RecordError:
        line = f"Timeout on acquiring lock on DB: {self._link}: 17: File exists"
        try:
            ours = os.stat(self._file)
            link = os.stat(self._link) if os.path.exists(self._link) else ours
        except OSError:
            return RecordError(line, self._link)
        import time

        is_ours = os.path.samestat(ours, link)
        owner = self._owner() if is_ours else "a program of open-iscsi"
        age = time.time() - (ours.st_mtime if is_ours else link.st_ctime)
        return RecordError(f"{line} (held for {age:.0f} s by {owner})", self._link)

    def _owner(self) -> str:
        """Who signed the lock, by number and name: `process 4711, iscsiadm, stopped`."""
        from pyiscsi.records.files import read

        try:
            number = int(read(self._file))
        except (RecordError, ValueError):
            return "an unknown process"
        try:
            with open(f"{self._proc}/{number}/stat", encoding="utf-8", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(") ")
        except OSError:
            return f"process {number}"
        return f"process {number}, {name}" + (", stopped" if rest[:1] in ("T", "t") else "")


def _is_same(fd: int, path: str) -> bool:
    """Whether a path names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    """Write who has the lock, for those who wait for it; on a full disk it holds without."""
    try:
        os.pwrite(fd, f"{os.getpid():<{_NUMBER_WIDTH}}\n".encode(), 0)
    except OSError:
        return


def _ending_signals() -> set[int]:
    import _signal  # type: ignore[import-not-found]  # the enums of `signal` cost milliseconds

    return {_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGTSTP}


def _hold_back_more(signals: set[int]) -> set[int]:
    """Block signals in this thread; returns those blocked before."""
    import _signal

    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        # A signal that came just before is handled in here, perhaps by an exception.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, signals)
    except BaseException:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        raise
    return before


def _hold_back_only(signals: set[int]) -> None:
    """Let the others through; one that waited may end the program in here."""
    import _signal

    _signal.pthread_sigmask(_signal.SIG_SETMASK, signals)
