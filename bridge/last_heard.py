"""When each endpoint was heard from last, and which of its secrets matched: so `dora-bridge check` can say that a
source fell silent, and that an old secret can go.

    dora:heard:{endpoint}  hash  fingerprint of a secret -> when it matched last; `accepted` -> when a webhook became
                                 an event last (ms since the epoch)

Positions of secrets shift when one is added or taken out, fingerprints do not. A fingerprint has four hex digits on
purpose: enough to tell the few secrets of an endpoint apart, too little to find out a secret by guessing.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

EVERY_S = 60.0
"""The same is written at most this often by one process: the record may be so much behind."""
_ACCEPTED = "accepted"
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of one endpoint. Times are milliseconds since the epoch, None for never."""

    secrets: Sequence[int | None]
    """When each of the present secrets matched last, in their order."""
    any_at: int | None
    """The last authentic webhook, whatever became of it and whichever secret it had."""
    accepted_at: int | None
    """The last one that became an event."""


def fingerprint(endpoint: str, secret: bytes) -> str:
    """Tells the secrets of one endpoint apart; equal ones of two endpoints do not look alike."""
    return hmac.digest(secret, f"dora-bridge endpoint {endpoint}".encode(), "sha256").hex()[:4]


class LastHeard:
    """The record of one Redis."""

    def __init__(self, redis: Redis, *, memory_days: float = 180, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis: Any = redis
        self._memory_s = int(memory_days * _DAY_S)
        self._clock = clock
        self._written_at: dict[tuple[str, bytes, bool], float] = {}
        self._writes: set[asyncio.Task[None]] = set()

    def note(self, endpoint: str, secret: bytes, accepted: bool) -> None:
        """An authentic webhook came. Nobody waits for the write, nor is any webhook refused if it fails."""
        what = (endpoint, secret, accepted)
        now = self._clock()
        if now - self._written_at.get(what, float("-inf")) < EVERY_S:
            return
        self._written_at[what] = now
        task = asyncio.create_task(self._write(endpoint, secret, accepted))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._writes)

    async def _write(self, endpoint: str, secret: bytes, accepted: bool) -> None:
        key, at = f"dora:heard:{endpoint}", time.time_ns() // 1_000_000
        fields = [fingerprint(endpoint, secret), *([_ACCEPTED] if accepted else [])]
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping=dict.fromkeys(fields, at))
                pipe.expire(key, self._memory_s)
                await pipe.execute()
        except (RedisError, OSError):
            self._written_at.pop((endpoint, secret, accepted), None)  # the next webhook writes it

    async def of(self, secrets: Mapping[str, Sequence[bytes]]) -> dict[str, Heard]:
        """What is known of each endpoint with these secrets. Errors of redis-py pass through."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for endpoint in secrets:
                pipe.hgetall(f"dora:heard:{endpoint}")
            answers = await pipe.execute()
        return {
            endpoint: _heard(endpoint, own, fields)
            for (endpoint, own), fields in zip(secrets.items(), answers, strict=True)
        }


def _heard(endpoint: str, secrets: Sequence[bytes], fields: Mapping[bytes, bytes]) -> Heard:
    times = {name.decode(): int(at) for name, at in fields.items()}
    return Heard(
        [times.get(fingerprint(endpoint, secret)) for secret in secrets],
        max(times.values(), default=None),
        times.get(_ACCEPTED),
    )
