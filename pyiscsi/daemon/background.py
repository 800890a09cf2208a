"""What the daemon does unasked: discoveryd, and logins that wait for their targets."""

from __future__ import annotations

import os

from pyiscsi.daemon.awaited import AwaitedLogins
from pyiscsi.daemon.discover import Discovery
from pyiscsi.daemon.discoveryd import Around, Discoveryd, Sessions
from pyiscsi.daemon.runstate import RunState, state_file
from pyiscsi.daemon.settings import Settings
from pyiscsi.daemon.watch import Watch
from pyiscsi.env import Env


class Background:
    """Made with the daemon's parts, started when existing sessions were taken over."""

    def __init__(
        self, env: Env, settings: Settings, discovery: Discovery, sessions: Sessions
    ) -> None:
        self._state = RunState(state_file(env))
        self.awaited = AwaitedLogins(env, sessions, self._state, _random)
        self._discoveryd = Discoveryd(Around(env, settings, discovery, sessions, self._state))
        self._watch = Watch()

    def start(self) -> None:
        self._state.load()
        self.awaited.resume()
        self._watch.keep("discoveryd", self._discoveryd.run)

    def reload(self) -> None:
        """The settings were read again."""
        self._discoveryd.look_again()

    async def close(self) -> None:
        """Stop all of it. Sessions stay; the next daemon goes on."""
        await self._watch.close()
        await self.awaited.close()


def _random() -> float:
    return os.urandom(1)[0] / 255
