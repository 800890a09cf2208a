"""The event loop's life, which must end even when threads of ours never do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run_loop(main: Coroutine[Any, Any, int], workers: ThreadPoolExecutor) -> int:
    """asyncio.run(), except that threads stuck in a lookup or on a dead disk are not waited for."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(workers)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_cancel_leftovers())
        loop.run_until_complete(loop.shutdown_asyncgens())
        workers.shutdown(wait=False, cancel_futures=True)
        loop.close()


async def _cancel_leftovers() -> None:
    leftover = asyncio.all_tasks() - {asyncio.current_task()}
    for task in leftover:
        task.cancel()
    await asyncio.gather(*leftover, return_exceptions=True)


def stuck_threads(patience_s: float = 1.0) -> list[threading.Thread]:
    """Worker threads that do not end by themselves; the interpreter would wait for them."""
    workers = [each for each in threading.enumerate() if each.name.startswith("worker")]
    for worker in workers:
        worker.join(patience_s / len(workers))
    return [worker for worker in workers if worker.is_alive()]
