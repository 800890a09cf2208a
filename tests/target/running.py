"""Targets in a thread of their own, for tests that block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from tests.target.behaviours import BEHAVIOURS
from tests.target.manners import Manners
from tests.target.server import Target

T = TypeVar("T")
WAIT_S = 60.0


class Targets:
    """Running targets by the name of their behaviour."""

    def __init__(self, loop: asyncio.AbstractEventLoop, targets: Iterable[Target]) -> None:
        self._loop = loop
        self._targets = {target.behaviour.name: target for target in targets}

    def __getitem__(self, name: str) -> Target:
        """For reading; what changes a target goes through the methods here."""
        return self._targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def release(self, *names: str) -> None:
        """Let targets (without names: all) begin with what they do in full feature phase."""
        for name in names or self._targets:
            self._call(self._targets[name].release)

    def behave(self, name: str, manners: Manners | None) -> None:
        """These manners from the next connection on; None: those of the plan."""
        self._call(lambda: setattr(self._targets[name], "manners", manners))

    def _call(self, work: Callable[[], T]) -> T:
        done: Future[Any] = Future()

        def run() -> None:
            done.set_result(work())

        self._loop.call_soon_threadsafe(run)
        return done.result(WAIT_S)  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def serving(
    names: Iterable[str], address: str = "127.0.0.1", port: int = 0, **settings: Any
) -> Any:
    """Targets of these behaviours, the first at `port` and each other at the next one."""
    targets = []
    async with contextlib.AsyncExitStack() as stack:
        for number, name in enumerate(names):
            each = Target(BEHAVIOURS[name], address, port and port + number, **settings)
            targets.append(await stack.enter_async_context(each))
        for target in targets:
            target.others = targets  # type: ignore[assignment]
        yield targets


@contextlib.contextmanager
def running(names: Iterable[str]) -> Iterator[Targets]:
    """Targets of these behaviours on free ports of 127.0.0.1."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="targets")
    thread.start()
    stack = contextlib.AsyncExitStack()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(WAIT_S)

    try:
        targets = run(stack.enter_async_context(serving(names)))
        yield Targets(loop, targets)
    finally:
        run(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
