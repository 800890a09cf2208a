"""The last lines of `make test`: parity with open-iscsi, and how much of the checklists is proven.

    python -m tests.repo.figures

Status 1 when the parity figure is below the recorded one, or an item is neither proven by this run
nor explained.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.kernel import machine, parity
from tests.kernel.relay import OUT, why_not
from tests.repo import evidence, sources

Ranges = tuple[tuple[int, int], ...]

COMMAND_LINE: Ranges = ((1, 399),)
DATABASE: Ranges = (
    *((1, 16), (20, 40), (45, 52), (60, 69), (75, 83)),
    *((90, 96), (100, 107), (110, 112)),
)
"""The numbers between the ranges name nothing, here and below."""
DAEMON: Ranges = (
    *((1, 13), (20, 27), (30, 46), (50, 57), (60, 64)),
    *((70, 76), (80, 85), (90, 95)),
)
LEFT = Path(__file__).with_name("left.txt")
DEVIATIONS = sources.PROJECT / "docs/deviations.md"


def items(kind: str, ranges: Ranges) -> list[str]:
    """The ids of a checklist."""
    return [f"{kind}-{n:03}" for first, last in ranges for n in range(first, last + 1)]


def explained() -> dict[str, str]:
    """Items that can't be proven yet, and why (tests/repo/left.txt: ID REASON)."""
    lines = (line.partition(" ") for line in LEFT.read_text().splitlines())
    return {item: reason for item, _, reason in lines if item and item != "#"}


def listed_as_deviations() -> set[str]:
    """Items that docs/deviations.md explains."""
    return set(evidence.ITEM.findall(DEVIATIONS.read_text()))


def count(proven: set[str], kind: str, ranges: Ranges) -> tuple[str, list[str]]:
    """`KIND n of m`, and the items missing; m is the last number of the list."""
    wanted = items(kind, ranges)
    missing = [item for item in wanted if item not in proven]
    unused = ranges[-1][1] - len(wanted) if ranges[0][0] == 1 else 0
    total = ranges[-1][1] if ranges[0][0] == 1 else len(wanted)
    note = f" ({unused} numbers name nothing)" if unused else ""
    return f"{kind} {len(wanted) - len(missing)} of {total}{note}", missing


def print_items(proven: set[str]) -> bool:
    """The lines about the checklists; whether exactly what is missing is explained."""
    reasons = explained()
    command_line, missing = count(proven, "CLI", COMMAND_LINE)
    database, more = count(proven, "DB", DATABASE)
    daemon, last = count(proven | listed_as_deviations(), "D", DAEMON)
    missing = [*missing, *more, *last]
    for item in missing:
        print(f"left: {item} {reasons.get(item, '- no test of this run proves it')}")
    stale = sorted(set(reasons) - set(missing))
    for item in stale:
        print(f"tests/repo/left.txt explains {item}, which is proven or no item")
    print(f"{command_line}, {database}")
    print(f"{daemon} proven by a test or listed in docs/deviations.md")
    return not stale and set(missing) <= set(reasons)


def print_parity(lines: Iterable[str]) -> bool:
    """The lines about parity; whether it is as good as recorded."""
    *_, last = shown = list(lines)
    print("\n".join(shown))
    figure = re.fullmatch(r"parity: (\d+) of \d+ steps equal", last)
    assert figure, shown
    floor = sum(parity.floors().values())
    if int(figure[1]) < floor:
        print(f"parity fell: {floor} steps were equal before (tests/parity/floor.txt)")
        return False
    return True


def print_measurements() -> None:
    """What the kernel tests measured."""
    for file in sorted(OUT.rglob(machine.FIGURES)):
        print(file.read_text(), end="")


def main() -> int:
    """Print all of it; without a guest only that, which is no failure."""
    reason = why_not()
    if reason:
        print(f"parity and checklists: not measured, no guest: {reason}")
        return 0
    print_measurements()
    compared = parity.compare(OUT, verbose=False).splitlines()
    complete = print_items(evidence.proven(evidence.RESULTS, compared))
    good = print_parity(compared)
    return 0 if complete and good else 1


if __name__ == "__main__":
    sys.exit(main())
