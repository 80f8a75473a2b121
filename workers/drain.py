"""The drain: take lanes, send what is due, judge, record, go on.

The story of one event: its key is taken in hand (`fetch`), a call is granted (`Destination.admit`), it is sent,
the answer is judged, the outcome is put down (`settle`), and only then the next event of its key comes into hand.
There are no batches to wait for: whatever is done is settled together with whatever else is done by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from redis.exceptions import RedisError

from bridge import metrics, tracing
from bridge.incident_management import creates, is_incident, needs_uuid
from bridge.ledger import FAMILIES, LEASE_MS, Head, Ledger, Settlement, family_of
from bridge.logs import log
from bridge.waiting_since import asked_ms
from bridge.wakeup import SLICE_S
from workers.conclusion import conclude
from workers.courier import Courier, NoLongerOurs
from workers.datadog import Outcome, Reason, Verdict, judge
from workers.destination import NOT_SENT, Destination, Report, Standing
from workers.incidents import Incidents
from workers.patience import untouchable_s

WINDOW = 4
"""Statements in hand for each request that can be in flight: enough that no sender waits for Redis."""
TAKE_AGAIN_S = 0.25
"""How often free lanes are looked for while draining."""
AT_ONCE = 8
"""How many statements one script call is about at most: while it runs, no webhook is recorded."""
GATHER_S = 0.004
"""How long outcomes gather while other requests are under way: one write for several costs less than one for each."""
_MARGIN_S = 1.0
"""A lane is treated as lost so long before its lease can end."""


@dataclass(frozen=True, slots=True)
class _Done:
    head: Head
    outcome: Outcome
    probe: bool
    took_ms: float


class Drain:
    """One drain of one worker process. `owner` names it in leases; `unsettled` outlives it."""

    def __init__(
        self,
        ledger: Ledger,
        destination: Destination,
        courier: Courier,
        build: Callable[[Head], httpx.Request],
        incidents: Incidents,
        *,
        owner: str,
        concurrency: int,
        unsettled: list[Settlement],
        sample_percent: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._destination = destination
        self._courier = courier
        self._build = build
        self._incidents = incidents
        self._owner = owner
        self._unsettled = unsettled
        self._sample_percent = sample_percent
        self._concurrency = concurrency
        self._window = WINDOW * concurrency
        self._leases: dict[int, float] = {}
        """lane -> when (monotonic) it counts as lost"""
        self._ready: dict[str, deque[Head]] = {family: deque() for family in FAMILIES}
        self._in_flight: Counter[int] = Counter()
        """lane -> requests under way, of lanes that were lost meanwhile too"""
        self._done: list[_Done] = []
        self._settling: list[_Done] = []
        """Those of `_done` that are being put down, `AT_ONCE` after `AT_ONCE`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stir = asyncio.Event()
        self._closing = False
        self._allowed: Counter[str] = Counter()
        """family -> calls that were granted and not made yet"""
        self._free_until = dict.fromkeys(FAMILIES, 0.0)
        self._gate_opens = dict.fromkeys(FAMILIES, 0.0)
        self._probing = dict.fromkeys(FAMILIES, False)
        self._look_again_at = dict.fromkeys(FAMILIES, 0.0)
        self._fetched_all_until = dict.fromkeys(FAMILIES, 0.0)

    async def run(self, stop: asyncio.Event, alive: Callable[[], int]) -> None:
        """Drains until nothing is due, the time slice is over, `stop`, or Redis is gone.

        `alive` counts the worker processes; 0 means that no lane may be taken now. What Redis did not take any more
        is left in `unsettled`.
        """
        ends = time.monotonic() + SLICE_S
        try:
            await self._run(ends, stop, alive)
        except (RedisError, OSError) as error:
            log("redis.unavailable", logging.WARNING, reason=type(error).__name__)
        finally:
            self._closing = True
            if self._tasks:
                await asyncio.wait(self._tasks)  # what was sent has an outcome, and that has to be known
            with contextlib.suppress(RedisError, OSError):  # leases run out by themselves
                await self._settle()
                await self._ledger.release(self._owner, list(self._leases))

    async def _run(self, ends: float, stop: asyncio.Event, alive: Callable[[], int]) -> None:
        take_at = 0.0
        while True:
            now = time.monotonic()
            self._closing = stop.is_set() or now >= ends
            if not self._closing and now >= take_at:
                await self._take(alive())
                take_at = now + TAKE_AGAIN_S
            await self._settle()
            if self._closing and not self._tasks and not self._done:
                return
            if not self._closing:
                self._start_ready()
            await self._fetch()  # closing too: what is under way needs its lease
            if not self._closing:
                await self._ask()
                self._start_ready()
                if not self._has_work():
                    return
            await self._pause(ends)

    def _has_work(self) -> bool:
        in_hand = self._tasks or self._done or any(self._ready.values())
        soon = time.monotonic() + TAKE_AGAIN_S
        return bool(in_hand) or any(self._look_again_at[family_of(lane)] < soon for lane in self._leases)

    async def _take(self, alive: int) -> None:
        if not alive:
            return
        before = time.monotonic()
        lanes, share = await self._ledger.take(self._owner, alive)
        # a lane of ours whose lease ran out unnoticed (the process was frozen): what is under way has to end first, so
        # such a lane is neither used nor given back, but left until its lease runs out
        relapsed = {lane for lane in lanes if lane in self._leases or self._in_flight[lane]}
        self._lose(relapsed)
        self._leased([lane for lane in lanes if lane not in relapsed], before)
        await self._give_back({lane for lane in relapsed if self._is_idle(lane)} | self._surplus(share))
        for family in {family_of(lane) for lane in lanes}:
            self._fetched_all_until[family] = 0.0

    @property
    def _unsettled_lanes(self) -> set[int]:
        """Lanes with outcomes that the ledger does not have yet: given back now, their events would go out again."""
        return {one.head.lane for one in (*self._done, *self._settling)}

    def _surplus(self, share: int) -> set[int]:
        """Lanes beyond the fair share, which has become smaller: of those with nothing under way or to be put down."""
        quiet = [lane for lane in self._leases if self._is_idle(lane)]
        return set(quiet[: max(0, len(self._leases) - share)])

    async def _give_back(self, lanes: set[int]) -> None:
        self._drop(lanes)
        await self._ledger.release(self._owner, sorted(lanes))

    async def _fetch(self) -> None:
        """Tops up the window of each family, since one that is held must not keep the others out; renews leases."""
        for family in FAMILIES:
            lanes = [lane for lane in self._leases if family_of(lane) == family]
            in_hand = len(self._ready[family]) + sum(self._in_flight[lane] for lane in lanes)
            wanted = 0 if self._closing else max(0, self._window - in_hand)
            now = time.monotonic()
            renewal_due = any(self._leases[lane] - now < LEASE_MS / 2000 for lane in lanes)
            nothing_to_gain = wanted < self._window // 4 or now < self._fetched_all_until[family]
            if lanes and (renewal_due or not nothing_to_gain):
                await self._fetch_of(family, lanes, wanted)

    async def _fetch_of(self, family: str, lanes: list[int], wanted: int) -> None:
        """As many heads as are wanted and due, in as many calls as `AT_ONCE` makes of it; at least one call."""
        more = True
        while more:
            now = time.monotonic()
            random.shuffle(lanes)  # so that no lane is always served last when the window is short
            asked = min(wanted, AT_ONCE)
            lost, heads, due_in_ms = await self._ledger.fetch(self._owner, lanes, wanted=asked, each=asked)
            await self._renewed(set(lanes), lost, now)
            lanes = [lane for lane in lanes if lane in self._leases]
            self._add(heads)
            if len(heads) < asked:
                wait_s = math.inf if due_in_ms is None else due_in_ms / 1000
                self._fetched_all_until[family] = time.monotonic() + min(wait_s, 0.02)
                self._look_again_at[family] = time.monotonic() + wait_s
            wanted -= asked
            more = len(heads) == asked and wanted > 0 and bool(lanes)

    async def _ask(self) -> None:
        """Asks how many calls of each family may go out, where there are some to send and no grant is left."""
        for family, ready in self._ready.items():
            now = time.monotonic()
            if not ready or self._allowed[family] > 0 or now < max(self._free_until[family], self._gate_opens[family]):
                continue
            grant = await self._destination.admit(family, len(ready))
            now = time.monotonic()
            self._probing[family] = grant.probe
            if grant.unlimited:
                self._free_until[family] = now + TAKE_AGAIN_S
            elif grant.calls:
                self._allowed[family] = grant.calls
            else:
                wait_s = min(grant.wait_s, TAKE_AGAIN_S)
                self._gate_opens[family] = now + wait_s
                if grant.limited:
                    metrics.RATE_LIMIT_WAIT.labels(family).inc(wait_s)

    def _start_ready(self) -> None:
        """Sends what may be sent, as far as connections are free."""
        now = time.monotonic()
        for family, ready in self._ready.items():
            while ready and len(self._tasks) < self._concurrency:
                if now >= self._free_until[family]:
                    if self._allowed[family] <= 0:
                        break
                    self._allowed[family] -= 1
                head = _untried(ready) if self._probing[family] else ready.popleft()
                if not self._is_ours(head):
                    self._lose({head.lane})
                    continue
                self._in_flight[head.lane] += 1
                self._tasks.add(asyncio.create_task(self._send(head, self._probing[family])))

    def _is_ours(self, head: Head) -> bool:
        return self._leases.get(head.lane, 0.0) > time.monotonic()

    async def _send(self, head: Head, probe: bool) -> None:
        started = time.perf_counter()
        span = tracing.attempt(_calls(head), head.envelope.trace)
        # the kernel would let who shares this core wait for up to 5 ms: the web process answers senders meanwhile
        os.sched_yield()
        try:
            outcome = await self._attempt(head)
            os.sched_yield()
        except (RedisError, OSError, NoLongerOurs):
            return  # the event is still in the ledger, and untouched: whoever holds the lane then sends it
        except Exception as error:  # noqa: BLE001 - an event this code fails on must not stop the others
            log("delivery.failed", logging.ERROR, id=head.envelope.id, reason=type(error).__name__)
            outcome = Outcome(Verdict.ERRORED, Reason.INTERNAL, answer=type(error).__name__)
        finally:
            self._in_flight[head.lane] -= 1
            self._tasks.discard(asyncio.current_task())
            self._stir.set()
        self._done.append(_Done(head, outcome, probe, (time.perf_counter() - started) * 1000))
        if outcome.reason not in NOT_SENT:
            span.end(
                failed=outcome.verdict is not Verdict.DELIVERED,
                status=outcome.status,
                source=head.envelope.source,
                event=head.envelope.id,
                verdict=outcome.verdict.value,
                reason=outcome.reason.value,
            )
        if outcome.verdict is Verdict.ERRORED:
            self._allowed[_calls(head)] = 0
            self._free_until[_calls(head)] = 0.0  # what was granted before is not known to hold any more
        elif not self._closing:
            self._start_ready()

    async def _attempt(self, head: Head) -> Outcome:
        """Sends it, unless it has to wait for something else."""
        envelope = head.envelope
        if envelope.after:
            delivered = await self._ledger.delivered_at(envelope.after)
            wait_s = untouchable_s(delivered, time.time_ns() // 1_000_000)
            if wait_s != 0:
                return Outcome(Verdict.ERRORED, Reason.DEPLOYMENT_PENDING, wait_s=wait_s)
        if needs_uuid(envelope) and not head.uuid:
            return Outcome(Verdict.ERRORED, Reason.INCIDENT_PENDING)
        if creates(envelope):
            return await self._incidents.create(head, lambda: self._is_ours(head))
        request = self._build(head)
        answer = await self._courier.send(request, lambda: self._is_ours(head), repeatable=not is_incident(envelope))
        return judge(request.method, answer)

    async def _settle(self) -> None:
        """Tells the destination and the ledger what is done, and takes in hand what comes next of those keys."""
        if not self._done:
            return
        self._settling, self._done = self._done, []
        standings = dict.fromkeys(FAMILIES, Standing())
        try:
            for family in FAMILIES:
                if reports := [_report(one) for one in self._settling if _calls(one.head) == family]:
                    standings[family] = await self._destination.report(family, reports)
            while self._settling:
                await self._settle_some(standings)
        except BaseException:
            self._unsettled += _concluded(self._settling, standings, self._sample_percent)
            self._settling = []
            raise

    async def _settle_some(self, standings: Mapping[str, Standing]) -> None:
        some = self._settling[:AT_ONCE]
        settlements = _concluded(some, standings, self._sample_percent)
        before = time.monotonic()
        lost, heads = await self._ledger.settle(self._owner, settlements)
        del self._settling[:AT_ONCE]
        for one, settlement in zip(some, settlements, strict=True):
            _tell(one, settlement)
        await self._renewed({one.head.lane for one in some}, lost, before)
        self._add(heads)

    def _add(self, heads: list[Head]) -> None:
        for head in heads:
            if head.lane in self._leases:
                self._ready[_calls(head)].append(head)

    def _leased(self, lanes: list[int], renewed_at: float) -> None:
        """Notes until when lanes are surely ours: counted from before the call that renewed them."""
        for lane in lanes:
            self._leases[lane] = renewed_at + LEASE_MS / 1000 - _MARGIN_S

    async def _renewed(self, lanes: set[int], lost: set[int], called_at: float) -> None:
        """Notes of lanes that a call renewed that they are ours, but for those that are `lost`, or may have been.

        A lease that had run out when the answer came may have been taken anew: Redis stood still, and did in the end
        what a call said that was given up and made again. Then all that is in hand of the lane is due once more.
        """
        now = time.monotonic()
        lapsed = {lane for lane in lanes - lost if self._leases.get(lane, math.inf) <= now}
        self._leased([lane for lane in lanes - lost - lapsed if lane in self._leases], called_at)
        self._lose(lost | lapsed)
        await self._give_back({lane for lane in lapsed if self._is_idle(lane)})

    def _is_idle(self, lane: int) -> bool:
        """Whether nothing of it is under way, or has to be put down: only then others may have it at once."""
        return not self._in_flight[lane] and lane not in self._unsettled_lanes

    def _lose(self, lanes: set[int]) -> None:
        for lane in lanes & self._leases.keys():
            log("drain.lane_lost", logging.WARNING, lane=lane)
        self._drop(lanes)

    def _drop(self, lanes: set[int]) -> None:
        """These lanes are not ours any more, nor what is in hand of them."""
        for lane in lanes & self._leases.keys():
            del self._leases[lane]
            for ready in self._ready.values():
                for head in [one for one in ready if one.lane == lane]:
                    ready.remove(head)

    async def _pause(self, ends: float) -> None:
        """Waits until something is done, or something may be due."""
        if self._done:
            return
        now = time.monotonic()
        wake_at = now + TAKE_AGAIN_S
        gates = [self._gate_opens[family] for family, ready in self._ready.items() if ready]
        for moment in (ends, *self._look_again_at.values(), *gates):
            if moment > now:
                wake_at = min(wake_at, moment)
        self._stir.clear()
        try:
            async with asyncio.timeout(wake_at - now):
                await self._stir.wait()
            if len(self._tasks) > 1:
                await asyncio.sleep(GATHER_S)
        except TimeoutError:
            pass


def _calls(head: Head) -> str:
    """The family of calls that Datadog limits and refuses alike: a withdrawal needs the key that a PATCH needs."""
    family = family_of(head.lane)
    return "change" if family == "failure" and head.envelope.method == "DELETE" else family


def _untried(ready: deque[Head]) -> Head:
    """The first head that did not fail before, else the first: a probe is to tell about Datadog, not about an event."""
    head = next((one for one in ready if "verdict" not in one.last), ready[0])
    ready.remove(head)
    return head


def _report(done: _Done) -> Report:
    return Report(done.outcome, done.head.key, done.probe, done.took_ms)


def _concluded(done: Sequence[_Done], standings: Mapping[str, Standing], sample_percent: float) -> list[Settlement]:
    return [
        conclude(
            one.head,
            one.outcome,
            standing=standings[_calls(one.head)],
            took_ms=one.took_ms,
            now_ms=time.time_ns() // 1_000_000,
            jitter=random.random(),  # noqa: S311 - spreads retries
            sample_percent=sample_percent,
        )
        for one in done
    ]


def _tell(done: _Done, settlement: Settlement) -> None:
    """One line in the log and the counters, once it is in the ledger."""
    envelope, outcome, state = done.head.envelope, done.outcome, settlement.state
    family = _calls(done.head)
    if outcome.reason not in NOT_SENT:
        metrics.ATTEMPTS.labels(family, outcome.verdict.value, str(outcome.status)).inc()
        metrics.DELIVERY_DURATION.labels(family).observe(done.took_ms / 1000)
    if outcome.remaining is not None:
        metrics.RATE_LIMIT_REMAINING.labels(family).set(outcome.remaining)
    if state != "waiting":
        metrics.DELIVERIES.labels(envelope.source, family, state, outcome.reason.value).inc()
    if state == "delivered":
        asked_s = asked_ms(envelope.received_at // 1_000_000, done.head.last) / 1000
        metrics.EVENT_AGE.labels(envelope.source).observe(max(0.0, time.time() - asked_s))
    log(
        "delivery.dead_lettered" if state == "dead_lettered" else "delivery.attempted",
        logging.WARNING if state == "dead_lettered" else logging.INFO,
        source=envelope.source,
        id=envelope.id,
        attempt=settlement.line["n"] or None,
        verdict=outcome.verdict.value,
        reason=outcome.reason.value,
        status=outcome.status,
        duration_ms=round(done.took_ms, 1),
        next_attempt_s=round(settlement.wait_ms / 1000, 1) or None,
    )
