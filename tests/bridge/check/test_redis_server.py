"""Redis: only what would lose events is a problem, and what cannot be seen is said."""

from __future__ import annotations

import time
from typing import Any

import pytest
from checking import GOOD, NOWHERE, found, told
from redis.exceptions import NoPermissionError, ResponseError

from bridge.check.redis_server import redis_server as server_findings
from bridge.embedded_redis import PrivateRedis


async def test_redis_that_is_not_reachable() -> None:
    assert told(await found(**GOOD), "redis") == [("problem", "not reachable: ConnectionError (DORA_BRIDGE_REDIS_URL)")]


async def test_redis_that_is_as_it_should_be(redis_server: PrivateRedis) -> None:
    some = await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url)
    (level, detail), flushing = told(some, "redis")
    assert (level, detail[:11]) == ("ok", "reachable, ")
    assert flushing == ("ok", "appendfsync everysec: a power failure can lose the last second")
    assert not told(some, "clock")
    assert not [one for one in some if one.level == "problem"]


class FakeRedis:
    """Says of itself what no server here can be made to say. A field that is None is left out, as some services do."""

    def __init__(self, ahead_s: float = 0, fsync: str | None = "everysec", **info: Any) -> None:
        known = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction", **info}
        self._info = {name: value for name, value in known.items() if value is not None}
        self._ahead_s = ahead_s
        self._fsync = fsync

    async def info(self) -> dict[str, Any]:
        if not self._info.get("permitted", True):
            raise NoPermissionError
        return self._info

    async def config_get(self, name: str) -> dict[str, str]:
        if self._fsync is None:
            raise ResponseError("unknown command")
        return {name: self._fsync}

    async def time(self) -> tuple[int, int]:
        now = time.time() + self._ahead_s
        return int(now), int(now % 1 * 1e6)


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        (FakeRedis(), ("ok", "reachable, version 7.2.4")),
        (FakeRedis(redis_version="6.2.0"), ("ok", "reachable, version 6.2.0")),
        (FakeRedis(redis_version="10.0"), ("ok", "reachable, version 10.0")),
        (FakeRedis(redis_version="6.0.16"), ("problem", "version 6.0.16 is too old: 6.2 or newer is needed")),
        (FakeRedis(redis_version="5.0.7"), ("problem", "version 5.0.7 is too old: 6.2 or newer is needed")),
        (
            FakeRedis(aof_enabled=0),
            ("problem", "no append-only file: a restart loses every event (appendonly yes)"),
        ),
        (
            FakeRedis(maxmemory_policy="allkeys-lru"),
            ("problem", "maxmemory-policy allkeys-lru throws events away (noeviction)"),
        ),
        (FakeRedis(valkey_version="9.1.2"), ("ok", "reachable, Valkey 9.1.2")),
        (
            FakeRedis(aof_last_write_status="err"),
            ("problem", "the append-only file cannot be written: is the disk full?"),
        ),
        (
            FakeRedis(aof_last_bgrewrite_status="err"),
            ("warning", "the append-only file could not be rewritten: it grows (disk full?)"),
        ),
        (
            FakeRedis(rdb_last_bgsave_status="err"),
            (
                "problem",
                "the last snapshot failed: Redis refuses writes while stop-writes-on-bgsave-error is on (disk full?)",
            ),
        ),
        (
            FakeRedis(cluster_enabled=1),
            (
                "problem",
                "cluster mode: scripts use keys of several slots; take a Redis without it (DORA_BRIDGE_REDIS_URL)",
            ),
        ),
        (
            FakeRedis(maxmemory=1000, used_memory=800),
            ("warning", "80% of maxmemory is used: at 100 % every webhook is answered with 503 (maxmemory)"),
        ),
        (FakeRedis(maxmemory=1000, used_memory=799), ("ok", "reachable, version 7.2.4")),
        (
            FakeRedis(fsync="no"),
            ("warning", "a power failure can lose half a minute of events (appendfsync everysec or always)"),
        ),
        (
            FakeRedis(redis_version=None),
            ("warning", "the version cannot be seen: INFO does not have it; 6.2 or newer is needed"),
        ),
        (
            FakeRedis(aof_enabled=None),
            (
                "warning",
                "persistence cannot be seen: INFO does not have it; see that an append-only file is on",
            ),
        ),
        (
            FakeRedis(maxmemory_policy=None),
            ("warning", "the eviction policy cannot be seen: INFO does not have it; see that it is noeviction"),
        ),
        (
            FakeRedis(permitted=False),
            ("warning", "version, role, persistence and memory cannot be seen: INFO is refused"),
        ),
        (
            FakeRedis(fsync="always"),
            ("ok", "appendfsync always: a power failure can lose nothing that was acknowledged"),
        ),
        (
            FakeRedis(fsync=None),
            ("ok", "appendfsync cannot be seen: CONFIG is refused; see that it is everysec or always"),
        ),
        (FakeRedis(role="slave"), ("problem", "this is a replica: it takes no writes (DORA_BRIDGE_REDIS_URL)")),
        (FakeRedis(ahead_s=60), ("warning", "the clocks of this machine and Redis differ by 60 s")),
        (FakeRedis(ahead_s=-60), ("warning", "the clocks of this machine and Redis differ by 60 s")),
    ],
)
async def test_redis_that_would_lose_events(redis: Any, expected: tuple[str, str]) -> None:
    some = [(one.level, one.detail) for one in await server_findings(redis, NOWHERE)]
    assert expected in some
    assert [level for level, _ in some if level != "ok"] == [expected[0]] * (expected[0] != "ok")


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://redis:6379/0", True),
        ("redis+sentinel://one:26379,two:26379/main", True),
        ("redis://:password@redis:6379/0", False),
        ("rediss://redis:6379/0", False),
        ("rediss+sentinel://one/main", False),
        ("redis://127.0.0.1:6379", False),
        ("redis://localhost", False),
        ("unix:///run/redis.sock", False),
    ],
)
async def test_redis_that_anybody_can_write_to(url: str, is_open: bool) -> None:
    redis: Any = FakeRedis()
    some = [one.detail for one in await server_findings(redis, url) if one.level == "warning"]
    detail = "neither a password nor TLS: who reaches it can forge and read events (DORA_BRIDGE_REDIS_URL)"
    assert some == [detail] * is_open


async def test_wrong_password(redis_server: PrivateRedis) -> None:
    url = f"redis://:wrong@127.0.0.1:{redis_server.port}/0"
    assert told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=url), "redis") == [
        ("problem", "user or password are refused (DORA_BRIDGE_REDIS_URL)")
    ]
