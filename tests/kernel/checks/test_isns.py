"""iSNS with targets of the kernel: discovery, and sessions that follow what the server says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.isns.isnsd import Isnsd, missing
from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.kernel.checks.test_background import SHORT, wait_for

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(bool(missing()), reason=missing() or "isnsd is here"),
]

SERVER = "127.0.0.1:3205"
ONE, TWO = (f"iqn.2026-11.test:{name}" for name in ("one", "two"))
PORTALS = {ONE: "127.0.0.1:3260", TWO: "127.0.0.1:3261"}
"""A portal belongs to one entity of the server."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Isnsd]:
    """isnsd with an empty database, and two targets it does not know yet."""
    for name, portal in PORTALS.items():
        lio.create_target(name, [portal])
    isnsd = Isnsd(tmp_path / "isns", port=3205)
    isnsd.start()
    yield isnsd
    isnsd.stop()


def appear(server: Isnsd, target: str) -> None:
    """The target, up all the time, becomes known at the server."""
    server.register(target, f"{PORTALS[target]},1")


def watched(lab: Lab, interval: int) -> None:
    """A discovery record of the server for discoveryd, and a daemon that reads it."""
    lab.watch("isns", "isns", SERVER, interval)
    lab.start(*SHORT)


def test_discovery_and_login(idle_lab: Lab, server: Isnsd) -> None:
    """What the server knows is found, recorded, logged in to and out of."""
    idle_lab.start(*SHORT)
    appear(server, ONE)
    done = idle_lab.adm(f"-m discovery -t isns -p {SERVER} -l", 0)
    assert done.out.startswith(f"{PORTALS[ONE]},1 {ONE}\n")
    wait_for({ONE}, 20)
    assert idle_lab.adm("-m node", 0).out == f"{PORTALS[ONE]},1 {ONE}\n"
    idle_lab.adm(f"-m node -T {ONE} -u", 0)


def test_follows_notices(idle_lab: Lab, server: Isnsd) -> None:
    """D-085: without polling; sessions come and go as targets do at the server, no records."""
    appear(server, ONE)
    watched(idle_lab, -1)
    wait_for({ONE}, 20)
    appear(server, TWO)
    wait_for({ONE, TWO}, 20)
    server.deregister(ONE)
    wait_for({TWO}, 20)
    appear(server, ONE)
    wait_for({ONE, TWO}, 20)
    assert idle_lab.adm("-m node").rc == 21
    idle_lab.daemon.stop()
    assert server.nodes() >= {ONE, TWO}
    assert machine.INITIATOR not in server.nodes()


def test_polls_a_server_that_does_not_notify(idle_lab: Lab, server: Isnsd) -> None:
    """D-085: one that has started anew and knows nothing of our registration."""
    watched(idle_lab, 1)
    server.stop()
    server.start()
    appear(server, ONE)
    wait_for({ONE}, 20)
    appear(server, TWO)
    wait_for({ONE, TWO}, 20)
    server.deregister(ONE)
    wait_for({TWO}, 20)
