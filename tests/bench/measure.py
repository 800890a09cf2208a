"""How long a command takes and how many system calls it makes."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What one command cost: milliseconds of wall clock, and system calls if they were counted."""

    ms: float
    calls: int | None = None


def nothing() -> None:
    """The preparation of commands that need none."""


def milliseconds(
    command: Sequence[str], repeats: int, prepare: Callable[[], None] = nothing
) -> float:
    """Median wall clock of a command whose output is thrown away; `prepare` comes before each."""
    times = []
    for _ in range(repeats):
        prepare()
        started = time.perf_counter()
        _run(command)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def calls(command: Sequence[str], prepare: Callable[[], None] = nothing) -> int | None:
    """System calls of one run, those of its threads and children included; None without strace."""
    if not shutil.which("strace"):
        return None
    prepare()
    with tempfile.NamedTemporaryFile("r", dir=os.environ.get("TMPDIR")) as report:
        _run(["strace", "-f", "-c", "-U", "name,calls", "-o", report.name, *command])
        lines = [line.split() for line in report.read().splitlines()]
    counted = [line[1] for line in lines if line[:1] == ["total"]]
    return int(counted[0]) if counted else None


def _run(command: Sequence[str]) -> None:
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
