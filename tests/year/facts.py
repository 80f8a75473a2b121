"""What the company's truth and Datadog's store are compared in: deployments, change failures, incidents, and metrics.

No ids: the truth knows none. A deployment is its service, env and end; all times are nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeVar

SECOND = 1_000_000_000


class Place(NamedTuple):
    """Names one deployment: no service has two that end at one time in one env."""

    service: str
    env: str
    finished: int


@dataclass(frozen=True, slots=True)
class Deployed:
    """One version of one service went live."""

    place: Place
    started: int
    commit: str | None = None
    repository: str | None = None
    version: str | None = None

    def is_the_same_as(self, other: Deployed) -> bool:
        """Whether Datadog sees one version in both: by commit where this one has one, else by version."""
        if self.commit is not None:
            return self.commit == other.commit
        return self.version is not None and self.version == other.version


@dataclass(frozen=True, slots=True)
class Remedy:
    """What ended a change failure: the deployment of the same service and env that finished then."""

    kind: Literal["rollback", "rollforward"]
    finished: int


class Incident(NamedTuple):
    """A failure as Datadog shows it; `finished` is None while it is open."""

    services: tuple[str, ...]
    env: str | None
    started: int
    finished: int | None
    severity: str | None


class Managed(NamedTuple):
    """An incident in Incident Management, which notes the times of calls and not of what happened."""

    services: tuple[str, ...]
    started: int
    """As its summary tells it."""
    state: str
    severity: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that DORA metrics are made of. Lists, so that something that is there twice is seen."""

    deployments: Sequence[Deployed]
    change_failures: Mapping[Place, Remedy | None]
    incidents: Sequence[Incident]
    managed: Sequence[Managed] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """Each by service and env."""

    frequency: Mapping[tuple[str, str, str], int]
    """Deployments of each ISO week."""
    lead_time: Mapping[tuple[str, str], Sequence[tuple[str | None, str | None, int, int]]]
    """What Datadog computes lead time from: commit, repository, start and end of each deployment, in order."""
    failure_rate: Mapping[tuple[str, str], tuple[int, int]]
    """Change failures, and all deployments."""
    recovery: Mapping[tuple[str, str], Sequence[int]]
    """End of the remedy minus end of the failed deployment, sorted."""
    restore: Mapping[tuple[str, ...], Sequence[int]]
    """By the incident's services: its end minus its start, sorted."""


def metrics(facts: Facts) -> Metrics:
    """The metrics that these facts come to."""
    lead_time = defaultdict(list)
    for one in sorted(facts.deployments, key=lambda one: one.place):
        commit = (one.commit, one.repository, one.started, one.place.finished)
        lead_time[one.place.service, one.place.env].append(commit)
    failed = Counter((place.service, place.env) for place in facts.change_failures)
    recovery, restore = defaultdict(list), defaultdict(list)
    for place, remedy in facts.change_failures.items():
        if remedy is not None:
            recovery[place.service, place.env].append(remedy.finished - place.finished)
    for incident in facts.incidents:
        if incident.finished is not None:
            restore[incident.services].append(incident.finished - incident.started)
    return Metrics(
        frequency=Counter((one.place.service, one.place.env, _week(one.place.finished)) for one in facts.deployments),
        lead_time=lead_time,
        failure_rate={key: (failed[key], len(several)) for key, several in lead_time.items()},
        recovery={key: sorted(several) for key, several in recovery.items()},
        restore={key: sorted(several) for key, several in restore.items()},
    )


def differences(truth: Facts, found: Facts) -> list[str]:
    """One line for each thing that is not as it was, worst first; empty if the year is told as it happened."""
    return [
        *_twice(found),
        *(
            f"phantom change failure: {_name(place)}"
            for place in sorted(set(found.change_failures) - set(truth.change_failures))
        ),
        *(
            f"change failure missing: {_name(place)}, remedied by {_told(truth.change_failures[place])}"
            for place in sorted(set(truth.change_failures) - set(found.change_failures))
        ),
        *(
            f"remedy of {_name(place)}: {_told(found.change_failures[place])} instead of {_told(remedy)}"
            for place, remedy in sorted(truth.change_failures.items())
            if place in found.change_failures and found.change_failures[place] != remedy
        ),
        *_of_kind("deployment", truth.deployments, found.deployments, _deployed),
        *_of_kind("incident", truth.incidents, found.incidents, _incident),
        *_of_kind("managed incident", truth.managed, found.managed, str),
        *_metrics(metrics(truth), metrics(found)),
    ]


def _twice(facts: Facts) -> Iterable[str]:
    places = Counter(one.place for one in facts.deployments)
    yield from (f"deployment {times} times: {_name(place)}" for place, times in places.items() if times > 1)
    incidents = Counter((one.services, one.env, one.started) for one in facts.incidents)
    yield from (f"incident {times} times: {one}" for one, times in incidents.items() if times > 1)
    managed = Counter((one.services, one.started) for one in facts.managed)
    yield from (f"managed incident {times} times: {one}" for one, times in managed.items() if times > 1)


T = TypeVar("T", Deployed, Incident, Managed)


def _of_kind(name: str, truth: Sequence[T], found: Sequence[T], told: object) -> Iterable[str]:
    assert callable(told)
    missing, beyond = set(truth) - set(found), set(found) - set(truth)
    yield from sorted(f"{name} missing: {told(one)}" for one in missing)
    yield from sorted(f"{name} that was none: {told(one)}" for one in beyond)


def _metrics(truth: Metrics, found: Metrics) -> Iterable[str]:
    for name in Metrics.__slots__:
        expected, computed = getattr(truth, name), getattr(found, name)
        wrong = sorted(key for key in {*expected, *computed} if expected.get(key) != computed.get(key))
        if wrong:
            yield f"metric {name} differs in {len(wrong)} of {len(expected)} places, first {wrong[0]}"


def _deployed(one: Deployed) -> str:
    began = _time(one.started)
    return f"{_name(one.place)}, started {began}, commit {(one.commit or '-')[:8]}, version {one.version or '-'}"


def _incident(one: Incident) -> str:
    end = _time(one.finished) if one.finished is not None else "still open"
    return f"{','.join(one.services)} in {one.env}, {_time(one.started)} to {end}, {one.severity}"


def _name(place: Place) -> str:
    return f"{place.service} in {place.env} at {_time(place.finished)}"


def _told(remedy: Remedy | None) -> str:
    return f"{remedy.kind} at {_time(remedy.finished)}" if remedy else "nothing"


def _time(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // SECOND, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _week(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds // SECOND, UTC):%G-W%V}"
