"""What the firmware says of the boot, from an ACPI table that Debian's kernel has read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.full import lab


@pytest.fixture(autouse=True)
def _possible() -> None:
    lab.skip_unless_possible()


def play(monkeypatch: pytest.MonkeyPatch, whose: str, folder: Path, **values: str) -> str:
    """The answers of the programs; the target's port is that of this run."""
    monkeypatch.setenv(
        "LAB_PATH", {"ours": f"{lab.tree.PROJECT}/.venv/bin", "debian": "/usr/sbin"}[whose]
    )
    python = str(lab.tree.PROJECT / ".venv/bin/python")
    with lab.target(lab.root_disk(folder)) as target:
        options = f"{lab.CARD} {lab.firmware_table(folder, target.port, **values)}"
        command = (python, "-m", "tests.full.firmware")
        shown = lab.guest(f"firmware table, {whose}", *command, options=options)
        return shown.replace(str(target.port), "PORT")


def test_firmware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`-m fw`, `-m fw -l`, `-t fw`, `iscsistart -f`, `-N` and `-b`: ours as C's."""
    answers = {}
    for whose in ("debian", "ours"):
        folder = tmp_path / whose
        folder.mkdir()
        answers[whose] = play(monkeypatch, whose, folder)
    assert f"Logging into {lab.TARGET} {lab.HOST}:PORT,1" in answers["debian"]
    assert answers["ours"] == answers["debian"]
