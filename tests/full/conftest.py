"""What takes too long for `make test`: run by `make test-full`, named by all other runs."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
NOT_RUN = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known when this directory is named on the command line."""
    parser.addoption("--full", action="store_true", help="run these tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the option all of them are skipped."""
    if config.getoption("--full", default=False):
        return
    mine = [item for item in items if HERE in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.skip(reason="make test-full"))
    config.stash[NOT_RUN] = [item.nodeid for item in mine]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what was not run."""
    names = config.stash.get(NOT_RUN, [])
    if names:
        terminalreporter.section("not run here, but by make test-full")
        for name in names:
            terminalreporter.write_line(f"not run: {name}")
