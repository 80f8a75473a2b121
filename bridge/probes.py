"""The verbose form of probes: a line for each thing that was looked at, as Kubernetes' own components answer.

    [+]shutdown ok
    [-]redis failed: TimeoutError; not counted
    readyz check passed

Anybody may ask: a line says what is wrong by the kind of the error, never by its text, which names hosts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

CACHE_S = 3.0
TIMEOUT_S = 1.5
"""A probe has three seconds; a Redis that hangs must not take them."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: why it failed, empty if it did not; and whether the probe fails with it."""

    name: str
    failed: str = ""
    counted: bool = True

    def line(self) -> str:
        if not self.failed:
            return f"[+]{self.name} ok"
        return f"[-]{self.name} failed: {self.failed}{'' if self.counted else '; not counted'}"


def passes(checks: Sequence[Check]) -> bool:
    """Whether a probe of these passes."""
    return not any(one.failed and one.counted for one in checks)


def verbose(probe: str, checks: Sequence[Check]) -> str:
    """The text of the verbose form; `probe` is livez or readyz."""
    end = f"{probe} check {'passed' if passes(checks) else 'failed'}"
    return "\n".join([*(one.line() for one in checks), end, ""])


class RedisAnswers:
    """Whether Redis answers, at most CACHE_S old: whoever asks often asks Redis no more often for that."""

    def __init__(self, ping: Callable[[], Awaitable[Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ping = ping
        self._clock = clock
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._failed = ""

    async def __call__(self) -> str:
        """Empty if it answers within TIMEOUT_S, else the kind of the error."""
        async with self._asking:
            if self._clock() - self._asked_at >= CACHE_S:
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        await self._ping()
                    self._failed = ""
                except (RedisError, OSError, TimeoutError) as error:
                    self._failed = type(error).__name__
                self._asked_at = self._clock()
        return self._failed


async def always() -> str:
    """There is no Redis to ask."""
    return ""
