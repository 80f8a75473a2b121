"""What concerned another number of services when it was reported is recognised, and keeps the id that Datadog has."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from bridge import redis_url
from bridge.configuration import Retention
from bridge.dead_letters import DeadLetters
from bridge.dora import ChangeFailure, Deployment, Fact, History, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.explain import explained, story
from bridge.ids import one_of_several
from bridge.ledger import LANES, Entry, Head, Ledger, Settlement
from bridge.links import Links
from bridge.rules import Rule, apply
from bridge.twins import retold

NOW = time.time_ns()
OLD, NEW = "gh-dep-0000000001-000000000001", "gh-dep-0000000001-000000000002"
TO_A = [Rule.model_validate({"match": {"service": "*"}, "set": {"service": "a"}})]
TO_BOTH = [Rule.model_validate({"match": {"service": "*"}, "set": {"services": ["a", "b"]}})]


def deployed(identifier: str = OLD, rules: list[Rule] = TO_A) -> list[Fact]:
    fact = Deployment(id=identifier, service="shop", env="prod", started_at=NOW - 10**9, finished_at=NOW)
    return list(apply(rules, fact, {})[0])


def failed(rules: list[Rule] = TO_A, **fields: Any) -> list[Fact]:
    fact = ChangeFailure(deployment_id=OLD, service="shop", env="prod", **fields)
    return list(apply(rules, fact, {})[0])


def remedied(rules: list[Rule] = TO_A) -> list[Fact]:
    return failed(rules, remediation_id=NEW, remediation_type="rollback")


def envelopes(facts: list[Fact]) -> list[Envelope]:
    return [Envelope(endpoint="e", source="github", kind="k", received_at=NOW, **identity(fact)) for fact in facts]


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Redis]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield redis
    await redis.aclose()


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis)


async def record(ledger: Ledger, *facts: Fact) -> list[str]:
    words, _ = await ledger.record([Entry(one) for one in envelopes(list(facts))])
    return words


async def heads(ledger: Ledger) -> list[Head]:
    lanes, _ = await ledger.take("a", 1)
    _, found, _ = await ledger.fetch("a", lanes, wanted=1000, each=1000)
    await ledger.release("a", range(LANES))
    return found


async def calls(ledger: Ledger) -> dict[str, Any]:
    """Ids of the ledger that wait, each with what Datadog is to be told."""
    return {head.envelope.id: head.envelope.body for head in await heads(ledger)}


def of(identifier: str, service: str) -> str:
    return one_of_several(identifier, service)


# -- the rules


def test_each_side_knows_the_other_id() -> None:
    (one,) = envelopes(deployed())
    several = envelopes(deployed(rules=TO_BOTH))
    assert one.twins == {OLD: of(OLD, "a")}
    assert [each.twins for each in several] == [{of(OLD, name): OLD} for name in "ab"]
    (patch,) = envelopes(remedied())
    assert patch.twins == {OLD: of(OLD, "a"), NEW: of(NEW, "a")}
    assert [each.twins for each in envelopes(remedied(TO_BOTH))] == [
        {of(OLD, name): OLD, of(NEW, name): NEW} for name in "ab"
    ]


def test_what_the_bridge_concludes_names_what_the_ledger_has() -> None:
    assert envelopes(failed(revision=1))[0].twins == {}


# -- the statement under the other id


def test_a_deployment_retold_differs_from_the_one_of_that_id_in_nothing() -> None:
    [of_a, _], [one] = envelopes(deployed(rules=TO_BOTH)), envelopes(deployed())
    again = retold(of_a, {of(OLD, "a"): OLD})
    assert replace(again, called={}) == one
    assert again.called == {OLD: of(OLD, "a")}
    assert again.said_as == of_a.id
    assert Envelope.from_json(again.to_json()).called == again.called


@pytest.mark.parametrize("names", [{OLD: of(OLD, "a")}, {NEW: of(NEW, "a")}, {OLD: of(OLD, "a"), NEW: of(NEW, "a")}])
def test_a_change_failure_retold_too(names: dict[str, str]) -> None:
    (patch,) = envelopes(remedied())
    again = retold(patch, names)
    wanted = ChangeFailure(
        deployment_id=names.get(OLD, OLD),
        remediation_id=names.get(NEW, NEW),
        remediation_type="rollback",
        service="a",
        env="prod",
    )
    assert replace(again, called={}) == envelopes([wanted])[0]
    assert again.said_as == patch.id
    assert set(again.twins) == {OLD, NEW} - set(names)


def test_what_has_no_body_is_not_retold() -> None:
    (withdrawal,) = envelopes([Withdrawal(record_id=OLD, what="deployment")])
    assert retold(withdrawal, {OLD: NEW}) == withdrawal


# -- recorded


async def test_a_change_failure_goes_to_the_id_that_datadog_has(ledger: Ledger) -> None:
    await record(ledger, *deployed())
    assert await record(ledger, *failed(TO_BOTH)) == ["accepted", "accepted"]
    told = await calls(ledger)
    assert set(told) == {OLD, f"{OLD}~change-failure", f"{of(OLD, 'b')}~change-failure"}
    assert told[f"{OLD}~change-failure"]["data"]["id"] == OLD
    [head] = [one for one in await heads(ledger) if one.envelope.id == f"{OLD}~change-failure"]
    assert (head.envelope.path, head.envelope.after) == (f"/api/v2/dora/deployments/{OLD}", (OLD,))
    assert head.key == f"change:{OLD}"


async def test_and_back_again(ledger: Ledger) -> None:
    await record(ledger, *deployed(rules=TO_BOTH))
    assert await record(ledger, *failed()) == ["accepted"]
    assert f"{of(OLD, 'a')}~change-failure" in await calls(ledger)


async def test_what_failed_and_what_remedied_it_are_looked_for_each(ledger: Ledger) -> None:
    """The rule changed in between."""
    await record(ledger, *deployed())
    await record(ledger, *deployed(NEW, TO_BOTH))
    await record(ledger, *remedied(TO_BOTH))
    told = await calls(ledger)
    assert told[f"{OLD}~remedied"]["data"]["attributes"]["remediation"]["id"] == of(NEW, "a")
    assert told[f"{of(OLD, 'b')}~remedied"]["data"]["attributes"]["remediation"]["id"] == of(NEW, "b")
    await redis_of(ledger).flushdb()
    await record(ledger, *deployed(OLD, TO_BOTH), *deployed(NEW))
    await record(ledger, *remedied(TO_BOTH))
    told = await calls(ledger)
    assert told[f"{of(OLD, 'a')}~remedied"]["data"]["attributes"]["remediation"]["id"] == NEW


@pytest.mark.parametrize(("then", "now"), [(TO_A, TO_BOTH), (TO_BOTH, TO_A)])
async def test_a_change_failure_that_came_first_gets_its_deployment(
    ledger: Ledger, then: list[Rule], now: list[Rule]
) -> None:
    await record(ledger, *remedied(then))
    await record(ledger, *deployed(rules=now), *deployed(NEW, now))
    patches = [head.envelope for head in await heads(ledger) if head.envelope.method == "PATCH"]
    [of_a] = [one for one in patches if one.datadog_id in (OLD, of(OLD, "a"))]
    recorded = await ledger.briefly(of_a.after)
    assert [one.envelope.services for one in recorded if one] == [("a",), ("a",)]
    assert await ledger.remembered([*of_a.after, of(OLD, "c")]) == set(of_a.after)


async def test_what_is_only_named_was_not_recorded(ledger: Ledger) -> None:
    await record(ledger, *failed())
    assert await ledger.remembered([OLD]) == set()


async def test_within_one_batch(ledger: Ledger) -> None:
    words = await record(ledger, *deployed(), *deployed(rules=TO_BOTH), *failed(TO_BOTH))
    assert words == ["accepted", "duplicate", "accepted", "accepted", "accepted"]
    assert set(await calls(ledger)) == {
        OLD,
        of(OLD, "b"),
        f"{OLD}~change-failure",
        f"{of(OLD, 'b')}~change-failure",
    }


async def test_said_before_the_rule_changed_it_is_not_said_again(ledger: Ledger) -> None:
    await record(ledger, *deployed(), *failed())
    assert await record(ledger, *deployed(rules=TO_BOTH), *failed(TO_BOTH)) == [
        "duplicate",
        "accepted",
        "duplicate",
        "accepted",
    ]


async def test_a_rule_that_comes_back_finds_its_own_ids(ledger: Ledger) -> None:
    await record(ledger, *deployed(rules=TO_BOTH))
    assert await record(ledger, *deployed()) == ["duplicate"]
    assert await record(ledger, *deployed(rules=TO_BOTH)) == ["duplicate", "duplicate"]
    assert set(await calls(ledger)) == {of(OLD, "a"), of(OLD, "b")}


async def test_what_was_reported_of_another_service_is_another(ledger: Ledger) -> None:
    other = [Rule.model_validate({"match": {"service": "*"}, "set": {"service": "c"}})]
    await record(ledger, *deployed(rules=other))
    assert await record(ledger, *deployed(rules=TO_BOTH), *failed(TO_BOTH)) == ["accepted"] * 4


async def test_a_missed_one_that_is_retold_is_judged_by_the_history_as_it_was(ledger: Ledger) -> None:
    """Argo CD's third entry tells what was missed of the second, too: all or nothing is recorded at once."""
    before, after = replace(deployed()[0], history=History("argo-x", 1)), deployed(NEW)[0]  # type: ignore[call-arg]
    await record(ledger, before)
    latest = replace(after, history=History("argo-x", 3))  # type: ignore[call-arg]
    missed = [replace(one, history=History("argo-x", 2, "missed")) for one in remedied(TO_BOTH)]  # type: ignore[call-arg]
    assert await record(ledger, latest, *missed) == ["accepted", "accepted", "accepted"]
    assert f"{OLD}~remedied" in await calls(ledger)


