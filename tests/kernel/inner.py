"""The guest's end of the kernel tests: runs the named tests, writes each report as a JSON line.

    python -m tests.kernel.inner NODEID...

Standard output carries the reports alone; what pytest itself prints goes to $LAB_OUT/pytest.log.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest


class Reporter:
    """Writes every report to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", encoding="ascii")
        self.config: pytest.Config | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        """Remember the configuration, whose hooks serialise a report."""
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One line."""
        assert self.config is not None
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        print(json.dumps(data, default=repr), file=self._stream, flush=True)


def main() -> int:
    """Run what the command line names; pytest's exit status."""
    stream = os.dup(1)
    log = os.open(Path(os.environ["LAB_OUT"]) / "pytest.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    options = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    return int(pytest.main([*options, *sys.argv[1:]], plugins=[Reporter(stream)]))


if __name__ == "__main__":
    sys.exit(main())
