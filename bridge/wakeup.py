"""How a drain is asked for: the only file of `bridge` that knows RQ.

A drain is an RQ job without arguments, asked for at most once per ring of the ledger. If the asking fails, or the
process dies between the ledger's write and this one, the sweep of a worker asks a second later.
"""

from __future__ import annotations

import re
from typing import Any

from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.serializers import JSONSerializer

QUEUE = "dora-bridge"
DRAIN = "workers.drain.drain"

SLICE_S = 10
"""A drain gives up its lanes after this long, so that new worker processes get their share."""

JOB_OPTIONS: dict[str, Any] = {
    "job_timeout": 3 * SLICE_S,
    "result_ttl": 0,  # nothing remains of a finished drain
    "failure_ttl": 3600,  # RQ keeps failures a year by default
    "ttl": 600,
    "description": "drain the lanes that have work",
}


class Doorbell:
    """Asks for drains over an asyncio client of Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._queue: Queue | None = None

    async def ring(self) -> None:
        """Asks for a drain. What Redis does not take is left to the sweep."""
        try:
            if self._queue is None:
                self._queue = await self._prepared()
            async with self._redis.pipeline(transaction=True) as pipe:
                # RQ only buffers its commands: any pipeline with redis-py's command methods will do
                self._queue.enqueue(DRAIN, pipeline=pipe, **JOB_OPTIONS)
                await pipe.execute()
        except (RedisError, OSError):
            return

    async def _prepared(self) -> Queue:
        """RQ's queue; what it would ask its own, blocking connection for is asked here."""
        info = await self._redis.info("server")
        never_used = BlockingRedis(host="never-used.invalid")
        queue = Queue(QUEUE, connection=never_used, serializer=JSONSerializer)
        digits = [int(part) for part in re.findall(r"\d+", str(info["redis_version"]))]
        queue.redis_server_version = (digits[0], digits[1], digits[2]) if len(digits) > 2 else (6, 2, 0)
        return queue
