"""GitHub: no order is promised, nothing is repeated by itself, and what was refused can be asked for again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from year.cast import DAY, HOUR, MINUTE, NO_CHANGE, Alarm, Repository, Rollout
from year.company import Company
from year.vendors.post import Post, Webhook, at_second


@dataclass
class GitHub:
    post: Post

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
            push: Mapping[str, Any] = {
                "ref": "refs/heads/main",
                "after": rollout.commit,
                "head_commit": None,
                "commits": [],
            }
            yield from self._deliver(
                rollout.started - 60, "github", "push", {**push, **_repository(rollout.unit.repository)}
            )

    def _deliver(self, moment: float, endpoint: str, event: str, body: Mapping[str, Any]) -> Iterator[Webhook]:
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
    job = {"id": number * 3, "name": "deploy", "status": "in_progress", "started_at": at_second(started)}
    run = {"id": number * 5, "run_attempt": 1, "path": ".github/workflows/deploy.yml@refs/heads/main"}
    return {
        "action": "created",
        "deployment_status": {
            "id": number * 7 + len(state),
            "state": state,
            "environment": named,
            "description": "",
            "created_at": at_second(at),
            "updated_at": at_second(at),
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
            "created_at": at_second(started - 40 if by_actions else started),
            "updated_at": at_second(at),
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
                "created_at": at_second(created),
                "run_started_at": at_second(begin),
                "updated_at": at_second(at),
                "head_repository": {"id": rollout.unit.repository.number},
                "repository": {"id": rollout.unit.repository.number},
            },
            "workflow": {"id": 21, "name": "Release", "path": path},
            **repository,
        }


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
                "created_at": at_second(begin),
                "updated_at": at_second(at),
                "closed_at": at_second(closed_at) if closed_at else None,
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
