"""Which metrics the processes tell, with which labels: what alerts and the dashboard may ask for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from bridge.metrics import REGISTRY
from bridge.status import Gauges


def told_metrics() -> dict[str, set[str]]:
    """Name of each series, as Prometheus keeps it -> its labels."""
    told: dict[str, set[str]] = {}
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            for metric in collector.describe():
                _add(told, metric.name, metric.type, collector._labelnames)
        else:
            for metric in collector.collect():  # of the process itself
                _add(told, metric.name, metric.type, ())
    for metric in gauges():
        labels = {name for sample in metric.samples for name in sample.labels}
        _add(told, metric.name, metric.type, labels)
    return told


def _add(told: dict[str, set[str]], name: str, kind: str, labels: Iterable[str]) -> None:
    names = {"counter": [f"{name}_total"], "histogram": [f"{name}_count", f"{name}_sum"]}.get(kind, [name])
    told.update({one: set(labels) for one in names})
    if kind == "histogram":
        told[f"{name}_bucket"] = {*labels, "le"}


def gauges() -> list[Metric]:
    """What is read from Redis, of an installation where everything has a value."""

    async def look() -> dict[str, object]:
        return {}

    one = Gauges(look)
    one._seen = {
        "states": {"waiting": 1},
        "oldest_age_s": 1.0,
        "lanes_overdue": 0,
        "destination": {"state": "open"},
        "destinations": {"deployment": {"became": {"open": 1}}},
        "dead_letters": {"invalid": 1},
        "missing": 0,
        "without_env": {"deployments": 0, "failures": 0},
        "link_suggestions": 0,
        "expiring": {"soon": 0},
        "accepted": {"github": 1.0},
        "workers": 1,
    }
    return list(one.collect())
