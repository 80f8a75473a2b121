"""Whether all is drained: nothing is to be linked, and what still waits does so for what will not come soon."""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis.asyncio import Redis

from bridge.envelope import Envelope
from bridge.ledger import Ledger, Place, Record
from bridge.waiting_since import PENDING
from workers.patience import untouchable_s

PAGE = 500


async def is_drained(redis: Redis, ledger: Ledger) -> bool:
    """Whether nothing will be sent any more, but ten minutes after a 202 or when a person mends a dead letter."""
    if await redis.exists("dora:linking"):
        return False
    waiting = await _waiting(ledger)
    keys: dict[str, Record] = {}
    for one in waiting:
        first = keys.setdefault(one.envelope.key, one)
        if _place(one.envelope) < _place(first.envelope):
            keys[one.envelope.key] = one
    ids = {one.envelope.id for one in waiting}
    return all([await _waits_for_long(one, ids, ledger) for one in keys.values()])


async def _waiting(ledger: Ledger) -> Sequence[Record]:
    found: list[Record] = []
    after: Place | None = None
    while places := await ledger.places(["waiting"], after=after, count=PAGE):
        found += [one for one in await ledger.briefly([id_ for _, id_ in places]) if one is not None]
        after = places[-1]
    return found


def _place(envelope: Envelope) -> tuple[int, str]:
    return envelope.order, envelope.rank


async def _waits_for_long(first: Record, waiting: set[str], ledger: Ledger) -> bool:
    """Whether the first statement of its key does."""
    reason = first.story[-1].get("reason") if first.story else None
    if reason == "not_found" and first.envelope.method == "DELETE":
        return True  # for six minutes: `patience.NOT_FOUND_S`
    if reason not in PENDING:
        return False
    after = first.envelope.after
    if any(one in waiting for one in after):
        return False
    return untouchable_s(await ledger.delivered_at(after), time.time_ns() // 1_000_000) != 0 if after else True
