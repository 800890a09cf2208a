"""The real iscsiadm as a process of its own, alone or under strace, on a test's private roots."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ISCSIADM = str(Path(sys.executable).with_name("iscsiadm"))
LIMIT_S = 120
"""Longest run of a command: far more than any lock or daemon may make it wait."""
_CALL = re.compile(r"(\w+)\(")


def start(line: str, *prefix: str) -> subprocess.Popen[str]:
    """Start a command in the background; a `prefix` runs it (strace and its options)."""
    return subprocess.Popen(
        [*prefix, ISCSIADM, *shlex.split(line)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command: its status, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def run(line: str, *prefix: str) -> tuple[int, str, str]:
    """Run a command; status, stdout, stderr. Stderr is empty whenever the status is 0."""
    status, out, err = finish(start(line, *prefix))
    assert status or not err, (line, err)
    return status, out, err


class Call:
    """One system call of a trace: `number` counts those of its name from 1."""

    def __init__(self, name: str, number: int, text: str) -> None:
        self.name = name
        self.number = number
        self.text = text

    def __repr__(self) -> str:
        return f"{self.name}[{self.number}] {self.text[:120]}"


@cache
def missing() -> str:
    """Why no system call can be intercepted here, "" when it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True)
    return f"strace cannot trace here: {done.stderr.strip()}" if done.returncode else ""


def needs_strace() -> None:
    """Skip the test where strace does not work."""
    if reason := missing():
        pytest.skip(reason)


def trace(line: str, file: Path) -> list[Call]:
    """Run a command that succeeds; every system call it made, file descriptors with their paths."""
    done = run(line, "strace", "-y", "-o", str(file))
    assert done[0] == 0, (line, done)
    counts: Counter[str] = Counter()
    calls = []
    for text in file.read_text(errors="replace").splitlines():
        if match := _CALL.match(text):
            counts[match[1]] += 1
            calls.append(Call(match[1], counts[match[1]], text))
    return calls


def interrupting(call: Call, signal_name: str, file: Path) -> list[str]:
    """The prefix that sends a signal to the command in the middle of one of its calls.

    SIGKILL comes before the call does anything, every other signal is seen after it.
    """
    return [
        *("strace", "-o", str(file), "-e", f"trace={call.name}"),
        *("-e", f"inject={call.name}:signal={signal_name}:when={call.number}"),
    ]
