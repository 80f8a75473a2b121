"""Does Datadog have what the ledger delivered, all of it, once, and nothing else? Pure.

Both sides are compared by id, per service and env; a failure of several services counts for each of them. Of one
window of time, in which a deployment is at its end and a failure at its start:

    matched      the ledger delivered it, and Datadog lists it
    missing      the ledger delivered it, and Datadog does not list it
    fresh        the same, but delivered too short a time ago to say so
    unclear      the same, but Datadog has more records of that second than it lists
    withdrawn    Datadog was told to delete it, and does not list it
    undeleted    the same, but Datadog lists it all the same
    waiting      statements (opening and closing are two) that are still to be sent
    dead_letters statements that could not be sent
    unknown      Datadog lists it, and the ledger never had its id: somebody else sends events of this service
    expired      Datadog lists it, and the ledger remembers no more than the id
    duplicate    a record of Datadog's too many: the same id again; or another id with the same service, env, commit or
                 version, and start and end in the same seconds (of failures: services, env, start and end)
    phantom      a rollback by Datadog's rule and Datadog's records that did not happen by the times of the webhooks: it
                 blames a sound deployment. What made it is late, or a duplicate, or unknown

A record that somebody else sent again is both unknown and a duplicate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bridge.datadog_records import DatadogRecord, Kind
from bridge.rollbacks import Rollback, Step, rollbacks
from bridge.times import SECOND, to_rfc3339

Verdict = Literal[
    "matched",
    "missing",
    "unknown",
    "duplicate",
    "phantom",
    "undeleted",
    "waiting",
    "dead_letters",
    "fresh",
    "unclear",
    "withdrawn",
    "expired",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Place = tuple[str, str]
"""Service and env; both may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One deployment or failure as the ledger has it. Times are nanoseconds since the epoch, UTC."""

    kind: Kind
    id: str
    """As Datadog sees it."""
    services: tuple[str, ...] = ()
    env: str = ""
    identity: str = ""
    """The commit, else the version."""
    started_at: int | None = None
    finished_at: int | None = None
    """By the webhook."""
    sent_at: int | None = None
    """The end as Datadog was told it, where the bridge moved it to a free second."""
    delivered_at: int | None = None
    """When Datadog took it first; None: it did not."""
    delayed: bool = False
    """Whether Datadog answered 202, to process it later."""
    is_withdrawn: bool = False
    """Whether Datadog was told to delete it afterwards."""
    waiting: int = 0
    dead_letters: int = 0

    @property
    def moment(self) -> int | None:
        """When it happened: the end of a deployment, the start of a failure, or its end if that is all we know."""
        return self.finished_at if self.kind == "deployment" or self.started_at is None else self.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    verdict: Verdict
    kind: Kind
    id: str
    services: tuple[str, ...]
    env: str
    at: int | None
    """Nanoseconds since the epoch, UTC: the end of a deployment, the start of a failure."""
    detail: str
    delayed: bool = False

    def json(self) -> dict[str, Any]:
        at = to_rfc3339(self.at) if self.at is not None else None
        names = ("verdict", "kind", "id", "env", "detail", "delayed")
        return {name: getattr(self, name) for name in names} | {"services": list(self.services), "at": at}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts per service and env, over all, and what is behind those that should be 0."""

    rows: Mapping[Place, Counter[Verdict]]
    totals: Counter[Verdict]
    findings: Sequence[Finding]


@dataclass(slots=True)
class _Tally:
    rows: dict[Place, Counter[Verdict]] = field(default_factory=lambda: defaultdict(Counter))
    totals: Counter[Verdict] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def count(self, verdict: Verdict, one: Claim | DatadogRecord, number: int = 1) -> None:
        for service in one.services or ("",):
            self.rows[service, one.env][verdict] += number
        self.totals[verdict] += number

    def find(self, verdict: Verdict, one: Claim | DatadogRecord, detail: str, *, delayed: bool = False) -> None:
        self.count(verdict, one)
        finding = Finding(
            verdict=verdict,
            kind=one.kind,
            id=one.id,
            services=one.services,
            env=one.env,
            at=one.moment,
            detail=detail,
            delayed=delayed,
        )
        self.findings.append(finding)


def compare(
    claims: Iterable[Claim],
    records: Sequence[DatadogRecord],
    *,
    since: int,
    until: int,
    settled_before: int,
    remembered: Collection[str] = (),
    crowded: Collection[tuple[Kind, int]] = (),
) -> Comparison:
    """The comparison of all that happened from `since` to `until` (ns).

    `claims` and `records` may reach beyond, and should where the two sides may differ about times. What was delivered
    after `settled_before` (ns) may be missing. `remembered`: ids that the ledger knows besides those of the claims.
    `crowded`: seconds of which Datadog's list is incomplete.
    """

    def is_asked_for(one: Claim | DatadogRecord) -> bool:
        return one.moment is not None and since <= one.moment <= until

    known = {claim.id: claim for claim in claims}
    listed = {record.id for record in records}
    tally = _Tally()
    for claim in known.values():
        if is_asked_for(claim):
            _judge(claim, claim.id in listed, settled_before, crowded, tally)
    within = [record for record in records if is_asked_for(record)]
    for record in {one.id: one for one in within}.values():
        if record.id in known:
            continue
        if record.id in remembered:
            tally.count("expired", record)
        else:
            tally.find("unknown", record, "the ledger never had this id")
    for record, detail in _duplicates(within, known):
        tally.find("duplicate", record, detail)
    for record, detail in _phantoms(within, known, {record.id for record in within} & set(remembered)):
        tally.find("phantom", record, detail)
    order = {verdict: position for position, verdict in enumerate(VERDICTS)}
    findings = sorted(tally.findings, key=lambda one: (order[one.verdict], one.at or 0, one.id))
    return Comparison(dict(sorted(tally.rows.items())), tally.totals, findings)


