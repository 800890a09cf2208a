"""What tests share that follow the real program call by call."""

import subprocess
import sys
from pathlib import Path

import pytest

import pyiscsi
from tests.unit.cli import programs

CACHE = "PYTHONPYCACHEPREFIX"


@pytest.fixture(scope="session")
def _bytecode(tmp_path_factory):
    """A cache of its own, complete: two runs of a command make the same system calls."""
    cache = tmp_path_factory.mktemp("bytecode")
    package = str(Path(pyiscsi.__file__).parent)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(CACHE, str(cache))
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        subprocess.run([sys.executable, "-m", "compileall", "-q", package], check=True)
        programs.run("-V")
    return cache


@pytest.fixture
def steady(_bytecode, monkeypatch):
    """Commands of this test import from the complete cache. Skips where strace does not work."""
    programs.needs_strace()
    monkeypatch.setenv(CACHE, str(_bytecode))
