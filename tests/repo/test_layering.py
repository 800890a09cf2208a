"""Rooms import only what docs/architecture.md allows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.repo import layers, sources

MODULES = sources.package_modules()


@pytest.mark.parametrize("path", MODULES, ids=sources.name)
def test_imports(path: Path) -> None:
    """Arrows point down: no module imports a room, package or library that its own may not."""
    if path == sources.PACKAGE / "__init__.py":
        assert not [name for name in layers.imports(path) if name.startswith("pyiscsi.")]
        return
    assert layers.violations(path) == []


def test_every_room_has_a_row() -> None:
    """A new room needs a row in the table before it can exist."""
    rooms = {layers.room(path) for path in MODULES} - {"__init__"}
    assert rooms <= layers.TABLE.keys()


def test_rooms_have_no_cycles() -> None:
    """Following the table downwards never leads back."""

    def below(room: str, seen: tuple[str, ...] = ()) -> None:
        assert room not in seen, " -> ".join([*seen, room])
        for other in layers.TABLE[room].rooms:
            below(other, (*seen, room))

    for room in layers.TABLE:
        below(room)


def test_the_table_catches_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: upward, relative, third-party and forbidden imports are all seen."""
    package = tmp_path / "pyiscsi"
    module = package / "proto" / "bad.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from ..records import nodes\nimport pyroute2\nimport asyncio.streams\n"
        "def late():\n    from pyiscsi.cli import report\n    from . import keys\n"
    )
    monkeypatch.setattr(layers, "PACKAGE", package)
    assert [text.partition(":")[0] for text in layers.violations(module)] == [
        "asyncio.streams",
        "pyiscsi.cli.report",
        "pyiscsi.records.nodes",
        "pyroute2",
    ]


@pytest.mark.parametrize("path", MODULES, ids=sources.name)
def test_nothing_happens_at_import(path: Path) -> None:
    """A module's top level only defines; calls at that level are limited to building constants."""
    for node in sources.tree(path).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            pytest.fail(f"line {node.lineno}: {ast.unparse(node)} runs at import")
        assert not isinstance(node, ast.With | ast.For | ast.While), f"line {node.lineno}"
