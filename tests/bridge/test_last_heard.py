"""The record of who was heard from: what is written, how often, and that it tells no secret."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import redis_url
from bridge.embedded_redis import PrivateRedis
from bridge.last_heard import EVERY_S, Heard, LastHeard, fingerprint


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Any]:
    client: Any = redis_url.impatient(redis_server.url)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


async def test_what_matched_and_what_was_accepted(redis: Any) -> None:
    before = int(time.time() * 1000)
    heard = LastHeard(redis)
    assert await heard.of({"github": [b"a"]}) == {"github": Heard([None], None, None)}
    heard.note("github", b"old", accepted=False)
    await heard.close()
    one = (await heard.of({"github": [b"new", b"old"], "argocd": [b"old"]}))["github"]
    assert one.secrets[0] is None
    assert one.secrets[1] is not None
    assert one.secrets[1] >= before
    assert (one.any_at, one.accepted_at) == (one.secrets[1], None)
    heard.note("github", b"new", accepted=True)
    await heard.close()
    one = (await heard.of({"github": [b"new"]}))["github"]  # the old one was taken out, and is still heard of
    assert one.accepted_at == one.any_at == one.secrets[0]
    assert 0 < await redis.ttl("dora:heard:github") <= 180 * 86_400


async def test_written_once_a_minute(redis: Any) -> None:
    clock = Clock()
    heard = LastHeard(redis, clock=clock)

    async def is_written() -> bool:
        await redis.delete("dora:heard:github")
        heard.note("github", b"a", accepted=True)
        await heard.close()
        return bool(await redis.exists("dora:heard:github"))

    assert await is_written()
    clock.now += EVERY_S - 1
    assert not await is_written()
    clock.now += 1
    assert await is_written()
    heard.note("github", b"a", accepted=False)
    heard.note("github", b"b", accepted=True)
    heard.note("argocd", b"a", accepted=True)
    await heard.close()
    assert await redis.hlen("dora:heard:github") == 3
    assert await redis.hlen("dora:heard:argocd") == 2


async def test_redis_that_is_away_harms_nobody_and_is_tried_again() -> None:
    client: Any = redis_url.impatient("redis://127.0.0.1:1/0")
    heard = LastHeard(client)
    heard.note("github", b"a", accepted=True)
    await heard.close()
    assert not heard._written_at
    await client.aclose()


def test_fingerprints() -> None:
    assert fingerprint("github", b"a") == fingerprint("github", b"a")
    assert len({fingerprint(name, secret) for name in ("github", "argocd") for secret in (b"a", b"b")}) == 4
    assert len(fingerprint("github", b"a")) == 4, "too little to guess a secret by"
