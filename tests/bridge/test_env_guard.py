"""What names no environment is counted and found, and nothing is guessed for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from undelivered import closed, deployed, failed, record, refused, settle

from bridge import redis_url, search
from bridge.configuration import Retention
from bridge.dora import ChangeFailure, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.env_guard import WithoutEnv
from bridge.ledger import Ledger


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Any]:
    client = redis_url.patient(redis_server.url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (WithoutEnv(3, 0, 7), "3 deployments without env in the last 7 days"),
        (WithoutEnv(1, 1, 1), "1 deployment and 1 failure without env in the last day"),
        (WithoutEnv(0, 1200, 0.5), "1,200 failures without env in the last 0.5 days"),
    ],
)
def test_in_words(counts: WithoutEnv, said: str) -> None:
    assert counts
    assert counts.said == said
    assert not WithoutEnv(0, 0, 7)


async def test_each_is_counted_once(redis: Any) -> None:
    ledger = Ledger(redis)
    await record(ledger, deployed(1, env=None), deployed(1, env=None), deployed(2, env=None), deployed(3))
    await record(ledger, failed(1, env=None), closed(1, env=None), failed(2))
    assert (await ledger.without_env()).json() == {"deployments": 2, "failures": 1}


async def test_a_closing_whose_opening_named_it_is_none(redis: Any) -> None:
    ledger = Ledger(redis)
    await record(ledger, failed(1), closed(1, env=None))
    assert not await ledger.without_env()


async def test_what_is_said_of_a_deployment_and_what_is_withdrawn_are_none(redis: Any) -> None:
    ledger = Ledger(redis)
    await record(ledger, ChangeFailure(deployment_id=deployed(1).id, service="chekout", env=None))
    await record(ledger, failed(1, env=None), deployed(2, env=None))
    assert (await ledger.without_env()).json() == {"deployments": 1, "failures": 1}
    await record(ledger, Withdrawal(record_id=failed(1).id))
    await record(ledger, Withdrawal(record_id=deployed(2).id, what="deployment", service="chekout"))
    assert not await ledger.without_env()


async def test_a_redelivery_that_names_it_mends_it(redis: Any) -> None:
    ledger = Ledger(redis)
    await refused(ledger, deployed(1, env=None))
    assert await record(ledger, deployed(1)) == ["redriven"]
    assert not await ledger.without_env()


async def test_as_long_as_events_are_kept(redis: Any) -> None:
    await record(Ledger(redis), deployed(1, env=None))
    await redis.zincrby("dora:envless:deployment", -2 * 86_400_000, deployed(1).id)
    assert (await Ledger(redis).without_env()).deployments == 1
    short = Ledger(redis, Retention(events_days=1, raw_days=1))
    assert not await short.without_env()
    await record(short, deployed(2, env=None))
    assert [one.decode() for one in await redis.zrange("dora:envless:deployment", 0, -1)] == [deployed(2).id]


async def test_they_can_be_listed(redis: Any) -> None:
    ledger = Ledger(redis)
    await record(ledger, deployed(1, env=None), deployed(2), failed(1, env=None), failed(2))
    await settle(ledger, verdict="delivered")
    page = await search.page(ledger, search.EVENTS, search.parse({"without_env": "1"}, 0), limit=10)
    assert {found.envelope.id for _, found in page.records} == {deployed(1).id, f"{failed(1).id}~open"}
