from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyiscsi.daemon import notify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of sd_notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def test_the_states_have_the_original_texts() -> None:
    """D-074: strings of usr/iscsid.c."""
    assert notify.READY == "READY=1\nSTATUS=Ready to process requests"
    assert notify.SYNCING == "RELOADING=1\nSTATUS=Syncing existing session(s)"


def test_a_state_arrives(manager: socket.socket) -> None:
    notify.Notifier({"NOTIFY_SOCKET": manager.getsockname()}).send(notify.READY)
    assert manager.recv(1000).decode() == notify.READY


def test_an_abstract_address() -> None:
    name = f"pyiscsi-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        notify.Notifier({"NOTIFY_SOCKET": f"@{name}"}).send("A=1")
        assert sock.recv(100) == b"A=1"


@pytest.mark.parametrize("address", ["", "/nonexistent/notify", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    notify.Notifier({"NOTIFY_SOCKET": address}).send(notify.READY)


def test_the_watchdog_is_fed(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000"}
    environ["WATCHDOG_PID"] = str(os.getpid())

    async def body() -> None:
        task = asyncio.create_task(notify.Notifier(environ).watchdog(lambda: True))
        for _ in range(3):
            assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
        task.cancel()

    asyncio.run(body())


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_watchdog_was_asked_for(environ: dict[str, str]) -> None:
    notifier = notify.Notifier(environ)
    assert notifier.watchdog_s == 0
    asyncio.run(notifier.watchdog(lambda: True))


def listener(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(address)
    sock.listen()
    return sock


def test_our_socket_is_found_among_those_passed(tmp_path: Path) -> None:
    """D-002: by name, by address, or as the only one in the file system."""
    path, other = str(tmp_path / "a"), str(tmp_path / "b")
    abstract = listener(f"\0pyiscsi-abstract-{os.getpid()}")
    native, second = listener(path), listener(other)
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    internet = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    all_of_them = [("", each) for each in (abstract, native, second, datagram, internet, deaf)]
    try:
        assert notify.choose_native([], path) is None
        assert notify.choose_native(all_of_them, path) is native
        assert notify.choose_native(all_of_them, "/elsewhere") is None
        assert notify.choose_native([("", abstract)], path) is None
        assert notify.choose_native([("", abstract), ("", second)], path) is second
        assert notify.choose_native([("native", second), ("", native)], path) is second
        assert notify.choose_native([("native", abstract), ("", native)], path) is abstract
        assert notify.choose_native([("native", deaf), ("", datagram)], path) is None
    finally:
        for _, sock in all_of_them:
            sock.close()


RECEIVER = """
import os, sys
from pyiscsi.daemon import notify
fd = int(sys.argv[2])
if fd != 3:
    os.dup2(fd, 3)
    os.close(fd)
environ = dict(os.environ)
pid = os.getpid() if sys.argv[1] == "own" else 1
environ["LISTEN_PID"] = str(pid)
taken = notify.take_sockets(environ, os.getpid())
print([(n, s.getsockname(), os.get_inheritable(s.fileno())) for n, s in taken])
print(sorted(k for k in environ if k.startswith("LISTEN")))
"""


@pytest.mark.parametrize(
    ("whose", "count", "names", "expected"),
    [
        ("own", "1", "native", [("native", "PATH", False)]),
        ("own", "1", "", [("", "PATH", False)]),
        ("own", "2", "a:b", [("a", "PATH", False)]),
        ("other", "1", "native", []),
        ("own", "0", "", []),
        ("own", "many", "", []),
    ],
)
def test_sockets_are_taken_once_and_kept_from_children(
    tmp_path: Path, whose: str, count: str, names: str, expected: list[tuple[str, str, bool]]
) -> None:
    """D-002: only with our own LISTEN_PID; the variables are gone afterwards."""
    path = str(tmp_path / "s")
    with listener(path) as sock:
        done = subprocess.run(
            [sys.executable, "-c", RECEIVER, whose, str(sock.fileno())],
            pass_fds=[sock.fileno()],
            env={**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": names},
            capture_output=True,
            text=True,
            check=True,
        )
    taken, left = done.stdout.splitlines()
    assert taken == str(expected).replace("PATH", path)
    assert left == "[]"
