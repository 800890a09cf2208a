"""All fuzz targets by name, and what must hold for every input of each.

Input is parsed, or refused with one of our own errors; nothing else is raised, and memory stays in
proportion to the input.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from pyiscsi.errors import PyIscsiError
from tests.fuzz import firmware, machine, peers

MEMORY_BYTES = 8 << 20
"""Far above what any input below needs, far below what a number in one could ask for."""
MEASURED_EVERY = 50
"""tracemalloc is slow: one input of so many is measured."""


@dataclass(slots=True)
class Target:
    """What generates input, and what takes it."""

    strategy: SearchStrategy[Any]
    take: Callable[[Any], None]
    runs: int = 0


TARGETS = {
    name: Target(strategy, take)
    for name, (strategy, take) in {
        **peers.TARGETS,
        **machine.TARGETS,
        **firmware.TARGETS,
    }.items()
}


def check(target: Target, value: object) -> None:
    """Give one input to the target; AssertionError or whatever it raised is a finding."""
    target.runs += 1
    measured = target.runs % MEASURED_EVERY == 0
    if measured:
        tracemalloc.start()
    try:
        target.take(value)
    except PyIscsiError:
        pass
    finally:
        if measured:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < MEMORY_BYTES, f"{peak} bytes of memory"
