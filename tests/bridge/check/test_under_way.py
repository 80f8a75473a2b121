"""What was received and how it gets on: workers, what waits, Datadog, dead letters, names."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from checking import GOOD, deployed, found, recorded, told

from bridge import redis_url
from bridge.dora import Deployment, Failure
from bridge.embedded_redis import PrivateRedis
from bridge.ledger import Ledger


async def test_workers(redis_server: PrivateRedis) -> None:
    redis = redis_url.impatient(redis_server.url)
    try:
        ledger = Ledger(redis)
        await redis.delete("dora:workers")
        none = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "worker")
        await ledger.sign_of_life("one")
        one = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "worker")
        await ledger.sign_of_life("two")
        two = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "worker")
        await redis.delete("dora:workers")
    finally:
        await redis.aclose()
    assert none == [("warning", "no worker process is alive: events wait (dora-bridge worker)")]
    assert one == [("ok", "1 worker process alive")]
    assert two == [("ok", "2 worker processes alive")]


async def test_what_names_no_env(redis_server: PrivateRedis) -> None:
    redis = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        assert not told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "env")
        await recorded(Ledger(redis), deployed(1, env=None), deployed(2, env=None), deployed(3))
        some = await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url)
        await redis.flushdb()
    finally:
        await redis.aclose()
    ((level, detail),) = told(some, "env")
    assert level == "warning"
    assert detail.startswith("2 deployments without env in the last 7 days: map them with a rule (set: {env: …})")


async def test_services_that_never_got_an_event(redis_server: PrivateRedis, tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(
        "endpoints:\n"
        "  pagerduty: {services: {P1: [checkout, paymnets]}}\n"
        "  jsm: {services: {i-1: [search]}, integrations: {n-1: {service: basket}, n-2: {team: web}}}\n"
        "rules:\n"
        "  - {match: {repository: a/b}, set: {service: shop}}\n"
        "  - {name: both, match: {repository: a/c}, set: {services: [shop, stock]}}\n"
        "  - {match: {application: '*'}, set: {service: 'app-$1'}}\n"
        "  - {match: {environment: x}, drop: y}\n"
    )
    environ = {"DORA_BRIDGE_REDIS_URL": redis_server.url, "DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml")}
    redis = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        assert told(await found(**GOOD, **environ), "services") == [], "where nothing came, nothing is amiss"
        ledger = Ledger(redis)
        values: dict[str, Any] = {"started_at": time.time_ns(), "finished_at": time.time_ns()}
        facts = [
            Deployment(id="gh-dep-0000000001-000000000001", service="shop", **values),
            Failure(id="pagerduty-incident-Q1", services=("checkout", "basket"), started_at=time.time_ns()),
        ]
        await recorded(ledger, *facts)
        assert told(await found(**GOOD, **environ), "services") == [
            ("warning", f"no event of service {service} came in the last 180 days ({where})")
            for service, where in (
                ("stock", "both"),
                ("paymnets", "endpoints.pagerduty.services.P1"),
                ("search", "endpoints.jsm.services.i-1"),
            )
        ]
    finally:
        await redis.flushdb()
        await redis.aclose()


# -- what waits, where it waits, and what will not go


async def _told(redis_server: PrivateRedis, what: str) -> list[tuple[str, str]]:
    return told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), what)


async def test_what_waits(redis_server: PrivateRedis) -> None:
    redis: Any = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        assert await _told(redis_server, "waiting") == []
        await recorded(Ledger(redis), deployed(1), deployed(2))
        nobody = "no worker process is alive: events wait (dora-bridge worker)"
        assert await _told(redis_server, "worker") == [("problem", nobody)]
        [(level, detail)] = await _told(redis_server, "waiting")
        assert (level, detail[:34]) == ("ok", "2 events waiting, the oldest for 0")
        now = time.time() * 1000
        for age_s, expected in ((400, "warning"), (7300, "problem")):
            for id_ in await redis.zrange("dora:waiting", 0, -1):
                await redis.zadd("dora:waiting", {id_: now - age_s * 1000})
            [(level, detail)] = await _told(redis_server, "waiting")
            assert level == expected
        assert detail == ("2 events waiting, the oldest for 2 h (dora-bridge events list --state waiting)")
    finally:
        await redis.flushdb()
        await redis.aclose()


async def test_destinations_that_are_not_open(redis_server: PrivateRedis) -> None:
    redis: Any = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        since = int(time.time() * 1000) - 120_500
        await redis.hset("dora:destination:deployment", mapping={"state": "parked", "since": since, "reason": "auth"})
        await redis.hset("dora:destination:failure", mapping={"state": "held", "since": since, "reason": "timeout"})
        await redis.hset("dora:destination:change", mapping={"state": "open", "since": since})
        some = [one for one in await _told(redis_server, "datadog") if "calls of" in one[1]]
    finally:
        await redis.flushdb()
        await redis.aclose()
    assert some == [
        (
            "problem",
            "calls of deployments are parked for 2 min: auth: Datadog refuses a key or permission; nothing is lost"
            " (DD_API_KEY, DD_APP_KEY)",
        ),
        ("warning", "calls of failures are held for 2 min: timeout; they go on by themselves"),
    ]


async def test_dead_letters_and_what_is_missing(redis_server: PrivateRedis) -> None:
    redis: Any = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        assert await _told(redis_server, "dead letters") == []
        now = int(time.time() * 1000)
        for number, days in ((1, 3), (2, 89)):
            await redis.zadd("dora:dead", {f"in-{number}": now - days * 86_400_000 - 5000})
            await redis.rpush(f"dora:story:in-{number}", '{"at":1,"state":"dead_lettered","reason":"invalid"}')
        await redis.zadd("dora:missing", {"in-3": now})
        letters, missing = await _told(redis_server, "dead letters"), await _told(redis_server, "datadog")
    finally:
        await redis.flushdb()
        await redis.aclose()
    assert letters == [
        ("warning", "2 dead letters (payload_invalid 2), the oldest of 89 d ago (dora-bridge dead-letters list)"),
        (
            "warning",
            "1 of them will expire within days (dora-bridge dead-letters redrive, or export)",
        ),
    ]
    assert ("warning", "Datadog took 1 event and does not list it (dora-bridge reconcile)") in missing
