"""The metrics: their names and labels are a promise to alerts and dashboards of others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from undelivered import deployed, failed, heads, record

from bridge import metrics, redis_url
from bridge.dead_letters import DeadLetters
from bridge.embedded_redis import PrivateRedis
from bridge.last_heard import LastHeard
from bridge.ledger import Ledger
from bridge.links import Links
from bridge.settings import read
from bridge.status import Gauges, last_accepted, status

COUNTED = {
    "webhooks": ("counter", "source kind outcome reason"),
    "webhook_duration_seconds": ("histogram", "source outcome"),
    "signature_matches": ("counter", "source secret"),
    "delivery_attempts": ("counter", "endpoint verdict status"),
    "deliveries": ("counter", "source endpoint outcome reason"),
    "delivery_duration_seconds": ("histogram", "endpoint"),
    "event_age_seconds": ("histogram", "source"),
    "rate_limit_remaining": ("gauge", "endpoint"),
    "rate_limit_wait_seconds": ("counter", "endpoint"),
    "heartbeat_timestamp_seconds": ("gauge", "thread"),
    "dead_letters_expired": ("counter", ""),
    "read_back": ("counter", "outcome"),
    "redeliveries_asked": ("counter", "endpoint"),
    "build_info": ("gauge", "version revision"),
}
READ_FROM_REDIS = (
    "redis_up",
    "events_waiting",
    "oldest_waiting_age_seconds",
    "lanes_overdue",
    "destination_state",
    "dead_letters",
    "workers",
    "last_accepted_timestamp_seconds",
)


def test_what_is_counted() -> None:
    found = {}
    for metric in (one for one in vars(metrics).values() if hasattr(one, "_labelnames")):
        [described] = metric.describe()
        found[described.name.removeprefix("dora_bridge_")] = (described.type, " ".join(metric._labelnames))
    assert found == COUNTED


def test_event_ages_reach_from_the_promise_to_hours() -> None:
    buckets = metrics.EVENT_AGE._upper_bounds
    assert 300 in buckets, "of which the alert DoraBridgeLate speaks"
    assert buckets[-2] >= 3600


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Any]:
    one = redis_url.patient(redis_server.url)
    await one.flushdb()
    yield one
    await one.aclose()


async def scraped(redis: Any) -> str:
    ledger, heard = Ledger(redis), LastHeard(redis)

    async def look() -> dict[str, Any]:
        return {
            **await status(ledger, DeadLetters(redis), Links(redis)),
            "accepted": await last_accepted(heard, read({}).endpoints),
        }

    return (await Gauges(look).text()).decode()


def values(text: str, name: str) -> dict[str, float]:
    """Value of its only label (empty for none) -> number."""
    found = re.findall(rf'^dora_bridge_{name}(?:{{\w+="(\w+)"}})? (\S+)$', text, re.MULTILINE)
    return {label: float(number) for label, number in found}


async def test_what_is_read_from_redis(redis: Any) -> None:
    await redis.hset("dora:heard:github", "accepted", 1_800_000_000_000)
    text = await scraped(redis)
    for name in READ_FROM_REDIS:
        assert f"# TYPE dora_bridge_{name} gauge" in text
    assert values(text, "last_accepted_timestamp_seconds") == {"github": 1_800_000_000}
    assert values(text, "redis_up") == {"": 1}


async def test_everything_that_waits_is_in_one_state(redis: Any) -> None:
    ledger = Ledger(redis)

    async def states() -> dict[str, float]:
        found = values(await scraped(redis), "events_waiting")
        assert sum(found.values()) == (await ledger.counts())["waiting"]
        return {state: number for state, number in found.items() if number}

    assert await states() == {}
    await record(ledger, *(deployed(number, service=f"s{number}") for number in range(1, 6)))
    assert await states() == {"waiting": 5}
    await record(ledger, deployed(6, service="s1"))  # behind another of its key
    assert await states() == {"waiting": 6}

    await redis.hset("dora:destination:deployment", mapping={"state": "held", "until": 0, "reason": "rate_limited"})
    assert await states() == {"held": 5, "waiting": 1}
    await record(ledger, failed(1))  # of another family, which is open
    assert await states() == {"held": 5, "waiting": 2}
    await redis.delete("dora:destination:deployment")

    taken = await heads(ledger)
    assert len(taken) == 6
    assert await states() == {"in_flight": 6, "waiting": 1}
    head = taken[0]
    await redis.zrem(f"dora:hand:{head.lane}", head.key)
    await redis.zadd(f"dora:lane:{head.lane}", {head.key: 4_000_000_000_000})
    assert await states() == {"delayed": 1, "in_flight": 5, "waiting": 1}


def test_the_first_of_each_kind_is_an_increase() -> None:
    metrics.webhooks_from_zero("argocd", ["deployed"])
    metrics.deliveries_from_zero(["argocd"], ["deployment"])
    for name, labels in {
        "webhooks_total": {"source": "argocd", "kind": "deployed", "outcome": "accepted", "reason": ""},
        "deliveries_total": {"source": "argocd", "endpoint": "deployment", "outcome": "delivered", "reason": ""},
        "delivery_attempts_total": {"endpoint": "deployment", "verdict": "errored", "status": "403"},
        "event_age_seconds_count": {"source": "argocd"},
    }.items():
        assert metrics.REGISTRY.get_sample_value(f"dora_bridge_{name}", labels) is not None
