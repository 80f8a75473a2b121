"""What an operator has Datadog told: as statements of the ledger, over a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from undelivered import deployed, failed, heads, record, refused, settle

from bridge import redis_url
from bridge.corrections import SOURCE, Correction, Corrections, next_revision, statement
from bridge.dead_letters import DeadLetters
from bridge.dora import ChangeFailure, ChangeFailureByVersion, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.errors import NotNow
from bridge.ids import one_of_several
from bridge.ledger import Ledger
from bridge.links import Links

DEPLOYED = deployed(1)
ELSEWHERE = "sent-by-something-else"
UUID = "00000000-aaaa-4000-8000-000000000001"


def mark(deployment_id: str = DEPLOYED.id, **more: Any) -> ChangeFailure:
    return ChangeFailure(deployment_id=deployment_id, service="", env=None, **more)


def withdrawal(deployment_id: str = DEPLOYED.id) -> Withdrawal:
    return Withdrawal(record_id=deployment_id, what="deployment")


class Desk:
    """Corrections over one Redis, and what Datadog says when it is looked at."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.ledger = Ledger(redis)
        self.dead = DeadLetters(redis)
        self.in_datadog: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.rings = 0

    @property
    def corrections(self) -> Corrections:
        async def ring() -> None:
            self.rings += 1

        async def look(kind: str, identifier: str) -> Mapping[str, Any]:
            return self.in_datadog.get((kind, identifier), {})

        return Corrections(self.ledger, self.dead, ring, look)

    async def say(self, correction: Correction) -> str:
        return await self.corrections.record(correction, by="ada")

    async def told(self) -> list[tuple[str, str, Any]]:
        """Method, path and attributes of what goes out, in order; Datadog takes it all."""
        sent = [head.envelope for head in await settle(self.ledger, verdict="delivered", status=202)]
        return [(one.method, one.path, dict(one.attributes)) for one in sent]

    async def after(self, identifier: str) -> tuple[str, ...]:
        found = await self.ledger.find(identifier)
        assert found is not None
        return found.envelope.after


@pytest.fixture
async def desk(redis_server: PrivateRedis) -> AsyncIterator[Desk]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Desk(redis)
    await redis.aclose()


@pytest.mark.parametrize(
    ("ranks", "first", "expected"),
    [
        ([], 1, 1),
        ([], 0, 0),
        (["0", "1"], 1, 1),  # what webhooks said
        (["2"], 0, 1),  # a withdrawal of a webhook's
        (["2", "2.000000001"], 0, 2),
        (["1", "2.000000009", "2.000000010"], 1, 11),
        (["0.0000000000000000007", "1.0000000000000000009"], 0, 0),  # an opening and a closing
    ],
)
def test_a_later_word_has_a_greater_revision(ranks: list[str], first: int, expected: int) -> None:
    assert next_revision(dict.fromkeys(ranks, "id"), first=first) == expected


@pytest.mark.parametrize(
    ("correction", "kind"),
    [(withdrawal(), "delete"), (mark(), "mark-failure"), (mark(failed=False), "mark-stable")],
)
def test_a_statement_says_who_and_what(correction: Correction, kind: str) -> None:
    made = statement(correction, by="ada", now=7)
    assert (made.source, made.endpoint, made.kind, made.by, made.received_at) == (SOURCE, SOURCE, kind, "ada", 7)


@pytest.mark.parametrize(
    ("more", "remediation"),
    [
        ({}, None),
        ({"remediation_id": "x", "remediation_type": "rollback"}, {"id": "x", "type": "rollback"}),
        ({"remediation_version": "v0", "remediation_type": "rollforward"}, {"version": "v0", "type": "rollforward"}),
    ],
)
def test_by_version(more: Any, remediation: Any) -> None:
    fact = ChangeFailureByVersion(service="s", env="e", version="v", **more)
    attributes = {"service": "s", "env": "e", "version": "v", "change_failure": True}
    if remediation:
        attributes["remediation"] = remediation
    assert fact.body == {"data": {"type": "dora_deployment_patch_request", "attributes": attributes}}
    assert fact.id != ChangeFailureByVersion(service="s:e", env="", version="v").id
    assert 16 <= len(fact.id) <= 128


async def test_mark_and_undo_and_mark_again(desk: Desk) -> None:
    await record(desk.ledger, DEPLOYED)
    await settle(desk.ledger, verdict="delivered")
    ids = [await desk.say(mark()), await desk.say(mark(failed=False)), await desk.say(mark())]
    assert ids == [f"{DEPLOYED.id}~verdict-{n}" for n in (1, 2, 3)]
    assert [attributes["change_failure"] for _, _, attributes in await desk.told()] == [True, False, True]
    assert desk.rings == 1
    [verdict] = (await Links(desk.redis).verdicts([DEPLOYED.id])).values()
    assert verdict == {"change_failure": True, "remediation": {}, "by": "operator", "revision": 3}
    lines, _ = await desk.dead.audit(limit=10)
    assert lines[0]["what"] == "datadog mark-failure"
    assert (lines[0]["who"], lines[0]["id"]) == ("ada", ids[2])


