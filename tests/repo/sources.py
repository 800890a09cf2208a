"""The project's own Python files and what can be read off their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "pyiscsi"
IGNORED_FOLDERS = {".git", ".venv", ".lab", "__pycache__", "build", "dist"}


def package_modules() -> list[Path]:
    """Every module of the package, sorted."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def testing_modules() -> list[Path]:
    """Every Python file of the tests, sorted."""
    return sorted(
        path for path in (PROJECT / "tests").rglob("*.py") if "__pycache__" not in path.parts
    )


def text_files() -> Iterator[Path]:
    """Every file of the project that is not generated (caches and the virtual environment are)."""
    for path in sorted(PROJECT.rglob("*")):
        parts = path.relative_to(PROJECT).parts
        hidden_cache = any(part.startswith(".") and part.endswith("_cache") for part in parts)
        if IGNORED_FOLDERS & set(parts) or hidden_cache or ".hypothesis" in parts:
            continue
        if path.is_file():
            yield path


@cache
def tree(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    """A path as test ids and messages show it."""
    return str(path.relative_to(PROJECT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
