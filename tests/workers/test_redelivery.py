"""What GitHub could not deliver is asked for again: of the stand-in, with a real Redis. Clocks are moved by hand."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from stand_ins.github import GitHub
from stand_ins.serving import serving

from bridge import configuration, redis_url
from bridge.backfill.github_hooks import Missed
from bridge.embedded_redis import PrivateRedis
from bridge.settings import Settings, read
from bridge.times import SECOND, to_rfc3339
from workers.redelivery import LOOK_BACK_S, MOST_ASKED, WAITS_S, Redelivery, due

HOOK = "repos/acme/shop/hooks/123"
OTHER = "orgs/acme/hooks/4"
NOW = 1_900_000_000 * SECOND


def ago(seconds: float) -> str:
    return to_rfc3339(int(time.time() - seconds) * SECOND)


def missed(attempts: int, last_s: float, guid: str = "a") -> Missed:
    at = NOW - int(last_s * SECOND)
    return Missed(guid, 1, "deployment_status", at, at, attempts)


@pytest.mark.parametrize(
    ("attempts", "last_s", "expected"),
    [
        (1, 59, False),
        (1, 60, True),
        (2, 599, False),
        (2, 600, True),
        (3, 3599, False),
        (4, 6 * 3600, True),
        (5, 24 * 3600 - 1, False),
        (5, 24 * 3600, True),
        (len(WAITS_S) + 1, LOOK_BACK_S, False),
    ],
)
def test_it_is_asked_for_ever_more_rarely(attempts: int, last_s: float, expected: bool) -> None:
    assert bool(due([missed(attempts, last_s)], NOW)) is expected


def test_not_too_many_at_once() -> None:
    assert len(due([missed(1, 100)] * 99, NOW)) == MOST_ASKED


class World:
    def __init__(self, redis: Any, url: str) -> None:
        self.redis = redis
        content = {"endpoints": {"github": {"hooks": [HOOK, OTHER], "api_url": url}}}
        parsed, endpoints = configuration.parse(content, "x")
        tokens = {"github": lambda: (b"ghs_token",)}
        self.settings = Settings(read({}).environment, parsed, endpoints, {}, sender_tokens=tokens)
        self.redelivery = Redelivery(redis, self.settings)

    async def round(self, *, whole: bool = True) -> None:
        """A round after the interval, and after the hour."""
        await self.redis.delete("dora:redelivery", *(["dora:redelivery:all"] if whole else []))
        await self.redelivery.round()


@pytest.fixture
def github() -> GitHub:
    github = GitHub()
    github.deliveries = {HOOK: [], OTHER: []}
    return github


@pytest.fixture
async def world(redis_server: PrivateRedis, github: GitHub) -> AsyncIterator[World]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    with serving(github.app) as url:
        yield World(redis, url)
    await redis.aclose()


async def test_what_failed_is_asked_for_once(world: World, github: GitHub, caplog: pytest.LogCaptureFixture) -> None:
    github.deliver(HOOK, 1, "guid-1", ago(7200), 503)
    github.deliver(HOOK, 2, "guid-2", ago(7000), 202)
    github.deliver(HOOK, 3, "guid-3", ago(3700), 503, event="push")
    github.deliver(HOOK, 4, "guid-4", ago(10), 503)
    with caplog.at_level(logging.INFO, "dora-bridge"):
        await world.round()
    assert github.asked == [1], "not what arrived, what nobody reports, and what is too fresh"
    gap, asked = [(record.getMessage(), vars(record)["fields"]) for record in caplog.records]
    assert gap[0] == "redelivery.gap"
    assert (gap[1]["missed"], gap[1]["hook"]) == (2, HOOK)
    assert asked == ("redelivery.asked", {"endpoint": "github", "hook": HOOK, "delivery": "guid-1", "attempt": 2})
    await world.round()
    assert github.asked == [1], "GitHub's list does not show it yet"


async def test_it_is_asked_for_again_when_that_failed_too(world: World, github: GitHub) -> None:
    github.deliver(HOOK, 1, "guid-1", ago(7200), 503)
    github.deliver(HOOK, 2, "guid-1", ago(700), 503, redelivery=True)
    await world.round()
    assert github.asked == [2]


async def test_what_arrived_at_last_is_left_alone(world: World, github: GitHub) -> None:
    github.deliver(HOOK, 1, "guid-1", ago(7200), 503)
    github.deliver(HOOK, 2, "guid-1", ago(700), 202, redelivery=True)
    await world.round()
    assert github.asked == []


async def test_two_hooks_have_the_guid_of_one_event(world: World, github: GitHub) -> None:
    github.deliver(HOOK, 1, "guid-1", ago(7200), 503)
    github.deliver(OTHER, 2, "guid-1", ago(7200), 503)
    await world.round()
    assert github.asked == [1, 2]


async def test_one_process_at_a_time(world: World, github: GitHub) -> None:
    github.deliver(HOOK, 1, "guid-1", ago(7200), 503)
    await world.round()
    calls = len(github.gate.calls)
    await Redelivery(world.redis, world.settings).round()
    assert len(github.gate.calls) == calls


async def test_between_the_hours_only_the_last_one_is_looked_at(world: World, github: GitHub) -> None:
    github.most_per_page = 1
    await world.round()
    for number in range(1, 6):
        github.deliver(HOOK, number, f"guid-{number}", ago(86_400 - number), 503)
    github.deliver(HOOK, 6, "guid-6", ago(600), 503)
    github.gate.calls.clear()
    await world.round(whole=False)
    assert github.asked == [6]
    assert github.gate.paths().count(f"/{HOOK}/deliveries") == 2
    await world.round()
    assert sorted(github.asked) == [1, 2, 3, 4, 5, 6]


async def test_a_hook_that_cannot_be_read_does_not_hold_up_another(
    world: World, github: GitHub, caplog: pytest.LogCaptureFixture
) -> None:
    del github.deliveries[HOOK]
    github.deliver(OTHER, 2, "guid-1", ago(7200), 503)
    await world.round()
    assert github.asked == [2]
    [failed] = [record for record in caplog.records if record.getMessage() == "redelivery.failed"]
    assert "404" in vars(failed)["fields"]["reason"]
    assert "ghs_token" not in str(vars(failed))


def test_it_is_off_without_token_or_hooks(world: World) -> None:
    assert world.redelivery.is_on
    for settings in (read({}), read({"DORA_BRIDGE_GITHUB_TOKEN": "t"})):
        assert not Redelivery(world.redis, settings).is_on
