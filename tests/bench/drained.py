"""Waits until so many events have reached the stand-in Datadog, and says how fast they did and what it cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.medians import steady_rate
from bench.processes import cpu_s
from bench.upstream import Got, Upstream


class NotDrained(Exception):
    """It took too long."""


@dataclass(frozen=True, slots=True)
class Drained:
    got: Got
    per_second: float
    """Between the first and the last tenth of the events."""
    cpu_s_per_1000: float
    """CPU seconds of the processes that deliver, over the same part."""
    redis_cpu_s_per_1000: float


def drained(
    datadog: Upstream, count: int, deliverer: int, redis: int | None = None, *, timeout_s: float = 120
) -> Drained:
    """Process ids are those of what delivers, its descendants included, and of its Redis. Raises: NotDrained."""
    pids: Sequence[int | None] = (deliverer, redis)
    marks: list[tuple[int, list[float]]] = []
    deadline = time.monotonic() + timeout_s
    while (done := datadog.count()) < count:
        if (len(marks) == 0 and done >= count * 0.1) or (len(marks) == 1 and done >= count * 0.9):
            marks.append((done, _used(pids)))
        if time.monotonic() > deadline:
            raise NotDrained(f"{done} of {count} events were delivered in {timeout_s:.0f} s")
        time.sleep(0.02)
    if len(marks) < 2:  # the rest came within one look
        marks.append((done, _used(pids)))
    (first, before), (last, after) = marks[0], marks[-1]
    each = [(b - a) / max(1, last - first) * 1000 for a, b in zip(before, after, strict=True)]
    got = datadog.got()
    return Drained(got, steady_rate(got.delivered), each[0], each[1])


def _used(pids: Sequence[int | None]) -> list[float]:
    return [cpu_s(pid) if pid is not None else 0.0 for pid in pids]
