"""A wait that an address ends: the kernel's own news, in a network namespace."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from pyiscsi.transport.addresses import AddressNews

WAIT_THEN_SAY = """
import asyncio, subprocess, time
from pyiscsi.transport.addresses import AddressNews

async def main():
    news = AddressNews()
    for change in ("link set lo up", "addr add 192.0.2.1/32 dev lo", "addr add fe80::1 dev lo"):
        waiter = asyncio.create_task(news.wait(60))
        await asyncio.sleep(0.05)
        assert not waiter.done()
        subprocess.run(["ip", *change.split()], check=True)
        await asyncio.wait_for(waiter, 30)
    news.close()
    print("woken")

asyncio.run(main())
"""


@pytest.mark.root
def test_each_change_wakes() -> None:
    """A device that comes up, an IPv4 and an IPv6 address."""
    unshared = ["unshare", "--net", sys.executable, "-c", WAIT_THEN_SAY]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(unshared, capture_output=True, text=True, env=environ, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("no network namespaces here")
    assert (done.stdout, done.returncode) == ("woken\n", 0), done.stderr


def test_time_ends_a_wait_without_news() -> None:
    """Also when nobody may be asked any more."""

    async def main() -> None:
        news = AddressNews()
        await news.wait(0.01)
        news.close()
        news.close()

    asyncio.run(main())
