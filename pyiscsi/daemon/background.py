"""What the daemon does unasked: discoveryd, and logins that wait for their targets."""

from __future__ import annotations

import asyncio
import logging
import os

from pyiscsi.daemon.awaited import AwaitedLogins
from pyiscsi.daemon.discover import Discovery
from pyiscsi.daemon.discoveryd import Around, Discoveryd, Sessions
from pyiscsi.daemon.runstate import RunState, state_file
from pyiscsi.daemon.settings import Settings
from pyiscsi.daemon.waits import stop_tasks
from pyiscsi.env import Env

_log = logging.getLogger("iscsid")

REST_S = 10.0
"""Before discoveryd starts anew after an error nobody planned for."""


class Background:
    """Made with the daemon's parts, started when existing sessions were taken over."""

    def __init__(
        self, env: Env, settings: Settings, discovery: Discovery, sessions: Sessions
    ) -> None:
        self._state = RunState(state_file(env))
        self.awaited = AwaitedLogins(env, sessions, self._state, _random)
        self._discoveryd = Discoveryd(Around(env, settings, discovery, sessions, self._state))
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._state.load()
        self.awaited.resume()
        self._task = asyncio.create_task(self._run_discoveryd())

    def reload(self) -> None:
        """The settings were read again."""
        self._discoveryd.look_again()

    async def close(self) -> None:
        """Stop all of it. Sessions stay; the next daemon goes on."""
        await stop_tasks(self._task)
        await self.awaited.close()

    async def _run_discoveryd(self) -> None:
        while True:
            try:
                await self._discoveryd.run()
            except Exception:
                _log.exception("discoveryd failed, starting it again")
            await asyncio.sleep(REST_S)


def _random() -> float:
    return os.urandom(1)[0] / 255
