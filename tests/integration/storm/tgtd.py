"""A tgtd of our own: control socket, port, and three targets."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CONTROL = "78"
PORT = 13261
TARGETS = [f"iqn.2026-11.test:storm{number}" for number in range(1, 4)]
WAIT_S = 20.0


def tgtadm(*words: str) -> None:
    """Raises CalledProcessError when tgtd refuses or does not answer."""
    subprocess.run(
        ["tgtadm", "-C", CONTROL, "--lld", "iscsi", *words], check=True, capture_output=True
    )


@contextmanager
def running() -> Iterator[str]:
    """The portal to discover at. Raises RuntimeError when tgtd does not run here."""
    command = ["tgtd", "-f", "-C", CONTROL, "--iscsi", f"portal=127.0.0.1:{PORT}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(process)
        for number, name in enumerate(TARGETS, 1):
            tid = str(number)
            tgtadm("--mode", "target", "--op", "new", "--tid", tid, "--targetname", name)
            tgtadm("--mode", "target", "--op", "bind", "--tid", tid, "--initiator-address", "ALL")
        yield f"127.0.0.1:{PORT}"
    finally:
        process.kill()
        process.wait()
        for suffix in ("", ".lock"):
            with suppress(FileNotFoundError):
                os.unlink(f"/var/run/tgtd/socket.{CONTROL}{suffix}")


def _await(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("tgtd does not answer")
        with suppress(subprocess.CalledProcessError):
            tgtadm("--mode", "sys", "--op", "show")
            return
        time.sleep(0.05)
