"""How many login attempts do local work at the same time.

The kernel takes one request after the other and a login needs some thirty. Fifty attempts in step
would all finish last, and on a slow machine each after its target's patience: so only a few
connect and prepare the kernel's objects at once, while any number may wait for their targets.
"""

from __future__ import annotations

import asyncio
from collections import deque

AT_A_TIME = 4


class Place:
    """The right to do local work; given back once, however often that is asked for."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    @property
    def is_held(self) -> bool:
        return self._places is not None

    def give_back(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.next_turn()


class Places:
    """Hands out places: to attempts that have a connection first, then in order."""

    def __init__(self, count: int = AT_A_TIME) -> None:
        self._free = count
        self._connected: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    async def take(self, *, connected: bool = False) -> Place:
        """Wait for a place. `connected`: a target is waiting for us."""
        if self._free:
            self._free -= 1
            return Place(self)
        turn = asyncio.get_running_loop().create_future()
        (self._connected if connected else self._others).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was our turn in the same moment
                self.next_turn()
            raise
        return Place(self)

    def next_turn(self) -> None:
        """A place is free: the next who still waits for one gets it."""
        for queue in (self._connected, self._others):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1
