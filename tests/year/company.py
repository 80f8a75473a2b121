"""The company: what really happened, and so what Datadog has to come to. Pure; the same seed tells the same story.

Its truth is not computed from anything the bridge computes: it is what the scenes in `life.py` say.
All times are seconds since the epoch, UTC; `Facts` have nanoseconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from year.cast import DAY, HOUR, Alarm, Rollout, Unit, units_of
from year.facts import SECOND, Deployed, Facts, Incident, Managed, Place, Remedy
from year.life import Life


@dataclass(frozen=True, slots=True)
class Company:
    units: Sequence[Unit]
    rollouts: Sequence[Rollout]
    alarms: Sequence[Alarm]
    outages: Sequence[tuple[int, int]]
    """When the bridge was down."""
    facts: Facts
    """The truth."""
    scenes: Sequence[str]
    """What was staged, in order of the units."""


def company(seed: int, days: int, end: int) -> Company:
    """What happened in the `days` before `end`."""
    start = end - days * DAY
    dice = random.Random(seed)  # noqa: S311 - a story, no secret
    outages = _outages(dice, start, days)
    units = units_of(dice)
    numbers = iter(range(1, 10**9))
    lives = [Life(unit, random.Random(f"{seed}/{unit.name}"), numbers, start, end, outages) for unit in units]  # noqa: S311 - as above
    for position, life in enumerate(lives):
        life.live(neighbour=units[(position + 7) % len(units)])
    rollouts = [one for life in lives for one in life.rollouts]
    alarms = [one for life in lives for one in life.alarms]
    kept = [alarm for alarm in alarms if alarm.merged_into is None and alarm.counts]
    facts = Facts(
        [seen for one in rollouts for seen in deployed(one)],
        {
            _place(failed, service): Remedy(kind, _known_end(remedy)) if kind and remedy else None
            for life in lives
            for (failed, service, remedy, kind) in life.failures
        },
        [one for alarm in kept if alarm.pager != "pagerduty-ops" for one in _incidents(alarm)],
        [one for alarm in kept if alarm.pager == "pagerduty-ops" for one in _managed(alarm)],
    )
    return Company(units, rollouts, alarms, outages, facts, [scene for life in lives for scene in life.scenes])


def deployed(rollout: Rollout) -> Iterator[Deployed]:
    """What can be known of it; nothing of what counts as no deployment."""
    if rollout.unit.way == "argocd" and rollout.is_again:
        return  # the same revision was synced again (option `redeploys: skip`)
    unit = rollout.unit
    # a history entry names neither the application's commit nor its version, and a rollback by hand changes neither
    # of the annotations, which then describe what was rolled back
    has_commit = unit.names_commit and not rollout.is_lost and rollout.undo != "history"
    has_version = unit.names_version and not rollout.is_lost
    for service in unit.services:
        yield Deployed(
            _place(rollout, service),
            rollout.started * SECOND,
            rollout.commit if has_commit else None,
            unit.repository.url if has_commit else None,
            rollout.version if has_version else None,
        )


def _known_end(rollout: Rollout) -> int:
    # when it became healthy is not in the history
    return (rollout.synced if rollout.is_lost else rollout.finished) * SECOND


def _place(rollout: Rollout, service: str) -> Place:
    return Place(service, rollout.env, _known_end(rollout))


def _incidents(alarm: Alarm) -> Iterator[Incident]:
    rank = alarm.raised_to or alarm.priority
    for begin, end in alarm.nanoseconds:
        yield Incident(tuple(sorted(alarm.services)), alarm.env, begin, end, f"SEV-{rank}" if rank else "High")


def _managed(alarm: Alarm) -> Iterator[Managed]:
    for begin, end in alarm.nanoseconds:
        # without a priority its urgency counts, which is high
        severity = f"SEV-{alarm.raised_to or alarm.priority or 2}"
        yield Managed(tuple(sorted(alarm.services)), begin, "active" if end is None else "resolved", severity)


def _outages(dice: random.Random, start: int, days: int) -> list[tuple[int, int]]:
    """The bridge is down for some hours: once, or every two months."""
    several = max(1, days // 60)
    outages = []
    for number in range(several):
        begin = int(start + (number + dice.uniform(0.5, 0.7)) * days * DAY / several)
        outages.append((begin, begin + int(dice.uniform(5, 9) * HOUR)))
    return outages
