"""The coverage report, `dora-bridge reconcile`: reads ledger and Datadog, has them compared, and puts it into words."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
import httpx

from bridge import redis_url, search
from bridge.claims import claims
from bridge.datadog_calls import TIMEOUT_S
from bridge.datadog_lists import DatadogLists
from bridge.datadog_records import DatadogRecord, Kind
from bridge.errors import ConfigurationError, Invalid
from bridge.ledger import Ledger
from bridge.proxies import DIRECT
from bridge.reconcile import VERDICTS, Claim, Comparison, Finding, Place, Verdict, compare
from bridge.settings import Settings
from bridge.times import SECOND, to_rfc3339

_MS = 1_000_000
_AROUND = 120 * SECOND
"""Lists are asked for so much more at both ends: the bridge moves an end by up to a minute, Datadog's clock differs."""
_AT_ONCE = 500
_SHOWN = 50
_STEPS = ("ledger", "deployment", "failure")
_PARTS = 1000  # of the progress bar, for each step

Told = Callable[[str, float], None]
"""Is told what is being read, and which part of it was, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to report. Times are nanoseconds since the epoch, UTC."""

    since: int
    until: int
    settled_before: int
    """What was delivered later may be missing."""
    service: str = ""
    env: str = ""

    def matches(self, one: Claim | DatadogRecord) -> bool:
        return (not self.service or self.service in one.services) and (not self.env or self.env == one.env)


