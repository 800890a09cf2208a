"""The notes about which endpoint carries which session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyiscsi.daemon.endpoints import EndpointNotes
from pyiscsi.sysfs.tree import SysfsTree


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "iscsid.endpoints"
        self.notes = EndpointNotes(str(self.file), SysfsTree(str(root)))

    def session(self, sid: int) -> Path:
        path = self.root / f"class/iscsi_session/session{sid}"
        path.mkdir(parents=True)
        return path

    def endpoint(self, handle: int) -> Path:
        path = self.root / f"class/iscsi_endpoint/ep-{handle}"
        path.mkdir(parents=True)
        (path / "handle").write_text(f"{handle}\n")
        return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_found_by_the_next_daemon(machine: Machine) -> None:
    machine.endpoint(7)
    machine.session(3)
    machine.notes.note(3, 7)
    again = EndpointNotes(str(machine.file), SysfsTree(str(machine.root)))
    assert (again.find(3), again.find(4)) == (7, None)


def test_an_endpoint_that_is_gone(machine: Machine) -> None:
    machine.session(3)
    machine.notes.note(3, 7)
    assert machine.notes.find(3) is None


def test_sessions_that_are_gone_are_forgotten(machine: Machine) -> None:
    machine.endpoint(7)
    machine.session(3)
    machine.notes.note(2, 6)
    machine.notes.note(3, 7)
    assert machine.file.read_text() == '{"3": 7}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', '{"3": null}', "\udcff"])
def test_a_damaged_file_is_an_empty_one(machine: Machine, text: str) -> None:
    machine.endpoint(7)
    machine.session(3)
    machine.file.write_text(text, errors="surrogateescape")
    assert machine.notes.find(3) is None
    machine.notes.note(3, 7)
    assert machine.notes.find(3) == 7


def test_a_place_that_cannot_be_written(machine: Machine) -> None:
    notes = EndpointNotes(f"{machine.root}/missing/file", SysfsTree(str(machine.root)))
    notes.note(3, 7)
    assert notes.find(3) is None


def test_the_number_of_an_endpoint_that_is_gone_is_used_again(machine: Machine) -> None:
    """The kernel gives the lowest that is free: a note of a session in recovery is out of date."""
    machine.endpoint(7)
    machine.session(3)
    machine.session(4)
    machine.notes.note(3, 7)
    machine.notes.note(4, 7)
    assert (machine.notes.find(3), machine.notes.find(4)) == (None, 7)
