"""Which time an incident was open, of one that was opened again, a statement is about.

Each time is a failure of its own. Senders do not always say which one they mean: PagerDuty's `reopened_at` is missing
in some bodies, and an issue of GitHub has no such time. So the ledger remembers when an incident was opened again, and

- what was said at a time is about the opening that was the last one by then;
- two of the same few seconds are one: of one reopening PagerDuty says `reopened_at` and, later, `occurred_at`;
- an end of what had ended at another time is the end of an opening that is not known. It is a dead letter until that
  opening comes: without it nobody knows how long the incident lasted, and to move the end would make it last too long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bridge.dora import Occurrence
from bridge.envelope import Envelope
from bridge.intake import Receipt
from bridge.ledger import Ledger, family_of_key

SAME_MS = 5_000
"""So far apart two times that a sender gives of one thing may be. Seen of PagerDuty: 1.3 s."""
_MS = 1_000_000
_UNKNOWN = (
    "it ended before at another time, and the ledger does not know when it was opened again in between: nobody can say "
    "how long it lasted"
)


async def placed(receipt: Receipt, ledger: Ledger) -> Receipt:
    """The receipt with each statement about the time it belongs to; and the ends that waited for such an opening.

    Errors of redis-py pass through.
    """
    envelopes: list[Envelope] = []
    for envelope in receipt.envelopes:
        envelopes += await _placed(envelope, envelope.occurrence, ledger) if envelope.occurrence else [envelope]
    return replace(receipt, envelopes=envelopes)


async def _placed(envelope: Envelope, occurrence: Occurrence, ledger: Ledger) -> Sequence[Envelope]:
    began = await ledger.reopened(occurrence.first)
    if occurrence.names:
        identifier = same(occurrence.at // _MS, began) or envelope.datadog_id
        opened = _moved(envelope, identifier, began.get(identifier)) if identifier in began else envelope
        is_opening = opened.rank[:1] == "0"
        return [opened, *_ends_of(opened, await ledger.homeless(homeless_of(occurrence.first)) if is_opening else ())]
    identifier = latest(occurrence.at // _MS, began) or envelope.datadog_id
    if envelope.rank[:1] != "0":  # it ends, or was none
        ends_at = envelope.attributes.get("finished_at", occurrence.at) // _MS
        ended = await ledger.ended(identifier)
        if ended is not None and abs(ended - ends_at) > SAME_MS:
            return [_homeless(envelope, occurrence.first, ends_at)]
    return [_moved(envelope, identifier, began[identifier]) if identifier in began else envelope]


def same(at: int, began: Mapping[str, int]) -> str:
    """The id of the opening that is the same as one at this time (ms), empty if there is none."""
    near = [(abs(one - at), identifier) for identifier, one in began.items() if abs(one - at) <= SAME_MS]
    return min(near)[1] if near else ""


def latest(at: int, began: Mapping[str, int]) -> str:
    """The id of the last opening by this time (ms), empty if there was none by then."""
    earlier = [(one, identifier) for identifier, one in began.items() if one <= at]
    return max(earlier)[1] if earlier else ""


def homeless_of(first: str) -> str:
    """What stands in the ledger for those openings of an incident that are not known."""
    return f"{first}-r"


def _homeless(envelope: Envelope, first: str, at: int) -> Envelope:
    """The end of an opening that is not known, or its withdrawal, which then has nothing to withdraw."""
    moved = _moved(envelope, f"{first}-e{at // 1000}", None)
    if envelope.needs_opening.startswith("ignored"):
        return moved
    return replace(moved, fact=homeless_of(first), needs_opening=f"dead_lettered: {_UNKNOWN}")


def _ends_of(opened: Envelope, homeless: Sequence[Envelope]) -> Sequence[Envelope]:
    """The end of this opening, of those that wait for theirs: the first one after it."""
    began = opened.attributes.get("started_at", 0)
    ends = [one for one in homeless if one.attributes["finished_at"] >= began]
    if not ends:
        return []
    end = min(ends, key=lambda one: int(one.attributes["finished_at"]))
    moved = _moved(end, opened.datadog_id, began // _MS)
    return [replace(moved, needs_opening="", raw=end.raw or end.id, cures=end.id)]


def _moved(envelope: Envelope, identifier: str, began: int | None) -> Envelope:
    """The same said of the opening with this id, which began then (ms); None if that is not known."""
    before, body = envelope.datadog_id, envelope.body
    origins = dict(envelope.origins)
    if body is not None:
        attributes = {**envelope.attributes, "id": identifier}
        attributes.pop("started_at", None)
        origins.pop("started_at", None)
        if began is not None:
            attributes["started_at"] = began * _MS
            origins["started_at"] = "the opening in the ledger"
        body = {**body, "data": {**body["data"], "attributes": attributes}}
    for name in ("id", "record_id"):
        if name in origins:
            origins[name] += ", when it was opened again"
    return replace(
        envelope,
        id=identifier + envelope.id.removeprefix(before),
        datadog_id=identifier,
        fact=identifier,
        key=f"{family_of_key(envelope.key)}:{identifier}",
        path=envelope.path.replace(before, identifier),
        body=body,
        origins=origins,
    )