def asked_for(*, since: str, until: str | None, grace: str, service: str | None, env: str | None) -> Asked:
    """What a person asked for, in times or ages. Raises: Invalid."""
    now = time.time_ns()
    asked = Asked(
        since=search.moment(since, now, "since") * _MS,
        until=search.moment(until, now, "until") * _MS if until else now,
        settled_before=search.moment(grace, now, "grace") * _MS,
        service=service or "",
        env=env or "",
    )
    if asked.since >= asked.until:
        raise Invalid("since: not before until", "since")
    return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The report."""

    asked: Asked
    ledger_since: int
    """From when on the ledger knows all that it delivered, in nanoseconds since the epoch."""
    comparison: Comparison
    untranslated: int
    crowded: int

    @property
    def has_missing(self) -> bool:
        return self.comparison.totals["missing"] > 0

    def json(self) -> dict[str, Any]:
        return {
            "since": to_rfc3339(self.asked.since),
            "until": to_rfc3339(self.asked.until),
            "ledger_since": to_rfc3339(self.ledger_since),
            "rows": [
                {"service": service or None, "env": env or None, **_counts(row)}
                for (service, env), row in self.comparison.rows.items()
            ],
            "totals": _counts(self.comparison.totals),
            "findings": [one.json() for one in self.comparison.findings],
            "untranslated_dead_letters": self.untranslated,
            "crowded_seconds": self.crowded,
        }

    def text(self) -> str:
        totals = self.comparison.totals
        lines = [f"ledger and Datadog, {_second(self.asked.since)} to {_second(self.asked.until)}", ""]
        if self.comparison.rows:
            lines += [*_table(self.comparison.rows, totals), ""]
        for verdict in VERDICTS:
            lines += _findings([one for one in self.comparison.findings if one.verdict == verdict])
        delivered = totals["matched"] + totals["missing"]
        lines.append(f"Datadog has {totals['matched']} of {delivered} events that the ledger delivered in this time.")
        lines += [text.format(totals[verdict]) for verdict, text in _NOTES.items() if totals[verdict]]
        if self.untranslated:
            lines.append(
                f"{self.untranslated} more dead letters came in that make no event: their service is not known."
            )
        if self.crowded:
            lines.append(
                f"Datadog has more records than it lists of {self.crowded} seconds; those were not all compared."
            )
        if self.asked.since < self.ledger_since - _AROUND:
            since = _second(self.ledger_since)
            lines.append(f"The ledger keeps what it delivered since {since} (retention.events_days): of events before")
            lines.append("that it knows the ids, not whether one is missing.")
        return "\n".join(lines)


_NOTES: Mapping[Verdict, str] = {
    "fresh": "{} were delivered too short a time ago to be missing (--grace).",
    "unclear": "Whether it has {} more cannot be told.",
    "withdrawn": "{} were withdrawn, and are gone.",
    "expired": "{} of its records are of events that the ledger knows by their ids only.",
}
_COLUMNS: tuple[Verdict, ...] = (
    "matched",
    "missing",
    "unknown",
    "duplicate",
    "phantom",
    "undeleted",
    "waiting",
    "dead_letters",
)


async def coverage(
    ledger: Ledger, lists: DatadogLists, asked: Asked, *, events_days: float, told: Told = lambda *_: None
) -> Coverage:
    """The report. Raises: DatadogUnreadable; errors of redis-py pass through."""
    ledger_since = time.time_ns() - int(events_days * 86_400) * SECOND
    said = await claims(ledger, asked.since, asked.until, told=lambda part: told("ledger", part))
    ours = [claim for claim in said.facts if asked.matches(claim)]
    known = {claim.id for claim in ours}
    since, until = _window(ours, asked)
    listed = [
        *await _records(lists, "deployment", since, until, told),
        *await _records(lists, "failure", since, until, told),
    ]
    # one of ours belongs where the ledger has it, whatever it looks like in Datadog
    records = [record for record in listed if asked.matches(record) or record.id in known]
    strangers = [record.id for record in records if record.id not in known]
    remembered = {claim.id for claim in said.facts} - known
    for first in range(0, len(strangers), _AT_ONCE):
        remembered |= await ledger.remembered(strangers[first : first + _AT_ONCE])
    comparison = compare(
        ours,
        records,
        since=asked.since,
        until=asked.until,
        settled_before=asked.settled_before,
        remembered=remembered,
        crowded=lists.crowded,
    )
    shown = {
        (service, env): row
        for (service, env), row in comparison.rows.items()
        if (not asked.service or service == asked.service) and (not asked.env or env == asked.env)
    }
    filtered = bool(asked.service or asked.env)
    return Coverage(
        asked=asked,
        ledger_since=ledger_since,
        comparison=replace(comparison, rows=shown),
        untranslated=0 if filtered else said.untranslated,
        crowded=len(lists.crowded),
    )


async def _records(lists: DatadogLists, kind: Kind, since: int, until: int, told: Told) -> list[DatadogRecord]:
    read = 0

    def progress(nanoseconds: int) -> None:
        nonlocal read
        read += nanoseconds
        told(kind, read / (until - since))

    return [record async for record in lists.between(kind, since, until, told=progress)]


def _window(ours: Sequence[Claim], asked: Asked) -> tuple[int, int]:
    """The time (ns) to ask Datadog for: it does not document whether its lists go by the start or by the end."""
    times = [asked.since, asked.until]
    for claim in ours:
        if claim.moment is not None and asked.since <= claim.moment <= asked.until:
            times += [time for time in (claim.started_at, claim.finished_at) if time is not None]
    return min(times) - _AROUND, max(times) + _AROUND


async def reconcile(settings: Settings, asked: Asked) -> Coverage:
    """The report of these settings, with a progress bar at a terminal.

    Raises: ConfigurationError without an application key, DatadogUnreadable; errors of redis-py pass through.
    """
    environment = settings.environment
    api_key, app_key = settings.api_key, settings.app_key
    if api_key is None or app_key is None:
        missing = "DD_API_KEY" if api_key is None else "DD_APP_KEY"
        needs = "reading Datadog's lists needs an API key and an application key with the permission dora_metrics_read"
        raise ConfigurationError(f"{missing}: {needs}")
    redis = redis_url.impatient(environment.redis_url)
    steps = dict.fromkeys(_STEPS, 0)
    bar: Any = click.progressbar(
        length=_PARTS * len(_STEPS),
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        item_show_func=lambda step: step and {"ledger": "ledger"}.get(step, f"Datadog's {step}s"),
    )

    def told(step: str, part: float) -> None:
        more = min(_PARTS, int(part * _PARTS)) - steps[step]
        steps[step] += more
        bar.update(more, step)

    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, mounts=DIRECT) as client:
            lists = DatadogLists(
                client,
                base_url=settings.datadog_url,
                api_key=api_key,
                app_key=app_key,
            )
            retention = settings.configuration.retention
            with bar:
                ledger = Ledger(redis, retention)
                return await coverage(ledger, lists, asked, events_days=retention.events_days, told=told)
    finally:
        await redis.aclose()


def _counts(row: Counter[Verdict]) -> dict[str, int]:
    return {verdict: row[verdict] for verdict in VERDICTS}


def _table(rows: Mapping[Place, Counter[Verdict]], totals: Counter[Verdict]) -> list[str]:
    table = [("service", "env", *(name.replace("_", " ") for name in _COLUMNS))]
    for (service, env), row in rows.items():
        table.append((service or "-", env or "-", *(str(row[name]) for name in _COLUMNS)))
    if len(rows) > 1:
        table.append(("all", "", *(str(totals[name]) for name in _COLUMNS)))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def _findings(found: Sequence[Finding]) -> list[str]:
    lines = []
    for one in found[:_SHOWN]:
        where = f"{', '.join(one.services) or '-'}/{one.env or '-'}"
        at = _second(one.at) if one.at is not None else "-"
        lines.append(f"{one.verdict:9}  {at}  {one.kind:10}  {one.id}  {where}: {one.detail}")
    if len(found) > _SHOWN:
        lines.append(f"{found[0].verdict:9}  … and {len(found) - _SHOWN} more; --json has them all")
    return [*lines, ""] if lines else []


def _second(time: int) -> str:
    return to_rfc3339(time // SECOND * SECOND)
