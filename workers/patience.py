"""When an event that failed is tried again, and when to stop. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workers.datadog import Outcome, Reason

SCHEDULE_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Waits between the tries of one event while others pass; the last one repeats."""
MOST_TRIES = 30
"""About six hours of `SCHEDULE_S`: an event that alone keeps failing is not the destination's fault."""
NOT_FOUND_S = (2.0, 10.0, 60.0, 300.0)
"""A PATCH or DELETE whose record Datadog does not know (yet)."""
DELAYED_S = 600.0
"""How long after a 202 a deployment is left alone before a PATCH of it."""
PENDING_S = (5.0, 30.0, 120.0, 540.0)
"""A statement that waits for its deployment to be reported, or its incident to be created: for as long as
`PATIENCE_S`, if need be. With jitter the last wait is shorter than DELAYED_S: so none lasts beyond its end."""
PATIENCE_S = 48 * 3600.0

_SCHEDULES = {
    Reason.NOT_FOUND: (NOT_FOUND_S, len(NOT_FOUND_S) + 1),
    Reason.DEPLOYMENT_PENDING: (PENDING_S, 1_000_000),
    Reason.INCIDENT_PENDING: (PENDING_S, 1_000_000),
}


def untouchable_s(delivered: Sequence[tuple[int | None, bool]], now_ms: int) -> float | None:
    """Seconds until all of these deployments may be named in a PATCH; None while one of them is not delivered.

    Of each: since when (ms since the epoch) Datadog has it, and whether it answered 202.
    """
    latest_ms = now_ms
    for at, delayed in delivered:
        if at is None:
            return None
        if delayed:
            latest_ms = max(latest_ms, at + int(DELAYED_S * 1000))
    return (latest_ms - now_ms) / 1000


def next_try_s(outcome: Outcome, *, tries: int, age_s: float, jitter: float, others_pass: bool = True) -> float | None:
    """Seconds to wait before the next try, or None to stop.

    `tries` counts the failed ones, this one included; `age_s` is the time since the first; `jitter` is random
    between 0 and 1 and lengthens a wait by up to a tenth. Unless others passed meanwhile, a lone event that fails
    shows nothing about itself, and only its age ends it. What is known to wait for a time waits for just that.
    """
    schedule, most = _SCHEDULES.get(outcome.reason, (SCHEDULE_S, MOST_TRIES))
    if (others_pass and tries >= most) or age_s >= PATIENCE_S:
        return None
    if outcome.wait_s is not None:
        return outcome.wait_s
    return schedule[min(tries, len(schedule)) - 1] * (1 + jitter / 10)
