"""Units go through the rules into the ledger: once, in order, resumably."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bridge import configuration, redis_url
from bridge.backfill.fill import Fill, Filled, Unread
from bridge.backfill.pace import Pace
from bridge.backfill.progress import Progress
from bridge.backfill.unit import Unit, composed, ready
from bridge.embedded_redis import PrivateRedis
from bridge.errors import SenderUnreadable
from bridge.ids import one_of_several
from bridge.intake import Delivery
from bridge.ledger import Ledger
from bridge.rules import Rule
from bridge.settings import Settings, read
from bridge.times import SECOND, to_rfc3339

NOW = time.time_ns() // SECOND * SECOND
HOUR = 3600 * SECOND


def deployment(number: int, *, ago_h: int = 1, environment: str = "production") -> Delivery:
    at = to_rfc3339(NOW - ago_h * HOUR)
    body = {
        "deployment": {"id": number, "sha": f"{number:040x}", "environment": environment, "created_at": at},
        "deployment_status": {"state": "success", "created_at": at},
        "repository": {"id": 1, "name": "shop", "html_url": "https://github.com/acme/shop"},
    }
    return composed(body, {"x-github-event": "deployment_status", "x-github-delivery": f"backfill-{number}"})


def unit(number: int, **fields: Any) -> Unit:
    ago = fields.get("ago_h", 1)
    return ready(f"deployment {number}", NOW - ago * HOUR, deployment(number, **fields))


@dataclass
class World:
    redis: Any
    ledger: Ledger
    settings: Settings
    rung: list[bool] = field(default_factory=list)

    def fill(self, *, apply: bool, env: str = "", scope: str = "acme/shop") -> Fill:
        async def ring() -> None:
            self.rung.append(True)

        return Fill(
            self.settings,
            self.settings.endpoints["github"],
            self.ledger,
            pace=Pace(1e6),
            progress=Progress(self.redis, "github", scope),
            ring=ring,
            apply=apply,
            env=env,
        )

    async def run(self, units: Sequence[Unit], *, apply: bool = True, **options: Any) -> list[Any]:
        fill = self.fill(apply=apply, **options)
        return [outcomes(one) async for one in fill.run(units)]

    async def waiting(self) -> list[str]:
        return [one.decode() for one in await self.redis.zrange("dora:waiting", 0, -1)]


def outcomes(became: Sequence[Filled] | Unread | None) -> Any:
    return became if became is None or isinstance(became, Unread) else [one.outcome for one in became]


@pytest.fixture
async def world(redis_server: PrivateRedis) -> AsyncIterator[World]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    content = {
        "endpoints": {"github": {"ignore_older_than_hours": 24}},
        "rules": [{"match": {"environment": "preview*"}, "drop": "previews do not count"}],
    }
    parsed, endpoints = configuration.parse(content, "x")
    base = read({})
    yield World(redis, Ledger(redis), Settings(base.environment, parsed, endpoints, {}))
    await redis.aclose()


async def test_a_dry_run_records_nothing(world: World) -> None:
    units = [unit(1), unit(2, environment="preview-1")]
    assert sorted(await world.run(units, apply=False)) == [["ignored"], ["new"]]
    assert await world.redis.keys("dora:*") == []


async def test_what_is_applied_waits_and_is_known_then(world: World) -> None:
    assert await world.run([unit(1), unit(2)]) == [["new"], ["new"]]
    assert len(await world.waiting()) == 2
    assert world.rung == [True], "one drain is enough"
    assert await world.run([unit(1), unit(2), unit(3)]) == [["known"], ["known"], ["new"]]
    assert await world.run([unit(1)], apply=False) == [["known"]]


@pytest.mark.parametrize("apply", [False, True])
async def test_what_concerned_another_number_of_services_is_known(world: World, apply: bool) -> None:
    await world.run([unit(1)])
    parsed = world.settings.configuration
    several = Rule.model_validate({"match": {"environment": "production"}, "set": {"services": ["shop", "other"]}})
    world.settings = replace(world.settings, configuration=parsed.model_copy(update={"rules": (several,)}))
    [became] = [one async for one in world.fill(apply=apply).run([unit(1)])]
    assert isinstance(became, Sequence)
    [id_] = [one for one in await world.waiting() if len(one) == len("gh-dep-0000000001-000000000001")]
    assert [(one.outcome, one.envelope.id) for one in became] == [
        ("known", id_),
        ("new", one_of_several(id_, "other")),
    ]


async def test_older_ones_are_recorded_first_however_they_come(world: World) -> None:
    seen: list[int] = []

    def noting(number: int, ago_h: int) -> Unit:
        async def read_() -> Sequence[Delivery]:
            seen.append(number)
            return [deployment(number, ago_h=ago_h)]

        return Unit(str(number), NOW - ago_h * HOUR, read_)

    await world.run([noting(1, 1), noting(3, 30), noting(2, 2)])
    assert seen == [3, 2, 1]
    assert len(await world.waiting()) == 3, "also the one that is older than ignore_older_than_hours"


async def test_an_interrupted_one_goes_on(world: World) -> None:
    """And what came to nothing, or was dropped by a rule, is looked at again: it may have become something."""
    reads: list[str] = []

    def counted(name: str, ago_h: int, *deliveries: Delivery) -> Unit:
        async def read_() -> Sequence[Delivery]:
            reads.append(name)
            return deliveries

        return Unit(name, NOW - ago_h * HOUR, read_)

    units = [
        counted("a", 4, deployment(1)),
        counted("b", 3),
        counted("c", 2, deployment(3, environment="preview-1")),
        counted("d", 1, deployment(4)),
    ]
    running = world.fill(apply=True).run(units)
    for _ in range(3):
        await anext(running)
    await running.aclose()
    assert reads == ["a", "b", "c"]
    assert await world.run(units) == [None, [], ["known"], ["new"]]
    assert reads == ["a", "b", "c", "b", "c", "d"]
    assert await world.redis.keys("dora:backfill:*") == [], "it came to its end"
    assert await world.run(units) == [["known"], [], ["known"], ["known"]]


async def test_another_backfill_has_its_own_progress(world: World) -> None:
    running = world.fill(apply=True).run([unit(1), unit(2)])
    await anext(running)
    await running.aclose()
    [key] = await world.redis.keys("dora:backfill:*")
    assert await world.redis.ttl(key) > 0
    assert await world.run([unit(1)], scope="acme/other") == [["known"]]


async def test_what_cannot_be_read_holds_up_nothing(world: World) -> None:
    async def fail() -> Sequence[Delivery]:
        raise SenderUnreadable("GitHub: it is gone")

    units = [Unit("x", 0, fail), unit(1)]
    assert await world.run(units) == [Unread("GitHub: it is gone"), ["new"]]
    assert len(await world.redis.keys("dora:backfill:*")) == 1, "the next run need not read the others again"


async def test_env_stands_for_that_of_the_address(world: World) -> None:
    await world.run([ready("d", NOW, deployment(1, environment=""))], env="staging")
    record = await world.ledger.find("gh-dep-0000000001-000000000001")
    assert record is not None
    assert record.envelope.attributes["env"] == "staging"
    assert record.raw is not None
    assert record.raw[0]["headers"]["user-agent"] == "dora-bridge-backfill", "no webhook was posted, and it shows"


async def test_notes_are_recognised(world: World) -> None:
    dropped = unit(1, environment="preview-1")
    assert await world.run([dropped]) == [["ignored"]]
    assert await world.run([dropped]) == [["known"]]
    assert await world.run([ready("odd", NOW, composed({}, {"x-github-event": "deployment_status"}))]) == [
        ["dead_lettered"]
    ]
