"""Does Datadog have what it took?

202 means accepted, with processing delayed by an incident of Datadog's. Such an event is delivered and is never
sent again; but with an application key it is looked for in Datadog's lists until it is found (*verified*), or until
GRACE_S is over (*missing*), which a person sees. So is a sample of what Datadog took with 200 (`read_back` in
bridge.yaml). Lists and not single reads, since what Datadog answers for an id it does not know is not documented, and
since one list tells about all events of its time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import httpx

from bridge import metrics
from bridge.datadog_calls import Keys
from bridge.datadog_lists import MOST, list_request, records_of
from bridge.datadog_records import Kind
from bridge.envelope import as_opened
from bridge.ledger import Ledger
from bridge.logs import log
from bridge.times import SECOND
from workers.courier import Courier

FIRST_LOOK_S = 60.0
GRACE_S = 24 * 3600.0
EACH_ROUND = 20
"""Lists asked for in one round: reading back must not use up what Datadog allows."""
_EVENTS_EACH_ROUND = 200
_AROUND = 60 * SECOND
_SHARED = 15 * 60 * SECOND
"""Events so close to one another share a list; a longer window would rarely fit into one."""
_MOST_BYTES = 16 * 1024 * 1024


def next_look_s(age_s: float) -> float:
    """Seconds until an event that was not found is looked for again; `age_s` is the time since it was delivered."""
    return max(FIRST_LOOK_S, age_s / 2)


@dataclass(frozen=True, slots=True)
class Lookup:
    """One event to be looked for. Times are nanoseconds since the epoch, UTC."""

    id: str
    """Of the ledger."""
    datadog_id: str
    kind: Kind
    since: int
    until: int
    """The window around its times, whichever of them a list goes by."""
    delivered_at: int = 0


def shared(lookups: Iterable[Lookup]) -> list[list[Lookup]]:
    """The events, grouped by the list that they are looked for in: of one kind, and of nearly one time."""
    groups: list[list[Lookup]] = []
    for one in sorted(lookups, key=lambda lookup: (lookup.kind, lookup.since)):
        last = groups[-1] if groups else []
        if last and last[0].kind == one.kind and one.until <= max(last[0].until, last[0].since + _SHARED):
            last.append(one)
        else:
            groups.append([one])
    return groups


def are_listed(identifiers: Collection[str], answer: httpx.Response, kind: Kind) -> dict[str, bool | None]:
    """Whether the list has each of these; None if the answer does not tell (refused, odd, or cut at its limit)."""
    if answer.status_code != 200:
        return dict.fromkeys(identifiers)
    try:
        records = records_of(answer, kind)
    except ValueError:
        return dict.fromkeys(identifiers)
    ids = {record.id for record in records}
    is_whole = len(records) < MOST
    return {one: True if one in ids else False if is_whole else None for one in identifiers}


class ReadBack:
    """Looks for delivered events, round by round. Errors of redis-py pass through."""

    def __init__(self, ledger: Ledger, courier: Courier, keys: Callable[[], Keys]) -> None:
        """`keys` are asked for at each call: they may change."""
        self._ledger = ledger
        self._courier = courier
        self._keys = keys

    async def round(self) -> None:
        """Looks for those that are due. One process at a time does, and not more often than every FIRST_LOOK_S."""
        lookups = []
        for identifier in await self._ledger.to_look_up(most=_EVENTS_EACH_ROUND, lock_s=FIRST_LOOK_S / 2):
            lookup = await self._lookup(identifier)
            if lookup is None:
                await self._ledger.read_back(identifier, None)
            else:
                lookups.append(lookup)
        lists = 0
        for group in shared(lookups):
            if lists >= EACH_ROUND:
                return  # the others are still due
            lists += 1
            unclear = await self._look_for(group)
            if len(group) > 1 and unclear:
                # the list of all was full: each has a shorter one
                for one in unclear[: EACH_ROUND - lists]:
                    lists += 1
                    await self._look_for([one])

    async def _lookup(self, identifier: str) -> Lookup | None:
        """What to look for; None if nothing is known of it any more, or if Datadog was told to delete it."""
        [record] = await self._ledger.briefly([identifier])
        if record is None:
            return None
        envelope = record.envelope
        fact = await self._ledger.fact(envelope.fact)
        later = await self._ledger.briefly([other for other in fact.said.values() if "~withdrawn" in other])
        if any(one is not None and one.state in ("waiting", "delivered") for one in later):
            return None
        attributes = as_opened(envelope.attributes, fact.opening) if fact.opening else envelope.attributes
        times = [attributes[name] for name in ("started_at", "finished_at") if name in attributes]
        [story] = await self._ledger.stories([identifier])
        delivered_at = [int(line["at"]) for line in story if line.get("verdict") == "delivered"]
        return Lookup(
            identifier,
            envelope.datadog_id,
            "deployment" if envelope.path.endswith("/deployment") else "failure",
            min(times) - _AROUND,
            max(times) + _AROUND,
            delivered_at[-1] * 1_000_000 if delivered_at else 0,
        )

    async def _look_for(self, group: Sequence[Lookup]) -> list[Lookup]:
        """Looks for events of one list; gives back those of which a full list said nothing."""
        kind = group[0].kind
        since, until = min(one.since for one in group), max(one.until for one in group)
        answer = await self._courier.send(list_request(kind, since, until, **self._keys()), most_bytes=_MOST_BYTES)
        status = answer.status_code if isinstance(answer, httpx.Response) else 0
        ids = [one.datadog_id for one in group]
        found = are_listed(ids, answer, kind) if isinstance(answer, httpx.Response) else dict.fromkeys(ids)
        for one in group:
            await self._conclude(one, found[one.datadog_id], status)
        return [one for one in group if found[one.datadog_id] is None and status == 200]

    async def _conclude(self, lookup: Lookup, found: bool | None, status: int) -> None:
        age_s = (time.time_ns() - lookup.delivered_at) / SECOND
        if not found and (found is None or age_s < GRACE_S):
            if found is None:
                log("readback.unclear", logging.WARNING, id=lookup.id, status=status)
            await self._ledger.look_again(lookup.id, int(next_look_s(age_s) * 1000))
            return
        word = "verified" if found else "missing"
        log(f"readback.{word}", logging.INFO if found else logging.WARNING, id=lookup.id)
        metrics.READ_BACK.labels(word).inc()
        await self._ledger.read_back(lookup.id, word)
