"""Captured trees of /sys and /proc, unpacked once for all tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sysfs.capture import unpack


@pytest.fixture(scope="session")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the capture `up`: six sessions that work. Not to be written to."""
    root = tmp_path_factory.mktemp("up")
    unpack("up", root)
    return root


@pytest.fixture(scope="session")
def shared_down(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the capture `down`: sessions 3 and 4 have lost their target. Not to be written to."""
    root = tmp_path_factory.mktemp("down")
    unpack("down", root)
    return root
