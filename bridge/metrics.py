"""Metrics: their names, labels and help texts, all in one place. Labels come from closed sets, never from payloads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bridge import __version__

REGISTRY = CollectorRegistry()

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
LAST_ACCEPTED = Gauge(
    "dora_bridge_last_accepted_timestamp_seconds",
    "When the last event was accepted",
    ["source"],
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "dora_bridge_delivery_attempts", "Calls of Datadog", ["endpoint", "verdict", "status"], registry=REGISTRY
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
    "From receipt to delivery",
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
BUILD_INFO = Gauge("dora_bridge_build_info", "Always 1", ["version"], registry=REGISTRY)
BUILD_INFO.labels(__version__).set(1)
