"""Which deployment an incident belongs to, and what Datadog is to be told of it. Pure.

Datadog computes change failure rate and recovery time from deployments that are marked as failed, not from incidents
(API reference, "Delivery Performance"). So an incident is linked, for each of its services, to the deployment that was
live when it began: the latest one that had finished before, within a window. That nothing fits is a valid result: not
every incident comes from a change. What a webhook says itself (Argo CD degraded, a named rollback) needs no link.

Nothing here depends on the order in which webhooks came: decisions are made again whenever something is learnt of a
service, from all that is known of it. All times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple

from bridge.configuration import Linking
from bridge.dora import RemediationType
from bridge.rollbacks import Step, rollbacks
from bridge.source import LinkingMode
from bridge.timeline import Deployed, Incident

Status = Literal["no_link", "suggested", "applied", "rejected"]
"""`suggested`: shown, and sent if a person says so; `applied`: sent; `rejected`: taken back, or never sent."""

_MINUTE, _HOUR = 60_000, 3_600_000
_EXPLICIT, _NAMED, _IN_WINDOW, _RECENT, _ENV_NAMED = 1.0, 0.95, 0.5, 0.3, 0.1
"""Scores: said by a webhook; root cause named by a person; in the window, up to so much more the less time passed
between deployment and incident, and so much more if the incident names its env."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """The deployment that ended a failure."""

    id: str
    type: RemediationType


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an incident means for the deployments of one of its services."""

    incident: str
    service: str
    status: Status
    deployment: str = ""
    """Id of the deployment it belongs to; empty if there is none."""
    env: str = ""
    score: float = 0.0
    """0 to 1: how sure it is."""
    reasons: tuple[str, ...] = ()
    remedy: Remedy | None = None

    def json(self) -> dict[str, Any]:
        return {
            "incident": self.incident,
            "service": self.service,
            "status": self.status,
            "deployment": self.deployment or None,
            "env": self.env or None,
            "score": self.score,
            "reasons": list(self.reasons),
            "remediation": {"id": self.remedy.id, "type": self.remedy.type} if self.remedy else None,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Datadog is told of a deployment."""

    failed: bool
    remedy: Remedy | None = None


class Detected(NamedTuple):
    """What Datadog detects of a deployment by itself, going by the ends of all of them."""

    verdict: Verdict
    is_clear: bool
    """Whether it comes to the same if it goes by the order in which it got them."""


class Place(NamedTuple):
    """Where Datadog got a deployment: after all that finished until then, and when (ms)."""

    behind: int
    at: int


@dataclass(frozen=True, slots=True)
class Policy:
    """How the incidents of one endpoint are linked."""

    mode: LinkingMode
    linking: Linking
    blocked: str = ""
    """Why nothing can be sent, whatever the mode; empty if it can."""


def decide(
    service: str,
    incidents: Iterable[Incident],
    deployments: Iterable[Deployed],
    policy_of: Callable[[Incident], Policy],
) -> list[Decision]:
    """One decision for each incident that is about this service and whose endpoint is linked at all."""
    known, past = list(incidents), _Past(deployments)
    named = {one.remediation_id for one in known if one.explicit and one.deployment_id}
    decisions = []
    for incident in known:
        policy = policy_of(incident)
        is_named = incident.explicit and not incident.deployment_id and incident.remediation_id in named
        if policy.mode == "off" or service not in incident.services or is_named:
            continue
        decisions.append(_decision(service, incident, _blamed(incident, past, policy.linking), past, policy))
    return decisions


def verdicts(
    decisions: Sequence[Decision], previous: Mapping[str, str], deployments: Iterable[Deployed]
) -> dict[str, Verdict]:
    """What Datadog is to be told of deployments; `previous` says to which each incident belonged before.

    However many incidents belong to a deployment, it failed once. When the last of them is taken back it is stable,
    unless a rollback undid it: Datadog detects that by itself, and must not be told otherwise. What is only suggested
    leaves a deployment as it is.
    """
    decided = [one for one in decisions if one.status != "suggested"]
    undone = _undone(deployments) if decided else {}
    wanted = {}
    for decision in decided:
        for deployment in (previous.get(decision.incident), decision.deployment):
            if deployment:
                wanted[deployment] = Verdict(deployment in undone, undone.get(deployment))
    for decision in sorted(decided, key=lambda one: (one.score, one.incident)):
        if decision.status == "applied":
            remedy = decision.remedy or wanted[decision.deployment].remedy
            wanted[decision.deployment] = Verdict(failed=True, remedy=remedy)
    return wanted


def detected(deployments: Sequence[Deployed], late: Mapping[str, Place]) -> dict[str, Detected]:
    """What Datadog detects by itself among deployments of which some came late; `late` says where those came."""
    by_end, by_arrival = _undone(deployments), _undone(deployments, late)
    return {
        one: Detected(Verdict(one in by_end, by_end.get(one)), by_end.get(one) == by_arrival.get(one))
        for one in by_end.keys() | by_arrival.keys()
    }


def _undone(deployments: Iterable[Deployed], late: Mapping[str, Place] | None = None) -> dict[str, Remedy]:
    """Deployments that Datadog itself takes for failed, since a later one returned to what was there before."""
    steps: dict[str, list[Step]] = {}
    for one in deployments:
        place = (late or {}).get(one.id) or Place(one.finished_at, 0)
        steps.setdefault(one.env, []).append(Step(*place, one.id, one.commit or one.version))
    return {found.blamed: Remedy(found.id, "rollback") for in_env in steps.values() for found in rollbacks(in_env)}


_NEVER = 2**63


class _Past:
    """The deployments of one service, by env in the order in which they finished."""

    def __init__(self, deployments: Iterable[Deployed]) -> None:
        self.by_id: dict[str, Deployed] = {}
        self._of_env: dict[str, list[Deployed]] = {}
        # when a commit or version was first deployed to an env; versions also of those alone without a commit
        self._commits: dict[tuple[str, str], int] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._bare: dict[tuple[str, str], int] = {}
        for one in sorted(deployments, key=_order):
            self.by_id[one.id] = one
            self._of_env.setdefault(one.env, []).append(one)
            if one.commit:
                self._commits.setdefault((one.env, one.commit), one.finished_at)
            if one.version:
                self._versions.setdefault((one.env, one.version), one.finished_at)
                if not one.commit:
                    self._bare.setdefault((one.env, one.version), one.finished_at)

    def until(self, moment: int, env: str) -> list[Deployed]:
        """Those of an env that had finished then."""
        in_env = self._of_env.get(env, [])
        return in_env[: bisect_right(in_env, moment, key=_finished_at)]

    def latest(self, moment: int, is_env: Callable[[str], bool]) -> Deployed | None:
        """The latest that had finished then, of all envs that fit."""
        last = (self._last(moment, env) for env in self._of_env if is_env(env))
        return max(filter(None, last), key=_order, default=None)

    def _last(self, moment: int, env: str) -> Deployed | None:
        in_env = self._of_env[env]
        place = bisect_right(in_env, moment, key=_finished_at)
        return in_env[place - 1] if place else None

    def after(self, moment: int, env: str) -> Iterator[Deployed]:
        """Those of an env that finished later."""
        in_env = self._of_env.get(env, [])
        return islice(in_env, bisect_right(in_env, moment, key=_finished_at), None)

    def was_there_before(self, one: Deployed, other: Deployed) -> bool:
        """Whether what `one` deployed had been deployed to its env before `other` was."""
        by_commit = self._commits.get((one.env, one.commit), _NEVER)
        by_version = (self._bare if one.commit else self._versions).get((one.env, one.version), _NEVER)
        return min(by_commit, by_version) < other.finished_at


def _order(one: Deployed) -> tuple[int, str]:
    return one.finished_at, one.id


def _finished_at(one: Deployed) -> int:
    return one.finished_at


@dataclass(frozen=True, slots=True)
class _Found:
    """A deployment, with why it is this one."""

    id: str
    deployed: Deployed | None
    """None if a webhook names one that the ledger does not know."""
    score: float
    reasons: tuple[str, ...]


def _decision(
    service: str,
    incident: Incident,
    found: _Found | str,
    past: _Past,
    policy: Policy,
) -> Decision:
    if isinstance(found, str):
        return Decision(incident=incident.id, service=service, env=incident.env, status="no_link", reasons=(found,))
    status: Status = "applied" if policy.mode == "auto" and not policy.blocked else "suggested"
    reasons = (*found.reasons, *([policy.blocked] if policy.blocked else []))
    if incident.ended == "merged":
        status, reasons = "rejected", (*reasons, "it was merged into another incident")
    elif incident.ended == "not_a_change":
        status, reasons = "rejected", (*reasons, "its source labels it not-a-change")
    if incident.override == "reject":
        status, reasons = "rejected", (*reasons, "a person rejected it")
    elif incident.override == "apply":
        status, reasons = ("suggested" if policy.blocked else "applied"), (*reasons, "a person applied it")
    return Decision(
        incident=incident.id,
        service=service,
        status=status,
        deployment=found.id,
        env=found.deployed.env if found.deployed else incident.env,
        score=round(found.score, 2),
        reasons=reasons,
        remedy=_remedy(incident, found, past, policy.linking),
    )


# ---- which deployment


def _blamed(incident: Incident, past: _Past, linking: Linking) -> _Found | str:
    """The deployment, or why there is none."""
    if incident.explicit:
        return _said(incident, past)
    if incident.started_at is None:
        return "the start of the incident is not known"
    is_env = partial(_is_in_env, wanted=incident.env, globs=linking.environments)
    if incident.root_cause:
        caused = [
            one
            for one in past.by_id.values()
            if one.commit == incident.root_cause and one.finished_at <= incident.started_at and is_env(one.env)
        ]
        if caused:
            return _Found(caused[-1].id, caused[-1], _NAMED, ("the incident names its commit as the root cause",))
    latest = past.latest(incident.started_at, is_env)
    if latest is None:
        where = "its env" if incident.env else f"an env like {', '.join(linking.environments)}"
        return f"no deployment of the service in {where} is known from before the incident"
    window = linking.window_hours * _HOUR
    passed = incident.started_at - latest.finished_at
    if passed > window:
        return f"the latest deployment finished {_span(passed)} before the incident: more than window_hours"
    score = _IN_WINDOW + _RECENT * (1 - passed / window)
    reasons = [f"the latest deployment of the service: it finished {_span(passed)} before the incident began"]
    if incident.env:
        reasons.append("the incident names this env")
        score += _ENV_NAMED
    else:
        reasons.append("the incident names no env: environments of linking was used")
    return _Found(latest.id, latest, score, tuple(reasons))


def _said(incident: Incident, past: _Past) -> _Found | str:
    """The deployment that a webhook says itself has failed, by name or as what a rollback undid."""
    if incident.deployment_id:
        named = past.by_id.get(incident.deployment_id)
        return _Found(incident.deployment_id, named, _EXPLICIT, ("the webhook says itself that it failed",))
    rollback = past.by_id.get(incident.remediation_id)
    if rollback is None:
        return "the deployment that is a rollback is not known"
    before = past.until(rollback.finished_at - 1, rollback.env)
    returned = [place for place, one in enumerate(before) if _is_same(one, rollback)]
    # of V1, V2, V3, V1 it is V2 that failed, as for Datadog ("Change failure detection")
    followers = before[returned[-1] :] if returned else list(reversed(before))
    undone = next((one for one in followers if not _is_same(one, rollback)), None)
    if undone is None:
        return "no deployment is known that this rollback undid"
    return _Found(undone.id, undone, _EXPLICIT, ("the webhook says that a rollback undid it",))


def _is_in_env(env: str, *, wanted: str, globs: Sequence[str]) -> bool:
    return env == wanted if wanted else any(fnmatchcase(env, glob) for glob in globs)


def _is_same(one: Deployed, other: Deployed) -> bool:
    """By commit if both have one, else by version, as Datadog compares them ("Change failure detection")."""
    if one.commit and other.commit:
        return one.commit == other.commit
    return bool(one.version) and one.version == other.version


# ---- what remedied it


def _remedy(incident: Incident, found: _Found, past: _Past, linking: Linking) -> Remedy | None:
    """The next deployment of something else, if it can have ended the incident.

    A rollback is one by itself, within the window. What goes forward is one if it began before the incident had ended:
    a later one has other reasons.
    """
    failed = found.deployed
    if incident.remediation_id:
        return Remedy(incident.remediation_id, "rollback")
    if failed is None:
        return None
    began = max(incident.started_at or 0, failed.finished_at)
    following = (one for one in past.after(began, failed.env) if one.id != failed.id and not _is_same(one, failed))
    follower = next(following, None)
    if follower is None:
        return None
    is_rollback = past.was_there_before(follower, failed)
    if is_rollback and follower.finished_at <= began + linking.window_hours * _HOUR:
        return Remedy(follower.id, "rollback")
    if incident.finished_at is None or follower.started_at <= incident.finished_at:
        return Remedy(follower.id, "rollback" if is_rollback else "rollforward")
    return None


def _span(milliseconds: int) -> str:
    """A length of time for people."""
    if milliseconds < 2 * _MINUTE:
        return f"{milliseconds // 1000} s"
    if milliseconds < 2 * _HOUR:
        return f"{milliseconds // _MINUTE} min"
    return f"{milliseconds // _HOUR} h"


def told(text: Mapping[str, Any]) -> Verdict:
    """The verdict of what the ledger keeps of it."""
    remediation = text.get("remediation") or {}
    remedy = Remedy(remediation["id"], remediation["type"]) if remediation.get("id") else None
    return Verdict(bool(text.get("change_failure")), remedy)


def differs(wanted: Verdict, said: Verdict | None) -> bool:
    """Whether Datadog has to be told. Silence means stable; a remediation once told cannot be taken back."""
    if said is None:
        return wanted.failed
    if wanted.failed != said.failed:
        return True
    return wanted.failed and wanted.remedy is not None and wanted.remedy != said.remedy
