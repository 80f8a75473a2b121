"""The ledger's scripts against a model, with everything that can go wrong between any two of them.

Workers that forget all they held, leases that run out while requests are under way, scripts that ran although their
answers were lost and that are run once more, dead letters that people put back meanwhile: whatever happens in whatever
order, nothing is lost, doubled, out of order or changed. The Datadog of the model remembers every request.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bridge import redis_url
from bridge.call import call_of
from bridge.dead_letters import DeadLetters, Return
from bridge.dora import ChangeFailure, Deployment, Fact, Failure, Git, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.incident_management import creates, needs_uuid
from bridge.ledger import LANES, Entry, Head, Ledger, Settlement, lane_of
from workers.conclusion import conclude
from workers.datadog import Outcome, Reason, Verdict, judge, judge_creation
from workers.destination import Standing

NS = 10**9
YEAR = 1_750_000_000
OWNERS = ("a", "b")
ANSWERS = (200, 202, 200, 202, 400, 400, 404, 401, 429, 500, "cut", "lost")
"""`cut`: no connection; `lost`: Datadog took it, and its answer did not arrive."""


def deployed(service: int, second: int, commit: str, number: int) -> Deployment:
    """A deployment; a few seconds and commits only, so that they are shared."""
    finished = (YEAR + second) * NS
    git = Git(commit * 40, "https://github.com/acme/shop") if commit else None
    return Deployment(
        id=f"gh-dep-0000000001-{number:012d}",
        service=f"s{service}",
        env="production",
        started_at=finished - NS,
        finished_at=finished,
        git=git,
    )


def incident(number: int, said: str, *, is_managed: bool, services: int) -> Fact:
    """A statement about one of a few incidents, of which half are told to Incident Management."""
    failure = Failure(
        id=f"pagerduty-incident-P{number}",
        started_at=YEAR * NS,
        services=tuple(f"s{one}" for one in range(services)),
        team="shop" if said.endswith("team") else None,
        send_as="incident" if is_managed else "failure",
        origins={"id": "x"},
    )
    end = (YEAR + 60) * NS
    match said.split(",")[0]:
        case "open":
            return failure
        case "open worse":
            return replace(failure, severity="SEV-1", revision=5, only_if_open="it was not reported")
        case "closed":
            return replace(failure, finished_at=end)
        case "closed again":
            return replace(failure, finished_at=end + NS, revision=7)
        case "closed only":
            return replace(failure, finished_at=end, started_at=None)
        case _:
            return Withdrawal(record_id=failure.id, what="incident" if is_managed else "failure")


statements = st.one_of(
    st.builds(deployed, st.integers(0, 1), st.integers(0, 4), st.sampled_from(["", "a", "b", "c"]), st.integers(0, 30)),
    st.builds(
        lambda number, said, services: incident(number, said, is_managed=number % 2 == 1, services=services),
        st.integers(0, 1),
        st.sampled_from(
            ["open", "closed", "open", "open worse", "closed", "closed again", "closed only", "withdrawn", "open, team"]
        ),
        st.integers(1, 2),
    ),
    st.builds(
        lambda number, remedied: ChangeFailure(
            deployment_id=f"gh-dep-0000000001-{number:012d}",
            service="s0",
            env="production",
            remediation_id="gh-dep-0000000001-000000000099" if remedied else None,
            remediation_type="rollback" if remedied else None,
        ),
        st.integers(0, 3),
        st.booleans(),
    ),
)
RARELY = st.sampled_from([False, False, False, True])


@dataclass
class Worker:
    """What one process knows, and forgets when it is killed."""

    lanes: set[int] = field(default_factory=set)
    ready: dict[str, Head] = field(default_factory=dict)
    """key -> its head, not sent"""
    done: dict[str, tuple[Head, Outcome]] = field(default_factory=dict)
    """key -> its head and what came of it, not put down"""
    unsettled: list[Settlement] = field(default_factory=list)
    """put down, without an answer of Redis"""


@dataclass
class Sent:
    """One request as Datadog got it."""

    id: str
    fact: str
    rank: str
    method: str
    path: str
    body: Any
    taken: bool
    known: bool
    """Whether the sender may believe, or knows, that it was taken."""


class Crashes(RuleBasedStateMachine):
    """Two workers, a web process, a person and a Datadog."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis: Any = redis_url.patient(self.url)
        self.ledger = Ledger(self.redis)
        self.dead_letters = DeadLetters(self.redis)
        self.workers = {owner: Worker() for owner in OWNERS}
        self.accepted: dict[str, Envelope] = {}
        self.noted: set[str] = set()
        self.waiting: dict[str, dict[str, int]] = {}
        """key -> id -> its order"""
        self.dead: set[str] = set()
        self.homeless: dict[str, dict[str, Envelope]] = {}
        """fact -> what became a dead letter for want of its opening"""
        self.delivered: set[str] = set()
        self.discarded: set[str] = set()
        self.sent: list[Sent] = []
        self.bodies: dict[str, Any] = {}
        """id -> what Datadog has or may have got under it"""
        self.incidents: dict[str, str] = {}
        """fact -> the id under which Datadog has it in Incident Management"""

    def do(self, call: Any) -> Any:
        return self.runner.run(_awaited(call))

    @initialize(facts=st.lists(statements, min_size=2, max_size=8))
    def begin(self, facts: Sequence[Fact]) -> None:
        self.do(self.redis.flushdb())
        self.accept(facts, lost=False)

    def _one(self, owner: str, able: Callable[[Worker], object]) -> str:
        """This worker, or the other one if this one has nothing to do."""
        return owner if able(self.workers[owner]) else OWNERS[owner == OWNERS[0]]

    # -- the web process

    @precondition(lambda self: sum(map(len, self.waiting.values())) < 8)
    @rule(facts=st.lists(statements, min_size=1, max_size=4), lost=RARELY)
    def accept(self, facts: Sequence[Fact], lost: bool) -> None:
        """A batch; the answer may be lost, upon which the senders repeat it."""
        envelopes = [
            Envelope(endpoint="e", source="github", received_at=time.time_ns(), **identity(fact)) for fact in facts
        ]
        entries = [Entry(one) for one in envelopes]
        answers, _ = self.do(self.ledger.record(entries))
        for envelope, answer in zip(envelopes, answers, strict=True):
            self._recorded(envelope, answer)
        if lost:
            again, _ = self.do(self.ledger.record(entries))
            for envelope, answer in zip(envelopes, again, strict=True):
                if answer in ("accepted", "redriven"):
                    assert envelope.id in self.noted - self.accepted.keys(), "only what lacked an opening then"
                self._recorded(envelope, answer)

    def _recorded(self, envelope: Envelope, answer: str) -> None:
        identifier = envelope.id
        if answer == "duplicate":
            assert identifier in self.accepted | dict.fromkeys(self.noted)
        elif answer in ("accepted", "redriven"):
            assert identifier not in self.delivered, "Datadog has it"
            assert (answer == "redriven") == (identifier in self.dead)
            self._wait(envelope)
            if envelope.method == "POST":
                self._bring_home(envelope)
        else:
            if answer == "dead_lettered" and identifier not in self.accepted.keys() | self.noted:
                self.dead.add(identifier)  # a person may have discarded it since then
                self.homeless.setdefault(envelope.fact, {})[identifier] = envelope
            self.noted.add(identifier)

    def _bring_home(self, opening: Envelope) -> None:
        """What was a dead letter for want of this opening follows it."""
        rank = opening.rank
        for identifier, envelope in self.homeless.pop(opening.fact, {}).items():
            if identifier in self.dead and envelope.key == opening.key and envelope.rank > rank:
                self._wait(envelope)
                rank = envelope.rank

    def _wait(self, envelope: Envelope) -> None:
        self.accepted[envelope.id] = envelope
        self.dead.discard(envelope.id)
        self.waiting.setdefault(envelope.key, {})[envelope.id] = envelope.order

    # -- the workers

    @precondition(lambda self: any(self.waiting.values()))
    @rule(owner=st.sampled_from(OWNERS), alive=st.integers(1, 2), lost=RARELY, wanted=st.integers(0, 6))
    def take(self, owner: str, alive: int, lost: bool, wanted: int) -> None:
        """Takes lanes, and mostly something of them."""
        worker = self.workers[owner]
        if worker.unsettled:
            return  # a drain begins with what the last one could not put down
        taken = set(self.do(self.ledger.take(owner, alive))[0])
        if lost:
            self._forget(owner)
            return
        # a lane of ours whose lease ran out unnoticed is left alone until its lease runs out
        relapsed = {lane for lane in taken if lane in worker.lanes or lane in self._under_way(owner)}
        self._lose(owner, relapsed)
        worker.lanes |= taken - relapsed
        if wanted and worker.lanes:
            self.fetch(owner, lost=False, wanted=wanted)

    @precondition(lambda self: any(worker.lanes for worker in self.workers.values()))
    @rule(owner=st.sampled_from(OWNERS), lost=RARELY, wanted=st.integers(0, 6))
    def fetch(self, owner: str, lost: bool, wanted: int) -> None:
        owner = self._one(owner, lambda worker: worker.lanes)
        worker = self.workers[owner]
        gone, heads, _ = self.do(self.ledger.fetch(owner, sorted(worker.lanes), wanted=wanted, each=3))
        if lost:
            self._forget(owner)
            return
        self._lose(owner, gone)
        self._handed(owner, heads)

    def _handed(self, owner: str, heads: Sequence[Head]) -> None:
        worker = self.workers[owner]
        for head in heads:
            identifier = head.envelope.id
            assert head.key not in worker.ready.keys() | worker.done.keys(), "a key is in a hand once"
            assert identifier not in self.delivered, "nothing that was delivered is handed out again"
            queue = self.waiting[head.key]
            assert identifier == min(queue, key=lambda one: (queue[one], one)), "the oldest of its key comes first"
            assert head.envelope == self.accepted[identifier]
            if head.lane in worker.lanes:
                worker.ready[head.key] = head

    @precondition(lambda self: any(worker.ready for worker in self.workers.values()))
    @rule(
        owner=st.sampled_from(OWNERS),
        answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        settles=st.booleans(),
    )
    def send(self, owner: str, answers: Sequence[int | str], settles: bool) -> None:
        owner = self._one(owner, lambda worker: worker.ready)
        worker = self.workers[owner]
        for key, answer in zip(list(worker.ready), answers):  # noqa: B905 - there may be fewer of either
            head = worker.ready.pop(key)
            worker.done[key] = (head, self._outcome(head, answer))
        if settles:
            self.settle(owner, lost=False)

    def _outcome(self, head: Head, answer: int | str) -> Outcome:
        """As `drain.py` and `incidents.py` come to it."""
        envelope = head.envelope
        if needs_uuid(envelope) and not head.uuid:
            return Outcome(Verdict.ERRORED, Reason.INCIDENT_PENDING)
        if not creates(envelope):
            return judge(envelope.method, self._ask(head, answer, repeatable=True))
        if head.uuid:
            return Outcome(Verdict.DELIVERED, Reason.FOUND, uuid=head.uuid)
        tried = self.do(self.ledger.about_to_create(envelope.fact))
        if tried is not None and envelope.fact in self.incidents:
            return Outcome(Verdict.DELIVERED, Reason.FOUND, 200, uuid=self.incidents[envelope.fact])
        outcome = judge_creation(self._ask(head, answer, repeatable=False))
        if tried is None and outcome.reason in (Reason.AUTH, Reason.RATE_LIMITED, Reason.INVALID):
            self.do(self.ledger.not_created(envelope.fact))
        return outcome

    def _ask(self, head: Head, answer: int | str, *, repeatable: bool) -> httpx.Response | httpx.TransportError:
        """Datadog gets a request, and answers or not."""
        envelope = head.envelope
        call = call_of(envelope, opening=head.opening, adjustment=head.adjustment, uuid=head.uuid)
        if answer in (400, 404):
            if any(one.id == envelope.id and one.taken for one in self.sent):
                answer = 200  # what it took before, it does not refuse
            else:
                self.bodies.pop(envelope.id, None)  # it surely has not got it
        taken = answer in (200, 202, "lost")
        known = taken or answer in (500, "cut")
        if envelope.id in self.bodies:
            assert self.bodies[envelope.id] == (call.method, call.path, call.body), "the same id with the same body"
        if known:
            self.bodies[envelope.id] = (call.method, call.path, call.body)
        before = [one for one in self.sent if one.fact == envelope.fact and one.rank > envelope.rank]
        assert not [one for one in before if one.known], "never an opening after its closing"
        self.sent.append(
            Sent(envelope.id, envelope.fact, envelope.rank, call.method, call.path, call.body, taken, known)
        )
        if taken and not repeatable:
            assert envelope.fact not in self.incidents, "never a second incident"
            self.incidents[envelope.fact] = f"uuid-of-{envelope.fact}"
        if isinstance(answer, str):
            return httpx.ReadTimeout("x") if answer == "lost" else httpx.ConnectError("x")
        said = {"data": {"id": self.incidents.get(envelope.fact, "x")}} if taken else {"errors": ["no"]}
        return httpx.Response(answer, json=said)

    @precondition(lambda self: any(worker.done for worker in self.workers.values()))
    @rule(owner=st.sampled_from(OWNERS), lost=RARELY)
    def settle(self, owner: str, lost: bool) -> None:
        owner = self._one(owner, lambda worker: worker.done)
        worker = self.workers[owner]
        done, worker.done = worker.done, {}
        self._settle(owner, [_concluded(head, outcome) for head, outcome in done.values()], lost)

    @precondition(lambda self: any(worker.unsettled for worker in self.workers.values()))
    @rule(owner=st.sampled_from(OWNERS), lost=RARELY)
    def settle_what_was_left(self, owner: str, lost: bool) -> None:
        owner = self._one(owner, lambda worker: worker.unsettled)
        left, self.workers[owner].unsettled = self.workers[owner].unsettled, []
        self._settle(owner, left, lost)

    def _settle(self, owner: str, settlements: list[Settlement], lost: bool) -> None:
        holders = {one.lane: self.do(self.redis.get(f"dora:lease:{one.lane}")) for one in settlements}
        gone, heads = self.do(self.ledger.settle(owner, settlements))
        assert gone == {lane for lane, holder in holders.items() if holder != owner.encode()}
        for one in settlements:
            queue = self.waiting.get(one.key, {})
            if one.state != "waiting" and one.id in queue:
                del queue[one.id]
                (self.dead if one.state == "dead_lettered" else self.delivered).add(one.id)
        if lost:
            # Redis did not answer: the drain ends, and the next one begins with what this one could not put down
            self._forget(owner)
            self.workers[owner].unsettled = settlements
            return
        self._lose(owner, gone)
        self._handed(owner, heads)

    @precondition(lambda self: any(worker.lanes for worker in self.workers.values()))
    @rule(owner=st.sampled_from(OWNERS))
    def release(self, owner: str) -> None:
        owner = self._one(owner, lambda worker: worker.lanes)
        worker = self.workers[owner]
        busy = self._under_way(owner)
        given_back = worker.lanes - busy
        self.do(self.ledger.release(owner, sorted(given_back)))
        self._lose(owner, given_back)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(
        owner=st.sampled_from(OWNERS),
        answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        end=st.sampled_from(["settled", "settled", "settled", "settled late", "answered", "answer lost", "killed"]),
    )
    def round(self, owner: str, answers: Sequence[int | str], end: str) -> None:
        """What mostly happens, with one of its ends."""
        worker = self.workers[owner]
        if worker.unsettled:
            self.settle_what_was_left(owner, lost=False)
        if not any(one.lanes for one in self.workers.values()):
            self.leases_run_out()  # of those that were killed
        self.waits_are_over()
        self.take(owner, 1, lost=False, wanted=len(answers) + 1)
        if not worker.ready:
            return
        self.send(owner, answers, settles=False)
        if end == "killed":
            self._forget(owner)
        elif end != "answered":
            if end == "settled late":
                self.leases_run_out()
            self.settle(owner, lost=end == "answer lost")

    def _under_way(self, owner: str) -> set[int]:
        worker = self.workers[owner]
        return {head.lane for head, _ in worker.done.values()} | {one.lane for one in worker.unsettled}

    @precondition(lambda self: any(worker != Worker() for worker in self.workers.values()))
    @rule(owner=st.sampled_from(OWNERS))
    def killed(self, owner: str) -> None:
        self._forget(self._one(owner, lambda worker: worker != Worker()))

    def _forget(self, owner: str) -> None:
        self.workers[owner] = Worker()

    def _lose(self, owner: str, lanes: set[int]) -> None:
        """What was sent of these lanes is still put down; what is ready is not sent."""
        worker = self.workers[owner]
        worker.lanes -= lanes
        worker.ready = {key: head for key, head in worker.ready.items() if head.lane not in lanes}

    @precondition(lambda self: any(self.waiting.values()))
    @rule()
    def leases_run_out(self) -> None:
        """Workers know by their own clock that they are."""
        self.do(self.redis.delete(*(f"dora:lease:{lane}" for lane in range(LANES))))
        for owner in OWNERS:
            self._lose(owner, set(self.workers[owner].lanes))

    @precondition(lambda self: any(self.waiting.values()))
    @rule()
    def waits_are_over(self) -> None:
        for lane in range(LANES):
            for key in self.do(self.redis.zrange(f"dora:lane:{lane}", 0, -1)):
                self.do(self.redis.zadd(f"dora:lane:{lane}", {key: 0}))

    @precondition(lambda self: any(self.waiting.values()))
    @rule()
    def sweep(self) -> None:
        self.do(self.ledger.hush())
        lanes = {lane_of(key) for key, queue in self.waiting.items() if queue}
        free = {lane for lane in lanes if not self.do(self.redis.exists(f"dora:lease:{lane}"))}
        due = {lane for lane in free if self._is_due(lane)}
        asked_for = self.do(self.ledger.sweep())
        assert asked_for or not due
        assert not asked_for or self.do(self.ledger.sweep()) is False, "once"

    def _is_due(self, lane: int) -> bool:
        now = time.time_ns() // 1_000_000
        return bool(
            self.do(self.redis.exists(f"dora:hand:{lane}")) or self.do(self.redis.zcount(f"dora:lane:{lane}", 0, now))
        )

    # -- a person

    @precondition(lambda self: self.dead)
    @rule(pick=st.integers(0, 5), lost=RARELY)
    def put_back(self, pick: int, lost: bool) -> None:
        identifier = sorted(self.dead)[pick % len(self.dead)]
        record = self.do(self.ledger.find(identifier))
        back = Return(record.envelope, {"at": 1, "state": "waiting", "by": "somebody", "mode": "as_sent"})
        (word,), _ = self.do(self.dead_letters.put_back([back]))
        if word == "redriven":
            self._wait(record.envelope)
        elif word == "superseded":
            self.dead.discard(identifier)
        else:
            assert word == "no_opening"
        if lost:
            (again,), _ = self.do(self.dead_letters.put_back([back]))
            assert again == ("no_opening" if word == "no_opening" else "gone")

    @precondition(lambda self: self.dead)
    @rule(pick=st.integers(0, 5), lost=RARELY)
    def discard(self, pick: int, lost: bool) -> None:
        identifier = sorted(self.dead)[pick % len(self.dead)]
        line = {"at": 1, "state": "discarded", "by": "somebody"}
        assert self.do(self.dead_letters.conclude(identifier, line)) is True
        if lost:
            assert self.do(self.dead_letters.conclude(identifier, line)) is False
        self.dead.discard(identifier)
        self.discarded.add(identifier)

    # -- what always holds

    @invariant()
    def everything_is_somewhere_once_and_says_so(self) -> None:
        """An accepted statement waits or came to an end, never both; a key with a queue is in its lane or a hand."""
        pipe = self.redis.pipeline(transaction=False)
        for index in ("waiting", "settled", "dead"):
            pipe.zrange(f"dora:{index}", 0, -1)
        keys = list(self.waiting)
        for key in keys:
            pipe.zrange(f"dora:queue:{key}", 0, -1)
            pipe.zscore(f"dora:lane:{lane_of(key)}", key)
            pipe.zscore(f"dora:hand:{lane_of(key)}", key)
        ids = [identifier for queue in self.waiting.values() for identifier in queue]
        for identifier in ids:
            pipe.ttl(f"dora:event:{identifier}")
            pipe.ttl(f"dora:story:{identifier}")
            pipe.lindex(f"dora:story:{identifier}", -1)
        answers = iter(self.do(pipe.execute()))
        waiting, settled, dead = ({one.decode() for one in next(answers)} for _ in range(3))
        assert waiting == set(ids)
        assert not waiting & settled
        assert dead == self.dead
        assert dead <= settled
        assert waiting | settled == self.accepted.keys() | self.noted
        assert self.delivered <= settled
        for key in keys:
            queued, in_lane, in_hand = (next(answers) for _ in range(3))
            assert {one.decode() for one in queued} == self.waiting[key].keys()
            # without a queue it may be in the lane for a while, until somebody looks
            assert bool(queued) <= (in_lane is not None) + (in_hand is not None) <= 1
        for _ in ids:
            event_ttl, story_ttl, last = (next(answers) for _ in range(3))
            assert event_ttl == -1, "what waits does not expire"
            assert story_ttl in (-1, -2)
            assert last is None or json.loads(last)["state"] == "waiting"

    def _left(self) -> list[str]:
        """What waits, but for what waits for an incident that a person would have to put back or discard first."""
        unborn = {f"incident:{envelope.fact}" for envelope in self.accepted.values()} - {
            f"incident:{fact}" for fact in self.incidents
        }
        queued = [(key, identifier) for key, queue in self.waiting.items() for identifier in queue]
        return [one for key, one in queued if key not in unborn or one.endswith("~open")]

    def teardown(self) -> None:
        """When the faults end, everything comes to an end."""
        try:
            if sys.exception() is not None:
                return
            for owner in OWNERS:
                self._forget(owner)
            for _ in range(60):
                if not self._left():
                    break
                self.leases_run_out()
                self.waits_are_over()
                self.take("a", 1, lost=False, wanted=1000)
                while self.workers["a"].ready:
                    self.send("a", [200] * len(self.workers["a"].ready), settles=True)
            assert not self._left(), "nothing waits for ever"
        finally:
            self.do(self.redis.aclose())
            self.runner.close()


def _concluded(head: Head, outcome: Outcome) -> Settlement:
    now_ms = time.time_ns() // 1_000_000
    return conclude(head, outcome, standing=Standing(), took_ms=1.0, now_ms=now_ms, jitter=0.0)


async def _awaited(call: Any) -> Any:
    return await call


def test_nothing_is_lost_doubled_or_changed_whatever_fails(redis_server: PrivateRedis) -> None:
    Crashes.url = redis_server.url
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Crashes,
        settings=settings(
            max_examples=int(os.environ.get("FAILURES", "40")),
            stateful_step_count=40,
            deadline=None,
            # each step goes to Redis: to shrink what fails takes minutes
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
