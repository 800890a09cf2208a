from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.ipc.compat_daemon import FakeDaemon

Start = Callable[..., FakeDaemon]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts stand-ins for open-iscsi's daemon, which end with the test."""
    daemons: list[FakeDaemon] = []

    def run(*args: Any) -> FakeDaemon:
        daemons.append(FakeDaemon(*args))
        return daemons[-1]

    yield run
    for daemon in daemons:
        daemon.close()
