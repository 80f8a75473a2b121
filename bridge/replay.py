"""Webhooks of the last days, as the ledger keeps them, translated again under two configurations. Reads only."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from bridge import redis_url
from bridge.configuration import load
from bridge.desk import progress_bar
from bridge.envelope import Envelope
from bridge.intake import Delivery, Receipt, receive
from bridge.ledger import Ledger, Place, Record
from bridge.rule_diff import CHANGES, Comparison, as_text
from bridge.rules import Rule
from bridge.search import EVENTS, moment
from bridge.settings import Settings
from bridge.source import Endpoint
from bridge.sources import SOURCES

_LISTED_AT_ONCE = 1_000
_READ_AT_ONCE = 50
"""Statements whose bodies are in memory at the same time; most bodies have some 20 KB."""


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What decides about the events of a webhook: endpoints with their options, and rules."""

    endpoints: Mapping[str, Endpoint]
    rules: Sequence[Rule]


@dataclass(slots=True)
class Replay:
    """What differs, and what could not be compared."""

    comparison: Comparison = field(default_factory=Comparison)
    expired: int = 0
    """Webhooks whose bodies are not kept any more."""
    without_body: int = 0
    """Webhooks that were ignored by their source, or came too late: their bodies are never kept."""

    def json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        changes = [change.json() for change in self.comparison.changes()]
        return {
            "webhooks": self.comparison.deliveries,
            "expired": self.expired,
            "without_body": self.without_body,
            **{what: [one for one in changes if one["change"] == what] for what in CHANGES},
            "unchanged": self.comparison.unchanged,
        }

    def text(self) -> str:
        """The changes, and how many there are, for people."""
        changes = list(self.comparison.changes())
        counts = ", ".join(f"{sum(one.what == what for one in changes)} {what}" for what in CHANGES)
        lines = [as_text(one) for one in changes]
        lines.append(f"{counts}, {self.comparison.unchanged} unchanged, of {_counted(self.comparison.deliveries)}")
        if self.expired:
            lines.append(f"{_counted(self.expired)} left out: the body is not kept any more (retention.raw_days)")
        if self.without_body:
            lines.append(f"{_counted(self.without_body)} left out: ignored before any rule, so no body was kept")
        return "\n".join(lines)


def _counted(webhooks: int) -> str:
    return f"{webhooks} webhook{'s' * (webhooks != 1)}"


async def replay(settings: Settings, new: Path, since: str | None) -> Replay:
    """What the configuration of a file would change in the events since then (a time or an age; else all kept).

    Shows how far it is at a terminal. Raises: ConfigurationError, Invalid.
    """
    configuration, endpoints = load(new)
    age = f"{settings.configuration.retention.raw_days * 86_400:.0f}s"
    redis = redis_url.impatient(settings.environment.redis_url)
    try:
        ledger = Ledger(redis)
        found = await _places(ledger, moment(since or age, time.time_ns(), "since"))
        with progress_bar(len(found)) as bar:
            return await _compared(
                ledger,
                found,
                before=_Mapping(settings.endpoints, settings.configuration.rules),
                after=_Mapping(endpoints, configuration.rules),
                application_key=settings.application_key,
                told=bar.update,
            )
    finally:
        await redis.aclose()


async def _places(ledger: Ledger, since: int) -> list[Place]:
    """All statements and notes received since then (ms since the epoch), oldest first."""
    found: list[Place] = []
    while True:
        after = found[-1] if found else None
        page = await ledger.places(EVENTS, after=after, low=since, count=_LISTED_AT_ONCE, oldest_first=True)
        found += page
        if len(page) < _LISTED_AT_ONCE:
            return found


async def _compared(
    ledger: Ledger,
    found: Sequence[Place],
    *,
    before: _Mapping,
    after: _Mapping,
    application_key: bool,
    told: Callable[[int], None],
) -> Replay:
    """Both translations of the webhooks that these statements came from; `told` hears how many were looked at."""
    result = Replay()
    for chunk in _chunks(found):
        async for records, raw in _webhooks(ledger, [id_ for _, id_ in chunk]):
            envelope = records[0].envelope
            if raw is None:
                if all(_never_kept(one) for one in records):
                    result.without_body += 1
                else:
                    result.expired += 1
                continue
            about, body = raw
            delivery = Delivery(about.get("headers", {}), about.get("query", {}), body)
            sides = [_received(side, envelope, delivery, application_key) for side in (before, after)]
            result.comparison.add(sides[0], sides[1], {one.envelope.id for one in records})
        told(len(chunk))
    return result


def _chunks(found: Sequence[Place]) -> Iterator[list[Place]]:
    """Some at a time. What one webhook became was received in one moment, and stays together."""
    chunk: list[Place] = []
    for _, same in groupby(found, key=lambda place: place[0]):
        chunk += same
        if len(chunk) >= _READ_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _webhooks(
    ledger: Ledger, ids: Sequence[str]
) -> AsyncIterator[tuple[Sequence[Record], tuple[Mapping[str, Any], bytes] | None]]:
    """What became of each webhook, with what is kept of it, in the order of receipt."""
    by_place: dict[str, list[Record]] = {}
    for record in await ledger.briefly(ids):
        if record is not None and record.envelope.source in SOURCES:  # what linking concludes is no webhook's
            by_place.setdefault(record.envelope.raw or record.envelope.id, []).append(record)
    for records, raw in zip(by_place.values(), await ledger.bodies(list(by_place)), strict=True):
        yield records, raw


def _never_kept(record: Record) -> bool:
    return record.state in ("ignored", "superseded") and not record.envelope.rule


def _received(side: _Mapping, envelope: Envelope, delivery: Delivery, application_key: bool) -> Receipt | str:
    endpoint = side.endpoints.get(envelope.endpoint)
    if endpoint is None:
        return f"there is no endpoint {envelope.endpoint}"
    return receive(
        endpoint,
        delivery,
        secret=envelope.secret,
        now=envelope.received_at,
        rules=side.rules,
        application_key=application_key,
    )
