"""Runs the tests marked `guest` inside the guest and reports them here, one by one.

On the machine these tests are collected as usual, so `-k` and node ids select among them. The first
one boots the guests, where pytest (tests/kernel/inner.py) runs all that were selected; its reports
come back one per line and are replayed as this run's own. Where no guest can run, each of them is
skipped with the reason, and the summary names them.
"""

from __future__ import annotations

import os

import pytest

from tests.kernel.relay import Guests, NoGuest, why_not

IN_GUEST = "LAB_GUEST" in os.environ
GUEST = pytest.StashKey[Guests | NoGuest]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes last."""
    items.sort(key=lambda item: item.get_closest_marker("guest") is not None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Take over the tests that belong into the guest."""
    if IN_GUEST or not item.get_closest_marker("guest"):
        return None
    stash = item.session.stash
    if GUEST not in stash:
        stash[GUEST] = _guest(item.session)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in stash[GUEST].reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _guest(session: pytest.Session) -> Guests | NoGuest:
    reason = why_not()
    if reason:
        return NoGuest(reason)
    names = [item.nodeid for item in session.items if item.get_closest_marker("guest")]
    return Guests(session.config, names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """See the guest off, and keep the names of what it did not run for the summary."""
    guest = session.stash.get(GUEST, None)
    if guest is not None:
        guest.close()
    if isinstance(guest, NoGuest):
        session.config.stash[GUEST] = guest


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the kernel tests that could not run."""
    guest = config.stash.get(GUEST, None)
    if isinstance(guest, NoGuest):
        terminalreporter.section("kernel tests not run")
        terminalreporter.write_line(f"reason: {guest.reason}")
        for name in guest.not_run:
            terminalreporter.write_line(f"not run: {name}")
