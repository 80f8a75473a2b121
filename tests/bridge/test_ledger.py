"""The ledger against a real Redis: single answers as tables, and its scripts against a model in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bridge import redis_url
from bridge.call import call_of
from bridge.dead_letters import DeadLetters
from bridge.dora import ChangeFailure, Deployment, Fact, Failure, Git, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ids import one_of_several
from bridge.ledger import FAMILIES, LANES, LANES_EACH, Entry, Head, Ledger, Settlement, family_of, lane_of

NS = 10**9
NOW = time.time_ns()


def envelope(fact: Fact, **fields: Any) -> Envelope:
    return Envelope(endpoint="e", source="github", kind="k", **{"received_at": NOW, **identity(fact), **fields})


def deployed(
    number: int, at: int = 0, *, service: str = "checkout", sha: str = "", version: str | None = None
) -> Deployment:
    """A deployment that finished `at` seconds after a moment of last year."""
    finished = (1_750_000_000 + at) * NS
    git = Git(sha * 40, "https://github.com/acme/checkout") if sha else None
    return Deployment(
        id=f"gh-dep-0000000001-{number:012d}",
        service=service,
        env="production",
        started_at=finished - 60 * NS,
        finished_at=finished,
        git=git,
        version=version,
    )


def failed(number: int = 1, **fields: Any) -> Failure:
    return Failure(**{"id": f"pagerduty-incident-P{number}", "started_at": NOW, "services": ("checkout",), **fields})


@pytest.fixture
async def ledger(redis_server: PrivateRedis) -> AsyncIterator[Ledger]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Ledger(redis)
    await redis.aclose()


def redis_of(ledger: Ledger) -> Any:
    return ledger._redis


async def record(ledger: Ledger, *facts: Fact, **fields: Any) -> list[str]:
    answers, _ = await ledger.record([Entry(envelope(fact, **fields)) for fact in facts])
    return answers


async def heads(ledger: Ledger, owner: str = "a") -> list[Head]:
    lanes, _ = await ledger.take(owner, 1)
    _, found, _ = await ledger.fetch(owner, lanes, wanted=1000, each=1000)
    return found


def settled(head: Head, state: str = "delivered", **fields: Any) -> Settlement:
    return Settlement(head.lane, head.key, head.envelope.id, state, {"at": 1, "state": state}, **fields)


async def drained(ledger: Ledger) -> list[Head]:
    """Delivers everything; in the order of delivery."""
    sent = []
    found = await heads(ledger)
    while found:
        head = found.pop(0)
        sent.append(head)
        _, more = await ledger.settle("a", [settled(head, told=_told(head))])
        found += more
    await ledger.release("a", range(LANES))
    return sent


def _told(head: Head) -> tuple[str, int] | None:
    attributes = head.envelope.attributes
    if "service" not in attributes:
        return None
    return attributes.get("git", {}).get("commit_sha") or attributes.get("version") or "-", attributes[
        "finished_at"
    ] // NS


async def test_a_repetition_is_a_duplicate_before_and_after_delivery(ledger: Ledger) -> None:
    assert await record(ledger, deployed(1)) == ["accepted"]
    assert await record(ledger, deployed(1)) == ["duplicate"]
    assert len(await drained(ledger)) == 1
    assert await record(ledger, deployed(1, at=99)) == ["duplicate"], "the first statement about a deployment stands"
    assert await drained(ledger) == []


async def test_within_one_batch_too(ledger: Ledger) -> None:
    assert await record(ledger, deployed(1), deployed(1), deployed(2)) == ["accepted", "duplicate", "accepted"]


async def test_a_redelivered_dead_letter_is_sent_again(ledger: Ledger) -> None:
    await record(ledger, deployed(1))
    [head] = await heads(ledger)
    await ledger.settle("a", [settled(head, "dead_lettered")])
    assert await ledger.counts() == {"waiting": 0, "dead_letters": 1}
    assert await record(ledger, deployed(1)) == ["redriven"]
    assert await ledger.counts() == {"waiting": 1, "dead_letters": 0}
    await ledger.release("a", range(LANES))
    [again] = await heads(ledger)
    assert again.last["by"] == "redelivery"
    assert "n" not in again.last, "patience starts anew"


async def test_an_understood_redelivery_cures_the_dead_letter_about_it(ledger: Ledger) -> None:
    note = Envelope(id="in-" + "0" * 32, endpoint="e", source="s", kind="k", received_at=NOW, state="dead_lettered")
    assert (await ledger.record([Entry(note, raw=b"{}\nbody")]))[0] == ["dead_lettered"]
    assert (await ledger.record([Entry(envelope(deployed(1)), cures=note.id)]))[0] == ["accepted"]
    assert (await ledger.counts())["dead_letters"] == 0
    found = await ledger.find(note.id)
    assert found is not None
    assert found.state == "superseded"


async def test_the_body_of_a_webhook_is_kept_with_what_is_new_in_it(ledger: Ledger) -> None:
    """Argo CD says that it deployed, and then that what it deployed is degraded."""
    patch = ChangeFailure(deployment_id=deployed(1).id, service="checkout", env=None)
    await ledger.record([Entry(envelope(deployed(1)), b"{}\nhealthy")])
    degraded = [envelope(deployed(1), raw="in-1"), envelope(patch, raw="in-1"), envelope(deployed(2), raw="in-1")]
    entries = [Entry(degraded[0], b"{}\ndegraded"), Entry(degraded[1]), Entry(degraded[2])]
    assert (await ledger.record(entries))[0] == ["duplicate", "accepted", "accepted"]
    bodies = {}
    for one in degraded:
        found = await ledger.find(one.id)
        assert found is not None
        assert found.raw is not None
        bodies[one.id] = found.raw[1]
    assert list(bodies.values()) == [b"healthy", b"degraded", b"degraded"]


async def test_no_body_is_kept_of_what_is_known(ledger: Ledger) -> None:
    await record(ledger, deployed(1), deployed(2))
    again = [Entry(envelope(deployed(1), raw="in-1"), b"{}\nagain"), Entry(envelope(deployed(2), raw="in-1"))]
    assert (await ledger.record(again))[0] == ["duplicate", "duplicate"]
    assert not await redis_of(ledger).exists("dora:raw:in-1")


@pytest.mark.parametrize(
    ("statements", "answers", "sent"),
    [
        (["open", "closed"], ["accepted", "accepted"], ["~open", "~closed"]),
        (["closed", "open"], ["accepted", "superseded"], ["~closed"]),
        (["open", "open"], ["accepted", "duplicate"], ["~open"]),
        (["closed", "closed later"], ["accepted", "duplicate"], ["~closed"]),
        (["open", "open, worse"], ["accepted", "accepted"], ["~open", "~open-5"]),
        (["open, worse", "open"], ["accepted", "superseded"], ["~open-5"]),
        (["closed, again", "closed"], ["accepted", "superseded"], ["~closed-7"]),
        (["open", "withdrawn", "closed"], ["accepted", "accepted", "superseded"], ["~open", "~withdrawn"]),
        (["withdrawn"], ["ignored"], []),
        (["closed if open"], ["ignored"], []),
        (["open", "closed if open"], ["accepted", "accepted"], ["~open", "~closed"]),
        (["closed, start unknown"], ["dead_lettered"], []),
        (["open", "closed, start unknown"], ["accepted", "accepted"], ["~open", "~closed"]),
        (["closed, nobody concerned"], ["dead_lettered"], []),
    ],
)
async def test_statements_about_one_failure(
    ledger: Ledger, statements: Sequence[str], answers: Sequence[str], sent: Sequence[str]
) -> None:
    end = NOW + 60 * NS
    facts: dict[str, Fact] = {
        "open": failed(),
        "open, worse": failed(severity="SEV-1", revision=5),
        "closed": failed(finished_at=end),
        "closed later": failed(finished_at=end + NS),
        "closed, again": failed(finished_at=end + NS, revision=7),
        "closed if open": failed(finished_at=end, only_if_open="it was never counted"),
        "closed, start unknown": failed(finished_at=end, started_at=None),
        "closed, nobody concerned": failed(finished_at=end, services=()),
        "withdrawn": Withdrawal(record_id=failed().id),
    }
    assert [(await record(ledger, facts[one]))[0] for one in statements] == answers
    assert [head.envelope.id for head in await drained(ledger)] == [f"{failed().id}{word}" for word in sent]


async def test_a_closing_comes_with_its_opening(ledger: Ledger) -> None:
    await record(ledger, failed(env="production", name="Slow"))
    await record(ledger, failed(finished_at=NOW + NS, env="other"))
    first, second = await drained(ledger)
    assert first.opening == second.opening
    assert second.opening["env"] == "production"
    assert "finished_at" not in second.opening


async def test_a_change_failure_and_its_remedy_are_two_statements(ledger: Ledger) -> None:
    bad = ChangeFailure(deployment_id="argo-x-000000000001", service="s", env=None)
    remedied = ChangeFailure(
        deployment_id=bad.deployment_id, service="s", env=None, remediation_id="argo-x-2", remediation_type="rollback"
    )
    assert await record(ledger, bad, bad, remedied, bad) == ["accepted", "duplicate", "accepted", "duplicate"]


async def test_deployments_of_one_key_leave_in_the_order_of_their_ends(ledger: Ledger) -> None:
    await record(ledger, deployed(3, at=30), deployed(1, at=10), deployed(2, at=20))
    assert [head.envelope.attributes["finished_at"] for head in await drained(ledger)] == [
        (1_750_000_000 + at) * NS for at in (10, 20, 30)
    ]


async def test_two_deployments_do_not_share_a_second(ledger: Ledger) -> None:
    await record(ledger, deployed(1, at=5), deployed(2, at=5), deployed(3, at=6), deployed(4, at=5, service="other"))
    adjustments = {head.envelope.id[-1]: head.adjustment for head in await drained(ledger)}
    assert adjustments == {
        "1": {},
        "2": {"second": 1_750_000_006},
        "3": {"second": 1_750_000_007},
        "4": {},
    }


async def test_a_second_is_given_once_and_kept(ledger: Ledger) -> None:
    await record(ledger, deployed(1, at=5), deployed(2, at=5))
    [first] = await heads(ledger)
    _, [second] = await ledger.settle("a", [settled(first)])
    await ledger.release("a", range(LANES))
    [again] = await heads(ledger, "b")
    assert again.envelope.id == second.envelope.id
    assert again.adjustment == second.adjustment == {"second": 1_750_000_006}


async def test_what_was_decided_about_a_deployment_is_decided_once(ledger: Ledger) -> None:
    await record(ledger, deployed(1, at=5, sha="a"))
    for owner in "abc":  # handed out again and again, as after a crash
        [head] = await heads(ledger, owner)
        assert head.adjustment == {}
        await ledger.settle(owner, [settled(head, "waiting", told=_told(head))])
        await ledger.release(owner, range(LANES))


async def test_an_adjusted_end_is_never_in_the_future(ledger: Ledger) -> None:
    finished = time.time_ns() // NS * NS
    facts = [
        Deployment(id=f"gh-dep-0000000001-{n:012d}", service="s", started_at=finished, finished_at=finished)
        for n in range(5)
    ]
    await record(ledger, *facts)
    for head in await drained(ledger):
        assert head.adjustment.get("second", 0) <= time.time()


@pytest.mark.parametrize(
    ("late", "adjustment"),
    [
        ({"sha": "a"}, {"late": True, "anonymous": True}),  # a, b, then an older a: it would look like a rollback
        ({"sha": "b"}, {"late": True}),  # the very commit that is live
        ({"sha": "c"}, {"late": True}),  # never sent before
        ({}, {"late": True}),  # nothing to compare by
    ],
)
async def test_a_late_deployment_cannot_look_like_a_rollback(
    ledger: Ledger, late: dict[str, str], adjustment: dict[str, Any]
) -> None:
    for number, at, sha in ((1, 10, "a"), (2, 30, "b")):
        await record(ledger, deployed(number, at=at, sha=sha))
        assert [head.adjustment for head in await drained(ledger)] == [{}]
    await record(ledger, deployed(3, at=20, **late))
    assert [head.adjustment for head in await drained(ledger)] == [adjustment]


async def test_where_it_can_be_told_by_patch_a_late_deployment_goes_as_it_is(ledger: Ledger) -> None:
    redis = redis_of(ledger)
    telling = Ledger(redis, can_patch=True)
    for number, at, sha in ((1, 10, "a"), (2, 30, "b")):
        await record(telling, deployed(number, at=at, sha=sha))
        await drained(telling)
    for service, _ in await redis.zrange("dora:linking", 0, -1, withscores=True):
        await redis.zrem("dora:linking", service)
    late = deployed(3, at=20, sha="a")
    await record(telling, late)
    [head] = await heads(telling)
    behind = deployed(2, at=30).finished_at // NS
    assert head.adjustment == {"late": True, "behind": behind}
    assert call_of(head.envelope, adjustment=head.adjustment).body == late.body
    assert not await redis.exists("dora:late:checkout"), "Datadog may refuse it"
    await telling.settle("a", [settled(head, told=_told(head))])
    place = (await redis.hget("dora:late:checkout", late.id)).decode().split("|")
    assert int(place[0]) == behind
    assert await redis.zscore("dora:linking", "checkout") is not None


async def test_a_true_rollback_is_no_late_deployment(ledger: Ledger) -> None:
    for number, sha in enumerate("aba"):
        await record(ledger, deployed(number, at=number * 10, sha=sha))
    assert [head.adjustment for head in await drained(ledger)] == [{}, {}, {}]


async def test_an_envelope_of_a_newer_version_waits_for_code_that_reads_it(
    ledger: Ledger, redis_server: PrivateRedis
) -> None:
    await record(ledger, deployed(1), deployed(2, service="other"))
    redis = redis_url.patient(redis_server.url)
    stored = json.loads(await redis.get(f"dora:event:{deployed(1).id}"))
    await redis.set(f"dora:event:{deployed(1).id}", json.dumps(stored | {"v": 99}))
    assert [head.envelope.id for head in await heads(ledger)] == [deployed(2).id]
    assert (await ledger.stories([deployed(1).id]))[0][-1]["reason"] == "unreadable"
    assert (await ledger.counts())["waiting"] == 2
    await redis.aclose()


@pytest.mark.parametrize(("state", "waiting"), [("waiting", 1), ("delivered", 0), ("dead_lettered", 0)])
async def test_after_the_lease_was_taken_by_another_only_an_end_is_recorded(
    ledger: Ledger, redis_server: PrivateRedis, state: str, waiting: int
) -> None:
    await record(ledger, deployed(1, at=1), deployed(2, at=2))
    [head] = await heads(ledger, "a")
    redis = redis_url.patient(redis_server.url)
    await redis.delete(f"dora:lease:{head.lane}")
    [taken_over] = await heads(ledger, "b")
    assert taken_over.envelope.id == head.envelope.id
    assert await ledger.settle("a", [settled(head, state)]) == ({head.lane}, [])
    assert (await ledger.counts())["waiting"] == waiting + 1
    lost, [following] = await ledger.settle("b", [settled(taken_over)])
    assert (lost, following.envelope.id) == (set(), deployed(2).id)
    found = await ledger.find(head.envelope.id)
    assert found is not None
    assert [line["state"] for line in found.story] == [state if state != "waiting" else "delivered"], "told once"
    await redis.aclose()


async def test_what_is_settled_after_the_lease_ran_out_is_kept_but_the_lane_is_lost(
    ledger: Ledger, redis_server: PrivateRedis
) -> None:
    await record(ledger, deployed(1, at=1), deployed(2, at=2))
    [head] = await heads(ledger, "a")
    redis = redis_url.patient(redis_server.url)
    await redis.delete(f"dora:lease:{head.lane}")
    assert await ledger.settle("a", [settled(head)]) == ({head.lane}, [])
    assert [one.envelope.id for one in await heads(ledger, "b")] == [deployed(2).id]
    await redis.aclose()


async def test_a_drain_is_asked_for_once_until_it_starts(ledger: Ledger) -> None:
    assert (await ledger.record([Entry(envelope(deployed(1)))]))[1] is True
    assert (await ledger.record([Entry(envelope(deployed(2, service="b")))]))[1] is False
    await ledger.hush()
    assert await ledger.sweep() is True
    assert await ledger.sweep() is False
    await ledger.hush()
    await heads(ledger)
    assert await ledger.sweep() is False, "somebody holds the lane"


async def test_a_lane_is_shared_fairly_and_never_left_to_a_dead_peer(ledger: Ledger) -> None:
    await record(ledger, *(deployed(n, service=f"s{n}") for n in range(400)))
    half = LANES_EACH // 2
    mine, share = await ledger.take("a", 2)
    assert (len(mine), share) == (half, half)
    assert await ledger.take("a", 2) == ([], half), "it is the other's turn"
    await redis_of(ledger).zadd("dora:free", dict.fromkeys(range(half, LANES_EACH), 0))
    rest, _ = await ledger.take("a", 2)
    assert len(rest) == half, "which did not take them for long"


@pytest.mark.parametrize("key", ["deployment:s:e", "failure:x", "change:y", "incident:z"])
def test_a_family_has_lanes_of_its_own(key: str) -> None:
    assert family_of(lane_of(key)) == key.partition(":")[0]
    assert len(FAMILIES) * LANES_EACH == LANES


async def test_find_knows_an_event_by_both_of_its_ids(ledger: Ledger) -> None:
    await record(ledger, failed(), failed(finished_at=NOW + NS), deployed(1))
    found = await ledger.find(failed().id)
    assert found is not None
    assert found.envelope.id == f"{failed().id}~closed"
    assert list(found.siblings) == [f"{failed().id}~open"]
    by_own = await ledger.find(f"{failed().id}~open")
    assert by_own is not None
    assert by_own.envelope.id == f"{failed().id}~open"
    assert await ledger.find("nobody") is None


# -- the scripts against a model


class LedgerMachine(RuleBasedStateMachine):
    """Two owners, lost leases, and any order of calls. The model knows what must be true, not how it is done."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = redis_url.patient(self.url)
        self.do(self.redis.flushdb())
        self.ledger = Ledger(self.redis)
        self.number = 0
        self.waiting: dict[str, list[tuple[int, str]]] = {}
        self.delivered: list[str] = []
        self.hands: dict[str, dict[str, Head]] = {"a": {}, "b": {}}
        self.lanes: dict[str, set[int]] = {"a": set(), "b": set()}

    def do(self, call: Any) -> Any:
        return self.runner.run(_awaited(call))

    @rule(service=st.integers(0, 3), at=st.integers(0, 50))
    def accept(self, service: int, at: int) -> None:
        self.number += 1
        fact = deployed(self.number, at=at * 100 + self.number % 100, service=f"s{service}")
        [answer], _ = self.do(self.ledger.record([Entry(envelope(fact))]))
        assert answer == "accepted"
        self.waiting.setdefault(fact.key, []).append((fact.finished_at, fact.id))

    @rule(owner=st.sampled_from("ab"))
    def take_and_fetch(self, owner: str) -> None:
        taken = set(self.do(self.ledger.take(owner, 1))[0])
        self.lose(owner, taken & self.lanes[owner])  # a lease that ran out unnoticed: the drain starts afresh too
        self.lanes[owner] |= taken
        if not self.lanes[owner]:
            return
        lost, found, _ = self.do(self.ledger.fetch(owner, sorted(self.lanes[owner]), wanted=3, each=2))
        self.lose(owner, lost)
        for head in found:
            assert head.key not in self.hands[owner], "a key is in a hand once"
            assert head.envelope.id == min(self.waiting[head.key])[1], "the oldest of its key comes first"
            self.hands[owner][head.key] = head

    @rule(owner=st.sampled_from("ab"), state=st.sampled_from(["delivered", "waiting", "dead_lettered"]))
    def settle(self, owner: str, state: str) -> None:
        if not self.hands[owner]:
            return
        key, head = next(iter(self.hands[owner].items()))
        del self.hands[owner][key]
        holder = self.do(self.redis.get(f"dora:lease:{head.lane}"))
        lost, found = self.do(self.ledger.settle(owner, [settled(head, state)]))
        if state != "waiting":
            still = [one for one in self.waiting[key] if one[1] != head.envelope.id]
            if len(still) < len(self.waiting[key]):
                self.delivered.append(head.envelope.id)
            self.waiting[key] = still
        if holder is not None and holder.decode() != owner:
            assert found == []
        self.lose(owner, lost)
        for one in found:
            assert one.envelope.id == min(self.waiting[one.key])[1]
            self.hands[owner][one.key] = one

    @rule(owner=st.sampled_from("ab"))
    def release(self, owner: str) -> None:
        self.do(self.ledger.release(owner, sorted(self.lanes[owner])))
        self.lose(owner, set(self.lanes[owner]))

    @rule()
    def leases_run_out(self) -> None:
        self.do(self.redis.delete(*(f"dora:lease:{lane}" for lane in range(LANES))))

    def lose(self, owner: str, lanes: set[int]) -> None:
        self.lanes[owner] -= lanes
        self.hands[owner] = {key: head for key, head in self.hands[owner].items() if head.lane not in lanes}

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        waiting = {id_ for ids in self.waiting.values() for _, id_ in ids}
        assert {one.decode() for one in self.do(self.redis.zrange("dora:waiting", 0, -1))} == waiting
        assert len(self.delivered) == len(set(self.delivered))

    @invariant()
    def every_key_with_a_queue_is_in_its_lane_or_a_hand(self) -> None:
        for key, ids in self.waiting.items():
            lane = lane_of(key)
            placed = [self.do(self.redis.zscore(f"dora:{where}:{lane}", key)) for where in ("lane", "hand")]
            assert bool(ids) <= any(one is not None for one in placed)
            assert sum(one is not None for one in placed) <= 1

    def teardown(self) -> None:
        self.do(self.redis.aclose())
        self.runner.close()


