"""The verbose form of probes, and how often it asks Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from bridge import probes
from bridge.probes import CACHE_S, Check, RedisAnswers, passes, verbose


def test_a_line_for_each_check_and_one_for_the_probe() -> None:
    checks = [Check("shutdown"), Check("redis", "TimeoutError", counted=False)]
    assert verbose("readyz", checks) == (
        "[+]shutdown ok\n[-]redis failed: TimeoutError; not counted\nreadyz check passed\n"
    )
    assert passes(checks)
    checks = [Check("shutdown", "draining"), Check("redis", counted=False)]
    assert verbose("readyz", checks) == "[-]shutdown failed: draining\n[+]redis ok\nreadyz check failed\n"
    assert not passes(checks)


class Redis:
    """Answers, or raises what it is told; counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = 0

    async def ping(self) -> Any:
        self.asked += 1
        if self.error:
            raise self.error


async def test_whoever_asks_often_asks_redis_once_in_seconds() -> None:
    now = [100.0]
    redis = Redis()
    answers = RedisAnswers(redis.ping, lambda: now[0])
    assert await asyncio.gather(*(answers() for _ in range(20))) == [""] * 20
    assert redis.asked == 1
    redis.error = RedisConnectionError("Error 111 connecting to redis.internal:6379")
    now[0] += CACHE_S - 0.1
    assert await answers() == ""
    now[0] += 0.1
    assert await answers() == "ConnectionError", "the kind, and no host"
    redis.error = None
    now[0] += CACHE_S
    assert await answers() == ""
    assert redis.asked == 3


async def test_a_redis_that_hangs_takes_no_longer_than_a_probe_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TIMEOUT_S", 0.01)

    async def ping() -> None:
        await asyncio.Event().wait()

    assert await RedisAnswers(ping)() == "TimeoutError"
