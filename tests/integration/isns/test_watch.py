"""Registered at Debian's isnsd: notices, renewal, a server that forgets, the goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pyiscsi.daemon.isns_watch import IsnsWatch
from pyiscsi.discovery.isns import IsnsServer, isns_portals
from tests.integration.isns.isnsd import WAIT_S, Isnsd, isnsd, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "isnsd is here")

ME, ALSO = "iqn.2026-11.test:me", "iqn.2026-11.test:also"
ONE = "iqn.2026-11.test:one"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - isnsd sets no event
            await asyncio.sleep(0.1)


async def follow(server: Isnsd) -> None:
    answers: list[list[str]] = []
    asked = IsnsServer("127.0.0.1", server.port)

    async def names() -> tuple[str, ...]:
        return ME, ALSO

    async def look() -> bool:
        found = await isns_portals(asked, ME, lambda line: None)
        answers.append([one.target for one in found])
        return True

    task = asyncio.create_task(IsnsWatch(asked, -1, names, look).run())
    try:
        await until(lambda: server.nodes() >= {ME, ALSO} and answers)
        assert answers[-1] == []
        await asyncio.to_thread(server.register, ONE, "10.0.0.1:3260,1")
        await until(lambda: answers[-1] == [ONE])
        await asyncio.to_thread(server.deregister, ONE)
        await until(lambda: answers[-1] == [])
        server.stop()
        await asyncio.to_thread(server.start)
        await until(lambda: server.nodes() >= {ME, ALSO})
        await asyncio.to_thread(server.register, ONE, "10.0.0.1:3260,1")
        await until(lambda: answers[-1] == [ONE])
        await asyncio.sleep(3)
        assert await asyncio.to_thread(server.nodes) >= {ME, ALSO}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_follows_the_server(tmp_path: Path) -> None:
    """A registration of 2 s is renewed, and made anew at a server that lost it."""
    with isnsd(tmp_path / "isns", period_s=2) as server:
        asyncio.run(follow(server))
        assert not server.nodes() & {ME, ALSO}


def test_nodes_that_another_entity_has(tmp_path: Path) -> None:
    """Left there by somebody who registered in our name; they become ours."""
    with isnsd(tmp_path / "isns", period_s=2) as server:
        server.admin("--register", "entity=old", f"initiator={ME}")
        asyncio.run(follow(server))
        assert not server.nodes() & {ME, ALSO}