async def test_by_version_too(desk: Desk) -> None:
    fact = ChangeFailureByVersion(service="s", env="e", version="v")
    ids = [await desk.say(fact), await desk.say(fact)]
    assert ids == [f"{fact.id}~verdict-1", f"{fact.id}~verdict-2"]
    assert [path for _, path, _ in await desk.told()] == ["/api/v2/dora/deployments"] * 2
    found = await desk.ledger.find(fact.id)
    assert found is not None
    assert (found.envelope.id, found.siblings) == (ids[1], [ids[0]])


async def test_two_at_once_are_two_statements(desk: Desk) -> None:
    ids = await asyncio.gather(*(desk.say(mark(failed=bool(n % 2))) for n in range(4)))
    assert sorted(ids) == [f"{DEPLOYED.id}~verdict-{n}" for n in (1, 2, 3, 4)]
    assert len(await desk.told()) == 4


async def test_it_comes_after_what_the_bridge_concluded(desk: Desk) -> None:
    concluded = mark(revision=7)
    await record(desk.ledger, concluded, source="bridge")
    assert await desk.say(mark(failed=False)) == f"{DEPLOYED.id}~verdict-8"
    # and what a webhook says later does not undo it
    assert await record(desk.ledger, mark()) == ["superseded"]


async def test_only_what_the_ledger_has_to_send_is_waited_for(desk: Desk) -> None:
    waiting, there, remedy = deployed(2), deployed(3), deployed(4)
    await record(desk.ledger, there, remedy)
    await settle(desk.ledger, verdict="delivered")
    await record(desk.ledger, waiting)
    remedied = mark(waiting.id, remediation_id=remedy.id, remediation_type="rollback")
    assert await desk.after(await desk.say(remedied)) == (waiting.id, remedy.id)
    assert await desk.after(await desk.say(withdrawal(there.id))) == (there.id,)
    elsewhere = mark(ELSEWHERE, remediation_id="another", remediation_type="rollback")
    assert await desk.after(await desk.say(elsewhere)) == ()
    assert await desk.after(await desk.say(withdrawal(ELSEWHERE))) == ()


async def test_what_is_a_dead_letter_is_not_in_datadog(desk: Desk) -> None:
    await refused(desk.ledger, DEPLOYED)
    for correction in (mark(), withdrawal(), mark("x", remediation_id=DEPLOYED.id, remediation_type="rollback")):
        with pytest.raises(NotNow, match=f"dead-letters show {DEPLOYED.id}"):
            await desk.say(correction)


async def test_a_withdrawn_deployment_stays_away(desk: Desk) -> None:
    await record(desk.ledger, DEPLOYED)
    await settle(desk.ledger, verdict="delivered")
    assert await desk.say(withdrawal()) == f"{DEPLOYED.id}~withdrawn"
    assert await desk.say(withdrawal()) == f"{DEPLOYED.id}~withdrawn", "it waits already"
    assert await desk.told() == [("DELETE", f"/api/v2/dora/deployment/{DEPLOYED.id}", {})]
    assert await record(desk.ledger, DEPLOYED) == ["duplicate"], "delivered again"
    await desk.redis.delete(f"dora:event:{DEPLOYED.id}")
    assert await record(desk.ledger, DEPLOYED) == ["superseded"], "when the ledger has forgotten what was sent"
    with pytest.raises(NotNow, match="withdrawn"):
        await desk.say(mark())
    assert await desk.told() == []
    # it is in Datadog all the same
    assert await desk.say(withdrawal()) == f"{DEPLOYED.id}~withdrawn-1"
    assert len(await desk.told()) == 1


async def test_one_that_was_never_here_stays_away_too(desk: Desk) -> None:
    await desk.say(withdrawal())
    assert await record(desk.ledger, DEPLOYED) == ["superseded"]


async def test_a_withdrawn_deployment_is_not_linked_any_more(desk: Desk) -> None:
    rollback = deployed(2, custom_tags=("rollback:true",))
    other = deployed(3)
    await record(desk.ledger, rollback, other)
    await settle(desk.ledger, verdict="delivered")
    links = Links(desk.redis)
    due = await links.due(most=10)
    for service, word in due:
        await links.done(service, word)
    await desk.say(withdrawal(rollback.id))
    scene = await links.scene("chekout")
    assert [one.id for one in scene.deployments] == [other.id]
    assert {one.id: one.ended for one in scene.incidents} == {f"{rollback.id}~rollback": "merged"}
    assert [service for service, _ in await links.due(most=10)] == ["chekout"]
    [verdict] = (await links.verdicts([rollback.id])).values()
    assert verdict["by"] == "operator", "so linking says no more about it"


