"""Care for what must never stop: lasting work that is started again, and checks of the rest.

Nothing the daemon relies on ends in silence. A task that dies is logged under its name and begins
anew; what is no task (the kernel's socket, worker threads) is looked at every few seconds.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
"""Between the end of a task and its next start; doubled for a task that soon ends again."""
STEADY_S = 60.0
"""What has not failed for so long has no permanent fault: the next pause is the first again."""
CHECK_EVERY_S = 2.0
STUCK_S = 30.0
"""How long all worker threads may be busy with the same calls before it is called a fault."""

_log = logging.getLogger("iscsid")


class Pauses:
    """How long to wait before something that failed is begun again."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S
        self._failed_at = -math.inf

    def after(self, now: float) -> float:
        """The pause after a failure at this time, in seconds."""
        pause_s = self._next_s if now - self._failed_at < STEADY_S else FIRST_PAUSE_S
        self._next_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._failed_at = now
        return pause_s


class Kept:
    """One piece of lasting work. `ended` is set when it has returned by itself."""

    def __init__(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]], on_end: Callable[[], None]
    ) -> None:
        self.ended = asyncio.Event()
        self._name = name
        self._work = work
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._pauses = Pauses()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._start()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._work(), name=self._name)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        is_whole = error is None and not task.cancelled()
        if is_whole or self._is_stopping:
            self.ended.set()
            self._on_end()
            return
        pause_s = self._pauses.after(self._loop.time())
        _log.error("%s ended, starting it again in %g s", self._name, pause_s, exc_info=error)
        self._timer = self._loop.call_later(pause_s, self._start)

    def leave(self) -> None:
        """Let it run, and not again."""
        self._is_stopping = True

    async def stop(self) -> None:
        """End it for good; returns when it has cleaned up."""
        self.leave()
        if self._timer is not None:
            self._timer.cancel()
        self.ended.set()
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})


class Watch:
    """Starts lasting work and starts it again whenever it dies."""

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}
        self._is_closed = False

    def keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Kept:
        """Run `work()` until it returns; begun again when it raises, or is cancelled from outside.

        `name` is what the log calls it.
        """
        kept = Kept(name, work, lambda: self._forget(kept))
        self._kept[id(kept)] = kept
        if self._is_closed:
            kept.leave()
        return kept

    def _forget(self, kept: Kept) -> None:
        self._kept.pop(id(kept), None)

    async def close(self) -> None:
        """End all of it. What is begun later is not begun again."""
        self._is_closed = True
        await asyncio.gather(*(kept.stop() for kept in [*self._kept.values()]))


class Checks:
    """Looks again and again whether what is no task still works.

    A check answers what is wrong, "" when nothing is. What it says is logged once, and once more
    when it is over.
    """

    def __init__(self) -> None:
        self._checks: list[tuple[Callable[[], str], bool]] = []
        self._troubles: dict[int, str] = {}

    def add(self, check: Callable[[], str], *, is_vital: bool = False) -> None:
        """`is_vital`: without it the daemon is of no use, and should rather be started again."""
        self._checks.append((check, is_vital))

    def is_well(self) -> bool:
        """Look now; whether everything vital works."""
        self._look()
        return not any(
            self._troubles.get(at) for at, (_, vital) in enumerate(self._checks) if vital
        )

    async def run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(CHECK_EVERY_S)

    def _look(self) -> None:
        for at, (check, _) in enumerate(self._checks):
            before, now = self._troubles.get(at, ""), check()
            if now and not before:
                _log.error("%s", now)
            elif before and not now:
                _log.warning("over: %s", before)
            self._troubles[at] = now


class Workers(ThreadPoolExecutor):
    """The loop's pool of threads, which can say what its threads are stuck in."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="worker")
        self._threads_max = threads
        self._running: dict[int, tuple[str, float]] = {}
        """By thread: the call, and when it began."""

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(self._run, functools.partial(call, *args, **kwargs))

    def _run(self, call: functools.partial[T]) -> T:
        thread = threading.get_ident()
        self._running[thread] = _name(call), time.monotonic()
        try:
            return call()
        finally:
            del self._running[thread]

    def trouble(self) -> str:
        """Which calls occupy every thread, "" as long as one is free or was a moment ago."""
        running = [*self._running.values()]
        newest = max((began for _, began in running), default=0.0)
        if len(running) < self._threads_max or time.monotonic() - newest < STUCK_S:
            return ""
        calls = Counter(name for name, _ in running)
        words = ", ".join(f"{count} in {name}" for name, count in calls.most_common())
        return f"all {len(running)} worker threads are stuck: {words}"


def _name(call: Any) -> str:
    """The function that a chain of partial objects calls (asyncio.to_thread makes two)."""
    while isinstance(call, functools.partial):
        is_context_run = getattr(call.func, "__name__", "") == "run" and call.args
        call = call.args[0] if is_context_run else call.func
    return getattr(call, "__qualname__", repr(call))


def log_dead_thread(args: threading.ExceptHookArgs) -> None:
    """threading.excepthook: a thread's last words belong in the log, not on /dev/null."""
    name = args.thread.name if args.thread is not None else "a thread"
    error = args.exc_value
    if error is not None:
        _log.error("thread %s ended", name, exc_info=error)
