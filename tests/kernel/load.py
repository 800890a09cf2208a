"""Reads and writes on many disks at once, and how long the slowest of them took.

    python -m tests.kernel.load PERIOD_S DISK...     (run by `Load`)

One thread for each disk does one direct write or read of 4 KiB every PERIOD_S seconds. A line on
standard input asks for what happened since the last one: a JSON line with the number of operations,
of errors so far, and the longest operation in seconds, those still under way included.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

BLOCK = 4096
BLOCKS = 1024


@dataclass(frozen=True)
class Result:
    """What happened in one stretch of time."""

    operations: int
    errors: int
    """Since the beginning, so that none gets lost between two marks."""
    longest_s: float
    idle: list[str]
    """Disks on which nothing was finished."""


class Load:
    """The program above, running on these disks (`sda`) until closed."""

    def __init__(self, disks: Sequence[str], period_s: float = 0.25) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kernel.load", str(period_s), *disks],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.mark()

    def mark(self) -> Result:
        """What happened since the last mark."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Result(**json.loads(self._process.stdout.readline()))

    def during(self, seconds: float) -> Result:
        """What happens in the next `seconds`."""
        self.mark()
        time.sleep(seconds)
        return self.mark()

    def close(self) -> None:
        """End it, whatever its threads are waiting for."""
        self._process.kill()
        with self._process:  # closes the pipes too
            pass


@dataclass
class Disk:
    """One disk's thread and its figures since the last mark."""

    name: str
    period_s: float
    operations: int = 0
    errors: int = 0
    longest_s: float = 0.0
    begun: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Write and read for ever, in turn, each block of the disk's first megabytes."""
        buffer = mmap.mmap(-1, BLOCK)
        buffer.write(os.urandom(BLOCK))
        fd = os.open(f"/dev/{self.name}", os.O_RDWR | os.O_DIRECT)
        count = 0
        while True:
            count += 1
            place = (count // 2 % BLOCKS) * BLOCK
            self.begun = started = time.monotonic()
            try:
                move = os.preadv if count % 2 else os.pwritev
                move(fd, [buffer], place)
            except OSError:
                with self.lock:
                    self.errors += 1
            seconds = time.monotonic() - started
            with self.lock:
                self.begun = None
                self.operations += 1
                self.longest_s = max(self.longest_s, seconds)
            time.sleep(self.period_s)

    def take(self) -> tuple[int, int, float]:
        """The figures; all but the errors begin anew."""
        with self.lock:
            waiting_s = time.monotonic() - self.begun if self.begun is not None else 0.0
            figures = self.operations, self.errors, max(self.longest_s, waiting_s)
            self.operations, self.longest_s = 0, 0.0
            return figures


def main() -> None:
    """Start a thread for each disk and answer every line of standard input."""
    period_s, *names = sys.argv[1:]
    # The disks are measured, not how long this program waits for the processor.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    disks = [Disk(name, float(period_s)) for name in names]
    for disk in disks:
        threading.Thread(target=disk.run, daemon=True).start()
    for _ in sys.stdin:
        figures = [disk.take() for disk in disks]
        result = {
            "operations": sum(operations for operations, _, _ in figures),
            "errors": sum(errors for _, errors, _ in figures),
            "longest_s": max((longest for _, _, longest in figures), default=0.0),
            "idle": [
                disk.name for disk, (count, _, _) in zip(disks, figures, strict=True) if not count
            ],
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
