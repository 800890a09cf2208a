"""Discovery, logins and questions about fifty sessions; needs the guest's kernel and its LIO."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.bench import table
from tests.bench.measure import Figure, calls, milliseconds
from tests.bench.records import NAME, PORTAL, fill, own_daemon, programs_path
from tests.kernel import lio, machine

SESSIONS = 50

_DISCOVERY = ("-m", "discovery", "-t", "st", "-p", "127.0.0.1")
_QUESTIONS = (
    ("-m", "session"),
    ("-m", "session", "-P", "1"),
    ("-m", "session", "-P", "3"),
    ("-m", "session", "-s"),
    ("-m", "host", "-P", "4"),
)


class SessionRows:
    """Fifty targets behind one portal, one session each, with each program's own daemon."""

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        self._path = os.environ["PATH"]
        self._rows: dict[str, dict[str, Figure]] = {}

    def print_all(self) -> None:
        """Every row, when both programs are through."""
        fill(0)
        for number in range(SESSIONS):
            lio.create_target(NAME.format(number), [PORTAL], size_mb=1)
        for name in (table.OURS, table.THEIRS):
            os.environ["PATH"] = programs_path(name, self._path)
            with own_daemon(name):
                self._measure(name)
        lio.delete_all()
        for title, row in self._rows.items():
            table.print_row(title, row)

    def _measure(self, name: str) -> None:
        self._command(name, f"discovery, {SESSIONS} targets", _DISCOVERY)
        self._once(name, "-l", SESSIONS)
        for question in _QUESTIONS:
            self._command(name, f"{' '.join(question)}, {SESSIONS} sessions", question)
        self._once(name, "-u", 0)

    def _command(self, name: str, title: str, arguments: Sequence[str]) -> None:
        command = ["iscsiadm", *arguments]
        figure = Figure(milliseconds(command, self._repeats), calls(command))
        self._note(name, title, figure)

    def _once(self, name: str, action: str, expected: int) -> None:
        figure = Figure(milliseconds(["iscsiadm", "-m", "node", action], 1))
        machine.settle()
        assert len(machine.session_ids()) == expected, machine.session_ids()
        self._note(name, f"-m node {action}, {SESSIONS} targets", figure)

    def _note(self, name: str, title: str, figure: Figure) -> None:
        self._rows.setdefault(title, {})[name] = figure
