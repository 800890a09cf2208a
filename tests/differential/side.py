"""One iscsiadm, run command after command in mount and network namespaces of its own.

    python -m tests.differential.side fork|processes|theirs FILE

Started by machine.py. A request is a line of JSON, the list of the command's words; so is the
answer. Bytes are latin-1 text in both. `fork` forks a process that has imported pyiscsi already,
`processes` starts the installed command, `theirs` starts open-iscsi's.

An iscsid of ours runs beside either, without a kernel, because both programs ask a daemon for the
settings file; open-iscsi's would otherwise wait a second for one at every other command. It has
open-iscsi's socket only, so that either program discovers by itself, and no business in the
database. There is a target for discovery, too, whose answer is in FILE.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

THEIRS = "/usr/sbin/iscsiadm"
OURS = os.path.join(os.path.dirname(sys.executable), "iscsiadm")
COMMAND_S = 120
"""Beyond every wait either program has of its own (the lock's is 30 s)."""

Answer = tuple[int, bytes, bytes]


def run_program(path: str, words: list[bytes]) -> Answer:
    """A new process of an installed program."""
    done = subprocess.run(
        [b"iscsiadm", *words],
        executable=path,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def run_fork(words: list[bytes]) -> Answer:
    """Our command in a copy of this process, which has its modules already."""
    streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
    child = os.fork()
    if not child:
        _be_iscsiadm(words, streams)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for stream in streams:
        texts.append(os.pread(stream, os.fstat(stream).st_size, 0))
        os.close(stream)
    return status, texts[0], texts[1]


def _be_iscsiadm(words: list[bytes], streams: list[int]) -> NoReturn:
    status = 1
    try:
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        signal.alarm(COMMAND_S)
        from pyiscsi.cli import iscsiadm

        status = iscsiadm.main(["iscsiadm", *map(os.fsdecode, words)])
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def import_everything() -> None:
    """What a command could need."""
    importlib.import_module("pyiscsi.daemon.solo")
    importlib.import_module("pyiscsi.daemon.explore")
    for room in ("cli", "cli.modes", "ops", "printers", "records", "ipc", "sysfs"):
        package = importlib.import_module(f"pyiscsi.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"pyiscsi.{room}.{module.name}")
    gc.collect()
    gc.freeze()


RUNNERS: dict[str, Callable[[list[bytes]], Answer]] = {
    "fork": run_fork,
    "processes": lambda words: run_program(OURS, words),
    "theirs": lambda words: run_program(THEIRS, words),
}


_ISCSID = {
    "PYISCSI_NO_KERNEL": "1",
    "PYISCSI_COMPAT_SOCKET": "ISCSIADM_ABSTRACT_NAMESPACE",
    "PYISCSI_SOCKET": "/run/unused.sock",
    "PYISCSI_DB_ROOT": "/run/unused",
    "NOTIFY_SOCKET": "/run/notify",
}


@contextlib.contextmanager
def iscsid() -> Iterator[None]:
    """Our daemon as open-iscsi's clients see it."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(_ISCSID["NOTIFY_SOCKET"])
    manager.settimeout(60)
    process = subprocess.Popen(
        [sys.executable, "-m", "pyiscsi.cli.iscsid", "-f"],
        env=os.environ | _ISCSID,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while b"READY=1" not in manager.recv(1000):
            pass
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def target(path: str) -> Iterator[None]:
    """Somebody to discover."""
    command = [sys.executable, "-m", "tests.differential.target", path]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            process.stdout.readline()
            yield
        finally:
            process.kill()


def serve(which: str, answer_file: str) -> None:
    """Answer requests until there are no more."""
    run = RUNNERS[which]
    requests = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    with iscsid(), target(answer_file):
        if which == "fork":
            import_everything()
        print("ready", file=answers, flush=True)
        for line in requests:
            status, out, err = run([word.encode("latin-1") for word in json.loads(line)])
            locked = os.path.lexists("/run/lock/iscsi/lock.write")
            answer = (status, out.decode("latin-1"), err.decode("latin-1"), locked)
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
