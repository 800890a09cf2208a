"""Commands on node records, alone and on all of a large database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pyiscsi.env import Env
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from tests.bench import table
from tests.bench.measure import Figure, calls, milliseconds, nothing
from tests.kernel import machine

NAME = "iqn.2026-11.bench:n{:05}"
PORTAL = "127.0.0.1:3260"
_DIRECTORY = "127.0.0.1,3260,1"

Setting = Callable[[str], object]
"""A context manager: what has to run while a program's command is measured."""


def fill(count: int) -> None:
    """Exactly `count` node records with their links, as iscsiadm itself would have written them."""
    machine.clear_database()
    if not count:
        return
    first = NAME.format(0)
    record = Record(NODE, {"node.name": first, "node.tpgt": "1", "node.conn[0].port": "3260"})
    record.values["node.conn[0].address"] = "127.0.0.1"
    NodeStore(Env()).add(record)
    text = record.render().decode()
    nodes, static = machine.ETC / "nodes", machine.ETC / "static"
    for number in range(1, count):
        name = NAME.format(number)
        folder = nodes / name / _DIRECTORY
        folder.mkdir(parents=True, mode=0o700)
        (folder / "default").write_text(text.replace(first, name))
        (folder / "default").chmod(0o600)
        (static / f"{name},{_DIRECTORY},default").symlink_to(folder)
    os.sync()


def programs_path(name: str, path: str) -> str:
    """PATH with which commands are those of `name`."""
    os.environ["PATH"] = path
    return machine.environment_path(name)


@contextmanager
def own_daemon(name: str) -> Iterator[None]:
    """The program's own daemon runs."""
    daemon = machine.Daemon()
    daemon.start()
    try:
        yield
    finally:
        daemon.kill()
        machine.drop_sessions()


@contextmanager
def no_daemon(name: str) -> Iterator[None]:
    """Commands on records do without."""
    yield


class RecordRows:
    """Measures each command with both programs.

    `bulk_repeats`: for commands that touch every record. `counting`: system calls as well.
    """

    def __init__(
        self, setting: Setting, repeats: int, bulk_repeats: int, *, counting: bool
    ) -> None:
        self._setting = setting
        self._repeats = repeats
        self._bulk_repeats = bulk_repeats
        self._counting = counting
        self._path = os.environ["PATH"]

    def print_all(self, many: int) -> None:
        """Every row: listing, showing and changing at three sizes of the database."""
        fill(0)
        self._row("-V", ["-V"])
        self._row("-m node, no records", ["-m", "node"])
        fill(many // 10)
        self._row(f"-m node, {many // 10:,} records", ["-m", "node"])
        fill(many)
        one = ["-m", "node", "-T", NAME.format(many // 2)]
        change = ["-o", "update", "-n", "node.startup", "-v", "automatic"]
        self._row(f"-m node, {many:,} records", ["-m", "node"], bulk=True)
        self._row(f"-T X -o show, {many:,} records", [*one, "-o", "show"])
        self._row(f"-T X -o update, {many:,} records", [*one, *change])
        self._row(f"-o show of {many:,} records", ["-m", "node", "-o", "show"], bulk=True)
        self._row(f"-o update of {many:,} records", ["-m", "node", *change], bulk=True)
        delete = ["-m", "node", "-o", "delete"]
        self._row(f"-o delete of {many:,} records", delete, bulk=True, prepare=lambda: fill(many))

    def _row(
        self,
        title: str,
        arguments: Sequence[str],
        *,
        bulk: bool = False,
        prepare: Callable[[], None] = nothing,
    ) -> None:
        command = ["iscsiadm", *arguments]
        repeats = self._bulk_repeats if bulk else self._repeats
        row = {}
        for name in (table.OURS, table.THEIRS):
            os.environ["PATH"] = programs_path(name, self._path)
            with self._setting(name):
                ms = milliseconds(command, repeats, prepare)
                counted = calls(command, prepare) if self._counting else None
            row[name] = Figure(ms, counted)
        table.print_row(title, row)
