"""Waiting done right: operations that must not be cut short, and blocking calls off the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when we are cancelled meanwhile; then the cancellation follows.

    For requests to the kernel: one that was sent has happened, whether or not anybody still
    waits for the answer, and what it made must be known to whoever cleans up.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: asyncio would log it as forgotten
        raise cancelled
    return task.result()


async def stop_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have cleaned up; their outcome is not looked at."""
    living = [task for task in tasks if task is not None and not task.done()]
    for task in living:
        task.cancel()
    if living:
        await asyncio.wait(living)


async def in_thread(call: Callable[[], T], timeout_s: float) -> T:
    """Result of a blocking call made in a thread of its own; TimeoutError after `timeout_s`.

    A call that hangs (a sysfs write to a dying device) leaves its thread behind and holds up
    neither a pool nor the end of the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = call()
        except BaseException as error:
            problem = error
        try:
            loop.call_soon_threadsafe(settle, result, problem)
        except RuntimeError:
            return  # the loop has ended: nobody is waiting

    threading.Thread(target=run, name="iscsid-blocking", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await future
