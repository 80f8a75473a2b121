"""Progress: which units an applied backfill has recorded, so that it goes on where it was interrupted.

Only what spares calls of the vendor is kept: were it forgotten, everything would be read again, and recognised.
"""

from __future__ import annotations

import hashlib
from typing import Any

from redis.asyncio import Redis

KEPT_S = 24 * 3600
"""How long after its last step an interrupted backfill can be continued."""


class Progress:
    """Over one Redis. Errors of redis-py pass through."""

    def __init__(self, redis: Redis, *asked: str) -> None:
        """`asked` says what is read: the same words, the same backfill."""
        self._redis: Any = redis
        self._key = f"dora:backfill:{hashlib.sha256(chr(0).join(asked).encode()).hexdigest()[:32]}"

    async def done(self) -> set[str]:
        """Keys of the units that an interrupted run recorded."""
        return {key.decode() for key in await self._redis.smembers(self._key)}

    async def mark(self, key: str) -> None:
        """This unit is recorded."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(self._key, key)
            pipe.expire(self._key, KEPT_S)
            await pipe.execute()

    async def finish(self) -> None:
        """The run came to its end: the next one looks at everything anew."""
        await self._redis.delete(self._key)
