"""A private database per test, and the reference tables of record fields."""

import json
import os
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.records.nodes import NodeStore

DATA = Path(__file__).parents[2] / "data/db"


@pytest.fixture(scope="session")
def tables():
    """fields.json: what open-iscsi's record tables hold."""
    return json.loads((DATA / "fields.json").read_text())


@pytest.fixture
def env(tmp_path):
    """An Env whose database, configuration and lock are the test's own."""
    for name in ("db", "conf"):
        (tmp_path / name).mkdir()
    return Env(
        db_root=str(tmp_path / "db"),
        config_root=str(tmp_path / "conf"),
        lock_dir=str(tmp_path / "lock"),
    )


@pytest.fixture
def root(env):
    return Path(env.db_root)


@pytest.fixture
def nodes(env):
    return NodeStore(env)


@pytest.fixture
def tree(root):
    """What is in the database: path -> text, "-> target" for links, "/" for directories."""

    def read():
        found = {}
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = f"-> {os.readlink(path)}"
            else:
                found[name] = "/" if path.is_dir() else path.read_bytes().decode()
        return found

    return read


@pytest.fixture
def put(root):
    """Write a file below the database root, with its directories."""

    def write(name, content):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def open_to_all():
    """Let other users into a directory of the test, which pytest makes for its own user only."""

    def change(path):
        for directory in [path, *path.parents]:
            if "pytest-of-" not in str(directory):
                return
            directory.chmod(0o755)

    return change
