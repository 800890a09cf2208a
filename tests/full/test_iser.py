"""iSER on Debian's kernel, over RDMA in software."""

from __future__ import annotations

import re

import pytest

from tests.full import lab


@pytest.fixture(autouse=True)
def _possible() -> None:
    lab.skip_unless_possible()


def play(monkeypatch: pytest.MonkeyPatch, whose: str) -> list[str]:
    """What the programs answered, without the numbers that differ from run to run."""
    programs = {"ours": f"{lab.tree.PROJECT}/.venv/bin", "debian": ""}[whose]
    monkeypatch.setenv("LAB_PATH", programs or "/usr/sbin")
    python = str(lab.tree.PROJECT / ".venv/bin/python")
    shown = lab.guest(f"iSER, {whose}", python, "-m", "tests.full.iser")
    return [re.sub(r"\[sid: \d+", "[sid: N", line.rstrip()) for line in shown.splitlines()]


def test_iser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discovery, mutual CHAP, data, a target that goes and comes back, logout: ours as C's."""
    theirs = play(monkeypatch, "debian")
    assert "data: same" in theirs
    assert "recovered" in theirs
    assert play(monkeypatch, "ours") == theirs
