"""Pace: at most so many turns a second, so that neither a vendor's API nor the ledger is flooded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

Sleep = Callable[[float], Awaitable[None]]


class Pace:
    def __init__(
        self, per_second: float, *, sleep: Sleep = asyncio.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = 1 / per_second
        self._sleep = sleep
        self._clock = clock
        self._next = float("-inf")

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        now = self._clock()
        mine = max(now, self._next)
        self._next = mine + self._interval_s
        if mine > now:
            await self._sleep(mine - now)

    async def pause(self, seconds: float) -> None:
        """Nobody has a turn for so long."""
        self._next = max(self._next, self._clock() + seconds)
        await self._sleep(seconds)
