"""A real target of the tests' own: tgtd on a free port, its control socket numbered after that."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

WAIT_S = 20.0

is_installed = pytest.mark.skipif(
    shutil.which("tgtd") is None, reason="tgtd (package tgt) is not installed"
)
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="tgtd needs root for its control socket")
NEEDED = [is_installed, is_root]
"""Marks of tests that use it."""


class Tgtd:
    """Where it listens, and how it is told what to do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.control = str(port % 32768)
        """tgtd takes no larger number for its control socket."""

    @property
    def portal(self) -> str:
        return f"127.0.0.1:{self.port}"

    def adm(self, *words: str) -> str:
        """Its administration command. Raises CalledProcessError when it refuses or is not there."""
        command = ["tgtadm", "-C", self.control, "--lld", "iscsi", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def offer(self, number: int, target: str) -> None:
        """A target that any initiator may use."""
        tid = str(number)
        self.adm("--mode", "target", "--op", "new", "--tid", tid, "--targetname", target)
        self.adm("--mode", "target", "--op", "bind", "--tid", tid, "--initiator-address", "ALL")


@contextmanager
def running(*targets: str) -> Iterator[Tgtd]:
    """tgtd with these targets; where it does not run at all the test is skipped."""
    tgtd = Tgtd(_free_port())
    command = ["tgtd", "-f", "-C", tgtd.control, "--iscsi", f"portal={tgtd.portal}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(process, tgtd)
        for number, target in enumerate(targets, 1):
            tgtd.offer(number, target)
        yield tgtd
    finally:
        process.kill()
        process.wait()
        for suffix in ("", ".lock"):
            with suppress(FileNotFoundError):
                os.unlink(f"/var/run/tgtd/socket.{tgtd.control}{suffix}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _await(process: subprocess.Popen[bytes], tgtd: Tgtd) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        if process.poll() is not None:
            pytest.skip(f"tgtd does not run here: it ended with {process.returncode}")
        with suppress(subprocess.CalledProcessError):
            tgtd.adm("--mode", "sys", "--op", "show")
            return
        if time.monotonic() > deadline:
            pytest.fail("tgtd gives no answer")
        time.sleep(0.05)
