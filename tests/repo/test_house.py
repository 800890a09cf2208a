"""House rules that a machine can check: sizes, docstrings, words that do not belong here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.repo import sources

MODULES = sources.package_modules()
MODULE_LINES = 400
FUNCTION_LINES = 40
LONG_TABLES = {"pyiscsi/records/schema.py", "pyiscsi/cli/options.py"}
"""One ordered table each; cutting one in two would give a fact two owners."""

# Spelled in pieces so that this file does not hold what it forbids.
FORBIDDEN_PATHS = ("wo" + "rk", "ro" + "ot", "fa" + "rm", "tmp/" + "brief", "tmp/" + "lab")
FORBIDDEN_WORDS = ("cla" + "ude", "anth" + "ropic", "chat" + "gpt", "sub" + "agent")
FORBIDDEN = re.compile(
    rf"(?<![\w.}})-])/(?:{'|'.join(FORBIDDEN_PATHS)})/|\breference/\w+\.md|{'|'.join(FORBIDDEN_WORDS)}",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", MODULES, ids=sources.name)
def test_module_size(path: Path) -> None:
    """No module over 400 lines, except the tables."""
    lines = path.read_text().count("\n")
    assert lines <= MODULE_LINES or sources.name(path) in LONG_TABLES


@pytest.mark.parametrize("path", MODULES, ids=sources.name)
def test_function_size(path: Path) -> None:
    """No function over 40 lines."""
    long = {
        node.name: length
        for node in sources.functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", MODULES, ids=sources.name)
def test_docstrings(path: Path) -> None:
    """Every module that has code says what it is for."""
    tree = sources.tree(path)
    assert not tree.body or ast.get_docstring(tree)


def test_no_mutable_module_state() -> None:
    """No `global` statement anywhere: what varies travels in arguments."""
    found = [
        f"{sources.name(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(sources.tree(path))
        if isinstance(node, ast.Global)
    ]
    assert found == []


def test_no_utils() -> None:
    """A module has a subject."""
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert [sources.name(path) for path in MODULES if path.stem in vague] == []


def test_words_that_do_not_belong() -> None:
    """No path of a developer's machine and no word about how the text was written."""
    found = [
        f"{sources.name(path)}: {match[0]}"
        for path in sources.text_files()
        for match in FORBIDDEN.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


def test_tests_name_what_they_check() -> None:
    """Every test function has a docstring, the place for checklist ids."""
    missing = [
        f"{sources.name(path)}:{node.lineno} {node.name}"
        for path in sources.testing_modules()
        if "kernel" in path.parts or "repo" in path.parts
        for node in sources.functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert missing == []
