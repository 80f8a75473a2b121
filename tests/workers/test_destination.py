"""The shared state of Datadog, with a real Redis. Waits are moved by hand: a test that waits tells little."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bridge import redis_url
from bridge.embedded_redis import PrivateRedis
from bridge.ledger import Ledger
from workers.datadog import LONGEST_WAIT_S, Outcome, Reason, Verdict, judge
from workers.destination import Destination, Report

OK = Outcome(Verdict.DELIVERED, status=200)
METERED = Outcome(Verdict.DELIVERED, status=200, remaining=3, reset_s=60.0)
LIMITED = Outcome(Verdict.ERRORED, Reason.RATE_LIMITED, 429, reset_s=30.0)
LIMITED_SILENTLY = Outcome(Verdict.ERRORED, Reason.RATE_LIMITED, 429)
REFUSED = Outcome(Verdict.ERRORED, Reason.AUTH, 403)
FAILED = Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, 503)
REJECTED = Outcome(Verdict.REJECTED, Reason.INVALID, 400)
BROKEN = Outcome(Verdict.ERRORED, Reason.INTERNAL)
FAMILY = "deployment"
_keys = itertools.count()


def report(outcome: Outcome, probe: bool, key: str | None = None) -> Report:
    """Of an event of its own, unless a key is given."""
    return Report(outcome, key or f"deployment:s{next(_keys)}:e", probe, took_ms=0.0)


class World:
    """Two processes that share a Redis, and a hand on its clock."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.one, self.other = (Destination(redis, jitter=lambda: 0.0) for _ in range(2))

    async def state(self) -> str:
        return ((await self.redis.hget(f"dora:destination:{FAMILY}", "state")) or b"open").decode()

    async def now_ms(self) -> int:
        seconds, microseconds = await self.redis.time()
        return int(seconds * 1000 + microseconds // 1000)

    async def wait_s(self) -> float:
        return (await self.one.admit(FAMILY, 10)).wait_s

    async def pass_the_hold(self) -> None:
        await self.redis.hset(f"dora:destination:{FAMILY}", "until", 0)

    async def probe(self, outcome: Outcome) -> None:
        grant = await self.one.admit(FAMILY, 10)
        assert (grant.calls, grant.probe) == (1, True)
        assert (await self.other.admit(FAMILY, 10)).calls == 0, "one probe at a time"
        await self.one.report(FAMILY, [report(outcome, True)])


@pytest.fixture
async def world(redis_server: PrivateRedis) -> AsyncIterator[World]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield World(redis)
    await redis.aclose()


async def test_nothing_known_means_one_probe_and_then_all(world: World) -> None:
    await world.probe(OK)
    grant = await world.other.admit(FAMILY, 50)
    assert (grant.calls, grant.unlimited) == (50, True)


async def test_calls_are_counted_down_by_all_from_what_the_probe_was_told(world: World) -> None:
    await world.probe(METERED)
    assert (await world.one.admit(FAMILY, 2)).calls == 2
    assert (await world.other.admit(FAMILY, 2)).calls == 1
    refused = await world.one.admit(FAMILY, 2)
    assert (refused.calls, refused.limited) == (0, True)
    assert 50 < refused.wait_s <= 60, "until the reset, in seconds from now"


async def test_429_holds_everybody_until_the_reset_and_one_probe_opens(world: World) -> None:
    await world.probe(OK)
    assert not (await world.one.report(FAMILY, [report(LIMITED, False)])).is_open
    assert await world.state() == "held"
    held = await world.other.admit(FAMILY, 10)
    assert (held.calls, held.limited) == (0, True)
    assert 25 < held.wait_s <= 33
    await world.pass_the_hold()
    await world.probe(METERED)
    assert await world.state() == "open"
    assert (await world.other.admit(FAMILY, 10)).calls == 3


async def test_changes_of_state_are_counted_once(world: World) -> None:
    await world.probe(OK)
    for _ in range(3):
        await world.one.report(FAMILY, [report(LIMITED, False)])
        await world.other.report(FAMILY, [report(LIMITED, False)])
    await world.pass_the_hold()
    await world.probe(OK)
    fields = (await Ledger(world.redis).destinations())[FAMILY]
    assert (fields["became_held"], fields["became_open"]) == ("1", "1")


async def test_answers_to_calls_made_before_neither_lengthen_nor_end_a_hold(world: World) -> None:
    await world.probe(OK)
    await world.one.report(FAMILY, [report(LIMITED_SILENTLY, False)])
    first = await world.wait_s()
    await world.other.report(FAMILY, [report(LIMITED_SILENTLY, False), report(OK, False)])
    assert await world.state() == "held"
    assert await world.wait_s() <= first


async def test_without_headers_the_waits_grow_from_probe_to_probe(world: World) -> None:
    await world.probe(LIMITED_SILENTLY)
    waits = [await world.wait_s()]
    for _ in range(3):
        await world.pass_the_hold()
        await world.probe(LIMITED_SILENTLY)
        waits.append(await world.wait_s())
    assert waits == sorted(waits)
    assert waits[-1] > 4 * waits[0]


async def test_a_refused_key_parks_and_flows_again_by_itself(world: World) -> None:
    await world.probe(REFUSED)
    assert await world.state() == "parked"
    assert await world.wait_s() > 20
    await world.pass_the_hold()
    await world.probe(REFUSED)
    assert await world.state() == "parked"
    await world.pass_the_hold()
    await world.probe(OK)
    assert await world.state() == "open"


async def test_it_is_the_destination_after_several_failures_without_a_success(world: World) -> None:
    await world.probe(OK)
    for _ in range(4):
        assert (await world.one.report(FAMILY, [report(FAILED, False)])).is_open
    assert not (await world.one.report(FAMILY, [report(FAILED, False)])).is_open
    assert await world.state() == "held"


async def test_a_lone_event_that_fails_waits_alone(world: World) -> None:
    await world.probe(OK)
    for _ in range(30):
        assert (await world.one.report(FAMILY, [report(FAILED, False, "deployment:poison:e")])).is_open
    assert await world.state() == "open"


async def test_it_is_the_event_while_others_pass(world: World) -> None:
    await world.probe(OK)
    for _ in range(30):
        assert (await world.one.report(FAMILY, [report(FAILED, False), report(OK, False)])).is_open
        assert (await world.other.report(FAMILY, [report(OK, True)])).is_open
    assert await world.state() == "open"


async def test_a_refused_event_shows_that_the_destination_works(world: World) -> None:
    await world.probe(REJECTED)
    assert await world.state() == "open"


async def test_our_own_failure_says_nothing_about_the_destination(world: World) -> None:
    await world.one.report(FAMILY, [report(REFUSED, False)])
    assert (await world.one.report(FAMILY, [report(BROKEN, True)])).is_open
    assert await world.state() == "parked"


async def test_families_are_apart(world: World) -> None:
    await world.one.report("change", [report(REFUSED, False)])
    assert await world.state() == "open"
    assert (await world.one.admit(FAMILY, 1)).calls == 1


async def test_parked_is_probed_soon_when_there_is_another_key(world: World) -> None:
    await world.probe(REFUSED)
    assert await world.state() == "parked"
    assert await world.wait_s() > 20
    await world.other.probe_soon()
    assert await world.state() == "parked", "nothing is known of the other key yet"
    await world.probe(OK)
    assert await world.state() == "open"


async def test_only_what_is_parked_is_probed_soon(world: World) -> None:
    await world.probe(LIMITED)
    await world.other.probe_soon()
    assert await world.wait_s() > 20, "what Datadog asked for is not cut short"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-RateLimit-Reset": "9" * 400, "X-RateLimit-Remaining": "9" * 400},
        {"X-RateLimit-Reset": "0", "X-RateLimit-Remaining": "99999999999999999999"},
        {"Retry-After": "1e300", "X-RateLimit-Remaining": "0"},
    ],
)
async def test_every_status_leaves_a_state_and_a_wait_within_bounds(world: World, headers: dict[str, str]) -> None:
    for status in range(100, 600):
        await world.redis.flushdb()
        await world.probe(judge("POST", httpx.Response(status, headers=headers)))
        state = await world.state()
        assert (state == "parked") == (status in (401, 403) or 300 <= status < 400), status
        assert (state == "held") == (status == 429), status
        assert 0 <= await world.wait_s() <= LONGEST_WAIT_S * 1.1, status


async def test_a_probe_that_was_the_last_call_of_a_period(world: World) -> None:
    """It came just before the end, and what follows it after: asked at that pace again, it would always be the last."""
    before_ms = await world.now_ms()
    await world.probe(Outcome(Verdict.DELIVERED, status=200, remaining=0, reset_s=60.0))
    ends_ms = await world.redis.pexpiretime(f"dora:budget:{FAMILY}")
    assert before_ms + 60_100 <= ends_ms <= await world.now_ms() + 60_100
