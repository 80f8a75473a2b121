"""Deployments that fail and incidents that are merged, also of Incident Management, in every part of a story. Pure.

The company of `make year` has all of them, but in some runs too few to be met by harm. So it gets units that have
little else.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from year.cast import HOUR, MINUTE, Alarm, Pager, Repository, Rollout, Unit
from year.company import Company

EVERY = 18 * HOUR
"""How often each kind of trouble happens."""
FIRST_NUMBER = 1_000_000
"""Of rollouts and incidents: beyond those of the company."""
_REPOSITORY = Repository("malls", 70_900_000)
UNITS = (
    Unit("kiosk", ("kiosk",), _REPOSITORY, "payload", "pagerduty", 1),
    Unit("lockers", ("lockers",), _REPOSITORY, "argocd", "pagerduty-ops", 1),
)


def with_troubles(company: Company, seed: int, begin: int, end: int) -> Company:
    """The company with such units, and what happens to them from `begin` to `end` (seconds since the epoch)."""
    kiosk, lockers = UNITS
    dice = random.Random(f"troubles/{seed}")  # noqa: S311 - a choice, no secret
    troubles = _Troubles(dice, itertools.count(FIRST_NUMBER))
    rollouts, alarms = [*company.rollouts], [*company.alarms]
    for at in range(begin + EVERY, end - EVERY, EVERY):
        rollouts += [*troubles.rolled_back(kiosk, at), *troubles.degraded(lockers, at)]
        alarms += [*troubles.merged(kiosk, at), *troubles.merged(lockers, at)]
    return replace(company, units=[*company.units, *UNITS], rollouts=rollouts, alarms=alarms)


@dataclass
class _Troubles:
    """What happens at some time within EVERY after a given one."""

    dice: random.Random
    numbers: Iterator[int]

    def rolled_back(self, unit: Unit, after: int) -> Iterator[Rollout]:
        """GitHub: a bad deployment, and one that names it as what it rolls back."""
        bad = self._rollout(unit, self._within(after), "bad")
        yield bad
        back = self._rollout(unit, bad.finished + self._some(2, 30), "good")
        yield replace(back, undo="rollback_of", undoes=bad.number)

    def degraded(self, unit: Unit, after: int) -> Iterator[Rollout]:
        """Argo CD: healthy, then degraded; the next one remedies it."""
        rollout = self._rollout(unit, self._within(after), "bad")
        yield replace(rollout, degraded=rollout.notified + self._some(1, 30))

    def merged(self, unit: Unit, after: int) -> Iterator[Alarm]:
        """PagerDuty: an incident that is resolved, and one that is merged into it."""
        begin = self._within(after)
        parent = self._alarm(unit, begin, begin + self._some(30, 90))
        yield parent
        child = begin + self._some(1, 5)
        yield replace(self._alarm(unit, child, child + self._some(1, 20)), merged_into=parent.number)

    def _rollout(self, unit: Unit, at: int, what: str) -> Rollout:
        number = next(self.numbers)
        synced, finished = at + 20, at + 60
        return Rollout(
            unit=unit,
            number=number,
            env="production",
            started=at,
            finished=finished,
            commit=_sha(f"{unit.name} {what} {number if what == 'bad' else ''}"),
            version=f"9.{number - FIRST_NUMBER}.0",
            synced=synced if unit.way == "argocd" else 0,
            revision=_sha(f"malls/{number}"),
            notified=finished + self.dice.randint(3, 70),
        )

    def _alarm(self, unit: Unit, begin: int, end: int) -> Alarm:
        pager: Pager = unit.pager
        return Alarm(
            unit=unit,
            number=next(self.numbers),
            pager=pager,
            services=unit.services,
            env="production",
            spans=((begin, end),),
            priority=self.dice.choice([1, 2, 3]),
        )

    def _within(self, after: int) -> int:
        return after + self.dice.randrange(EVERY - 4 * HOUR)

    def _some(self, least: int, most: int) -> int:
        """So many minutes."""
        return self.dice.randint(least * MINUTE, most * MINUTE)


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
