"""make fuzz: every parser against damaged input, for as long as one likes.

    python -m tests.fuzz [--seconds N] [TARGET...]

Each target runs N seconds (60 unless told) with ever new random input; the first finding ends it
and is printed with the smallest input that shows it, which goes into tests/fuzz/test_fuzz.py.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Target, check

BATCH = 2000
"""Inputs between two looks at the clock."""


def hunt(target: Target, seconds: float) -> tuple[int, Exception | None]:
    """Inputs tried within the time, and what one of them raised."""
    count = 0
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:

        @seed(int.from_bytes(os.urandom(8)))
        @settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(target.strategy)
        def batch(value: object) -> None:
            nonlocal count
            if time.monotonic() < ends_at:
                count += 1
                check(target, value)

        try:
            batch()
        except Exception as finding:
            return count, finding
    return count, None


def main() -> int:
    """Run the targets; 1 when one has a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    arguments = parser.parse_args()
    logging.disable()  # what is logged about bad input
    status = 0
    for name in arguments.target or TARGETS:
        started = time.monotonic()
        count, finding = hunt(TARGETS[name], arguments.seconds)
        seconds = time.monotonic() - started
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        words = "a finding" if finding else "no finding"
        print(f"{name}: {count} inputs in {seconds:.0f} s, {memory} KiB, {words}", flush=True)
        if finding is not None:
            status = 1
            traceback.print_exception(finding)
    return status


if __name__ == "__main__":
    sys.exit(main())
