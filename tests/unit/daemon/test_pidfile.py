from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyiscsi.daemon.pidfile import AlreadyRunning, LockedFile, PidFile
from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from pyiscsi.ipc.client import is_running

HOLDER = """
import sys
from pyiscsi.daemon.pidfile import PidFile
pid_file = PidFile(sys.argv[1])
try:
    pid_file.acquire()
except Exception as error:
    print(type(error).__name__, error)
else:
    print("held")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_content_mode_and_removal(tmp_path: Path) -> None:
    """D-090: `<pid>` and a newline, mode 0644 under the umask, gone after a clean end (W-25)."""
    path = tmp_path / "pid"
    path.write_text("an older and longer content\n")
    path.unlink()
    pid_file = PidFile(str(path))
    pid_file.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 & ~0o644 == 0
    pid_file.release()
    assert not path.exists()
    pid_file.release()


def test_what_an_earlier_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("4194304 and more text\n")
    pid_file = PidFile(str(path))
    pid_file.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.release()


def test_a_second_holder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """W-25: the lock lives as long as the daemon."""
    path = str(tmp_path / "pid")
    command = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "held\n"
        second = subprocess.run(command, input="", capture_output=True, text=True, check=True)
        assert second.stdout == f"AlreadyRunning Unable to lock pid file {path}\n"
        assert Path(path).read_text() == f"{one.pid}\n"
        with pytest.raises(AlreadyRunning):
            PidFile(path).acquire()
        one.kill()
        one.communicate()
    third = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert third.stdout == "held\n"


def test_a_file_replaced_between_open_and_lock_is_not_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    class Raced(LockedFile):
        opened = 0

        def _open(self) -> int:
            fd = super()._open()
            self.opened += 1
            if self.opened == 1:
                path.unlink()
            return fd

    lock = Raced(str(path), "lock file")
    lock.acquire()
    assert lock.opened == 2
    assert path.exists()
    lock.release(remove=False)
    assert path.exists()


def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "pid"
    with pytest.raises(PyIscsiError) as caught:
        PidFile(str(path)).acquire()
    assert str(caught.value) == f"Unable to create pid file {path}: No such file or directory"


def test_a_disk_that_is_full() -> None:
    """/dev/full stands for it: opening works, writing does not."""
    pid_file = PidFile("/dev/full")
    with pytest.raises(PyIscsiError, match="Unable to write pid file /dev/full"):
        pid_file.acquire()
    pid_file.release(remove=False)


def test_who_asks_does_not_start_it(tmp_path: Path) -> None:
    """Clients see from the lock whether the daemon runs; a file left by one says nothing."""
    env = Env(socket_path=str(tmp_path / "iscsid.sock"))
    assert not is_running(env)
    lock = LockedFile(f"{env.socket_path}.lock", "lock file")
    code = "import sys; from pyiscsi.env import Env; from pyiscsi.ipc.client import is_running; "
    code += "sys.exit(is_running(Env(socket_path=sys.argv[1])))"
    command = [sys.executable, "-c", code, env.socket_path]
    lock.acquire()
    assert subprocess.run(command, check=False).returncode == 1
    lock.release(remove=False)
    assert subprocess.run(command, check=False).returncode == 0
