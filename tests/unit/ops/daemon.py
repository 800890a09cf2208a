"""A stand-in for iscsid behind the real server: what it is asked, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from pyiscsi.ipc.server import Operation
from tests.unit.ipc.harness import running

COUNTERS = {"txdata_octets": 48, "rxdata_octets": 96}


class FakeDaemon:
    """Logins and logouts fail by target and sid as told.

    `together`: answers nothing before so many logins or logouts have been asked for, so a client
    that waits for one answer before it sends the next request never gets one.
    """

    def __init__(self, config_file: str = "") -> None:
        self.config_file = config_file
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.login_codes: dict[str, int] = {}
        self.logout_codes: dict[int, int] = {}
        self.states: dict[str, dict[str, str]] = {}
        self.stats_codes: dict[int, int] = {}
        self.together = 0
        self._waiting = 0
        self._all_here: asyncio.Event | None = None

    def operations(self) -> dict[str, Operation]:
        names = ("config", "login", "logout", "session_info", "stats")
        return {name: Operation(getattr(self, f"_{name}")) for name in names}

    def of(self, op: str) -> list[dict[str, Any]]:
        return [args for name, args in self.asked if name == op]

    async def _meet(self) -> None:
        self._all_here = self._all_here or asyncio.Event()
        self._waiting += 1
        if self._waiting >= self.together:
            self._all_here.set()
        await self._all_here.wait()

    async def _config(self, args: dict[str, Any], _report: object) -> dict[str, Any]:
        self.asked.append(("config", args))
        return {"config_file": self.config_file, "initiator_name": "iqn.x:i"}

    async def _login(self, args: dict[str, Any], _report: object) -> dict[str, Any]:
        self.asked.append(("login", args))
        await self._meet()
        _fail(self.login_codes.get(args["record"]["node.name"], 0))
        return {"sid": 1, "host": 0}

    async def _logout(self, args: dict[str, Any], _report: object) -> dict[str, Any]:
        self.asked.append(("logout", args))
        await self._meet()
        _fail(self.logout_codes.get(args["sid"], 0))
        return {}

    async def _session_info(self, args: dict[str, Any], _report: object) -> dict[str, Any]:
        self.asked.append(("session_info", args))
        return {"sessions": self.states}

    async def _stats(self, args: dict[str, Any], _report: object) -> dict[str, Any]:
        self.asked.append(("stats", args))
        _fail(self.stats_codes.get(args["sid"], 0))
        return {"counters": COUNTERS, "custom": {"eh_abort_cnt": args["sid"]}}


def _fail(code: int) -> None:
    if code:
        raise PyIscsiError("", code)


@contextmanager
def serving(env: Env, daemon: FakeDaemon) -> Iterator[FakeDaemon]:
    with running(env.socket_path, daemon.operations()):
        yield daemon
