"""How it goes: what waits, where Datadog stands, who works; for the admin, the page and the gauges of /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from redis.exceptions import RedisError

from bridge.dead_letters import DeadLetters
from bridge.last_heard import LastHeard
from bridge.ledger import Lanes, Ledger
from bridge.links import Links
from bridge.source import Endpoint
from bridge.times import to_rfc3339

_MS = 1_000_000
_WORST = ("open", "held", "parked")
CACHE_S = 3.0
TIMEOUT_S = 1.5
"""A scrape is answered within this, with `redis_up` 0, if Redis hangs."""


async def status(ledger: Ledger, dead_letters: DeadLetters, links: Links) -> dict[str, Any]:
    """The answer of `GET /admin/status`. Its cost does not grow with the number of events that wait."""
    destinations = {family: _destination(fields) for family, fields in (await ledger.destinations()).items()}
    worst = max(destinations.values(), key=lambda one: _WORST.index(one["state"]))
    counts, expiry = await ledger.counts(), await dead_letters.expiry()
    lanes = await ledger.lanes()
    closed = {family for family, one in destinations.items() if one["state"] != "open"}
    return {
        "destination": {name: worst[name] for name in ("state", "until", "reason")},
        "destinations": destinations,
        "waiting": counts["waiting"],
        "in_hand": sum(lanes.in_hand.values()),
        "states": _states(counts["waiting"], lanes, closed),
        "oldest_age_s": round(await ledger.oldest_age_s(), 3),
        "lanes_overdue": lanes.overdue,
        "dead_letters": await dead_letters.by_reason(),
        "dead_letters_total": expiry.count,
        "dead_letters_max": expiry.most,
        "expiring": {
            "soon": expiry.soon,
            "soonest": to_rfc3339(expiry.soonest_ms * _MS) if expiry.soonest_ms is not None else None,
            "warning": expiry.is_near,
        },
        "missing": await ledger.missing(),
        "without_env": (await ledger.without_env()).json(),
        "link_suggestions": await links.suggestions(),
        "workers": await ledger.workers(),
    }


async def last_accepted(heard: LastHeard, endpoints: Mapping[str, Endpoint]) -> dict[str, float]:
    """source -> when a webhook of it became an event last (seconds since the epoch); without those that never did."""
    times: dict[str, float] = {}
    for name, one in (await heard.of(dict.fromkeys(endpoints, ()))).items():
        if one.accepted_at is not None:
            source = endpoints[name].source.name
            times[source] = max(one.accepted_at / 1000, times.get(source, 0.0))
    return times


def _states(waiting: int, lanes: Lanes, closed: Collection[str]) -> dict[str, int]:
    """How many of those that wait are in the hands of workers, are held because Datadog is (families of calls that are
    `closed`), are delayed until their own time, or wait for nothing but their turn. Together they are `waiting`.

    Of each key the first statement alone can be in one of the first three states: the others wait for their turn.
    """
    held = sum(lanes.in_hand[family] + lanes.due[family] for family in closed)
    in_flight = sum(number for family, number in lanes.in_hand.items() if family not in closed)
    found = {"in_flight": in_flight, "held": held, "delayed": sum(lanes.later.values())}
    left = waiting
    for state, number in found.items():  # they were not all counted at one moment
        found[state] = min(number, left)
        left -= found[state]
    return {"waiting": left, **found}


def _destination(fields: Mapping[str, str]) -> dict[str, Any]:
    state = fields.get("state", "open")
    if state not in _WORST:
        state = "open"
    until = int(float(fields.get("until") or 0))
    return {
        "state": state,
        "until": to_rfc3339(until * _MS) if until and state != "open" else None,
        "reason": fields.get("reason") or None if state != "open" else None,
        "became": {one: int(fields[f"became_{one}"]) for one in _WORST if f"became_{one}" in fields},
    }


class Gauges:
    """What /metrics tells of Redis, at most CACHE_S old."""

    def __init__(self, look: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._look = look
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._seen: Mapping[str, Any] | None = None
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def text(self) -> bytes:
        """The gauges in Prometheus' text format."""
        async with self._looking:  # scrapes at the same time share one look
            if time.monotonic() - self._looked_at >= CACHE_S:
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        self._seen = await self._look()
                except (RedisError, OSError, TimeoutError):
                    self._seen = None
                self._looked_at = time.monotonic()
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Names are told when there are values."""
        return ()

    def collect(self) -> Iterable[Metric]:
        seen = self._seen
        yield _gauge("redis_up", "1 if Redis answered in time", "", {"": float(seen is not None)})
        if seen is None:
            return
        yield _gauge("events_waiting", "Events that are not delivered yet", "state", seen["states"])
        about = "Since the oldest that does not wait on purpose came in, was put back or was due"
        yield _gauge("oldest_waiting_age_seconds", about, "", {"": seen["oldest_age_s"]})
        yield _gauge("lanes_overdue", "Lanes with overdue work that nobody holds", "", {"": seen["lanes_overdue"]})
        states = {state: float(seen["destination"]["state"] == state) for state in _WORST}
        yield _gauge("destination_state", "1 for the worst state of Datadog's families of calls", "state", states)
        changes = CounterMetricFamily(
            "dora_bridge_destination_changes", "How often a family of calls became so", labels=["endpoint", "state"]
        )
        for family, one in seen["destinations"].items():
            for state, count in one["became"].items():
                changes.add_metric([family, state], count)
        yield changes
        yield _gauge("dead_letters", "Dead letters", "reason", seen["dead_letters"])
        yield _gauge("events_missing", "Delivered events that Datadog does not have", "", {"": seen["missing"]})
        without_env = {"deployment": seen["without_env"]["deployments"], "failure": seen["without_env"]["failures"]}
        yield _gauge("events_without_env", "Kept events that name no environment", "fact", without_env)
        waiting_links = {"": seen["link_suggestions"]}
        yield _gauge("link_suggestions", "Links of incidents that wait for a person", "", waiting_links)
        expiring = {"": seen["expiring"]["soon"]}
        yield _gauge("dead_letters_expiring", "Dead letters that expire within days", "", expiring)
        yield _gauge(
            "last_accepted_timestamp_seconds", "When a webhook became an event last", "source", seen["accepted"]
        )
        yield _gauge("workers", "Worker processes", "state", {"alive": seen["workers"]})


def _gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"dora_bridge_{name}", help_text, labels=[label] if label else [])
    for value, number in values.items():
        family.add_metric([value] if label else [], number)
    return family
