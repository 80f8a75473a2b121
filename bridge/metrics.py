"""Metrics: their names, labels and help texts, all in one place. Labels come from closed sets, never from payloads.

What is read from Redis, and so is the same whoever tells it, is in `status.py`.

Several worker processes under one supervisor count into files (prometheus_client's multiprocess mode: they live long,
so the files are few), which the supervisor adds up for its listener. Counters in Redis would be right too, but would
cost writes for each outcome, and the same number from every pod; as it is, counters are summed over pods, like all
others. `multiprocess_mode` says how gauges of several processes become one.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Collection, Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from bridge import __version__
from bridge.errors import LedgerUnavailable, SignatureMismatch, SignatureMissing
from bridge.worker_listener import BEAT

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

WEBHOOKS = Counter(
    "dora_bridge_webhooks", "Webhooks answered", ["source", "kind", "outcome", "reason"], registry=REGISTRY
)
WEBHOOK_DURATION = Histogram(
    "dora_bridge_webhook_duration_seconds",
    "From the first byte read to the answer",
    ["source", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=REGISTRY,
)
SIGNATURE_MATCHES = Counter(
    "dora_bridge_signature_matches",
    "Authentic webhooks by position of the secret that matched: tells when an old one can go",
    ["source", "secret"],
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "dora_bridge_delivery_attempts",
    "Calls of Datadog; status 0 if there was no answer",
    ["endpoint", "verdict", "status"],
    registry=REGISTRY,
)
DELIVERIES = Counter(
    "dora_bridge_deliveries",
    "Events that came to an end",
    ["source", "endpoint", "outcome", "reason"],
    registry=REGISTRY,
)
DELIVERY_DURATION = Histogram(
    "dora_bridge_delivery_duration_seconds", "One call of Datadog", ["endpoint"], registry=REGISTRY
)
EVENT_AGE = Histogram(
    "dora_bridge_event_age_seconds",
    "From receipt, or from when a dead letter was put back, to delivery",
    ["source"],
    buckets=(0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
    registry=REGISTRY,
)
DEAD_LETTERS_EXPIRED = Counter(
    "dora_bridge_dead_letters_expired", "Dead letters that were dropped for age or number", registry=REGISTRY
)
READ_BACK = Counter(
    "dora_bridge_read_back", "Delivered events that were looked for in Datadog", ["outcome"], registry=REGISTRY
)
REDELIVERIES = Counter(
    "dora_bridge_redeliveries_asked", "Deliveries that GitHub was asked to repeat", ["endpoint"], registry=REGISTRY
)
RATE_LIMIT_REMAINING = Gauge(
    "dora_bridge_rate_limit_remaining",
    "Calls that Datadog's last answer left in the period",
    ["endpoint"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
RATE_LIMIT_WAIT = Counter(
    "dora_bridge_rate_limit_wait_seconds",
    "How long worker processes had something to send, and Datadog's rate limit no call left",
    ["endpoint"],
    registry=REGISTRY,
)
HEARTBEAT = Gauge(
    BEAT,
    "When a worker's loop gave its last sign of life",
    ["thread"],
    registry=REGISTRY,
    multiprocess_mode="min",
)


def _revision() -> str:
    """The commit this was built from: of the file that the image's build writes; empty elsewhere."""
    file = importlib.resources.files("bridge") / "REVISION"
    return file.read_text("ascii").strip() if file.is_file() else ""


BUILD_INFO = Gauge(
    "dora_bridge_build_info", "Always 1", ["version", "revision"], registry=REGISTRY, multiprocess_mode="max"
)
BUILD_INFO.labels(__version__, _revision()).set(1)


# `labels` checks and converts its values at each call, which costs more than the counting: of webhooks, which come by
# the thousand, each combination is looked up once.
webhooks = cache(WEBHOOKS.labels)
webhook_duration = cache(WEBHOOK_DURATION.labels)
signature_matches = cache(SIGNATURE_MATCHES.labels)

# Prometheus sees increases, and a counter that comes with 1 has not increased: without these zeros the first of each
# kind after a start would be missed, which may be the only one that day.


def webhooks_from_zero(source: str, kinds: Iterable[str]) -> None:
    """Shows what may be counted of this source's webhooks, before there is one."""
    for kind in kinds:
        WEBHOOKS.labels(source, kind, "accepted", "")
    for error in (SignatureMissing, SignatureMismatch):
        WEBHOOKS.labels(source, "", "refused", error.reason)
    WEBHOOKS.labels(source, "", "unavailable", LedgerUnavailable.reason)


def deliveries_from_zero(sources: Collection[str], families: Iterable[str]) -> None:
    """The same of calls and deliveries, as far as alerts ask for them."""
    for family in families:
        for source in sources:
            DELIVERIES.labels(source, family, "delivered", "")
        for status in ("401", "403", "429"):
            ATTEMPTS.labels(family, "errored", status)
    for source in sources:
        EVENT_AGE.labels(source)
