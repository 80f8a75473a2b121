"""Whether the Redis user may run the commands, and use the keys, that the bridge and RQ need.

Every command is put into a transaction that is then discarded: Redis looks at the rights when it queues a command, and
runs none. ACL DRYRUN would tell the same, but needs rights itself that no user of an application has.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from bridge.check.finding import Finding

_KEY, _RQ = "dora:check", "rq:check"
COMMANDS: tuple[str, ...] = (
    # of scripts and of our own
    *(
        f"{name} {_KEY}"
        for name in ("del", "exists", "get", "hgetall", "hkeys", "hlen", "persist", "mget", "pttl", "scard", "smembers")
    ),
    *(f"{name} {_KEY} 1" for name in ("decrby", "expire", "pexpire", "set", "lindex", "hget", "hdel", "hexists")),
    *(f"{name} {_KEY} x" for name in ("hmget", "rpush", "sadd", "srem", "zrem", "zscore")),
    *(f"{name} {_KEY} x 1" for name in ("hincrby", "hincrbyfloat", "hset", "hsetnx")),
    *(f"{name} {_KEY} 1 1" for name in ("lrange", "ltrim", "zrange", "zrevrange", "zremrangebyrank", "zcount")),
    *(f"{name} {_KEY} 1 1" for name in ("zrangebyscore", "zrevrangebyscore", "zremrangebyscore")),
    f"zadd {_KEY} 1 x",
    f"zcard {_KEY}",
    f"zincrby {_KEY} 1 x",
    f"zunionstore {_KEY} 1 {_KEY}",
    f"xadd {_KEY} * x 1",
    f"xrevrange {_KEY} + -",
    "eval return 0",
    "evalsha 0 0",
    "script load return",
    "time",
    "info",
    # of RQ
    f"set {_RQ} 1",
    f"lpush {_RQ} x",
    f"lrem {_RQ} 1 x",
    f"blmove {_RQ} {_RQ} right left 1",
    "publish rq:pubsub:check x",
    "subscribe rq:pubsub:check",
)


async def redis_rights(redis: Redis) -> list[Finding]:
    """What the user may not do. Errors of redis-py pass through, but for refusals."""
    pool: Any = redis.connection_pool
    connection = pool.make_connection()
    refusals = []
    try:
        await connection.connect()
        await connection.send_command("MULTI")
        try:
            await connection.read_response()
        except NoPermissionError as error:
            return _told([str(error)])  # without a transaction the commands would be run
        for command in COMMANDS:
            await connection.send_command(*command.split())
            try:
                await connection.read_response()
            except NoPermissionError as error:
                refusals.append(str(error))
            except ResponseError:
                pass  # whatever else is wrong with it: it may be run
        await connection.send_command("DISCARD")
        with contextlib.suppress(ResponseError):
            await connection.read_response()
    finally:
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect()  # with it ends the transaction
    return _told(refusals)


def _told(refusals: Iterable[str]) -> list[Finding]:
    commands, keys, channels = [], False, False
    for refusal in refusals:
        if command := re.search(r"run the '([^']+)' command", refusal):
            commands.append(command[1].lower())
        channels = channels or "channel" in refusal
        keys = keys or ("key" in refusal and not command)
    found = []
    if commands:
        names = list(dict.fromkeys(commands))
        rights = " ".join(f"+{name}" for name in names)
        found.append(Finding("problem", "redis", f"the user may not run {', '.join(names)} (ACL SETUSER … {rights})"))
    if keys:
        detail = "the user may not use all keys that begin with dora: or rq: (ACL SETUSER … ~dora:* ~rq:*)"
        found.append(Finding("problem", "redis", detail))
    if channels:
        detail = "the user may not use the channels of RQ (ACL SETUSER … &rq:pubsub:*)"
        found.append(Finding("problem", "redis", detail))
    return found