async def _awaited(call: Any) -> Any:
    return await call


def test_the_scripts_keep_their_invariants(redis_server: PrivateRedis) -> None:
    LedgerMachine.url = redis_server.url
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LedgerMachine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# -- incidents in Incident Management


async def test_later_statements_about_an_incident_know_its_opening_and_its_id(ledger: Ledger) -> None:
    sent_as = {"send_as": "incident"}
    await record(ledger, failed(**sent_as), failed(finished_at=NOW + NS, **sent_as))
    [head] = await heads(ledger)
    assert (head.key, head.uuid) == (f"incident:{failed().id}", "")
    _, [closing] = await ledger.settle("a", [settled(head, uuid="a6250371")])
    assert closing.uuid == "a6250371"
    assert closing.opening == failed().body["data"]["attributes"]
    assert (await ledger.fact(failed().id)).uuid == "a6250371"


async def test_only_the_first_try_to_create_is_known_to_be_the_first(ledger: Ledger) -> None:
    assert await ledger.about_to_create("x") is None
    since = await ledger.about_to_create("x")
    assert since is not None
    assert await ledger.about_to_create("x") == since
    await ledger.not_created("x")
    assert await ledger.about_to_create("x") is None


# -- how long the oldest waits


async def test_what_waits_on_purpose_is_not_old(ledger: Ledger) -> None:
    received = NOW - 3600 * NS
    await record(ledger, failed(1), failed(2), received_at=received)
    identifiers = [id_.decode() for id_ in await redis_of(ledger).zrange("dora:waiting", 0, -1)]
    assert await ledger.oldest_age_s() >= 3600
    now = time.time_ns() // 1_000_000
    for identifier in identifiers:
        line = {"at": now, "state": "waiting", "n": 1, "reason": "deployment_pending", "due": now + 600_000}
        await redis_of(ledger).rpush(f"dora:story:{identifier}", json.dumps(line))
    assert await ledger.oldest_age_s() == 0
    line = {"at": now, "state": "waiting", "n": 2, "reason": "server_error", "due": now + 600_000}
    await redis_of(ledger).rpush(f"dora:story:{identifiers[1]}", json.dumps(line))
    assert await ledger.oldest_age_s() >= 3600, "what fails is late"


