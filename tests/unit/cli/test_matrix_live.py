"""Forms of sessions and discovery that a recorded scenario can't show or that we answer our way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.commands import Machine

TARGET = "iqn.2026-11.test:many"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_twelve_sessions(machine: Machine) -> None:
    """CLI-253: in the order of the ids as text. A scenario's ids all have three digits."""
    for sid in range(1, 13):
        machine.session(sid, TARGET, f"10.0.0.{sid}")
    in_order = [1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9]
    flat = [f"tcp: [{sid}] 10.0.0.{sid}:3260,1 {TARGET} (non-flash)\n" for sid in in_order]
    assert tuple(machine.run_line("-m session")) == (0, "".join(flat), "")
    tree = machine.run_line("-m session -P 1").out.splitlines()
    assert [line for line in tree if "SID: " in line] == [f"\t\tSID: {sid}" for sid in in_order]