async def test_the_service_of_an_old_deployment_is_asked_for(desk: Desk) -> None:
    await record(desk.ledger, DEPLOYED)
    await settle(desk.ledger, verdict="delivered")
    await desk.redis.delete(f"dora:event:{DEPLOYED.id}")
    desk.in_datadog["deployment", DEPLOYED.id] = {"attributes": {"service": "chekout"}}
    await desk.say(withdrawal())
    assert (await Links(desk.redis).scene("chekout")).deployments == []


async def test_a_mark_is_sent_before_the_withdrawal(desk: Desk) -> None:
    await record(desk.ledger, DEPLOYED)
    await settle(desk.ledger, verdict="delivered")
    for _ in range(3):
        await desk.say(mark())
    await desk.say(withdrawal())
    assert [method for method, _, _ in await desk.told()] == ["PATCH", "PATCH", "PATCH", "DELETE"]


async def test_a_failure_that_somebody_else_sent(desk: Desk) -> None:
    await desk.say(Withdrawal(record_id=ELSEWHERE))
    assert await desk.told() == [("DELETE", f"/api/v2/dora/failure/{ELSEWHERE}", {})]


async def test_a_failure_of_ours_waits_for_its_opening(desk: Desk) -> None:
    opened = failed(1)
    await record(desk.ledger, opened)
    await desk.say(Withdrawal(record_id=opened.id))
    assert [method for method, _, _ in await desk.told()] == ["POST", "DELETE"]


async def test_a_withdrawal_that_was_refused_is_sent_again(desk: Desk) -> None:
    identifier = await desk.say(withdrawal(ELSEWHERE))
    await settle(desk.ledger, answer='{"errors":["no"]}')
    assert await desk.say(withdrawal(ELSEWHERE)) == identifier
    found = await desk.ledger.find(identifier)
    assert found is not None
    assert (found.state, found.story[-1]["by"]) == ("waiting", "ada")
    attempts: list[str] = []
    await desk.corrections.outcome(identifier, timeout_s=0, told=attempts.append)
    assert attempts == [], "of before"
    await desk.told()
    last = await desk.corrections.outcome(identifier, timeout_s=5, told=attempts.append)
    assert (last.state, attempts) == ("delivered", ["Datadog took it (202)"])


async def test_an_incident_by_the_id_that_datadog_gave_it(desk: Desk) -> None:
    await desk.say(Withdrawal(record_id=UUID, what="incident", uuid=UUID))
    [head] = await heads(desk.ledger)
    assert (head.envelope.path, head.key) == (f"/api/v2/incidents/{UUID}", f"incident:{UUID}")


async def test_an_incident_of_ours_is_withdrawn_as_ours(desk: Desk) -> None:
    opened = failed(1, send_as="incident")
    await record(desk.ledger, opened)
    summary = {"value": f"started_at: x\ndora-bridge: {opened.id}"}
    desk.in_datadog["incident", UUID] = {"attributes": {"fields": {"summary": summary}}}
    identifier = await desk.say(Withdrawal(record_id=UUID, what="incident", uuid=UUID))
    assert identifier == f"{opened.id}~withdrawn"
    found = await desk.ledger.find(identifier)
    assert found is not None
    assert (found.envelope.path, found.envelope.key) == (f"/api/v2/incidents/{UUID}", f"incident:{opened.id}")
    first = json.loads(await desk.redis.hget(f"dora:incident:{opened.id}", "first"))
    assert first["services"] == ["chekout"]
    assert await desk.redis.hexists(f"dora:incident:{opened.id}", "withdrawn")


# -- a deployment that later rules call otherwise


@pytest.mark.parametrize(
    "correction",
    [
        mark(one_of_several(DEPLOYED.id, "chekout")),
        mark(ELSEWHERE, remediation_id=one_of_several(DEPLOYED.id, "chekout"), remediation_type="rollback"),
        withdrawal(one_of_several(DEPLOYED.id, "chekout")),
    ],
)
async def test_it_is_told_by_the_id_that_datadog_has(desk: Desk, correction: Correction) -> None:
    later = one_of_several(DEPLOYED.id, "chekout")
    assert await record(desk.ledger, DEPLOYED, deployed(1, id=later, twin=DEPLOYED.id)) == ["accepted", "duplicate"]
    await desk.told()
    await desk.say(correction)
    [(_, path, attributes)] = await desk.told()
    assert later not in f"{path} {attributes}"
    assert DEPLOYED.id in f"{path} {attributes}"
