"""What the ledger says Datadog must have: its deployments and failures of a time, by when they happened.

The ledger is in the order of receipt, and an event may come long after it happened, but hardly before. So it is read
from the beginning of that time on until today.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.datadog_records import Kind, identity_of, services_of
from bridge.envelope import as_opened
from bridge.ledger import Ledger, Place, Record
from bridge.reconcile import Claim
from bridge.search import EVENTS
from bridge.times import SECOND

_MS = 1_000_000
_EARLY_MS = 10 * 60_000
"""No event is recorded that happens more than five minutes after its receipt; see `intake.truthful`."""
_AT_ONCE = 500
_KINDS: Mapping[str, Kind] = {"deployment": "deployment", "failure": "failure", "incident": "failure"}
"""Last part of the path of a POST -> what it states."""


@dataclass(frozen=True, slots=True)
class Claims:
    facts: Sequence[Claim]
    """Those that happened in the time asked for, and some beyond."""
    untranslated: int
    """Dead letters that came in that time and of which no event could be made: their service is not known."""


async def claims(ledger: Ledger, since: int, until: int, *, told: Callable[[float], None] = lambda _: None) -> Claims:
    """All that happened from `since` to `until` (ns). `told` is called with the part that was read, from 0 to 1."""
    low, now = since // _MS - _EARLY_MS, time.time_ns() // _MS
    about: dict[str, list[Record]] = defaultdict(list)
    untranslated = 0
    after: Place | None = None
    more = True
    while more:
        places = await ledger.places(EVENTS, after=after, low=low, count=_AT_ONCE, oldest_first=True)
        ids = [identifier for _, identifier in places]
        for record, story in zip(await ledger.briefly(ids), await ledger.stories(ids), strict=True):
            if record is None:
                continue
            envelope = record.envelope
            if envelope.method in ("POST", "DELETE"):
                about[envelope.datadog_id].append(replace(record, story=story))
            elif not envelope.method and record.state == "dead_lettered":
                untranslated += since <= envelope.received_at <= until
        more = len(places) == _AT_ONCE
        after = places[-1] if places else after
        told((after[0] - low) / max(1, now - low) if more and after else 1.0)
    failures = [id_ for id_, records in about.items() if any(_kind_of(record) == "failure" for record in records)]
    openings: dict[str, Mapping[str, Any]] = {}
    for first in range(0, len(failures), _AT_ONCE):
        some = failures[first : first + _AT_ONCE]
        openings |= {id_: fact.opening for id_, fact in zip(some, await ledger.facts(some), strict=True)}
    found = (claim_of(records, openings.get(id_, {})) for id_, records in about.items())
    return Claims([claim for claim in found if claim is not None], untranslated)


def claim_of(records: Sequence[Record], opening: Mapping[str, Any]) -> Claim | None:
    """What the statements about one fact come to, with their whole stories; None if none states it.

    `opening`: a failure's attributes as first reported, which every later statement repeats.
    """
    posts = [record for record in records if _kind_of(record) and record.state in _COUNT]
    if not posts:
        return None
    latest = max(posts, key=lambda record: record.envelope.rank)
    attributes = as_opened(latest.envelope.attributes, opening) if opening else latest.envelope.attributes
    deletions = [record for record in records if record.envelope.method == "DELETE"]
    taken, deleted = _taken(posts), _taken(deletions)
    seconds = [int(line["second"]) for line in taken if "second" in line]
    states = [record.state for record in (*posts, *deletions)]
    return Claim(
        kind=_kind_of(latest) or "deployment",
        id=latest.envelope.datadog_id,
        services=services_of(attributes),
        env=str(attributes.get("env") or ""),
        identity=identity_of(attributes),
        started_at=attributes.get("started_at"),
        finished_at=attributes.get("finished_at"),
        sent_at=seconds[-1] * SECOND if seconds else None,
        delivered_at=min(int(line["at"]) for line in taken) * _MS if taken else None,
        delayed=bool(taken) and all(line.get("reason") == "delayed" for line in taken),
        is_withdrawn=_last(deleted, default=-1) >= _last(taken, default=0),
        waiting=states.count("waiting"),
        dead_letters=states.count("dead_lettered"),
    )


def _taken(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    """The lines of their stories that say that Datadog took one."""
    return [line for one in records for line in one.story if line["state"] == "delivered" and "verdict" in line]


def _last(lines: Sequence[Mapping[str, Any]], *, default: int) -> int:
    return max((int(line["at"]) for line in lines), default=default)


_COUNT = ("waiting", "delivered", "dead_lettered")


def _kind_of(record: Record) -> Kind | None:
    """What a POST states; None for any other call."""
    envelope = record.envelope
    return _KINDS.get(envelope.path.rpartition("/")[2]) if envelope.method == "POST" else None
