"""The file in /run through which a restarted daemon knows whose sessions are whose."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pyiscsi.daemon.runstate import RunState
from pyiscsi.names import NodeKey

KEY = NodeKey("iqn.2026-11.test:\udcff", "2001:db8::1", 3260, 1, "default")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """D-085: every change is in the file at once, undecodable names included."""
    path = str(tmp_path / "state")
    state = RunState(path)
    state.own(3, "10.0.0.1,3260", KEY)
    state.own(4, "10.0.0.1,3260", KEY)
    state.wait_for(KEY)
    state.disown(4)
    again = RunState(path)
    again.load()
    assert again.owned == {3: ("10.0.0.1,3260", KEY)}
    assert again.awaited == {KEY}
    assert Path(path).stat().st_mode & 0o077 == Path(path).stat().st_mode & 0o077 & ~0o022


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"owned": [[1]], "awaited": []}', "\x00"])
def test_anything_else_is_ignored(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that makes no sense costs a log line, not the daemon."""
    path = tmp_path / "state"
    path.write_text(text)
    state = RunState(str(path))
    with caplog.at_level(logging.WARNING, "iscsid"):
        state.load()
    assert (state.owned, state.awaited) == ({}, set())
    assert str(path) in caplog.text
