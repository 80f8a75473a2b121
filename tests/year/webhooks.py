"""The year as the vendors tell it: every webhook, in the order of arrival, with all that goes wrong on the way. Pure.

What each sender does is that of its documentation: GitHub promises no order, never repeats, and can be asked to;
PagerDuty keeps the order of an incident and repeats for 48 hours; Argo CD tells once, and its later notifications
carry the last ten syncs; of Opsgenie nothing is promised, so what was refused never comes again.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.times import SECOND, to_rfc3339
from year.company import DAY, HOUR, MINUTE, PAGERDUTY, Alarm, Company, Repository, Rollout, Unit

CONFIG_REPOSITORY = "https://github.com/acme/deploy.git"
_JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One request of a vendor."""

    at: float
    """When it arrives, in seconds since the epoch."""
    endpoint: str
    body: bytes
    kind: str | None = None
    """GitHub's name of the event."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides those of every request of the sender."""


def webhooks(company: Company, seed: int) -> list[Webhook]:
    """All of them, in the order of arrival. Those that arrive in an outage are refused."""
    post = _Post(random.Random(f"post/{seed}"), company.outages)  # noqa: S311 - a story, no secret
    told = [
        *_GitHub(post).tell(company),
        *_ArgoCD(post).tell(company),
        *_PagerDuty(post).tell(company),
        *_Opsgenie(post).tell(company),
    ]
    return sorted(told, key=lambda webhook: webhook.at)


def configuration(company: Company, linking: Mapping[str, Any]) -> dict[str, Any]:
    """The company's `bridge.yaml`."""
    account = {
        "services": {unit.page_id: list(unit.services) for unit in company.units},
        "envs": {unit.page_id: "production" for unit in company.units if unit.names_env},
        "priority_updates": "send",
    }
    return {
        "endpoints": {
            "github-mobile": {
                "kind": "github",
                "deployments_from": ["workflow_run"],
                "workflows": [".github/workflows/release.yml"],
            },
            "github-issues": {"kind": "github", "deployments_from": [], "failures_from": ["issues"]},
            "argocd": {"ignore_older_than_hours": 0},
            "pagerduty": account,
            "pagerduty-ops": account | {"kind": "pagerduty", "instance": "ops", "send_as": "incident"},
            "jsm": {"kind": "opsgenie", "send_as": "legacy_incident"},
        },
        "rules": [
            {"match": {"environment": "preview-*"}, "drop": "previews are not production"},
            {
                "match": {"repository": "acme/monorepo", "environment": "prod/platform"},
                "set": {"services": ["auth", "sessions", "profiles"], "env": "production"},
            },
            {
                "match": {"repository": "acme/monorepo", "environment": "prod/*"},
                "set": {"service": "$1", "env": "production"},
            },
            {"match": {"endpoint": "github", "environment": "Prod-EU"}, "set": {"env": "production"}},
            {"match": {"endpoint": "github-mobile"}, "set": {"env": "production"}},
            {"match": {"application": "*-prod"}, "set": {"service": "$1", "env": "production"}},
        ],
        "linking": dict(linking),
        "retention": {"events_days": 30},
    }


# ---- the way here


@dataclass
class _Post:
    """How long things take, and what becomes of them in an outage."""

    dice: random.Random
    outages: Sequence[tuple[int, int]]

    def some(self, least: float, most: float) -> float:
        return self.dice.uniform(least, most)

    def chance(self, of: float) -> bool:
        return self.dice.random() < of

    def up_again(self, at: float) -> float | None:
        """When the bridge is there again; None if it is."""
        return next((float(end) for begin, end in self.outages if begin <= at < end), None)


def _at(seconds: float) -> str:
    return to_rfc3339(int(seconds) * SECOND)


