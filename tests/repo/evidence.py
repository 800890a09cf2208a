"""What the last run of the tests proved: checklist ids of passed tests and equal parity steps.

A test names the items it proves in its docstring (`D-033`); a parity scenario names them in a
comment line directly above the command (`# CLI-167 CLI-168`).
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.kernel import parity
from tests.repo import sources

RESULTS = sources.PROJECT / ".lab/tests.xml"
"""Where `make test` lets pytest write its JUnit report."""
ITEM = re.compile(r"\b(?:CLI|DB|D)-\d{3}\b")
DIFFERS = re.compile(r"(\S+) step (\d+): ")

Test = tuple[str, str]
"""Module as JUnit names it, and function without parameters."""


def named() -> dict[str, set[Test]]:
    """Each item that the docstring of a test function names, with these functions."""
    found: dict[str, set[Test]] = defaultdict(set)
    for path in sources.testing_modules():
        module = ".".join(path.relative_to(sources.PROJECT).with_suffix("").parts)
        for node in sources.functions(path):
            if node.name.startswith("test_"):
                for item in ITEM.findall(ast.get_docstring(node) or ""):
                    found[item].add((module, node.name))
    return found


def passed(results: Path) -> set[Test]:
    """Test functions with a case that passed and none that failed."""
    good: set[Test] = set()
    bad: set[Test] = set()
    for case in ET.parse(results).getroot().iter("testcase"):
        test = (case.get("classname", ""), case.get("name", "").partition("[")[0])
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            bad.add(test)
        elif "skipped" not in outcomes:
            good.add(test)
    return good - bad


def marked_steps(scenario: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Number (from 1) of each command of a scenario, and the items the line above names."""
    step = 0
    marks: list[str] = []
    for line in scenario:
        if line.startswith("$ "):
            step += 1
            yield step, marks
        marks = ITEM.findall(line) if line.startswith("#") else []


def equal_steps(compared: Iterable[str]) -> set[str]:
    """Items named above steps that `compared`, the lines of compare.py, does not complain about."""
    different = {match.groups() for line in compared if (match := DIFFERS.match(line))}
    found: set[str] = set()
    for name in parity.scenario_names():
        lines = (parity.CORPUS / "scenarios" / f"{name}.scn").read_text().splitlines()
        for step, marks in marked_steps(lines):
            if (name, str(step)) not in different:
                found.update(marks)
    return found


def proven(results: Path, compared: Iterable[str]) -> set[str]:
    """Every item that a passed test or an equal step proves; without results, every one named."""
    tests = named()
    if not results.exists():
        return set(tests) | equal_steps(compared)
    good = passed(results)
    return {item for item, where in tests.items() if where & good} | equal_steps(compared)
