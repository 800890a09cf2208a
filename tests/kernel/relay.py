"""The machine's end of the kernel tests: boots guests and hands back its test reports.

The guest's end is tests/kernel/inner.py: one JSON object per line is a report, any other line is
kept for the case that the guest ends too early.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RUNNER = PROJECT / "tests/lab/guest"
OUT = PROJECT / ".lab/kernel"
"""Each guest's results are in a directory of its own below."""
GUESTS = 2
GUEST_S = 4200
"""Longest run of one guest."""
KEPT_LINES = 60


def why_not() -> str:
    """Why no guest can run on this machine, or nothing."""
    check = subprocess.run([str(RUNNER), "--check"], stdout=subprocess.PIPE, text=True, check=False)
    return check.stdout.strip()


class Guest:
    """One boot of the guest, running the given tests in order."""

    def __init__(self, config: pytest.Config, number: int, node_ids: Sequence[str]) -> None:
        self._config = config
        self._other: deque[str] = deque(maxlen=KEPT_LINES)
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        runner = [str(RUNNER), "-t", str(GUEST_S), "-o", str(OUT / str(number))]
        self._process = subprocess.Popen(
            [*runner, "python", "-m", "tests.kernel.inner", *node_ids],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        # A guest whose output nobody takes would wait while the other's tests are shown.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """The reports of one test as they come; if the guest ended before, one that says so."""
        while line := self._lines.get():
            if not line.startswith("{"):
                self._other.append(line)
                continue
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )
            if report.nodeid != item.nodeid:
                continue
            if isinstance(report.longrepr, list):  # a skip's place: JSON has no tuples
                report.longrepr = tuple(report.longrepr)
            yield report
            if report.when == "teardown":
                return
        self._lines.put(None)
        text = f"the guest ended with status {self._process.wait()}\n{''.join(self._other)}"
        yield _report(item, "failed", text)

    def close(self) -> None:
        """Wait for the guest's end; one that was interrupted is told to end."""
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        self._reader.join()


class Guests:
    """As many guests as there are processors, at most GUESTS; the tests in turn to each."""

    def __init__(self, config: pytest.Config, node_ids: Sequence[str]) -> None:
        count = min(GUESTS, os.cpu_count() or 1, len(node_ids))
        shares = [node_ids[number::count] for number in range(count)]
        guests = [Guest(config, number, share) for number, share in enumerate(shares)]
        self._guests = guests
        self._of = {name: guests[number % count] for number, name in enumerate(node_ids)}

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """The reports of one test."""
        return self._of[item.nodeid].reports(item)

    def close(self) -> None:
        """See all of them off."""
        for guest in self._guests:
            guest.close()


class NoGuest:
    """Stands in where no guest can run: every test is skipped, by name and with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.not_run: list[str] = []

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """One report: skipped."""
        self.not_run.append(item.nodeid)
        path, line, _ = item.location
        yield _report(item, "skipped", (path, (line or 0) + 1, f"no guest: {self.reason}"))

    def close(self) -> None:
        """Nothing was started."""


def _report(
    item: pytest.Item, outcome: str, longrepr: str | tuple[str, int, str]
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=longrepr,
        when="setup",
    )
