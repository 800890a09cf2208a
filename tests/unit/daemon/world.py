"""A daemon whose kernel and registry only take notes, and the machine it runs on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon import app, process
from pyiscsi.daemon.app import Daemon, Options, Parts
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import TransportError
from pyiscsi.ipc.client import Client


def env_of(tmp_path: Path) -> Env:
    """The roots of a machine of its own."""
    (tmp_path / "sys").mkdir()
    (tmp_path / "initiatorname.iscsi").write_text("InitiatorName=iqn.a:me\n")
    (tmp_path / "iscsid.conf").write_text("")
    return Env(
        config_root=str(tmp_path),
        db_root=str(tmp_path / "db"),
        lock_dir=str(tmp_path / "lock"),
        sysfs_root=str(tmp_path / "sys"),
        proc_root=str(tmp_path / "proc"),
        socket_path=str(tmp_path / "socket"),
        pid_file=str(tmp_path / "pid"),
    )


class World:
    """What the daemon did, in order; and the parts it was given."""

    def __init__(self, env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
        self.env = env
        self.notes: list[str] = []
        self.open_error: Exception | None = None
        self.adoption: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.settings: Settings | None = None
        self.environ: dict[str, str] = {}
        self.parts = Parts(lambda env: FakeKernel(self), self.registry)
        self.options = Options(foreground=True)
        self.passed: list[tuple[str, socket.socket]] = []
        monkeypatch.setattr(process, "harden", lambda root: self.notes.append("hardened"))
        monkeypatch.setattr(process, "stay_in_memory", lambda: self.notes.append("in memory"))
        monkeypatch.setattr(process, "take_precedence", lambda: self.notes.append("precedence"))
        monkeypatch.setattr(app, "warm_up", lambda: None)

    def sessions_exist(self) -> None:
        os.makedirs(f"{self.env.sysfs_root}/class/iscsi_session/session1")

    def daemon(self, ready: Ready) -> Daemon:
        return Daemon(
            self.options,
            self.env,
            self.environ,
            parts=self.parts,
            passed=self.passed,
            readiness=ready,
        )

    def registry(self, kernel: Any, env: Env, settings: Settings) -> FakeRegistry:
        self.settings = settings
        return FakeRegistry(self)

    def run(self, visit: Callable[[], Coroutine[Any, Any, None]] | None = None) -> int:
        """Run the daemon; `visit` when it listens, then SIGTERM. The exit status."""

        async def body() -> int:
            ready = Ready()
            task = asyncio.create_task(self.daemon(ready).run())
            begun = asyncio.create_task(ready.event.wait())
            await asyncio.wait([task, begun], return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if not task.done():
                if visit is not None:
                    await visit()
                os.kill(os.getpid(), signal.SIGTERM)
            status = await asyncio.wait_for(task, 10)
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                _, left = await asyncio.wait(others, timeout=10)
                assert not left
            return status

        return asyncio.run(body())


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True


class Ready(process.Readiness):
    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def announce(self) -> None:
        self.event.set()


class FakeKernel:
    def __init__(self, world: World) -> None:
        self.world = world

    async def open(self) -> None:
        if self.world.open_error:
            raise self.world.open_error
        listening = _listens(self.world.env.socket_path)
        self.world.notes.append("kernel open" + (", already listening" if listening else ""))

    async def close(self) -> None:
        self.world.notes.append("kernel closed")

    def trouble(self) -> str:
        return ""

    def delay(self) -> str:
        return ""

    async def transport(self, name: str) -> object:
        raise TransportError(exit_code=12)


class FakeRegistry:
    def __init__(self, world: World) -> None:
        self.world = world

    async def adopt(self) -> None:
        self.world.notes.append("adopting")
        if self.world.adoption:
            await self.world.adoption()
        self.world.notes.append("adopted")

    async def close(self) -> None:
        self.world.notes.append("registry closed")

    def states(self, sids: object) -> dict[int, tuple[str, str]]:
        return {}

    async def login(self, *_: Any, **__: Any) -> tuple[int, int]:
        raise AssertionError

    async def logout(self, sid: int) -> None:
        raise AssertionError

    async def stats(self, sid: int) -> Any:
        raise AssertionError


def ask_config(env: Env) -> dict[str, Any]:
    with Client.connect(env, timeout=10) as client:
        return client.request("config", timeout=10)
