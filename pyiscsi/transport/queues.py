"""Event queues by session: an event reaches its subscriber, waits for one, or is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pyiscsi.transport.base import Event


class EventQueues:
    """Queues of the sessions this process made or subscribed to.

    NETLINK_ISCSI shows every listener the events of every session, so what is neither kept nor
    subscribed is dropped.
    """

    def __init__(self) -> None:
        self._queues: dict[int, asyncio.Queue[Event]] = {}
        self._subscribed: set[int] = set()

    def keep(self, sid: int) -> None:
        """Start keeping the events of a session this process has just made."""
        self._queues.setdefault(sid, asyncio.Queue())

    def forget(self, sid: int) -> None:
        """The session is gone; a queue nobody subscribed to goes with it."""
        if sid not in self._subscribed:
            self._queues.pop(sid, None)

    def queue(self, sid: int) -> asyncio.Queue[Event]:
        """The queue of a session, whoever reads it."""
        self.keep(sid)
        return self._queues[sid]

    def subscribe(self, sid: int) -> asyncio.Queue[Event]:
        self._subscribed.add(sid)
        return self.queue(sid)

    def unsubscribe(self, sid: int) -> None:
        self._subscribed.discard(sid)
        self._queues.pop(sid, None)

    def __contains__(self, sid: int) -> bool:
        return sid in self._queues

    def deliver(self, sid: int, event: Event) -> None:
        queue = self._queues.get(sid)
        if queue is not None:
            queue.put_nowait(event)

    def broadcast(self, make: Callable[[int], Event]) -> None:
        for sid, queue in self._queues.items():
            queue.put_nowait(make(sid))
