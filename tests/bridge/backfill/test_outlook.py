"""What is foreseen is what the ledger then says: held against the real one, in random orders."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bridge import redis_url
from bridge.backfill.outlook import outlook
from bridge.dora import ChangeFailure, Deployment, Failure, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ids import one_of_several
from bridge.ledger import Entry, Ledger, Standing

NOW = time.time_ns()
FACTS = [
    Deployment(id="gh-dep-0000000001-000000000001", service="a", started_at=NOW - 2, finished_at=NOW - 1),
    Deployment(id="gh-dep-0000000001-000000000002", service="a", started_at=NOW - 2, finished_at=NOW - 1),
    Failure(id="pagerduty-incident-P1", started_at=NOW - 9, services=("a",)),
    Failure(id="pagerduty-incident-P1", started_at=NOW - 9, finished_at=NOW - 2, services=("a",)),
    Withdrawal(record_id="pagerduty-incident-P1"),
    Withdrawal(record_id="pagerduty-incident-P2"),
    Failure(id="opsgenie-alert-000001", started_at=None, finished_at=NOW - 2),
    ChangeFailure(deployment_id="gh-dep-0000000001-000000000001", service="a", env=None),
]


def envelopes(*, services: int = 1) -> list[Envelope]:
    """Of all facts; with two services the first deployment concerns `a` and `b`."""
    common: dict[str, Any] = {"endpoint": "e", "source": "github", "kind": "k", "received_at": NOW}
    facts = list(FACTS)
    if services == 2:
        one, failed = FACTS[0], FACTS[-1]
        assert isinstance(one, Deployment)
        assert isinstance(failed, ChangeFailure)
        names = {name: one_of_several(one.id, name) for name in "ab"}
        facts = facts[1:-1]
        facts += [replace(one, id=id_, service=name, twin=one.id) for name, id_ in names.items()]
        facts += [replace(failed, deployment_id=id_, service=name, twin=one.id) for name, id_ in names.items()]
    found = [Envelope(**common, **identity(fact)) for fact in facts]
    notes = [
        Envelope(**common, id="in-1", state="ignored", reason="so"),
        Envelope(**common, id="in-2", state="dead_lettered", reason="so"),
    ]
    return [*found, *notes]


@pytest.fixture
async def ledger(redis_server: PrivateRedis) -> AsyncIterator[Ledger]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Ledger(redis)
    await redis.aclose()


@pytest.mark.parametrize("services", [1, 2])
@pytest.mark.parametrize("seed", range(12))
async def test_foreseen_and_recorded_agree(ledger: Ledger, seed: int, services: int) -> None:
    """A part is recorded before; then all are foreseen one after the other, and only then recorded in that order.

    Meanwhile a rule may have changed how many services a deployment concerns.
    """
    chance = random.Random(seed)  # noqa: S311 - an order to try, repeatable
    before = [one for one in envelopes() if chance.random() < 0.3]
    await ledger.record([Entry(one) for one in before])
    order = envelopes(services=services)
    chance.shuffle(order)
    assumed: dict[str, str] = {}
    foreseen = [outlook(one, (await ledger.standings([one]))[0], assumed) for one in await ledger.as_reported(order)]
    for envelope, word in zip(order, foreseen, strict=True):
        [recorded], _ = await ledger.record([Entry(envelope)])
        if envelope.state != "waiting" and word == "duplicate":
            assert recorded == envelope.state, "the ledger says nothing of a note that is kept already"
        else:
            assert recorded == word, envelope.id


def test_a_dead_letter_would_be_put_back() -> None:
    [envelope, *_] = envelopes()
    standing = Standing(rank="0", is_kept=True, is_dead=True)
    assert outlook(envelope, standing, {}) == "redriven"
    assert outlook(envelope, replace(standing, is_dead=False), {}) == "duplicate"
