"""What an operator puts right in Datadog: a record is withdrawn, a deployment marked as failed or not.

Each is a statement in the ledger, like what a webhook says: the worker sends it within the rate limits, after what it
is about, again if need be, and `dora-bridge events show` explains it. A person may say the same thing again, and take
it back: later statements have greater revisions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge import explain
from bridge.datadog_reads import RecordKind, Row
from bridge.datadog_records import services_of
from bridge.dead_letters import DeadLetters, Return
from bridge.dora import ChangeFailure, ChangeFailureByVersion, Withdrawal
from bridge.envelope import Envelope, identity
from bridge.errors import NotNow
from bridge.incident_management import mark_of
from bridge.ledger import Entry, Fact, Ledger, Record

Correction = Withdrawal | ChangeFailure | ChangeFailureByVersion
SOURCE = "operator"
"""Source and endpoint of what a person has Datadog told: linking never overrides it."""
_TRIES = 5
"""Somebody else, or linking, may say something about the same deployment at the same moment."""
_LOOK_S = 0.2


def next_revision(said: Mapping[str, str], *, first: int) -> int:
    """The revision of a statement that comes after those of these ranks; `first` if there is none of its kind yet."""
    revisions = [int(rank.partition(".")[2] or 0) for rank in said if rank[:1] == "2"]
    return 1 + max(revisions) if revisions else first


def statement(correction: Correction, *, by: str, now: int) -> Envelope:
    """The envelope of a correction, for whoever `by` names; `now` in nanoseconds since the epoch."""
    kind = "delete" if isinstance(correction, Withdrawal) else "mark-failure" if correction.failed else "mark-stable"
    # a failure may be withdrawn that somebody else sent
    fields = identity(correction) | {"needs_opening": ""}
    return Envelope(endpoint=SOURCE, source=SOURCE, kind=kind, by=by, received_at=now, **fields)


class Corrections:
    """Records corrections. `ring` asks for a drain; `look` gives a record as Datadog has it, or nothing."""

    def __init__(
        self,
        ledger: Ledger,
        dead_letters: DeadLetters,
        ring: Callable[[], Awaitable[None]],
        look: Callable[[RecordKind, str], Awaitable[Row]],
    ) -> None:
        self._ledger = ledger
        self._dead = dead_letters
        self._ring = ring
        self._look = look

    async def record(self, correction: Correction, *, by: str) -> str:
        """The id in the ledger of what was recorded, or of what waits already and says the same.

        Raises: NotNow if Datadog cannot have what it is about.
        """
        correction = await self._as_reported(correction)
        if isinstance(correction, Withdrawal):
            correction = await self._placed(correction)
        for _ in range(_TRIES):
            if isinstance(correction, Withdrawal) and (known := await self._known(correction, by)):
                return known
            envelope = statement(await self._revised(correction), by=by, now=time.time_ns())
            envelope = replace(envelope, after=await self._awaited(envelope.after))
            (word,), ring = await self._ledger.record([Entry(envelope)])
            if ring:
                await self._ring()
            if word == "accepted":
                await self._dead.note({"who": by, "what": f"datadog {envelope.kind}", "id": envelope.id})
                return envelope.id
        raise NotNow("something else is said about it at this moment; try again")

    async def outcome(self, identifier: str, *, timeout_s: float, told: Callable[[str], None]) -> Record:
        """The record at its end, or as it is when the time is over; `told` hears of each attempt until then."""
        ends = time.monotonic() + timeout_s
        heard = 0
        while True:
            record = await self._ledger.find(identifier)
            if record is None:
                raise NotNow(f"{identifier} is not in the ledger any more")
            attempts = _attempts(record.story)
            for line in attempts[heard:]:
                told(explain.told(line))
            heard = len(attempts)
            if record.state != "waiting" or time.monotonic() >= ends:
                return record
            await asyncio.sleep(_LOOK_S)

    async def _as_reported(self, correction: Correction) -> Correction:
        """The correction with the ids that Datadog has, of deployments that later rules call otherwise."""
        if isinstance(correction, Withdrawal):
            return replace(correction, record_id=await self._name(correction.record_id))
        remedy = await self._name(correction.remediation_id) if correction.remediation_id else None
        if isinstance(correction, ChangeFailure):
            failed = await self._name(correction.deployment_id)
            return replace(correction, deployment_id=failed, remediation_id=remedy)
        return replace(correction, remediation_id=remedy)

    async def _name(self, deployment: str) -> str:
        return (await self._ledger.names([deployment]))[deployment]

    async def _placed(self, withdrawal: Withdrawal) -> Withdrawal:
        """The withdrawal with what only Datadog may know: the service of a deployment, our id of an incident."""
        if withdrawal.what == "incident":
            mark = mark_of(await self._look("incident", withdrawal.uuid))
            ours = await self._ledger.remembered([mark] if mark else [])
            return replace(withdrawal, record_id=mark) if ours else withdrawal
        if withdrawal.what == "deployment":
            [record] = await self._ledger.briefly([withdrawal.id])
            services = record.envelope.services if record else ()
            services = services or services_of((await self._look("deployment", withdrawal.id)).get("attributes", {}))
            return replace(withdrawal, service=services[0] if services else "")
        return withdrawal

    async def _known(self, withdrawal: Withdrawal, by: str) -> str:
        """The id of the latest withdrawal of this record, if it waits, or is a dead letter and was put back now."""
        about = await self._ledger.fact(withdrawal.id)
        last = _last_withdrawal(about)
        [record] = await self._ledger.briefly([last]) if last else [None]
        if record is None or record.state not in ("waiting", "dead_lettered"):
            return ""
        if record.state == "dead_lettered":
            line = {"at": time.time_ns() // 1_000_000, "state": "waiting", "by": by, "mode": "as_sent"}
            audit = {"who": by, "what": "redrive", "id": last, "mode": "as_sent"}
            _, ring = await self._dead.put_back([Return(record.envelope, line)], audit)
            if ring:
                await self._ring()
        return last

    async def _revised(self, correction: Correction) -> Correction:
        """The correction with the revision that makes it the latest word."""
        if isinstance(correction, Withdrawal):
            about = await self._ledger.fact(correction.id)
            return replace(correction, revision=next_revision(about.said, first=0))
        about, changes = await self._ledger.facts([correction.id, f"{correction.id}~change-failure"])
        if withdrawal := _last_withdrawal(about):
            [record] = await self._ledger.briefly([withdrawal])
            if record is None or record.state in ("waiting", "delivered"):
                raise NotNow(f"this deployment was withdrawn: `dora-bridge events show {withdrawal}`")
        return replace(correction, revision=next_revision(changes.said, first=1))

    async def _awaited(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of these deployments that are, or come, from the ledger; others are Datadog's to know.

        Raises: NotNow for one that is a dead letter: it does not go by itself.
        """
        awaited = []
        records = await self._ledger.briefly(ids)
        for id_, record, (at, _) in zip(ids, records, await self._ledger.delivered_at(ids), strict=True):
            if at is not None or (record is not None and record.state == "waiting"):
                awaited.append(id_)
            elif record is not None and record.state == "dead_lettered":
                raise NotNow(
                    f"{id_} is a dead letter; redrive or discard it first: `dora-bridge dead-letters show {id_}`"
                )
        return tuple(awaited)


def _last_withdrawal(about: Fact) -> str:
    return next((id_ for id_ in about.latest_first if "~withdrawn" in id_), "")


def _attempts(story: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Those since a person had it sent, again say."""
    acts = [number for number, line in enumerate(story) if "by" in line and line.get("state") == "waiting"]
    return [line for line in story[acts[-1] if acts else 0 :] if "verdict" in line]
