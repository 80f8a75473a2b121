"""What the ledger says Datadog must have, from a real Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bridge import redis_url
from bridge.claims import claims
from bridge.dora import ChangeFailure, Deployment, Fact, Failure, Git, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ledger import LANES, Entry, Ledger, Settlement
from bridge.reconcile import Claim

SECOND = 10**9
NOW = time.time_ns() // SECOND * SECOND
HOUR = 3600 * SECOND
DEPLOYMENT = Deployment(
    id="gh-dep-0000000001-000000000001",
    service="checkout",
    env="production",
    version="v1",
    started_at=NOW - 2 * HOUR,
    finished_at=NOW - HOUR,
)
OPEN = Failure(id="pagerduty-incident-P1", started_at=NOW - 2 * HOUR, services=("checkout",), env="production")
CLOSED = Failure(id=OPEN.id, started_at=None, finished_at=NOW - HOUR)


class World:
    def __init__(self, redis: Any) -> None:
        self.ledger = Ledger(redis)

    async def record(self, fact: Fact, *, received_at: int = NOW) -> str:
        """Records it; its id in the ledger."""
        envelope = Envelope(endpoint="e", source="github", kind="k", received_at=received_at, **identity(fact))
        await self.ledger.record([Entry(envelope)])
        return envelope.id

    async def settle(self, fact: Fact, state: str = "delivered", at: int = NOW, **line: Any) -> None:
        """Records it, and what became of it."""
        await self.record(fact)
        await self.ledger.take("me", 1)
        _, [head], _ = await self.ledger.fetch("me", range(LANES), wanted=1, each=1)
        verdict = "delivered" if state == "delivered" else "rejected"
        line = {"at": at // 1_000_000, "state": state, "verdict": verdict, **line, **head.adjustment}
        await self.ledger.settle("me", [Settlement(head.lane, head.key, head.envelope.id, state, line)])
        await self.ledger.release("me", range(LANES))

    async def claims(self, since: int = NOW - 24 * HOUR, until: int = NOW) -> list[Claim]:
        return list((await claims(self.ledger, since, until)).facts)


@pytest.fixture
async def world(redis_server: PrivateRedis) -> AsyncIterator[World]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield World(redis)
    await redis.aclose()


async def test_a_deployment(world: World) -> None:
    await world.settle(DEPLOYMENT)
    assert await world.claims() == [
        Claim(
            kind="deployment",
            id=DEPLOYMENT.id,
            services=("checkout",),
            env="production",
            identity="v1",
            started_at=DEPLOYMENT.started_at,
            finished_at=DEPLOYMENT.finished_at,
            delivered_at=NOW,
        )
    ]


async def test_the_commit_goes_before_the_version(world: World) -> None:
    await world.settle(replace(DEPLOYMENT, git=Git("AB" * 20, "https://github.com/acme/checkout")))
    assert [one.identity for one in await world.claims()] == ["ab" * 20]


async def test_a_second_that_was_moved_is_known(world: World) -> None:
    await world.settle(DEPLOYMENT)
    await world.settle(replace(DEPLOYMENT, id="gh-dep-0000000001-000000000002"))
    moved = [(one.finished_at, one.sent_at) for one in await world.claims()]
    assert moved == [
        (DEPLOYMENT.finished_at, None),
        (DEPLOYMENT.finished_at, DEPLOYMENT.finished_at + SECOND),
    ]


async def test_what_waits_and_what_is_a_dead_letter(world: World) -> None:
    await world.settle(DEPLOYMENT, "dead_lettered")
    await world.record(OPEN)
    found = {one.kind: (one.delivered_at, one.waiting, one.dead_letters) for one in await world.claims()}
    assert found == {"deployment": (None, 0, 1), "failure": (None, 1, 0)}


async def test_the_statements_about_an_incident_are_one_claim_as_it_was_opened(world: World) -> None:
    await world.settle(OPEN, at=NOW - HOUR, reason="delayed")
    [opened] = await world.claims()
    assert (opened.started_at, opened.finished_at, opened.delayed) == (OPEN.started_at, None, True)
    await world.settle(CLOSED)
    [closed] = await world.claims()
    assert (closed.started_at, closed.finished_at) == (OPEN.started_at, CLOSED.finished_at)
    assert (closed.services, closed.env) == (("checkout",), "production")
    assert closed.delivered_at == NOW - HOUR, "Datadog has it since the opening"
    assert not closed.delayed
    assert not closed.is_withdrawn


async def test_what_was_withdrawn(world: World) -> None:
    await world.settle(OPEN, at=NOW - HOUR)
    await world.record(Withdrawal(record_id=OPEN.id))
    assert [(one.is_withdrawn, one.waiting) for one in await world.claims()] == [(False, 1)]
    await world.settle(Withdrawal(record_id=OPEN.id))
    assert [(one.is_withdrawn, one.waiting) for one in await world.claims()] == [(True, 0)]


async def test_a_deployment_that_a_person_withdrew(world: World) -> None:
    await world.settle(DEPLOYMENT, at=NOW - HOUR)
    await world.settle(Withdrawal(record_id=DEPLOYMENT.id, what="deployment"))
    assert [(one.id, one.is_withdrawn) for one in await world.claims()] == [(DEPLOYMENT.id, True)]


async def test_other_calls_and_incidents_that_were_never_opened_claim_nothing(world: World) -> None:
    await world.record(CLOSED)  # its start is not known: a dead letter, of no known service
    await world.settle(ChangeFailure(deployment_id=DEPLOYMENT.id, service="checkout", env="production"))
    assert [(one.kind, one.services, one.dead_letters) for one in await world.claims()] == [("failure", (), 1)]


async def test_dead_letters_without_an_event_are_counted(world: World) -> None:
    note = Envelope(id="in-1", endpoint="e", source="github", received_at=NOW - HOUR, state="dead_lettered", reason="?")
    ignored = replace(note, id="in-2", state="ignored")
    await world.ledger.record([Entry(note), Entry(ignored)])
    assert (await claims(world.ledger, NOW - 2 * HOUR, NOW)).untranslated == 1
    assert (await claims(world.ledger, NOW - HOUR // 2, NOW)).untranslated == 0


async def test_what_came_long_after_it_happened_is_found(world: World) -> None:
    await world.settle(replace(DEPLOYMENT, started_at=NOW - 50 * HOUR, finished_at=NOW - 49 * HOUR))
    assert len(await world.claims(NOW - 60 * HOUR, NOW - 40 * HOUR)) == 1


async def test_what_came_before_the_time_is_not_read_and_progress_is_told(world: World) -> None:
    for n in range(1100):
        fact = replace(DEPLOYMENT, id=f"gh-dep-0000000001-{n:012}", service=f"s{n}")
        await world.record(fact, received_at=NOW - 3 * HOUR if n < 50 else NOW)
    told: list[float] = []
    found = await claims(world.ledger, NOW - HOUR, NOW, told=told.append)
    assert len(found.facts) == 1050
    assert len(told) == 3
    assert told == sorted(told)
    assert told[-1] == 1
