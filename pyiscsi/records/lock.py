"""The database lock that open-iscsi's programs take: a hard link `lock.write` to `lock`.

Nothing in it names its owner and the kernel does not release it, so it must never outlive its
holder: the signals that end a program are held back while it is held (open-iscsi usr/idbm.c,
idbm_lock; the order of steps is the same).
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


class DatabaseLock:
    """Context manager; re-entrant in a thread, exclusive between threads and programs.

    Entering raises RecordError when the lock directory cannot be used or when nobody gave the
    lock back within `tries` x `interval_s`; somebody else's lock is never removed.
    """

    __slots__ = ("_depth", "_directory", "_held_back", "_interval_s", "_thread", "_tries")

    def __init__(self, env: Env, tries: int = TRIES, interval_s: float = INTERVAL_S) -> None:
        import _thread  # threading itself costs the start of every command a millisecond

        self._directory = env.lock_dir
        self._tries = tries
        self._interval_s = interval_s
        self._thread = _thread.RLock()
        self._depth = 0
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
        return f"{self._directory}/lock"

    @property
    def _link(self) -> str:
        return f"{self._directory}/lock.write"

    def _acquire(self) -> None:
        self._prepare()
        for attempt in range(self._tries):
            if attempt:
                import time

                time.sleep(self._interval_s)
            if self._try_link():
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

    def _try_link(self) -> bool:
        """One attempt. On success the ending signals stay held back until the release."""
        before = _hold_back_more(_ending_signals())
        linked = False
        try:
            os.link(self._file, self._link)
            linked = True
            self._held_back = before
        except FileExistsError:
            pass
        except OSError as error:
            raise self._refused(error) from error
        finally:
            if not linked:
                _hold_back_only(before)
        return linked

    def _release(self) -> None:
        before, self._held_back = self._held_back, set()
        try:
            os.unlink(self._link)
        except FileNotFoundError:
            pass  # open-iscsi 2.1.8 removes locks it does not own after its own timeout
        finally:
            _hold_back_only(before)

    def _refused(self, error: OSError) -> RecordError:
        lines = f"Maybe you are not root?\nCould not lock discovery DB: {self._link}"
        return RecordError(f"{lines}: {error.strerror}", self._link)

    def _timed_out(self) -> RecordError:
        line = f"Timeout on acquiring lock on DB: {self._link}: 17: File exists"
        try:
            taken = os.stat(self._link).st_ctime
        except OSError:
            return RecordError(line, self._link)
        import time

        return RecordError(f"{line} (held for {time.time() - taken:.0f} s)", self._link)


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
