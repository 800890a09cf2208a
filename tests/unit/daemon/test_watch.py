"""Nothing the daemon relies on ends in silence."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pyiscsi.daemon import watch
from pyiscsi.daemon.watch import Checks, Pauses, Watch, Workers
from tests.unit.daemon.actor_parts import run


class Work:
    """Lasting work that ends as it is told: `ends` holds exceptions to raise, then it goes on."""

    def __init__(self, *ends: Exception) -> None:
        self.ends = [*ends]
        self.starts: list[float] = []
        self.task: asyncio.Task[Any] | None = None

    async def __call__(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        self.task = asyncio.current_task()
        if self.ends:
            raise self.ends.pop(0)
        await asyncio.get_running_loop().create_future()


def play(body: Callable[[Watch], Coroutine[Any, Any, None]]) -> None:
    """Run a test's body with a watch, which is closed in the end."""

    async def main() -> None:
        kept = Watch()
        await body(kept)
        await kept.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_work_that_raises_is_logged_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """The log has its name and the traceback; pauses grow while it fails again and again."""
    work = Work(ValueError("first"), ValueError("second"), ValueError("third"))

    async def body(kept: Watch) -> None:
        kept.keep("the reader", work)
        await asyncio.sleep(10)

    play(body)
    pauses = [later - earlier for earlier, later in zip(work.starts, work.starts[1:], strict=False)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4])
    assert caplog.messages == [
        f"the reader ended, starting it again in {pause} s" for pause in ("0.1", "0.2", "0.4")
    ]
    assert "ValueError: first" in caplog.text


def test_work_that_is_cancelled_by_a_stranger_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Cancelled is as dead as failed, unless the watch is closed."""
    work = Work()

    async def body(kept: Watch) -> None:
        kept.keep("the reader", work)
        await asyncio.sleep(0)
        assert work.task is not None
        work.task.cancel()
        await asyncio.sleep(1)
        assert len(work.starts) == 2

    play(body)
    assert len(work.starts) == 2
    assert caplog.messages == ["the reader ended, starting it again in 0.1 s"]


def test_work_that_is_done_is_not_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """Who waits for its end is told, after however many starts."""
    starts: list[int] = []

    async def work() -> None:
        starts.append(1)
        if len(starts) < 3:
            raise ValueError

    async def body(kept: Watch) -> None:
        await kept.keep("an errand", work).ended.wait()
        await asyncio.sleep(100)
        assert len(starts) == 3

    play(body)
    assert len(caplog.messages) == 2


def test_closed_while_it_waits_to_start_again() -> None:
    """Neither a start nor a waiter is left over; what is begun after the end dies in peace."""
    work = Work(ValueError(), ValueError())

    async def body(kept: Watch) -> None:
        waited_for = kept.keep("the reader", work)
        await asyncio.sleep(0.01)
        await kept.close()
        await waited_for.ended.wait()
        await asyncio.sleep(100)
        assert len(work.starts) == 1
        kept.keep("late", work)
        await asyncio.sleep(100)
        assert len(work.starts) == 2

    play(body)


def test_pauses_grow_to_a_bound_and_begin_anew() -> None:
    """A fault that is permanent does not keep the processor busy."""
    pauses, now = Pauses(), 0.0
    found = []
    for _ in range(12):
        found.append(pauses.after(now))
        now += found[-1]
    assert found[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert found[-1] == watch.LONGEST_PAUSE_S
    assert pauses.after(now + watch.STEADY_S) == watch.FIRST_PAUSE_S


def test_what_a_check_says_is_logged_once_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only vital troubles keep the watchdog's ping back."""
    caplog.set_level(logging.WARNING, "iscsid")
    troubles = {"vital": "", "other": ""}
    checks = Checks()
    checks.add(lambda: troubles["vital"], is_vital=True)
    checks.add(lambda: troubles["other"])
    assert checks.is_well()
    troubles["other"] = "slow for 60 s"
    assert checks.is_well()
    troubles["other"] = "slow for 62 s"
    troubles["vital"] = "deaf"
    assert not checks.is_well()
    assert not checks.is_well()
    troubles.update(vital="", other="")
    assert checks.is_well()
    assert caplog.messages == [
        "slow for 60 s", "deaf", "over: deaf", "over: slow for 62 s",
    ]  # fmt: skip


def hang(release: threading.Event, begun: threading.Semaphore) -> None:
    begun.release()
    release.wait(60)


class Other:
    def hang(self, release: threading.Event, begun: threading.Semaphore) -> None:
        hang(release, begun)


def test_stuck_threads_are_told_with_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool with a thread to spare is well, and one whose threads are free again."""
    monkeypatch.setattr(watch, "STUCK_S", 0.0)
    release, begun = threading.Event(), threading.Semaphore(0)

    async def main() -> None:
        workers = Workers(3)
        asyncio.get_running_loop().set_default_executor(workers)
        jobs = [asyncio.to_thread(hang, release, begun) for _ in range(2)]
        stuck = [asyncio.create_task(job) for job in jobs]
        await asyncio.sleep(0)
        for _ in stuck:
            assert begun.acquire(timeout=30)
        assert workers.trouble() == ""
        third = asyncio.get_running_loop().run_in_executor(None, Other().hang, release, begun)
        assert begun.acquire(timeout=30)
        expected = "all 3 worker threads are stuck: 2 in hang, 1 in Other.hang"
        assert workers.trouble() == expected
        release.set()
        await asyncio.gather(*stuck, third)
        assert workers.trouble() == ""
        assert await asyncio.to_thread(lambda: 7) == 7

    asyncio.run(main())


def test_a_pool_that_has_just_taken_work_is_not_stuck() -> None:
    """Busy is no fault."""
    release, begun = threading.Event(), threading.Semaphore(0)
    workers = Workers(1)
    job = workers.submit(hang, release, begun)
    assert begun.acquire(timeout=30)
    assert workers.trouble() == ""
    release.set()
    job.result(30)
    workers.shutdown()


def test_a_dead_thread_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its name and traceback; Python would write to a stderr that nobody reads."""
    monkeypatch.setattr(threading, "excepthook", watch.log_dead_thread)

    def work() -> None:
        raise ValueError("why")

    thread = threading.Thread(target=work, name="resolver")
    thread.start()
    thread.join(30)
    assert caplog.messages == ["thread resolver ended"]
    assert "ValueError: why" in caplog.text
