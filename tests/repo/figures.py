"""The last lines of `make test`: parity with open-iscsi, coverage of the daemon's checklist.

    python -m tests.repo.figures

Status 1 when the parity figure is below the recorded one, or an item has no test.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from tests.kernel import parity
from tests.kernel.relay import OUT, why_not
from tests.repo import sources

ITEMS = tuple(
    f"D-{number:03}"
    for first, last in ((22, 27), (30, 46), (60, 64), (80, 82), (90, 91))
    for number in range(first, last + 1)
)
"""Checklist of the daemon's behaviour as far as it is promised by now."""
DEVIATIONS = sources.PROJECT / "docs/deviations.md"


def named_in_tests() -> set[str]:
    """Items that the docstring of a test function names."""
    found: set[str] = set()
    for path in sources.testing_modules():
        for node in sources.functions(path):
            if node.name.startswith("test_"):
                found |= set(re.findall(r"D-\d{3}", ast.get_docstring(node) or ""))
    return found


def listed_as_deviations() -> set[str]:
    """Items that docs/deviations.md explains."""
    text = DEVIATIONS.read_text() if DEVIATIONS.exists() else ""
    return set(re.findall(r"D-\d{3}", text))


def print_items() -> bool:
    """The line about the checklist; whether it is complete."""
    missing = [item for item in ITEMS if item not in named_in_tests() | listed_as_deviations()]
    if missing:
        print(f"no test and no line in docs/deviations.md: {' '.join(missing)}")
    covered = len(ITEMS) - len(missing)
    print(f"D-items: {covered} of {len(ITEMS)} named by a test or listed in docs/deviations.md")
    return not missing


def print_parity(transcripts: Path) -> bool:
    """The line about parity; whether it is as good as recorded."""
    reason = why_not()
    if reason:
        print(f"parity: not measured, no guest: {reason}")
        return True
    lines = parity.compare(transcripts, verbose=False).splitlines()
    figure = re.fullmatch(r"parity: (\d+) of \d+ steps equal", lines[-1])
    floor = sum(parity.floors().values())
    assert figure, lines
    for line in lines:
        print(line)
    if int(figure[1]) < floor:
        print(f"parity fell: {floor} steps were equal before (tests/parity/floor.txt)")
        return False
    return True


def main() -> int:
    """Print both."""
    complete = print_items()
    good = print_parity(OUT / "parity")
    return 0 if complete and good else 1


if __name__ == "__main__":
    sys.exit(main())
