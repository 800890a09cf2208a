"""Each test changes a process of its own, never the one that runs the tests."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon import process
from pyiscsi.errors import PyIscsiError

REPORT = """
import json, logging, os, resource, sys
from pyiscsi.daemon import process
from pyiscsi.daemon.process import *
logging.basicConfig(level=logging.WARNING, format="%(message)s")
root = sys.argv[1]
{work}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({{
    "name": open("/proc/self/comm").read().strip(),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "locked_kb": int(status["VmLck"].split()[0]),
    "size_kb": int(status["VmSize"].split()[0]),
    "rss_kb": int(status["VmRSS"].split()[0]),
    "uids": [os.getuid(), os.geteuid()],
    "gids": [os.getgid(), os.getegid()],
    "groups": os.getgroups(),
}}))
"""


def in_child(work: str, root: str = "/proc") -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(work=work), root],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


def test_the_process_is_called_iscsid() -> None:
    """D-091: pidof, killall and containers look for this name."""
    state, _ = in_child("set_name()")
    assert state["name"] == "iscsid"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_priority_and_open_files() -> None:
    """D-091."""
    state, _ = in_child("raise_priority(); raise_open_files()")
    assert state["nice"] == -10
    assert state["files"] == [16384, 16384]


def test_the_oom_score_is_written(tmp_path: Path) -> None:
    """D-091: -1000, as open-iscsi writes since 2.1.9."""
    (tmp_path / "self").mkdir()
    process.protect_from_oom_killer(str(tmp_path))
    assert (tmp_path / "self" / "oom_score_adj").read_text() == "-1000"


def can_lock_memory() -> bool:
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 0


@pytest.mark.skipif(not can_lock_memory(), reason="may not lock memory")
def test_memory_is_locked_and_threads_stay_cheap() -> None:
    """D-091: what is mapped is locked; 40 threads do not cost 40 whole stacks."""
    state, _ = in_child("lock_memory()")
    assert state["locked_kb"] > state["size_kb"] * 0.9
    work = """
limit_thread_memory()
lock_memory()
import threading
gate = threading.Event()
threads = [threading.Thread(target=gate.wait, daemon=True) for _ in range(40)]
for thread in threads: thread.start()
"""
    with_threads, _ = in_child(work)
    assert with_threads["rss_kb"] - state["rss_kb"] < 40 * 256


def test_a_protection_that_is_not_permitted_is_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike open-iscsi, which ends when it cannot lock its memory."""

    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("raise_open_files", "raise_priority", "lock_memory", "set_io_flusher"):
        monkeypatch.setattr(process, name, refuse)
    with caplog.at_level(logging.WARNING, "iscsid"):
        process.harden("/nonexistent")
        process.stay_in_memory()
        process.take_precedence()
    assert len(caplog.records) == 5
    assert "could not lock memory: [Errno 1] Operation not permitted" in caplog.text
    assert "PR_SET_IO_FLUSHER" in caplog.text


def test_io_flusher_says_what_the_kernel_said() -> None:
    """D-091: set where the kernel lets us, else an error that names its reason."""
    work = """
try:
    set_io_flusher()
    print(libc_value := process._libc().prctl(58, 0, 0, 0, 0), file=sys.stderr)
except OSError as error:
    print("refused", error.errno, file=sys.stderr)
"""
    _, said = in_child(work)
    assert said.strip() in ("1", "refused 1", "refused 22")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_uid_and_gid() -> None:
    """D-090: -u and -g; supplementary groups go."""
    state, _ = in_child("os.setgroups([7]); drop_privileges(65534, 65533)")
    assert state["uids"] == [65534, 65534]
    assert state["gids"] == [65533, 65533]
    assert state["groups"] == []
    state, _ = in_child("drop_privileges(None, None)")
    assert state["uids"] == [0, 0]


@pytest.mark.parametrize("uid", [1 << 40, -(1 << 40)])
def test_an_impossible_uid_is_one_line(uid: int) -> None:
    with pytest.raises(PyIscsiError, match=f"Unable to run as uid {uid}, gid None"):
        process.drop_privileges(uid, None)


DAEMONIZE = """
import os, signal, sys, time
from pyiscsi.daemon import process
def started(pid):
    print("started", pid, flush=True)
ready = process.daemonize(started)
if sys.argv[1] == "listens":
    print("child", os.getpid(), os.getsid(0) == os.getpid(), os.getcwd(), flush=True)
    streams = os.fstat(1).st_rdev
    ready.announce()
    null = os.stat("/dev/null").st_rdev
    good = all(os.fstat(fd).st_rdev == null for fd in (0, 1, 2))
    with open(sys.argv[2], "w") as file:
        file.write(f"{os.getpid()} {good}")
elif sys.argv[1] == "fails":
    sys.exit(3)
else:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(60)
"""


def daemonized(how: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DAEMONIZE, how, path], capture_output=True, text=True, check=False
    )


def test_the_parent_ends_when_the_child_listens(tmp_path: Path) -> None:
    """W-25: exit 0 means that there is a daemon."""
    path = tmp_path / "result"
    os.mkfifo(path)
    with subprocess.Popen(
        [sys.executable, "-c", DAEMONIZE, "listens", str(path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid, streams = path.read_text().split()
        out, _ = parent.communicate()
    assert parent.returncode == 0
    assert sorted(out.splitlines()) == [f"child {pid} True /", f"started {pid}"]
    assert streams == "True"
    assert int(pid) != parent.pid


def test_the_parent_fails_when_the_child_does() -> None:
    """W-25: a start that failed is visible in the exit status."""
    done = daemonized("fails")
    assert (done.returncode, done.stdout) == (1, "")


def test_the_parent_does_not_wait_for_ever() -> None:
    code = DAEMONIZE.replace("ready =", "process.START_TIMEOUT_S = 0.05\nready =")
    done = subprocess.run([sys.executable, "-c", code, "hangs"], check=False)
    assert done.returncode == 1


def test_a_parent_that_was_killed_does_not_end_the_child(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with subprocess.Popen(
        [sys.executable, "-c",
         "import sys; from pyiscsi.daemon.process import Readiness;"
         "Readiness(int(sys.argv[1])).announce()", str(write_end)],
        pass_fds=[write_end],
    ) as child:  # fmt: skip
        os.close(write_end)
        assert child.wait(30) == 0
    assert child.returncode != -signal.SIGPIPE
