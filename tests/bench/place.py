"""A machine's own /etc/iscsi replaced by an empty one, for this process and its children only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.kernel import machine

_LOCKS = Path("/run/lock")
_BASE = "PYISCSI_BENCH_BASE"
_DISK = "/var/tmp"
"""Never in memory, where syncing costs nothing."""
_REMOVE_TRIES = 50


def why_not() -> str:
    """Why commands on records cannot be compared on this machine itself, "" when they can."""
    if os.geteuid() != 0:
        return "needs root for a mount namespace"
    if not machine.ETC.is_dir():
        return f"there is no {machine.ETC} that could be replaced"
    tried = subprocess.run(["unshare", "-m", "-n", "true"], capture_output=True, check=False)
    return "no namespaces here" if tried.returncode else ""


def is_inside() -> bool:
    """Whether this process was started by run_inside()."""
    return _BASE in os.environ


def run_inside(arguments: Sequence[str]) -> int:
    """Run this program again with a private database, and no daemon of the machine in reach."""
    # Ended by a signal it must not leave ten thousand records behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    base = tempfile.mkdtemp(prefix="pyiscsi-bench.", dir=_DISK)
    command = ["unshare", "-m", "-n", sys.executable, "-m", "tests.bench", *arguments]
    environ = {**os.environ, _BASE: base, "PYISCSI_SOCKET": f"{base}/socket"}
    child = subprocess.Popen(command, env=environ, start_new_session=True)
    try:
        return child.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        _remove(base)


def _remove(base: str) -> None:
    """What was killed a moment ago may still finish its last system call."""
    for _ in range(_REMOVE_TRIES):
        shutil.rmtree(base, ignore_errors=True)
        if not os.path.exists(base):
            return
        time.sleep(0.1)


def enter() -> str:
    """Put the private database in place; the type of its file system."""
    base = Path(os.environ[_BASE])
    for path, place in ((base / "etc", machine.ETC), (base / "lock", _LOCKS)):
        path.mkdir()
        subprocess.run(["mount", "--bind", str(path), str(place)], check=True)
    machine.write_configuration("")
    shown = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "-T", str(machine.ETC)],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() or "disk"


def use_memory() -> None:
    """In the guest, whose files are its own: a file system in memory, as fast as there is."""
    shutil.rmtree(machine.ETC)
    machine.ETC.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "etc", str(machine.ETC)], check=True)
    machine.write_configuration(machine.configuration())
