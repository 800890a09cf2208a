"""The daemon heals its own work, and tells the service manager when it can't."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon.app import Parts
from pyiscsi.transport import netlink
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.netlink import Channel
from pyiscsi.transport.uevent import UEvent
from tests.unit.daemon.world import World, ask_config, env_of
from tests.unit.transport.peer import Peer, refusing

PING = b"WATCHDOG=1"
INTERVAL_S = 0.02
WAIT_S = 30


class Manager:
    """The service manager; it counts pings in a thread of its own."""

    def __init__(self, path: str) -> None:
        self.pings = threading.Semaphore(0)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while state := self._socket.recv(1000):
            if state == PING:
                self.pings.release()

    def await_pings(self, count: int = 3) -> None:
        """As many, from now on."""
        self.forget()
        for _ in range(count):
            assert self.pings.acquire(timeout=WAIT_S), "no ping"

    def forget(self) -> None:
        while self.pings.acquire(blocking=False):
            pass

    def is_quiet(self) -> bool:
        """Whether ten intervals pass without a ping."""
        return not self.pings.acquire(timeout=10 * INTERVAL_S)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._socket.getsockname())
        self._thread.join(WAIT_S)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    try:
        yield manager
    finally:
        manager.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: Manager) -> World:
    world = World(env_of(tmp_path), monkeypatch)
    world.environ = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(int(2 * INTERVAL_S * 1e6)),
    }
    return world


def own_tasks() -> dict[str, asyncio.Task[Any]]:
    """The daemon's lasting work by name."""
    return {
        name: task
        for task in asyncio.all_tasks()
        if not (name := task.get_name()).startswith("Task-") and not task.done()
    }


def test_work_that_is_killed_is_done_again(
    world: World, manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of the daemon's lasting tasks, one after the other and all at once."""
    names = {"the look at ourselves", "the watchdog", "discoveryd"}

    async def all_back(killed: dict[str, asyncio.Task[Any]]) -> None:
        async with asyncio.timeout(WAIT_S):
            while own_tasks().keys() != killed.keys():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        assert not {*own_tasks().values()} & {*killed.values()}

    async def visit() -> None:
        before = own_tasks()
        assert before.keys() >= names
        for task in before.values():
            task.cancel()
        await asyncio.gather(*before.values(), return_exceptions=True)
        await all_back(before)
        await asyncio.to_thread(manager.await_pings)
        assert (await asyncio.to_thread(ask_config, world.env))["initiator_name"] == "iqn.a:me"

    assert world.run(visit) == 0
    for name in names:
        assert f"{name} ended, starting it again in 0.1 s" in caplog.messages


def test_no_ping_from_a_blocked_loop(world: World, manager: Manager) -> None:
    """The service manager is to find out that nothing is done any more."""

    async def visit() -> None:
        await asyncio.to_thread(manager.await_pings)
        manager.forget()
        assert manager.is_quiet()  # the loop is blocked meanwhile
        await asyncio.to_thread(manager.await_pings)

    assert world.run(visit) == 0


class DeafWorld:
    """A real kernel interface whose channels can be made to read nothing."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_deaf = False
        self.peers: list[Peer] = []
        monkeypatch.setattr(netlink, "STUCK_S", INTERVAL_S)
        world.parts = Parts(lambda env: Kernel(env, open_channel=self._open), world.registry)

    def _open(self) -> Channel:
        peer = Peer()
        peer.on[UEvent.UNBIND_SESSION] = refusing(errno.EINVAL)
        peer.start()
        self.peers.append(peer)
        channel = Channel(peer.sock)
        if self.is_deaf:
            self.deafen(channel)
        return channel

    def deafen(self, channel: Channel) -> None:
        """From now on it is called for what has arrived, and does not get on with it."""
        channel.drain = lambda: None  # type: ignore[method-assign]


def test_no_ping_while_the_kernel_is_not_heard(
    world: World,
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reader hangs, and so does each that replaces it: no ping, until one reads again."""
    deaf = DeafWorld(world, monkeypatch)

    async def visit() -> None:
        await asyncio.to_thread(manager.await_pings)
        deaf.is_deaf = True
        first = deaf.peers[0]
        asyncio.get_running_loop().remove_reader(first.sock.fileno())
        first.event(105, struct.pack("=II", 3, 0))
        async with asyncio.timeout(WAIT_S):
            while len(deaf.peers) < 3:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        manager.forget()
        assert await asyncio.to_thread(manager.is_quiet)
        deaf.is_deaf = False
        await asyncio.to_thread(manager.await_pings)
        for peer in deaf.peers:
            peer.close()

    assert world.run(visit) == 0
    troubles = [line for line in caplog.messages if "events have not been read" in line]
    assert len([line for line in troubles if not line.startswith("over: ")]) == 1
    assert any(line.startswith("over: ") for line in troubles)


def test_a_hanging_daemon_that_is_aborted_says_where() -> None:
    """systemd's watchdog ends with SIGABRT; the stack of every thread reaches the journal."""
    code = (
        "import os, sys, time; from pyiscsi.daemon import app; from pyiscsi.env import Env\n"
        "async def hang_here(self):\n print('hangs', flush=True); time.sleep(60)\n"
        "app.Daemon.run = hang_here\n"
        "app.run(app.Options(foreground=True), Env.from_environ(), {})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        os.kill(process.pid, signal.SIGABRT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in err
    assert "in hang_here" in err
