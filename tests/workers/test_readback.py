"""Reading back what was answered with 202, from the sandbox Datadog, with a real Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bridge import redis_url
from bridge.dora import Deployment, Failure
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ledger import LANES, Entry, Ledger, Settlement
from bridge.sandbox import create_sandbox
from workers.courier import Courier
from workers.readback import FIRST_LOOK_S, GRACE_S, ReadBack, is_listed, next_look_s

NOW = time.time_ns() // 10**9 * 10**9
HEADERS = {"DD-API-KEY": "k", "DD-APPLICATION-KEY": "a"}
DEPLOYMENT = Deployment(
    id="gh-dep-0000000001-000000000001",
    service="a service: with blanks",
    env="production",
    started_at=NOW - 600 * 10**9,
    finished_at=NOW - 300 * 10**9,
)
OPEN = Failure(id="pagerduty-incident-P1", started_at=NOW - 900 * 10**9, services=("checkout",))


class World:
    """A ledger, a sandbox, and a hand on the clock of both."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.ledger = Ledger(redis)
        self.transport = httpx.ASGITransport(app=create_sandbox())
        self.courier = Courier(1, transport=lambda: self.transport)
        self.readback = ReadBack(self.ledger, self.courier, base_url="http://sandbox", api_key="k", app_key="a")

    async def deliver(self, fact: Deployment | Failure, *, ago_s: float = 0, kept: bool = True) -> str:
        """Delivers it with 202; its id in the ledger."""
        envelope = Envelope(endpoint="e", source="github", kind="k", received_at=NOW, **identity(fact))
        await self.ledger.record([Entry(envelope)])
        await self.ledger.take("me", 1)
        _, [head], _ = await self.ledger.fetch("me", range(LANES), wanted=1, each=1)
        at = int((time.time() - ago_s) * 1000)
        line = {"at": at, "state": "delivered", "verdict": "delivered", "status": 202, "reason": "delayed"}
        await self.ledger.settle("me", [Settlement(head.lane, head.key, envelope.id, "delivered", line)])
        await self.ledger.release("me", range(LANES))
        if kept:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://sandbox") as client:
                answer = await client.post(fact.path, json=fact.body, headers=HEADERS)
                assert answer.status_code == 200, answer.text
        return envelope.id

    async def look(self) -> None:
        for identifier in await self.redis.zrange("dora:delayed", 0, -1):
            await self.redis.zadd("dora:delayed", {identifier: 0})
        await self.redis.delete("dora:readback")
        await self.readback.round()

    async def reason(self, identifier: str) -> str:
        record = await self.ledger.find(identifier)
        assert record is not None
        assert record.state == "delivered", "delivered it stays, and is never sent again"
        return record.reason


@pytest.fixture
async def world(redis_server: PrivateRedis) -> AsyncIterator[World]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield World(redis)
    await redis.aclose()


@pytest.mark.parametrize("fact", [DEPLOYMENT, OPEN])
async def test_what_is_there_is_verified(world: World, fact: Deployment | Failure) -> None:
    identifier = await world.deliver(fact)
    await world.readback.round()
    assert await world.reason(identifier) == "delayed", "it is not looked for at once"
    await world.look()
    assert await world.reason(identifier) == "verified"
    assert await world.redis.zcard("dora:delayed") == 0
    assert await world.ledger.missing() == 0


@pytest.mark.parametrize(("ago_s", "reason", "missing"), [(GRACE_S - 60, "delayed", 0), (GRACE_S + 60, "missing", 1)])
async def test_what_is_not_there_is_missing_when_the_grace_is_over(
    world: World, ago_s: float, reason: str, missing: int
) -> None:
    identifier = await world.deliver(DEPLOYMENT, kept=False, ago_s=ago_s)
    await world.look()
    assert await world.reason(identifier) == reason
    assert await world.ledger.missing() == missing


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_a_list_that_is_refused_says_nothing(world: World, status: int) -> None:
    identifier = await world.deliver(DEPLOYMENT, kept=False, ago_s=2 * GRACE_S)
    world.transport.app = _always(status)
    await world.look()
    assert await world.reason(identifier) == "delayed"
    assert await world.redis.zcard("dora:delayed") == 1


async def test_one_process_at_a_time_looks(world: World) -> None:
    await world.deliver(DEPLOYMENT)
    await world.redis.zadd("dora:delayed", {DEPLOYMENT.id: 0})
    assert await world.ledger.delayed(most=5, lock_s=30) == [DEPLOYMENT.id]
    assert await world.ledger.delayed(most=5, lock_s=30) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": []}, False),
        ({"data": [{"id": "other", "attributes": {}}]}, False),
        ({"data": [{"id": "mine"}]}, True),
        ({"data": [{"id": "x", "attributes": {"id": "mine"}}]}, True),
        ({"data": [{"id": str(n)} for n in range(1000)]}, None),  # cut at its limit: it may be behind
        ({"data": None}, None),
        ({"errors": []}, None),
        ([], None),
    ],
)
def test_what_a_list_tells(body: Any, expected: bool | None) -> None:
    assert is_listed("mine", httpx.Response(200, json=body)) is expected


def test_looks_get_rarer() -> None:
    assert next_look_s(0) == FIRST_LOOK_S
    assert next_look_s(7200) == 3600


def _always(status: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    return app