def _precisely(nanoseconds: int) -> str:
    return to_rfc3339(nanoseconds // 1_000_000 * 1_000_000)


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# ---- GitHub


@dataclass
class _GitHub:
    post: _Post

    def tell(self, company: Company) -> Iterator[Webhook]:
        first = min(one.started for one in company.rollouts) - HOUR
        for endpoint in ("github", "github-mobile", "github-issues"):
            body = {"zen": "Practicality beats purity.", "hook_id": 7, "hook": {"type": "Repository", "active": True}}
            yield from self._deliver(first, endpoint, "ping", body)
        runs = _Runs()
        for rollout in company.rollouts:
            match rollout.unit.way:
                case "argocd":
                    pass
                case "workflow":
                    for at, run in runs.of(rollout):
                        yield from self._deliver(at, "github-mobile", "workflow_run", run)
                case _:
                    yield from self._deployment(rollout)
        for alarm in company.alarms:
            if alarm.pager == "issues":
                for at, issue in _issue(alarm):
                    yield from self._deliver(at, "github-issues", "issues", issue)

    def _deployment(self, rollout: Rollout) -> Iterator[Webhook]:
        if rollout.fails_first:
            begin = rollout.started - 9 * MINUTE
            for state, at in (("in_progress", begin), ("failure", begin + 200)):
                yield from self._deliver(at, "github", "deployment_status", _status(rollout, state, at, first_try=True))
        waits = rollout.number % 5 == 0
        states = [("queued", rollout.started - 20), ("in_progress", rollout.started), ("success", rollout.finished)]
        for state, at in ([("waiting", rollout.started - 19)] if waits else []) + states:
            yield from self._deliver(at, "github", "deployment_status", _status(rollout, state, at))
        if rollout.number % 9 == 0:
            number = 10_000_000_000 + rollout.number
            preview = replace(rollout, number=number)
            body = _status(preview, "success", rollout.started - HOUR, environment=f"preview-{rollout.number}")
            yield from self._deliver(rollout.started - HOUR, "github", "deployment_status", body)
        if rollout.number % 6 == 0:
            push: _JSON = {"ref": "refs/heads/main", "after": rollout.commit, "head_commit": None, "commits": []}
            yield from self._deliver(
                rollout.started - 60, "github", "push", {**push, **_repository(rollout.unit.repository)}
            )

    def _deliver(self, moment: float, endpoint: str, event: str, body: _JSON) -> Iterator[Webhook]:
        """GitHub promises no order: one in ten is late, by minutes. Refused ones have to be asked for again."""
        post = self.post
        at = moment + (post.some(30, 9 * MINUTE) if post.chance(0.1) else post.some(0.5, 4))
        text = json.dumps(body).encode()
        for _ in range(2 if post.chance(0.02) else 1):  # one hook of the repository, one of the organization
            delivery = {"x-github-delivery": str(uuid.UUID(int=post.dice.getrandbits(128), version=4))}
            webhook = Webhook(at=at, endpoint=endpoint, body=text, kind=event, headers=delivery)
            yield webhook
            up = post.up_again(at)
            if up is not None:
                yield replace(webhook, at=up + post.some(5 * MINUTE, 30 * HOUR))
            if post.chance(0.02):
                again = max(at, up or at) + post.some(HOUR, 2.5 * DAY)
                yield replace(webhook, at=again)
            at += post.some(0.01, 2)


def _repository(repository: Repository) -> dict[str, Any]:
    name = f"acme/{repository.name}"
    return {
        "repository": {
            "id": repository.number,
            "name": repository.name,
            "full_name": name,
            "private": True,
            "owner": {"login": "acme", "id": 31_007, "type": "Organization"},
            "html_url": repository.url,
            "clone_url": f"{repository.url}.git",
            "default_branch": "main",
        },
        "organization": {"login": "acme", "id": 31_007},
        "sender": {"login": "ines", "id": 9_004, "type": "User"},
    }


def _deployment_id(number: int) -> int:
    return 900_000_000 + 10 * number


def _status(
    rollout: Rollout, state: str, at: float, *, environment: str | None = None, first_try: bool = False
) -> dict[str, Any]:
    unit = rollout.unit
    named = environment or (unit.environment if rollout.env == "production" else rollout.env)
    started = at if first_try else rollout.started
    by_actions = rollout.number % 4 != 0
    number = _deployment_id(rollout.number) + first_try
    by_ref = unit.name in ("invoices", "warehouse")
    payload: dict[str, Any] = {}
    if unit.way == "payload":
        payload["service"] = unit.name
    if unit.names_version and not by_ref:
        payload["version"] = rollout.version
    if rollout.undo == "payload":
        payload["rollback"] = True
    if rollout.undo == "rollback_of":
        payload["rollback_of"] = _deployment_id(rollout.undoes)
    job = {"id": number * 3, "name": "deploy", "status": "in_progress", "started_at": _at(started)}
    run = {"id": number * 5, "run_attempt": 1, "path": ".github/workflows/deploy.yml@refs/heads/main"}
    return {
        "action": "created",
        "deployment_status": {
            "id": number * 7 + len(state),
            "state": state,
            "environment": named,
            "description": "",
            "created_at": _at(at),
            "updated_at": _at(at),
            "creator": {"login": "github-actions[bot]"},
        },
        "deployment": {
            "id": number,
            "sha": rollout.commit,
            "ref": rollout.version if by_ref else "main",
            "task": ("rollback" if number % 20 else "deploy:rollback") if rollout.undo == "task" else "deploy",
            # an object, or the text of one: both occur
            "payload": json.dumps(payload) if rollout.number % 3 == 0 else payload,
            "environment": named,
            "original_environment": named,
            "description": None,
            "creator": {"login": "ines"},
            # a job waits for its runner; where no job is told of, the deployment was made when it began
            "created_at": _at(started - 40 if by_actions else started),
            "updated_at": _at(at),
            "transient_environment": False,
            "production_environment": rollout.env == "production",
        },
        "check_run": job if by_actions else None,
        "workflow": {"id": 11, "path": ".github/workflows/deploy.yml"} if by_actions else None,
        "workflow_run": run if by_actions else None,
        **_repository(unit.repository),
    }


@dataclass
class _Runs:
    """Workflow runs; one that is run again keeps its id."""

    last: int = 0
    attempt: int = 0

    def of(self, rollout: Rollout) -> Iterator[tuple[float, dict[str, Any]]]:
        if not rollout.is_again:
            self.last, self.attempt = 5_000_000_000 + rollout.number, 0
        created = rollout.started - 12 * MINUTE
        if rollout.fails_first:
            self.attempt += 1
            begin = rollout.started - 9 * MINUTE
            for action, conclusion in (("in_progress", None), ("completed", "failure")):
                at = begin + (240 if conclusion else 0)
                yield at, self._run(rollout, created, begin, at, action, conclusion)
        self.attempt += 1
        begin, end = rollout.started, rollout.finished
        yield begin, self._run(rollout, created, begin, begin, "requested", None)
        yield end, self._run(rollout, created, begin, end, "completed", "success")
        test = self._run(rollout, created, begin, end - 30, "completed", "success")
        path = ".github/workflows/test.yml"
        test["workflow_run"] |= {"id": self.last + 10**10, "path": path, "workflow_id": 22}
        test["workflow"] |= {"path": path}
        yield end - 30, test

    def _run(
        self, rollout: Rollout, created: float, begin: float, at: float, action: str, conclusion: str | None
    ) -> dict[str, Any]:
        path = ".github/workflows/release.yml"
        repository = _repository(rollout.unit.repository)
        return {
            "action": action,
            "workflow_run": {
                "id": self.last,
                "name": "Release",
                "path": path,
                "run_attempt": self.attempt,
                "event": "push",
                "status": "completed" if conclusion else action,
                "conclusion": conclusion,
                "workflow_id": 21,
                "head_branch": "main",
                "head_sha": rollout.commit,
                "created_at": _at(created),
                "run_started_at": _at(begin),
                "updated_at": _at(at),
                "head_repository": {"id": rollout.unit.repository.number},
                "repository": {"id": rollout.unit.repository.number},
            },
            "workflow": {"id": 21, "name": "Release", "path": path},
            **repository,
        }


NO_CHANGE = "not-a-change"


def _issue(alarm: Alarm) -> Iterator[tuple[float, dict[str, Any]]]:
    ((begin, end),) = alarm.spans
    labels = ["incident", *(f"service:{service}" for service in alarm.services), f"sev-{alarm.priority}"]
    labels += [f"env:{alarm.env}"] if alarm.env else []

    def issue(action: str, at: float, labels: list[str], label: str = "") -> tuple[float, dict[str, Any]]:
        closed_at = end if end is not None and at >= end else None
        body = {
            "action": action,
            "issue": {
                "id": 2_000_000_000 + alarm.number,
                "number": alarm.number,
                "title": f"{alarm.services[0]} answers with errors",
                "labels": [{"id": len(name), "name": name, "color": "b60205"} for name in labels],
                "state": "closed" if closed_at else "open",
                "created_at": _at(begin),
                "updated_at": _at(at),
                "closed_at": _at(closed_at) if closed_at else None,
                "body": None,
            },
            **_repository(Repository("incidents", 79_999_999)),
        }
        return at, body | ({"label": {"name": label}} if label else {})

    yield issue("opened", begin, labels)
    yield from (issue("labeled", begin, labels, label) for label in labels)
    if alarm.label and end is not None:
        marked = [*labels, NO_CHANGE]
        if alarm.label == "taken off":
            yield issue("labeled", begin + (end - begin) // 3, marked, NO_CHANGE)
            yield issue("unlabeled", begin + (end - begin) // 2, labels, NO_CHANGE)
            yield issue("closed", end, labels)
        elif alarm.number % 2:
            yield issue("labeled", begin + (end - begin) // 2, marked, NO_CHANGE)
            yield issue("closed", end, marked)
        else:  # when people look back on it
            yield issue("closed", end, labels)
            yield issue("labeled", end + HOUR, marked, NO_CHANGE)
    elif end is not None:
        yield issue("closed", end, labels)


# ---- Argo CD


@dataclass
class _ArgoCD:
    post: _Post

    def tell(self, company: Company) -> Iterator[Webhook]:
        by_unit: defaultdict[str, list[Rollout]] = defaultdict(list)
        for rollout in company.rollouts:
            if rollout.unit.way == "argocd":
                by_unit[rollout.unit.name].append(rollout)
        for several in by_unit.values():
            several.sort(key=lambda one: one.started)
            for position in range(len(several)):
                yield from self._of_one(several[: position + 1])

    def _of_one(self, line: Sequence[Rollout]) -> Iterator[Webhook]:
        """What is told of the last one of the line."""
        last = line[-1]
        if last.degraded == last.synced:
            yield from self._notify(last.notified, _application(line, "Degraded", last.finished + 20))
            return
        if last.fails_first:
            at = last.started - 5 * MINUTE
            failed = _application(line[:-1], "Healthy", at - DAY) if len(line) > 1 else None
            if failed is not None:
                failed["operation"] |= {"phase": "Failed", "started_at": _at(at), "finished_at": _at(at + 5)}
                yield from self._notify(at + 10, failed)
        # pressing Sync once more restarts nothing
        healthy = line[-2].finished if last.is_again else last.finished
        yield from self._notify(last.notified, _application(line, "Healthy", healthy))
        if last.degraded is not None:
            yield from self._notify(last.degraded + 20, _application(line, "Degraded", last.degraded))

    def _notify(self, at: float, body: dict[str, Any]) -> Iterator[Webhook]:
        """Once; sometimes the answer is lost and it comes again, or a second configuration tells it too."""
        body["sent_at"] = _precisely(int(at * SECOND))
        webhook = Webhook(at=at, endpoint="argocd", body=json.dumps(body).encode())
        yield webhook
        if self.post.up_again(at) is None and self.post.chance(0.04):
            yield replace(webhook, at=at + 1)
        if self.post.up_again(at) is None and self.post.chance(0.04):
            second = body | {"sent_at": _precisely(int((at + 1.5) * SECOND))}
            yield replace(webhook, at=at + 1.5, body=json.dumps(second).encode())


def _application(line: Sequence[Rollout], health: str, since: float) -> dict[str, Any]:
    last = line[-1]
    unit = last.unit
    by_rule = unit.repository.name == "growth"
    source = {"repoURL": CONFIG_REPOSITORY, "path": f"apps/{unit.name}", "targetRevision": "main"}
    # what its manifest says, which a rollback by hand leaves alone
    stated = next(one for one in reversed(line) if one.undo != "history")
    annotations: dict[str, str] = {} if by_rule else {"dd_env": last.env}
    if len(unit.services) > 1:
        annotations["dora-bridge/services"] = ", ".join(unit.services)
    elif not by_rule:
        annotations["dd_service"] = unit.name
    if unit.names_commit:
        annotations |= {
            "dora-bridge/commit-sha": stated.commit,
            "dora-bridge/repository-url": f"git@github.com:acme/{unit.repository.name}.git",
            "dora-bridge/version": stated.version,
        }
    return {
        "schema": "dora-bridge.argocd/v1",
        "sent_at": "",
        "argocd_url": "https://argocd.acme.example",
        "application": {
            "name": f"{unit.name}-prod" if by_rule else unit.name,
            "namespace": "argocd",
            "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{unit.name}.acme.example")),
            "project": unit.repository.name,
            "labels": None,
            "annotations": annotations,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": unit.name},
            "sources": [source],
        },
        "health": {"status": health, "lastTransitionTime": _at(since)},
        "sync_status": "Synced",
        "images": [
            *(f"registry.acme.example/{service}:{last.version}" for service in unit.services),
            "registry.acme.example/proxy:1.29.2",
        ],
        "operation": {
            "phase": "Succeeded",
            "message": "successfully synced (all tasks run)",
            "started_at": _at(last.started),
            "finished_at": _at(last.synced),
            "retry_count": None,
            "initiated_by": _initiator(last),
            "revision": last.revision,
            "revisions": None,
            "partial": False,
        },
        "dry_source": {},
        "hydrated": {},
        "history": [
            {
                "id": position,
                "revision": one.revision,
                "revisions": None,
                "started_at": _at(one.started),
                "deployed_at": _at(one.synced),
                "initiated_by": _initiator(one),
                "sources": [source],
            }
            for position, one in list(enumerate(line))[-10:]
        ],
    }


def _initiator(rollout: Rollout) -> dict[str, Any]:
    return {"username": "ines"} if rollout.undo == "history" or rollout.is_again else {"automated": True}


# ---- PagerDuty


@dataclass
class _PagerDuty:
    post: _Post

    def tell(self, company: Company) -> Iterator[Webhook]:
        first = float(min(one.started for one in company.rollouts))
        ping = {"id": "01PING", "event_type": "pagey.ping", "occurred_at": _at(first), "data": {"type": "ping"}}
        yield Webhook(at=first, endpoint="pagerduty", body=json.dumps({"event": ping}).encode())
        for alarm in company.alarms:
            if alarm.pager in PAGERDUTY:
                yield from self._queue(alarm)

    def _queue(self, alarm: Alarm) -> Iterator[Webhook]:
        """The events of one incident, in their order: what is refused is repeated, and what follows it waits."""
        post, free = self.post, 0.0
        for number, event in enumerate(_events(alarm)):
            occurred = event.pop("moment")
            event |= {"id": f"01K{alarm.number:09d}{number:03d}", "occurred_at": _precisely(occurred)}
            at = max(occurred / SECOND + post.some(0.3, 3), free)
            body = json.dumps({"event": event}).encode()
            ids = [str(uuid.UUID(int=post.dice.getrandbits(128), version=4)) for _ in range(2)]
            webhook = Webhook(at=at, endpoint=alarm.pager, body=body, headers={"x-webhook-id": ids[0]})
            yield webhook
            up = post.up_again(at)
            if up is not None:
                at = up + post.some(5, 10 * MINUTE)
                yield replace(webhook, at=at)
            if post.chance(0.03):  # it did not hear the answer
                yield replace(webhook, at=at + 0.2)
            if post.chance(0.08):  # a second subscription, of the account
                yield replace(webhook, at=at + 0.1, headers={"x-webhook-id": ids[1]})
            free = at + 0.3


def _events(alarm: Alarm) -> Iterator[dict[str, Any]]:
    (begin, end), *more = alarm.nanoseconds
    incident = _incident(alarm)

    def event(kind: str, moment: int, by: str | None = "user_reference", **changed: object) -> dict[str, Any]:
        return {
            "event_type": f"incident.{kind}",
            "resource_type": "incident",
            "agent": {"id": "PUSER1", "type": by, "summary": "Ines"} if by else None,
            "client": None,
            "data": incident | changed,
            "moment": moment,
        }

    yield event("triggered", begin + 414_000_000, "inbound_integration_reference", status="triggered")
    yield event("acknowledged", begin + 40 * SECOND, status="acknowledged")
    if alarm.raised_to and end is not None:
        incident = incident | {"priority": {"id": "PPRIO9", "type": "priority", "summary": f"P{alarm.raised_to}"}}
        yield event("priority_updated", begin + (end - begin) // 2, status="acknowledged")
    if alarm.merged_into is not None and end is not None:
        target = {"id": _incident_id(alarm.merged_into), "type": "incident_reference", "summary": "the other one"}
        reason = {"type": "merge_resolve_reason", "incident": target}
        yield event("resolved", end, status="resolved", resolve_reason=reason)
    elif end is not None:
        yield event("resolved", end, None if alarm.number % 3 else "user_reference", status="resolved")
        note = {"id": "PNOTE", "type": "incident_note", "incident": incident, "content": "Resolution Note: fixed"}
        yield event("annotated", end + 300_000_000) | {"data": note}
    for again, over in more:
        reopened = {"reopened_at": _at(again // SECOND)}
        yield event("reopened", again + 120_000_000, status="triggered", **reopened)
        if over is not None:
            yield event("resolved", over, status="resolved", **reopened)


def _incident_id(number: int) -> str:
    return f"Q{number:013d}"


def _incident(alarm: Alarm) -> dict[str, Any]:
    unit: Unit = alarm.unit
    identifier = _incident_id(alarm.number)
    return {
        "id": identifier,
        "type": "incident",
        "html_url": f"https://acme.pagerduty.com/incidents/{identifier}",
        "number": alarm.number,
        "status": "triggered",
        "incident_key": None,
        "created_at": _at(alarm.spans[0][0]),
        "reopened_at": None,
        "title": f"{unit.name} answers with errors",
        "service": {"id": unit.page_id, "type": "service_reference", "summary": f"{unit.name.title()} (team)"},
        "assignees": [],
        "escalation_policy": {"id": "PPOLICY", "type": "escalation_policy_reference", "summary": "Everybody"},
        "teams": [],
        "priority": {"id": "PPRIO1", "type": "priority", "summary": f"P{alarm.priority}"} if alarm.priority else None,
        "urgency": "high",
        "conference_bridge": None,
        "resolve_reason": None,
        "incident_type": {"name": "incident_default"},
    }


# ---- Opsgenie and Jira Service Management


@dataclass
class _Opsgenie:
    post: _Post

    def tell(self, company: Company) -> Iterator[Webhook]:
        for alarm in company.alarms:
            if alarm.pager in ("opsgenie", "jsm"):
                yield from self._of_one(alarm)

    def _of_one(self, alarm: Alarm) -> Iterator[Webhook]:
        ((begin, end),) = alarm.nanoseconds
        is_incident = alarm.number % 4 == 0
        yield from self._act("Create", alarm, begin + 90_000_000, is_incident)
        if is_incident:
            yield from self._act("Create", alarm, begin + 95_000_000, is_incident, responder=True)
        if self.post.chance(0.1):  # another team was added
            yield from self._act("Create", alarm, begin + 30 * SECOND, is_incident)
        yield from self._act("Acknowledge", alarm, begin + 60 * SECOND, is_incident)
        if end is None:
            return
        if alarm.label:
            yield from self._act("AddTags", alarm, begin + (end - begin) // 3, is_incident, marked=True)
        if alarm.label == "taken off":
            yield from self._act("RemoveTags", alarm, begin + (end - begin) // 2, is_incident)
        yield from self._act("Close", alarm, end, is_incident, marked=alarm.label == NO_CHANGE)
        if is_incident:
            yield from self._act("Close", alarm, end + 5_000_000, is_incident, responder=True)
        if alarm.number % 5 == 0:
            noise = replace(alarm, number=alarm.number + 10**10, priority=4)
            yield from self._act("Create", noise, begin, is_incident=False)
            yield from self._act("Close", noise, end, is_incident=False)

    def _act(
        self,
        action: str,
        alarm: Alarm,
        updated: int,
        is_incident: bool,
        *,
        responder: bool = False,
        marked: bool = False,
    ) -> Iterator[Webhook]:
        """No order and no repetition is promised: one in ten is late."""
        post = self.post
        at = updated / SECOND + (post.some(10, 3 * MINUTE) if post.chance(0.1) else post.some(0.3, 2))
        body = json.dumps(_alert(action, alarm, updated, is_incident, responder=responder, marked=marked)).encode()
        yield Webhook(at=at, endpoint=alarm.pager, body=body)


def _alert(
    action: str, alarm: Alarm, updated: int, is_incident: bool, *, responder: bool, marked: bool
) -> dict[str, Any]:
    incident = uuid.uuid5(uuid.NAMESPACE_DNS, f"{alarm.number}.incidents.acme.example")
    team = uuid.uuid5(uuid.NAMESPACE_DNS, "second" if responder else "first")
    ((begin, _),) = alarm.nanoseconds
    details: dict[str, str] = {}
    tags = [f"service:{service}" for service in alarm.services]
    tags += [f"env:{alarm.env}"] if alarm.env else []
    if is_incident:
        details = {"incident-id": str(incident), "incident-alert-type": "Responder" if responder else "Owner"}
    return {
        "action": action,
        "alert": {
            "alertId": f"{uuid.uuid5(incident, str(team))}-{begin // 1_000_000}",
            "tinyId": str(alarm.number % 10_000),
            "alias": f"{incident}_{team}" if is_incident else _sha(str(alarm.number)),
            "message": f"{alarm.services[0]} answers with errors",
            "createdAt": begin // 1_000_000,
            "updatedAt": updated,
            "username": "ines@acme.example",
            "tags": [*tags, *([NO_CHANGE] if marked else [])],
            **({"addedTags": NO_CHANGE} if action == "AddTags" else {}),
            **({"removedTags": NO_CHANGE} if action == "RemoveTags" else {}),
            "details": details,
            "entity": "",
            "priority": f"P{alarm.priority}",
            "source": "probe",
            "responders": [{"id": str(team), "type": "team", "name": "everybody"}],
        },
        "source": {"name": "", "type": "incident" if is_incident and action == "Create" else "web"},
        "integrationId": "4f0a2c1e-0000-4000-8000-00000000acme",
        "integrationName": "dora-bridge",
        "integrationType": "Webhook",
    }
