"""How many attempts work at once, and that nobody waits for a dead portal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyiscsi.daemon.places import AT_A_TIME, Place, Places
from pyiscsi.errors import PyIscsiError
from tests.unit.daemon.actor_parts import House, node, run, until


def test_places_are_given_in_order_and_connected_ones_first() -> None:
    order: list[str] = []

    async def worker(places: Places, name: str, connected: bool) -> None:
        place = await places.take(connected=connected)
        order.append(name)
        place.give_back()
        place.give_back()

    async def test() -> None:
        places = Places(1)
        held = await places.take()
        names = [("a", False), ("b", False), ("c", True)]
        tasks = [asyncio.create_task(worker(places, *name)) for name in names]
        await asyncio.sleep(1)
        assert order == []
        held.give_back()
        await asyncio.gather(*tasks)

    run(test())
    assert order == ["c", "a", "b"]


@pytest.mark.parametrize("in_the_same_moment", [False, True])
def test_a_waiter_that_is_cancelled_loses_nothing(in_the_same_moment: bool) -> None:
    async def test() -> None:
        places = Places(1)
        held = await places.take()
        waiter = asyncio.create_task(places.take())
        await asyncio.sleep(1)
        if in_the_same_moment:
            held.give_back()
        waiter.cancel()
        held.give_back()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        async with asyncio.timeout(1):
            assert isinstance(await places.take(), Place)

    run(test())


def test_many_logins_do_not_march_in_step(tmp_path: Path) -> None:
    """Fifty at once: never more than a few connections wait for their first login PDU."""
    house = House(tmp_path)
    waiting: list[int] = []

    async def test() -> None:
        registry = house.registry()
        connect = house.network.connect

        async def counted(*args: object, **options: object) -> object:
            sock = await connect(*args, **options)  # type: ignore[arg-type]
            waiting.append(len(house.network.sockets) - len(house.target.logins))
            return sock

        house.network.connect = counted  # type: ignore[assignment,method-assign]
        records = [node(iscsi_ifacename=f"if{number}") for number in range(50)]
        await asyncio.gather(*(registry.login(record) for record in records))
        assert len(registry.states(None)) == 50
        await registry.close()

    run(test())
    assert max(waiting) <= 2 * AT_A_TIME


def test_a_hundred_dead_portals_hold_one_good_up_for_seconds_only(tmp_path: Path) -> None:
    """D-040: portals that never answer a connect lose their place at once."""
    house = House(tmp_path)
    house.network.hangs = True

    async def test() -> None:
        registry = house.registry()
        records = [node(address=f"192.0.2.{number}") for number in range(100, 200)]
        dead = [asyncio.create_task(registry.login(record)) for record in records]
        await asyncio.sleep(0)
        start = asyncio.get_running_loop().time()
        good = asyncio.create_task(registry.login(node()))
        await until(lambda: "192.0.2.199" in [host for _, host, _ in house.network.connected])
        house.network.hangs = False
        await good
        assert asyncio.get_running_loop().time() - start < 5
        await registry.close()
        results = await asyncio.gather(*dead, return_exceptions=True)
        assert all(isinstance(result, PyIscsiError | tuple) for result in results)

    run(test())