async def test_what_comes_after_a_wait_on_purpose_is_not_old_either(ledger: Ledger) -> None:
    await record(ledger, failed(1), received_at=NOW - 3600 * NS)
    await record(ledger, failed(1, finished_at=NOW), received_at=NOW - 3500 * NS)
    now = time.time_ns() // 1_000_000
    line = {"at": now, "state": "waiting", "n": 1, "reason": "incident_pending", "due": now + 600_000}
    first, _ = await redis_of(ledger).zrange("dora:waiting", 0, -1)
    await redis_of(ledger).rpush(f"dora:story:{first.decode()}", json.dumps(line))
    assert await ledger.oldest_age_s() == 0


async def test_nothing_is_hidden_behind_many_that_wait_on_purpose(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.ledger.LOOKED_AT", 1)
    await record(ledger, failed(1), received_at=NOW - 3600 * NS)
    now = time.time_ns() // 1_000_000
    line = {"at": now, "state": "waiting", "n": 1, "reason": "deployment_pending", "due": now + 600_000}
    [first] = await redis_of(ledger).zrange("dora:waiting", 0, -1)
    await redis_of(ledger).rpush(f"dora:story:{first.decode()}", json.dumps(line))
    assert await ledger.oldest_age_s() >= 3600


async def test_a_dead_letter_that_was_put_back_waits_since_then(ledger: Ledger) -> None:
    await record(ledger, deployed(1), received_at=NOW - 3600 * NS)
    [head] = await heads(ledger)
    await ledger.settle("a", [settled(head, "dead_lettered")])
    assert await record(ledger, deployed(1), received_at=NOW - 3600 * NS) == ["redriven"]
    assert await ledger.oldest_age_s() < 3600


async def test_what_was_withdrawn_before_it_was_reported_is_not_reported_later(ledger: Ledger) -> None:
    assert await record(ledger, Withdrawal(record_id=failed().id), failed()) == ["ignored", "superseded"]
    assert await heads(ledger) == []


async def test_a_rule_that_changes_the_number_of_services_reports_nothing_twice(ledger: Ledger) -> None:
    one = deployed(1)
    checkout, payments = (
        replace(one, service=name, id=one_of_several(one.id, name), twin=one.id) for name in (one.service, "payments")
    )
    assert await record(ledger, one, checkout, payments) == ["accepted", "duplicate", "accepted"]
    two = deployed(2)
    of_several = replace(two, id=one_of_several(two.id, two.service), twin=two.id)
    assert await record(ledger, of_several, two) == ["accepted", "duplicate"]


# -- what came before its opening


def closed(number: int = 1, **fields: Any) -> Failure:
    return failed(number, **{"finished_at": NOW + 60 * NS, **fields})


async def test_what_lacks_its_opening_follows_when_that_comes(ledger: Ledger) -> None:
    assert await record(ledger, closed(started_at=None)) == ["dead_lettered"]
    assert await ledger.counts() == {"waiting": 0, "dead_letters": 1}
    assert await record(ledger, failed()) == ["accepted"]
    assert await ledger.counts() == {"waiting": 2, "dead_letters": 0}
    assert [head.envelope.id for head in await drained(ledger)] == [f"{failed().id}~open", f"{failed().id}~closed"]
    assert await record(ledger, closed(started_at=None), failed()) == ["duplicate", "duplicate"]
    incident = json.loads(await redis_of(ledger).hget(f"dora:incident:{failed().id}", "last"))
    assert incident["end"] == (NOW + 60 * NS) // 10**6, "linking knows when it ended"


async def test_in_incident_management_only_within_ten_minutes(ledger: Ledger) -> None:
    """It takes the time of a call for the beginning."""
    opening, end = failed(send_as="incident"), closed(send_as="incident")
    assert await record(ledger, end) == ["dead_lettered"]
    long_after = NOW + 601 * NS
    assert await record(ledger, opening, received_at=long_after) == ["dead_lettered"]
    assert await record(ledger, opening, received_at=long_after) == ["dead_lettered"]
    assert await ledger.counts() == {"waiting": 0, "dead_letters": 2}
    dead = await ledger.find(f"{opening.id}~open")
    assert dead is not None
    assert "more than ten minutes" in dead.reason
    assert await record(ledger, failed(2, send_as="incident"), received_at=long_after) == ["accepted"]


async def test_within_ten_minutes_it_follows_in_incident_management(ledger: Ledger) -> None:
    opening, end = failed(send_as="incident"), closed(send_as="incident")
    await record(ledger, end)
    assert await record(ledger, opening, received_at=NOW + 599 * NS) == ["accepted"]
    assert await ledger.counts() == {"waiting": 2, "dead_letters": 0}


async def test_what_a_person_discarded_stays_discarded(ledger: Ledger) -> None:
    end = closed(started_at=None)
    await record(ledger, end)
    discarded = {"at": 1, "state": "discarded", "by": "me"}
    assert await DeadLetters(redis_of(ledger)).conclude(f"{end.id}~closed", discarded)
    assert await record(ledger, failed()) == ["accepted"]
    assert [head.envelope.id for head in await drained(ledger)] == [f"{failed().id}~open"]


async def test_a_closing_that_was_ignored_before_its_opening_waits_once_it_is_delivered_again(ledger: Ledger) -> None:
    end = closed(only_if_open="it was never counted")
    assert await record(ledger, end) == ["ignored"]
    assert await record(ledger, failed()) == ["accepted"]
    assert await record(ledger, end) == ["accepted"]
    assert await redis_of(ledger).zcard("dora:settled") == 0, "it waits, and has not come to its end"
    waiting = await ledger.find(f"{end.id}~closed")
    assert waiting is not None
    assert waiting.state == "waiting"
    assert await redis_of(ledger).ttl(f"dora:story:{end.id}~closed") == -1
