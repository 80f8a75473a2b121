"""Reading back what was answered with 202, and a sample of the rest, from the sandbox Datadog, with a real Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bridge import redis_url
from bridge.datadog_calls import Keys
from bridge.dora import Deployment, Failure, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ledger import LANES, Entry, Ledger, Settlement
from bridge.sandbox import create_sandbox
from workers.courier import Courier
from workers.readback import FIRST_LOOK_S, GRACE_S, Lookup, ReadBack, are_listed, next_look_s, shared

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
        keys: Keys = {"base_url": "http://sandbox", "api_key": "k", "app_key": "a"}
        self.readback = ReadBack(self.ledger, self.courier, lambda: keys)

    async def deliver(
        self, fact: Deployment | Failure | Withdrawal, *, ago_s: float = 0, kept: bool = True, **line_: Any
    ) -> str:
        """Delivers it with 202, or with what else `line_` says; its id in the ledger."""
        envelope = Envelope(endpoint="e", source="github", kind="k", received_at=NOW, **identity(fact))
        await self.ledger.record([Entry(envelope)])
        await self.ledger.take("me", 1)
        _, [head], _ = await self.ledger.fetch("me", range(LANES), wanted=1, each=1)
        at = int((time.time() - ago_s) * 1000)
        line = line_ or {"status": 202, "reason": "delayed"}
        line = {"at": at, "state": "delivered", "verdict": "delivered", **line}
        await self.ledger.settle("me", [Settlement(head.lane, head.key, envelope.id, "delivered", line)])
        await self.ledger.release("me", range(LANES))
        if kept:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://sandbox") as client:
                answer = await client.post(fact.path, json=fact.body, headers=HEADERS)
                assert answer.status_code == 200, answer.text
        return envelope.id

    def counted(self) -> list[str]:
        """The paths of the calls from now on."""
        calls: list[str] = []
        app = self.transport.app

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            calls.append(scope["path"])
            await app(scope, receive, send)

        self.transport.app = counting
        return calls

    async def look(self) -> None:
        for identifier in await self.redis.zrange("dora:lookups", 0, -1):
            await self.redis.zadd("dora:lookups", {identifier: 0})
        await self.redis.delete("dora:readback")
        await self.readback.round()

    async def reason(self, identifier: str) -> str:
        [record] = await self.ledger.briefly([identifier])
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
    assert await world.redis.zcard("dora:lookups") == 0
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
    assert await world.redis.zcard("dora:lookups") == 1


async def test_of_what_was_taken_with_200_only_the_sample_is_looked_for(world: World) -> None:
    sampled = await world.deliver(DEPLOYMENT, status=200, sampled=True)
    ordinary = await world.deliver(OPEN, status=200)
    await world.look()
    assert await world.reason(sampled) == "verified"
    assert await world.reason(ordinary) == ""


async def test_the_sample_does_not_outgrow_its_queue_but_every_202_is_in_it(world: World) -> None:
    await world.redis.zadd("dora:lookups", {f"other-{n}": 9e15 for n in range(1000)})
    await world.deliver(DEPLOYMENT, status=200, sampled=True)
    assert await world.redis.zscore("dora:lookups", DEPLOYMENT.id) is None
    identifier = await world.deliver(OPEN)
    assert await world.redis.zscore("dora:lookups", identifier) is not None


async def test_events_of_one_time_share_a_list(world: World) -> None:
    for number in range(5):
        await world.deliver(
            replace(DEPLOYMENT, id=f"gh-dep-0000000001-00000000010{number}", finished_at=NOW - number * 10**9),
            kept=number != 3,
        )
    calls = world.counted()
    await world.look()
    assert calls == ["/api/v2/dora/deployments"]
    assert await world.redis.zrange("dora:lookups", 0, -1) == [b"gh-dep-0000000001-000000000103"]


async def test_a_full_list_of_several_is_followed_by_one_for_each(world: World) -> None:
    others = (replace(DEPLOYMENT, id=f"other-deployment-{n:05}", finished_at=NOW - 200 * 10**9) for n in range(1000))
    async with httpx.AsyncClient(transport=world.transport, base_url="http://sandbox") as client:
        for other in others:
            await client.post(other.path, json=other.body, headers=HEADERS)
    early = replace(DEPLOYMENT, started_at=NOW - 400 * 10**9)
    late = replace(
        DEPLOYMENT, id="gh-dep-0000000001-000000000002", started_at=NOW - 60 * 10**9, finished_at=NOW - 50 * 10**9
    )
    ids = [await world.deliver(early), await world.deliver(late)]
    calls = world.counted()
    await world.look()
    # the newest thousand that both share end before the early one
    assert [await world.reason(one) for one in ids] == ["verified", "verified"]
    assert len(calls) == 2


async def test_a_closing_is_looked_for_where_its_opening_began(world: World) -> None:
    await world.deliver(OPEN, status=200)
    closing = Failure(id=OPEN.id, started_at=None, finished_at=NOW - 60 * 10**9)
    identifier = await world.deliver(closing, kept=False)
    await world.look()
    assert await world.reason(identifier) == "verified"


async def test_what_was_withdrawn_meanwhile_is_not_looked_for(world: World) -> None:
    identifier = await world.deliver(OPEN, kept=False, ago_s=2 * GRACE_S)
    await world.deliver(Withdrawal(record_id=OPEN.id), kept=False, status=202)
    await world.look()
    assert await world.reason(identifier) == "delayed"
    assert await world.ledger.missing() == 0
    assert await world.redis.zcard("dora:lookups") == 0


async def test_a_deployment_that_a_person_withdrew_is_not_looked_for(world: World) -> None:
    await world.deliver(DEPLOYMENT, kept=False, ago_s=2 * GRACE_S)
    await world.deliver(Withdrawal(record_id=DEPLOYMENT.id, what="deployment", revision=1), kept=False, status=202)
    await world.look()
    assert await world.reason(DEPLOYMENT.id) == "delayed"
    assert await world.ledger.missing() == 0


async def test_one_process_at_a_time_looks(world: World) -> None:
    await world.deliver(DEPLOYMENT)
    await world.redis.zadd("dora:lookups", {DEPLOYMENT.id: 0})
    assert await world.ledger.to_look_up(most=5, lock_s=30) == [DEPLOYMENT.id]
    assert await world.ledger.to_look_up(most=5, lock_s=30) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": []}, False),
        ({"data": [{"id": "other", "attributes": {}}]}, False),
        ({"data": [{"id": "mine", "attributes": {}}]}, True),
        ({"data": [{"attributes": {"id": "mine"}}]}, True),
        ({"data": [{"id": str(n), "attributes": {}} for n in range(1000)]}, None),  # cut at its limit: it may be behind
        ({"data": None}, None),
        ({"errors": []}, None),
        ([], None),
    ],
)
def test_what_a_list_tells(body: Any, expected: bool | None) -> None:
    assert are_listed(["mine"], httpx.Response(200, json=body), "deployment") == {"mine": expected}


def lookup(kind: Any, since: int, until: int) -> Lookup:
    return Lookup(f"{kind}-{since}", f"{kind}-{since}", kind, since * 10**9, until * 10**9)


def test_lists_are_shared_by_kind_and_time() -> None:
    minute = 60
    near = [lookup("deployment", n * minute, (n + 2) * minute) for n in range(10)]
    far = lookup("deployment", 60 * minute, 62 * minute)
    long = lookup("failure", 0, 100 * minute)
    within = lookup("failure", 50 * minute, 60 * minute)
    beyond = lookup("failure", 90 * minute, 110 * minute)
    assert shared([beyond, within, far, *near, long]) == [near, [far], [long, within], [beyond]]


def test_looks_get_rarer() -> None:
    assert next_look_s(0) == FIRST_LOOK_S
    assert next_look_s(7200) == 3600


def _always(status: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    return app
