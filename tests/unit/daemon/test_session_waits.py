"""Waiting: what must not be cut, and blocking calls off the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pyiscsi.daemon.waits import in_thread, stop_tasks, to_the_end
from tests.unit.daemon.actor_parts import run


def test_to_the_end_gives_results_and_errors() -> None:
    async def value() -> int:
        return 3

    async def error() -> None:
        raise ValueError("no")

    async def test() -> None:
        assert await to_the_end(value()) == 3
        with pytest.raises(ValueError, match="no"):
            await to_the_end(error())

    run(test())


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("cancels", [1, 3])
def test_to_the_end_is_not_cut(fails: bool, cancels: int) -> None:
    """The work is done, then the cancellation arrives; an error of the work is not forgotten."""
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(10)
        done.append("done")
        if fails:
            raise ValueError("no")

    async def test() -> None:
        task = asyncio.create_task(to_the_end(work()))
        for _ in range(cancels):
            await asyncio.sleep(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["done"]

    run(test())


def test_stop_tasks_waits_for_their_cleaning_up() -> None:
    cleaned: list[int] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(5)
            cleaned.append(1)

    async def test() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        await stop_tasks(task, None)
        assert cleaned == [1]
        await stop_tasks(task)

    run(test())


def test_in_thread() -> None:
    async def test() -> None:
        assert await in_thread(lambda: 5, 1.0) == 5
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0, 1.0)

    run(test())


def test_a_call_that_hangs_is_left_behind() -> None:
    """The loop goes on at the deadline; what the call gives later is dropped."""
    release = threading.Event()

    async def test() -> None:
        with pytest.raises(TimeoutError):
            await in_thread(release.wait, 0.02)
        release.set()
        assert await in_thread(lambda: 1, 5.0) == 1

    asyncio.run(test())