def _judge(
    claim: Claim, is_listed: bool, settled_before: int, crowded: Collection[tuple[Kind, int]], tally: _Tally
) -> None:
    if claim.waiting:
        tally.count("waiting", claim, claim.waiting)
    if claim.dead_letters:
        tally.count("dead_letters", claim, claim.dead_letters)
    if claim.delivered_at is None:
        return
    if claim.is_withdrawn and is_listed:
        tally.find("undeleted", claim, "Datadog was told to delete it, and lists it")
    elif claim.is_withdrawn:
        tally.count("withdrawn", claim)
    elif is_listed:
        tally.count("matched", claim)
    elif claim.delivered_at > settled_before:
        tally.count("fresh", claim)
    elif any((claim.kind, second) in crowded for second in _seconds(claim)):
        tally.count("unclear", claim)
    else:
        took = "took it with 202, to process it later," if claim.delayed else "took it"
        tally.find("missing", claim, f"Datadog {took} at {to_rfc3339(claim.delivered_at)}", delayed=claim.delayed)


def _seconds(claim: Claim) -> Iterator[int]:
    """The seconds in which Datadog may list it."""
    for time in (claim.started_at, claim.finished_at, claim.sent_at):
        if time is not None:
            yield time // SECOND


# -- duplicates


def _duplicates(records: Iterable[DatadogRecord], known: Mapping[str, Claim]) -> Iterator[tuple[DatadogRecord, str]]:
    """Each record too many. Of several ids about the same, ours is the one that is not."""
    by_id: dict[tuple[Kind, str], list[DatadogRecord]] = defaultdict(list)
    for record in records:
        by_id[record.kind, record.id].append(record)
    alike: dict[object, list[DatadogRecord]] = defaultdict(list)
    for same in by_id.values():
        alike[_likeness(same[0])].append(same[0])
        for record in same[1:]:
            yield record, "Datadog lists this id more than once"
    for same in alike.values():
        first, *rest = sorted(same, key=lambda one: (one.id not in known, one.id))
        for record in rest:
            yield record, f"the same as {first.id}"


def _likeness(record: DatadogRecord) -> object:
    times = [None if time is None else time // SECOND for time in (record.started_at, record.finished_at)]
    return record.kind, tuple(sorted(record.services)), record.env, record.identity, *times


# -- phantom rollbacks


def _phantoms(
    records: Iterable[DatadogRecord], known: Mapping[str, Claim], ours: Collection[str]
) -> Iterator[tuple[DatadogRecord, str]]:
    """The deployments that Datadog blames without cause.

    The true history of a service and env has what the ledger has, delivered or not, with the times of the webhooks;
    and those of `ours` of which only Datadog still has the times. Where the ledger has nothing, it knows no better.
    """
    told: dict[Place, list[DatadogRecord]] = defaultdict(list)
    for record in records:
        if record.kind == "deployment" and record.finished_at is not None and record.services:
            told[record.services[0], record.env].append(record)
    true: dict[Place, list[Step]] = defaultdict(list)
    for claim in known.values():
        if claim.kind == "deployment" and claim.finished_at is not None and claim.services and not claim.is_withdrawn:
            step = Step(claim.finished_at, claim.sent_at or claim.finished_at, claim.id, claim.identity)
            true[claim.services[0], claim.env].append(step)
    for place, history in told.items():
        by_id = {record.id: record for record in history}
        truth = true[place] + [_step(record) for record in by_id.values() if record.id in ours]
        if not truth:
            continue
        happened = {one.id: one.blamed for one in rollbacks(truth)}
        for rollback in rollbacks(map(_step, history)):
            if not _happened(rollback, happened, by_id):
                detail = f"looks rolled back by {rollback.id}{_why(rollback, known, ours)}"
                yield by_id[rollback.blamed], detail


def _happened(rollback: Rollback, happened: Mapping[str, str], listed: Collection[str]) -> bool:
    """Whether there was this rollback; another one may be blamed only if Datadog lacks the one that failed."""
    truly_blamed = happened.get(rollback.id)
    return truly_blamed is not None and (truly_blamed == rollback.blamed or truly_blamed not in listed)


def _why(rollback: Rollback, known: Mapping[str, Claim], ours: Collection[str]) -> str:
    strangers = [one for one in (rollback.id, rollback.blamed) if one not in known and one not in ours]
    return f"; the ledger never had {' and '.join(strangers)}" if strangers else ""


def _step(record: DatadogRecord) -> Step:
    finished_at = record.finished_at or 0
    return Step(finished_at, finished_at, record.id, record.identity)