async def test_what_a_person_withdrew_does_not_come_back(ledger: Ledger) -> None:
    await record(ledger, *deployed())
    assert await record(ledger, Withdrawal(record_id=OLD, what="deployment", service="a")) == ["accepted"]
    assert await record(ledger, *deployed(rules=TO_BOTH)) == ["duplicate", "accepted"]


async def test_what_linking_forgot_is_recognised(ledger: Ledger) -> None:
    await record(ledger, *deployed())
    await redis_of(ledger).delete("dora:deployments:a")
    assert await record(ledger, *deployed(rules=TO_BOTH)) == ["duplicate", "accepted"]


async def test_a_redelivered_dead_letter_is_sent_again_as_it_was(ledger: Ledger) -> None:
    await record(ledger, *deployed())
    lanes, _ = await ledger.take("a", 1)
    _, [head], _ = await ledger.fetch("a", lanes, wanted=1, each=1)
    line = {"at": 1, "state": "dead_lettered"}
    await ledger.settle("a", [Settlement(head.lane, head.key, head.envelope.id, "dead_lettered", line)])
    await ledger.release("a", range(LANES))
    assert await record(ledger, *deployed(rules=TO_BOTH)) == ["redriven", "accepted"]
    assert set(await calls(ledger)) == {OLD, of(OLD, "b")}


