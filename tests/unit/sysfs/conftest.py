from __future__ import annotations

from pathlib import Path

import pytest

from pyiscsi.sysfs.tree import SysfsTree
from tests.unit.sysfs.capture import unpack


@pytest.fixture
def up(shared_up: Path) -> SysfsTree:
    """Six sessions; not to be written to."""
    return SysfsTree(str(shared_up / "sys"))


@pytest.fixture
def own(tmp_path: Path) -> SysfsTree:
    """A copy to change."""
    return unpack("up", tmp_path)
