"""A command on records must not import what costs more than the interpreter itself."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
EXPENSIVE = {
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "json",
    "logging",
    "pathlib",
    "re",
    "signal",
    "socket",
    "threading",
    "typing",
}

LIST = """
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.records.nodes import NodeStore
store = NodeStore(env)
assert len(store.keys()) == 1
"""
SHOW = LIST + "assert list(next(store.records()).shown(secrets=False))\n"
UPDATE = LIST + "store.update(store.keys()[0], [('node.startup', 'automatic')])\n"
RESOLVE = LIST + "assert not store.keys(Pattern(address='::1'), resolve=True)\n"
ADD = LIST + "store.add(store.read(store.keys()[0]))\nstore.delete(store.keys()[0])\n"
DISCOVERY = LIST + "import pyiscsi.records.discovery, pyiscsi.records.config\n"


@pytest.mark.parametrize("script", [LIST, SHOW, UPDATE, RESOLVE, ADD, DISCOVERY])
def test_no_expensive_module(env, put, script):
    """The modules are counted, not the time."""
    put("nodes/iqn.a/10.0.0.1,3260,1/default", "node.name = iqn.a\n")
    settings = {name: getattr(env, name) for name in env.__slots__}
    head = f"from pyiscsi.env import Env\nenv = Env(**{settings!r})\n"
    # -S: what the site's own start files import is not ours.
    code = head + script + "import sys\nprint(*sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert EXPENSIVE & set(done.stdout.split()) == set()


def test_listing_builds_no_table(env):
    """Nor does it load the modules that hold the fields."""
    code = "import sys, pyiscsi.records.nodes\nprint(*sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if name.startswith("pyiscsi.records.")}
    assert loaded == {f"pyiscsi.records.{name}" for name in ("nodes", "database", "files")}