async def test_linking_knows_it_by_the_same_id(ledger: Ledger, redis: Redis) -> None:
    await record(ledger, *deployed(), *failed(TO_BOTH))
    scene = await Links(redis).scene("a")
    assert [one.id for one in scene.deployments] == [OLD]
    assert [(one.id, one.deployment_id) for one in scene.incidents] == [(f"{OLD}~change-failure", OLD)]


async def test_it_is_foreseen_and_nothing_is_written(ledger: Ledger, redis: Redis) -> None:
    await record(ledger, *deployed())
    keys = sorted(await redis.keys("*"))
    found = await ledger.as_reported(envelopes([*deployed(rules=TO_BOTH), *failed(TO_BOTH)]))
    assert [one.id for one in found] == [
        OLD,
        of(OLD, "b"),
        f"{OLD}~change-failure",
        f"{of(OLD, 'b')}~change-failure",
    ]
    assert sorted(await redis.keys("*")) == keys


# -- explained


async def test_it_is_found_by_either_id_and_says_so(ledger: Ledger, redis: Redis) -> None:
    await record(ledger, *deployed(), *failed(TO_BOTH))
    for asked in (f"{OLD}~change-failure", f"{of(OLD, 'a')}~change-failure"):
        whole = await explained(ledger, DeadLetters(redis, Retention()), asked)
        assert whole is not None
        assert (whole["id"], whole["called"]) == (f"{OLD}~change-failure", {OLD: of(OLD, "a")})
        [line] = [one for one in story(whole).splitlines() if one.startswith("  called")]
        assert line.startswith(f"  called     {of(OLD, 'a')} by rules under which")
        assert line.endswith(OLD)
    assert await ledger.find(f"{of(OLD, 'c')}") is None


async def test_a_deployment_that_is_only_recognised_is_found_too(ledger: Ledger, redis: Redis) -> None:
    await record(ledger, *deployed())
    await record(ledger, *deployed(rules=TO_BOTH))
    whole = await explained(ledger, DeadLetters(redis, Retention()), of(OLD, "a"))
    assert whole is not None
    assert (whole["id"], whole["called"]) == (OLD, {OLD: of(OLD, "a")})
    assert await ledger.names([of(OLD, "a"), OLD, NEW]) == {of(OLD, "a"): OLD, OLD: OLD, NEW: NEW}


def redis_of(ledger: Ledger) -> Any:
    return ledger._redis
