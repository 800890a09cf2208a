"""Automatic logins whose target was away: tried again in the background until they work.

Asked for with `iscsid.retry_automatic_logins = Yes`; open-iscsi has nothing like it, so a target
that comes up after the machine stays away until somebody logs in by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from pyiscsi.daemon.runstate import RunState
from pyiscsi.daemon.waits import in_thread
from pyiscsi.daemon.watch import Kept, Watch
from pyiscsi.env import Env
from pyiscsi.errors import LoggedOut, PyIscsiError, RecordError, SessionExists
from pyiscsi.names import NodeKey
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record

_log = logging.getLogger("iscsid")

FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 60.0
_RECORD_TIMEOUT_S = 30.0


class Logins(Protocol):
    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]: ...


class AwaitedLogins:
    """One task for each record that is waited for; `random` is within 0..1."""

    def __init__(
        self, env: Env, logins: Logins, state: RunState, random: Callable[[], float]
    ) -> None:
        self._env = env
        self._logins = logins
        self._state = state
        self._random = random
        self._watch = Watch()
        self._tasks: dict[NodeKey, Kept] = {}

    def resume(self) -> None:
        """Go on with what an earlier daemon was waiting for."""
        for key in [*self._state.awaited]:
            self._start(key)

    def add(self, key: NodeKey, error: PyIscsiError) -> None:
        """The login of an automatic record has just failed with `error`."""
        if isinstance(error, SessionExists | LoggedOut) or key in self._tasks:
            return
        _log.warning("%s at %s,%d: trying again in the background", *_words(key))
        self._state.wait_for(key)
        self._start(key)

    async def settled(self, key: NodeKey) -> None:
        """Until a record is no longer waited for."""
        if key in self._tasks:
            await self._tasks[key].ended.wait()

    async def close(self) -> None:
        """Stop trying; the next daemon resumes."""
        await self._watch.close()

    def _start(self, key: NodeKey) -> None:
        name = f"waiting for {key.target} at {key.address},{key.port}"
        self._tasks[key] = self._watch.keep(name, lambda: self._keep_trying(key))

    async def _keep_trying(self, key: NodeKey) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            await asyncio.sleep(delay_s * (1 - self._random() / 4))
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            if await self._try(key):
                self._state.no_longer_wait_for(key)
                del self._tasks[key]
                return

    async def _try(self, key: NodeKey) -> bool:
        """One attempt; whether the matter is settled."""
        try:
            record = await in_thread(lambda: NodeStore(self._env).read(key), _RECORD_TIMEOUT_S)
            if not _is_automatic(record):
                _log.info("%s at %s,%d: no longer automatic", *_words(key))
                return True
            sid, _ = await self._logins.login(record)
        except RecordError:
            _log.info("%s at %s,%d: its record is gone", *_words(key))
            return True
        except (SessionExists, LoggedOut):
            return True
        except (PyIscsiError, TimeoutError) as error:
            _log.debug("%s: %s", key.target, error)
            return False
        _log.info("session%d: %s at %s,%d has come up", sid, *_words(key))
        return True


def _is_automatic(record: Record) -> bool:
    return "automatic" in (record["node.startup"], record["node.conn[0].startup"])


def _words(key: NodeKey) -> tuple[str, str, int]:
    return key.target, key.address, key.port
