"""Who may import whom: the table of docs/architecture.md, and reading imports off a module.

A row's `rooms` are the other rooms of pyiscsi it may import; every room may import the leaves.
`packages` are third-party packages; `never` are modules of the standard library that the room's
nature forbids.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repo.sources import PACKAGE, tree

LEAVES = frozenset({"errors", "names", "env", "transports"})
THIRD_PARTY = frozenset({"click", "pyroute2", "pyudev", "crcmod"})


@dataclass(frozen=True)
class Row:
    """What one room may import."""

    rooms: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


def _row(rooms: str = "", packages: str = "", never: str = "") -> Row:
    return Row(frozenset(rooms.split()), frozenset(packages.split()), frozenset(never.split()))


TABLE = {
    "errors": _row(never="socket asyncio"),
    "names": _row(never="socket asyncio"),
    "env": _row(never="socket asyncio"),
    "transports": _row(never="socket asyncio"),
    "proto": _row(packages="crcmod", never="asyncio socket os time random secrets subprocess"),
    "records": _row(never="asyncio"),
    "sysfs": _row(packages="pyudev", never="asyncio"),
    "firmware": _row("records sysfs", never="asyncio socket subprocess"),
    "transport": _row("proto"),
    "discovery": _row("proto transport sysfs"),
    "ipc": _row(),
    "printers": _row(never="asyncio socket subprocess click"),
    "ops": _row("records sysfs firmware ipc transport", never="asyncio"),
    "daemon": _row("proto records sysfs firmware transport discovery ipc"),
    "cli": _row("ops printers ipc records sysfs firmware daemon", "click", never="asyncio"),
}

DATA_CLASSES = _row("records sysfs firmware")
"""What printers may name in annotations only: the data they turn into lines."""


def room(path: Path) -> str:
    """The room a module of the package lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, annotations: bool = True) -> Iterator[str]:
    """Full dotted names a module imports, wherever the statement stands.

    With `annotations` false, what stands below `if TYPE_CHECKING:` is left out.
    """
    skipped = set()
    if not annotations:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                skipped |= {id(inner) for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree(path)):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["pyiscsi", *path.relative_to(PACKAGE).parts[:-1]]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def violations(path: Path) -> list[str]:
    """What a module imports although its room may not."""
    here = room(path)
    row = TABLE[here]
    runtime = set(imports(path, annotations=False))
    found = []
    for imported in sorted(set(imports(path))):
        top, *rest = imported.split(".")
        if top == "pyiscsi" and rest:
            allowed = LEAVES | row.rooms | {here}
            if here == "printers" and imported not in runtime:
                allowed |= DATA_CLASSES.rooms
            constant = rest[0].strip("_").isupper() or rest[0] == "__version__"
            if rest[0] not in allowed and not constant:
                found.append(f"{imported}: {here} may not import {rest[0]}")
        elif (top in THIRD_PARTY and top not in row.packages) or top in row.never:
            found.append(f"{imported}: {here} may not import {top}")
    return found
