"""What happens to one unit of the company: it is deployed, and now and then a scene is staged. Pure.

Each scene says itself which deployment failed and what remedied it. What nobody could know, since only a webhook that
was lost for ever said so, does not happen: no rollback by a reverted commit and no degraded state of Argo CD around
an outage of the bridge.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from year.cast import DAY, HOUR, LOW, MINUTE, PAGERDUTY, Alarm, Label, Rollout, Undo, Unit

Failure = tuple[Rollout, str, Rollout | None, Literal["rollback", "rollforward"] | None]
"""What failed, in which service, what remedied it and how."""


@dataclass
class Life:
    """What happens to one unit."""

    unit: Unit
    dice: random.Random
    numbers: Iterator[int]
    start: int
    end: int
    outages: Sequence[tuple[int, int]]
    rollouts: list[Rollout] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    line: list[Rollout] = field(default_factory=list)
    """What went live in production."""
    now: int = 0

    def live(self, neighbour: Unit) -> None:
        self.neighbour = neighbour
        self._deploy(self.start + self._some(MINUTE, 18 * HOUR))
        while True:
            gap = max(40 * MINUTE, int(self.dice.expovariate(self.unit.per_week / (7 * DAY))))
            at = self.now + gap
            if at > self.end - 48 * HOUR:
                break
            self._while_nothing_changes(self.now, at)
            last = self._deploy(at)
            chance = self.dice.random()
            if chance < 0.08 and self.unit.way != "platform":
                self._deploy_again(last)
            elif chance < 0.35:
                self._trouble(last)
        if self.line[-1].is_lost:  # somebody has to tell of it, and only a later rollout does
            self._deploy(self.end - self._some(2 * HOUR, 20 * HOUR))

    # -- scenes

    def _trouble(self, last: Rollout) -> None:
        scenes: list[Callable[[Rollout], str]] = [
            self._rolled_back,
            self._rolled_back,
            self._rolled_back_late,
            self._rolled_back_twice_as_far,
            self._rolled_back_quietly,
            self._hotfixed,
            self._hotfixed,
            self._hotfixed_after_two_alarms,
            self._fixed_too_late,
            self._healed_by_itself,
            self._still_open,
            self._found_to_be_no_change,
        ]
        if self.unit.pager in PAGERDUTY:
            scenes += [self._merged, self._merged, self._reopened, self._reopened]
        if self.unit.pager in ("opsgenie", "jsm"):
            scenes += [self._alerted]
        if self.unit.way == "argocd":
            scenes += [self._degraded_at_once, self._degraded_later, self._degraded_and_rolled_back]
        self.scenes.append(self.dice.choice(scenes)(last))

    def _rolled_back(self, bad: Rollout, *, late: bool = False) -> str:
        target = self._earlier(1)
        if target is None:
            return self._hotfixed(bad)
        begin = self._soon_after(bad)
        # a rollback counts even if people had closed the incident before
        back = self._roll_back(begin + self._some(6 * HOUR if late else 4 * MINUTE, 9 * HOUR if late else HOUR), target)
        end = back.started - self._some(MINUTE, HOUR) if late else back.finished + self._some(MINUTE, 20 * MINUTE)
        self._alarm(begin, max(end, begin + 30))
        self._failed(bad, back, "rollback")
        return "rolled back late" if late else "rolled back"

    def _rolled_back_late(self, bad: Rollout) -> str:
        return self._rolled_back(bad, late=True)

    def _rolled_back_twice_as_far(self, bad: Rollout) -> str:
        target = self._earlier(2)
        if target is None:
            return self._rolled_back(bad)
        between = self.line[-2]
        begin = self._soon_after(bad)
        back = self._roll_back(begin + self._some(4 * MINUTE, HOUR), target)
        services = self._alarm(begin, back.finished + self._some(MINUTE, 20 * MINUTE))
        # Datadog blames the first one after the version that returned; the alarm blames the one that was live
        self._failed(between, back, "rollback")
        explicit = self.unit.services if back.undo == "rollback_of" else services
        self._failed(bad, back, "rollback", services=explicit)
        return "rolled back twice as far"

    def _rolled_back_quietly(self, bad: Rollout) -> str:
        target = self._earlier(1)
        if target is None:
            return self._healed_by_itself(bad)
        back = self._roll_back(bad.finished + self._some(5 * MINUTE, 5 * HOUR), target)
        self._failed(bad, back, "rollback")
        return "rolled back quietly"

    def _hotfixed(self, bad: Rollout) -> str:
        begin = self._soon_after(bad)
        fix = self._deploy(begin + self._some(10 * MINUTE, 3 * HOUR))
        services = self._alarm(begin, fix.finished + self._some(MINUTE, 30 * MINUTE), may_be_raised=True)
        self._failed(bad, fix, "rollforward", services=services)
        return "hotfixed"

    def _hotfixed_after_two_alarms(self, bad: Rollout) -> str:
        begin = self._soon_after(bad)
        first = self._alarm(begin, begin + self._some(5 * MINUTE, 20 * MINUTE))
        again = begin + self._some(25 * MINUTE, 50 * MINUTE)
        fix = self._deploy(again + self._some(10 * MINUTE, 2 * HOUR))
        second = self._alarm(again, fix.finished + self._some(MINUTE, 30 * MINUTE))
        # the first alarm was over when the fix began: for a service that only it named, nothing remedied it
        self._failed(bad, None, None, services=tuple(set(first) - set(second)))
        self._failed(bad, fix, "rollforward", services=second)
        return "two alarms, hotfixed"

    def _fixed_too_late(self, bad: Rollout) -> str:
        begin = self._soon_after(bad)
        end = begin + self._some(5 * MINUTE, 40 * MINUTE)
        self._deploy(end + self._some(5 * MINUTE, 2 * HOUR))
        self._failed(bad, None, None, services=self._alarm(begin, end))
        return "next deployment after the alarm was over"

    def _healed_by_itself(self, bad: Rollout) -> str:
        begin = self._soon_after(bad)
        end = begin + self._some(5 * MINUTE, 3 * HOUR)
        self._failed(bad, None, None, services=self._alarm(begin, end, may_be_raised=True))
        return "healed by itself"

    def _still_open(self, bad: Rollout) -> str:
        begin = self._soon_after(bad)
        fix = self._deploy(begin + self._some(10 * MINUTE, 3 * HOUR))
        self._failed(bad, fix, "rollforward", services=self._alarm(begin, None))
        return "never closed"

    def _found_to_be_no_change(self, good: Rollout) -> str:
        begin = self._soon_after(good)
        if self.unit.pager in PAGERDUTY or self._is_disturbed(begin - HOUR, begin + 5 * HOUR):  # has no labels
            return self._healed_by_itself(good)
        takes_it_back = self.dice.random() < 0.4
        label: Label = "taken off" if takes_it_back else "not-a-change"
        services = self._alarm(begin, begin + self._some(HOUR, 3 * HOUR), label=label)
        if takes_it_back:
            self._failed(good, None, None, services=services)
        return "found to be a change after all" if takes_it_back else "found to be no change"

    def _alerted(self, good: Rollout) -> str:
        """An alert too low to be a failure."""
        begin = self._soon_after(good)
        self._alarm(begin, begin + self._some(5 * MINUTE, HOUR), priority=LOW)
        return "an alert that does not count"

    def _merged(self, bad: Rollout) -> str:
        """A neighbour's alarm, which was about this one: it is merged away and must blame nothing."""
        begin = self._soon_after(bad)
        fix = self._deploy(begin + self._some(20 * MINUTE, 3 * HOUR))
        services = self._alarm(begin, fix.finished + self._some(MINUTE, 30 * MINUTE))
        parent = self.alarms[-1]
        own = self.dice.random() < 0.3
        unit = self.unit if own else self.neighbour
        child = begin + self._some(MINUTE, 6 * MINUTE)
        self._alarm(child, child + self._some(MINUTE, 9 * MINUTE), unit=unit, merged_into=parent.number)
        self._failed(bad, fix, "rollforward", services=services)
        return "merged"

    def _reopened(self, bad: Rollout) -> str:
        begin = self._soon_after(bad)
        end = begin + self._some(5 * MINUTE, 20 * MINUTE)
        again = end + self._some(5 * MINUTE, 30 * MINUTE)
        fix = self._deploy(again + self._some(10 * MINUTE, 2 * HOUR))
        over = fix.finished + self._some(MINUTE, 30 * MINUTE)
        services = self._alarm(begin, end, reopened=(again, over))
        self._failed(bad, fix, "rollforward", services=services)
        return "reopened"

    def _degraded_at_once(self, last: Rollout) -> str:
        if self._is_disturbed(last.finished - HOUR, last.finished + 16 * HOUR):
            return self._healed_by_itself(last)
        bad = self._deploy(last.finished + self._some(HOUR, 4 * HOUR), is_degraded=True)
        fix = self._deploy(bad.finished + self._some(20 * MINUTE, 3 * HOUR))
        self._failed(bad, fix, "rollforward")
        return "degraded at once"

    def _degraded_later(self, last: Rollout) -> str:
        if self._is_disturbed(last.finished - HOUR, last.finished + 16 * HOUR) or last.degraded is not None:
            return self._healed_by_itself(last)
        bad = self._degrade(last, last.finished + self._some(20 * MINUTE, 4 * HOUR))
        fix = self._deploy(self.now + self._some(20 * MINUTE, 3 * HOUR))
        self._failed(bad, fix, "rollforward")
        return "degraded later"

    def _degraded_and_rolled_back(self, last: Rollout) -> str:
        target = self._earlier(1)
        if target is None or self._is_disturbed(last.finished - HOUR, last.finished + 16 * HOUR):
            return self._healed_by_itself(last)
        bad = self._degrade(last, last.finished + self._some(20 * MINUTE, 4 * HOUR))
        back = self._roll_back(self.now + self._some(5 * MINUTE, HOUR), target)
        self._failed(bad, back, "rollback")
        return "degraded, rolled back"

    def _while_nothing_changes(self, begin: int, end: int) -> None:
        """Alarms that no deployment can have caused."""
        if not self.line or self.dice.random() > 0.4:
            return
        if end - begin > 32 * HOUR and self.dice.random() < 0.6:
            at = self.dice.randrange(begin + 25 * HOUR, end - 3 * HOUR)
            self._alarm(at, at + self._some(10 * MINUTE, 2 * HOUR), may_be_raised=True)
            self.scenes.append("nothing was deployed for a day")
        elif (
            self.unit.pager not in PAGERDUTY
            and not self.unit.has_staging
            and end - begin > 3 * HOUR
            and not self._is_disturbed(begin, begin + 4 * HOUR)
        ):
            at = begin + self._some(5 * MINUTE, 50 * MINUTE)
            self._alarm(at, at + self._some(5 * MINUTE, 50 * MINUTE), env="staging")
            self.scenes.append("in another env")

    # -- props

    def _deploy(self, at: int, *, is_degraded: bool = False) -> Rollout:
        """A new version."""
        number = next(self.numbers)
        commit = hashlib.sha1(f"{self.unit.name}/{number}".encode(), usedforsecurity=False).hexdigest()
        version = f"{1 + len(self.line) // 40}.{len(self.line) % 40}.{number % 7}"
        if self.unit.has_staging:
            # tried there first
            self._add(at - self._some(20 * MINUTE, 30 * MINUTE), number, "staging", commit, version)
            number = next(self.numbers)
        return self._add(at, number, "production", commit, version, is_degraded=is_degraded)

    def _deploy_again(self, last: Rollout) -> Rollout:
        """The same version once more: a workflow that was run again, somebody who pressed Sync."""
        self.scenes.append("the same again")
        at = last.finished + self._some(5 * MINUTE, 5 * HOUR)
        return self._add(
            at, next(self.numbers), "production", last.commit, last.version, revision=last.revision, is_again=True
        )

    def _roll_back(self, at: int, target: Rollout) -> Rollout:
        undo = self._undo(target)
        return self._add(
            at,
            next(self.numbers),
            "production",
            target.commit,
            target.version,
            undo=undo,
            undoes=self.line[-1].number,
            revision=target.revision if undo == "history" else "",
        )

    def _undo(self, target: Rollout) -> Undo:
        """How this rollback will show."""
        if self.unit.way == "workflow":
            return "plain"
        if self.unit.way != "argocd":
            return self.dice.choice(["plain", "payload", "rollback_of", "task"])
        begin = self.line[-1].started
        calm = not self._is_disturbed(begin - HOUR, begin + 16 * HOUR)
        # Datadog sees a commit return only if it was told of it before
        told = target.undo != "history" or not self.unit.names_commit
        return self.dice.choice(["plain", "history"]) if calm and told else "history"

    def _earlier(self, steps: int) -> Rollout | None:
        """The rollout so many before the last one, if going back to it blames just what came after."""
        if len(self.line) <= steps:
            return None
        after = self.line[-steps:]
        target = self.line[-steps - 1]
        blamed = {failed.number for failed, _, _, _ in self.failures}
        if target.is_lost or any(one.version == target.version for one in after):
            return None
        if len({one.version for one in after}) < steps:
            return None
        if steps > 1 and any(one.number in blamed or one.is_lost or one.undo for one in after):
            return None
        return target

    def _add(
        self,
        at: int,
        number: int,
        env: str,
        commit: str,
        version: str,
        *,
        undo: Undo | None = None,
        undoes: int = 0,
        revision: str = "",
        is_again: bool = False,
        is_degraded: bool = False,
    ) -> Rollout:
        finished = at + self._some(45, 12 * MINUTE)
        synced = notified = 0
        if self.unit.way == "argocd":
            synced = at + self._some(2, 40)
            finished = synced if is_degraded else synced + self._some(10, 4 * MINUTE)
            notified = finished + self._some(3, 70)
            revision = revision or hashlib.sha1(f"deploy/{number}".encode(), usedforsecurity=False).hexdigest()
        rollout = Rollout(
            unit=self.unit,
            number=number,
            env=env,
            started=at,
            finished=finished,
            commit=commit,
            version=version,
            synced=synced,
            revision=revision,
            notified=notified,
            is_lost=any(begin <= notified < end for begin, end in self.outages),
            undo=undo,
            undoes=undoes,
            is_again=is_again,
            fails_first=self.dice.random() < 0.06,
            degraded=synced if is_degraded else None,
        )
        self.rollouts.append(rollout)
        if env == "production":
            self.now = max(finished, notified)
            if not (is_again and self.unit.way == "argocd"):
                self.line.append(rollout)
        return rollout

    def _degrade(self, rollout: Rollout, at: int) -> Rollout:
        """The same rollout, seen degraded later."""
        self.now = at
        degraded = replace(rollout, degraded=at)
        for several in (self.rollouts, self.line):
            several[several.index(rollout)] = degraded
        return degraded

    def _alarm(
        self,
        begin: int,
        end: int | None,
        *,
        unit: Unit | None = None,
        env: str = "production",
        reopened: tuple[int, int] | None = None,
        merged_into: int | None = None,
        label: Label = "",
        may_be_raised: bool = False,
        priority: int | None = None,
    ) -> tuple[str, ...]:
        """The services it names."""
        unit = unit or self.unit
        pager = self.unit.pager  # what was merged was in the same account
        # nobody sends an alert of Opsgenie again: its end must not be lost
        if pager in ("opsgenie", "jsm") and (end is None or self._is_disturbed(end - HOUR, end + HOUR)):
            pager = "pagerduty"
            if priority == LOW:
                return ()
        services = unit.services if pager in PAGERDUTY else (self.dice.choice(unit.services),)
        priority = priority or self.dice.choice([1, 2, 2, None] if pager in PAGERDUTY else [1, 2])
        lasts = (end or begin) - begin
        raised = may_be_raised and pager in PAGERDUTY and lasts > 10 * MINUTE and self.dice.random() < 0.4
        self.alarms.append(
            Alarm(
                unit=unit,
                number=next(self.numbers),
                pager=pager,
                services=services,
                env=env if unit.names_env or env != "production" else None,
                spans=((begin, end), reopened) if reopened else ((begin, end),),
                priority=priority,
                raised_to=3 if raised else None,
                merged_into=merged_into,
                label=label,
            )
        )
        self.now = max(self.now, end or begin, reopened[1] if reopened else 0)
        return services

    def _failed(
        self,
        bad: Rollout,
        remedy: Rollout | None,
        kind: Literal["rollback", "rollforward"] | None,
        *,
        services: Sequence[str] | None = None,
    ) -> None:
        for service in self.unit.services if services is None else services:
            self.failures.append((bad, service, remedy, kind))

    def _soon_after(self, rollout: Rollout) -> int:
        return rollout.finished + self._some(2 * MINUTE, 3 * HOUR)

    def _some(self, least: int, most: int) -> int:
        return self.dice.randint(least, most)

    def _is_disturbed(self, begin: int, end: int) -> bool:
        return any(begin < down_until and end > down_from for down_from, down_until in self.outages)
