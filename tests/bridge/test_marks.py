"""How far the mark of a link has come, over a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from linked import DEPLOYMENT, happened, look
from undelivered import deployed, envelope, record, settle

from bridge import explain, link_review, redis_url
from bridge.dead_letters import DeadLetters, Return
from bridge.dora import ChangeFailure
from bridge.embedded_redis import PrivateRedis
from bridge.ledger import Ledger
from bridge.links import Links

MARK = ChangeFailure(deployment_id=DEPLOYMENT, service="chekout", env="production", revision=1)
MARK_ID = f"{DEPLOYMENT}~verdict-1"


class World:
    def __init__(self, redis: Any) -> None:
        self.ledger, self.links, self.dead_letters = Ledger(redis), Links(redis), DeadLetters(redis)
        self.incident = ""

    async def mark(self) -> dict[str, Any]:
        """As every way of looking at the link shows it."""
        (link,) = await link_review.of_incident(self.links, self.ledger, self.incident)
        listed = await link_review.listing(self.links, self.ledger, {"status": "applied"})
        assert listed["links"] == [link]
        assert (await link_review.about(self.links, self.ledger, envelope(deployed(1))))["mark"] == link["mark"]
        if link["mark"]["text"]:
            assert link["mark"]["text"] in link_review.line(link)
            assert link["mark"]["text"] in link_review.lines(link)
        mark: dict[str, Any] = link["mark"]
        return mark


@pytest.fixture
async def world(redis_server: PrivateRedis) -> AsyncIterator[World]:
    """An applied link of a deployment that was not sent yet."""
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    world = World(redis)
    await record(world.ledger, deployed(1))
    world.incident = await happened(world.ledger)
    await look(world.links, mode="auto")
    yield world
    await redis.aclose()


async def test_a_refused_deployment_is_what_has_to_be_mended(world: World) -> None:
    await settle(world.ledger, answer="no")
    await record(world.ledger, MARK)
    mark = await world.mark()
    assert (mark["id"], mark["state"], mark["mend"]) == (MARK_ID, "waiting", [DEPLOYMENT])
    assert f"{MARK_ID} waits until somebody mends {DEPLOYMENT}" in mark["text"]
    whole = await explain.explained(world.ledger, world.dead_letters, DEPLOYMENT, world.links)
    assert whole is not None
    assert "Datadog was told" not in explain.story(whole)
    assert f"`dora-bridge dead-letters show {DEPLOYMENT}` tells what to mend" in explain.story(whole)
    line = {"at": 1, "state": "waiting", "by": "ada", "mode": "as_sent"}
    await world.dead_letters.put_back([Return(envelope(deployed(1)), line)])
    assert (await world.mark())["mend"] == []


async def test_what_waits_is_told_from_what_was_told(world: World) -> None:
    await record(world.ledger, MARK)
    mark = await world.mark()
    assert (mark["state"], mark["waits_for"], mark["mend"]) == ("waiting", [DEPLOYMENT], [])
    assert mark["text"] == f"Datadog is not told yet: {MARK_ID} waits for {DEPLOYMENT} to be delivered"
    await settle(world.ledger, verdict="delivered")
    mark = await world.mark()
    assert (mark["state"], mark["text"]) == ("delivered", "")


async def test_a_refused_mark_is_what_has_to_be_mended(world: World) -> None:
    await settle(world.ledger, verdict="delivered")
    await record(world.ledger, MARK)
    await settle(world.ledger, answer="no")
    mark = await world.mark()
    assert (mark["mend"], mark["text"]) == ([MARK_ID], f"Datadog was not told: {MARK_ID} is a dead letter")
    await world.dead_letters.conclude(MARK_ID, {"at": 1, "state": "discarded", "by": "ada"})
    assert (await world.mark())["text"] == f"Datadog was not told: {MARK_ID} was discarded"


async def test_where_nothing_was_said_yet_nothing_is_told(world: World) -> None:
    (link,) = await link_review.of_incident(world.links, world.ledger, world.incident)
    assert (link["status"], link["mark"]) == ("applied", None)
