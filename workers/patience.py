"""When an event that failed is tried again, and when to stop. Pure."""

from __future__ import annotations

from workers.datadog import Outcome, Reason

SCHEDULE_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Waits between the tries of one event while others pass; the last one repeats."""
MOST_TRIES = 30
"""About six hours of `SCHEDULE_S`: an event that alone keeps failing is not the destination's fault."""
NOT_FOUND_S = (2.0, 10.0, 60.0, 300.0)
"""A PATCH or DELETE whose record Datadog does not know (yet)."""
PENDING_S = (5.0, 30.0, 120.0, 600.0)
"""A statement that waits for its deployment to be reported, or its incident to be created: for as long as
`PATIENCE_S`, if need be."""
PATIENCE_S = 48 * 3600.0

_SCHEDULES = {
    Reason.NOT_FOUND: (NOT_FOUND_S, len(NOT_FOUND_S) + 1),
    Reason.DEPLOYMENT_PENDING: (PENDING_S, 1_000_000),
    Reason.INCIDENT_PENDING: (PENDING_S, 1_000_000),
}


def next_try_s(outcome: Outcome, *, tries: int, age_s: float, jitter: float, others_pass: bool = True) -> float | None:
    """Seconds to wait before the next try, or None to stop.

    `tries` counts the failed ones, this one included; `age_s` is the time since the first; `jitter` is random
    between 0 and 1 and lengthens a wait by up to a tenth. Unless others passed meanwhile, a lone event that fails
    shows nothing about itself, and only its age ends it.
    """
    schedule, most = _SCHEDULES.get(outcome.reason, (SCHEDULE_S, MOST_TRIES))
    if (others_pass and tries >= most) or age_s >= PATIENCE_S:
        return None
    return schedule[min(tries, len(schedule)) - 1] * (1 + jitter / 10)
