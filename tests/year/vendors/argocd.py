"""Argo CD Notifications: each condition is told once; what is refused never comes again, but stands in the history."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.times import SECOND
from year.cast import DAY, MINUTE, Rollout
from year.company import Company
from year.vendors.post import Post, Webhook, at_millisecond, at_second

CONFIG_REPOSITORY = "https://github.com/acme/deploy.git"


@dataclass
class ArgoCD:
    post: Post

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
                failed["operation"] |= {
                    "phase": "Failed",
                    "started_at": at_second(at),
                    "finished_at": at_second(at + 5),
                }
                yield from self._notify(at + 10, failed)
        # pressing Sync once more restarts nothing
        healthy = line[-2].finished if last.is_again else last.finished
        yield from self._notify(last.notified, _application(line, "Healthy", healthy))
        if last.degraded is not None:
            yield from self._notify(last.degraded + 20, _application(line, "Degraded", last.degraded))

    def _notify(self, at: float, body: dict[str, Any]) -> Iterator[Webhook]:
        """Once; sometimes the answer is lost and it comes again, or a second configuration tells it too."""
        body["sent_at"] = at_millisecond(int(at * SECOND))
        webhook = Webhook(at=at, endpoint="argocd", body=json.dumps(body).encode())
        yield webhook
        if self.post.up_again(at) is None and self.post.chance(0.04):
            yield replace(webhook, at=at + 1)
        if self.post.up_again(at) is None and self.post.chance(0.04):
            second = body | {"sent_at": at_millisecond(int((at + 1.5) * SECOND))}
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
        "health": {"status": health, "lastTransitionTime": at_second(since)},
        "sync_status": "Synced",
        "images": [
            *(f"registry.acme.example/{service}:{last.version}" for service in unit.services),
            "registry.acme.example/proxy:1.29.2",
        ],
        "operation": {
            "phase": "Succeeded",
            "message": "successfully synced (all tasks run)",
            "started_at": at_second(last.started),
            "finished_at": at_second(last.synced),
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
                "started_at": at_second(one.started),
                "deployed_at": at_second(one.synced),
                "initiated_by": _initiator(one),
                "sources": [source],
            }
            for position, one in list(enumerate(line))[-10:]
        ],
    }


def _initiator(rollout: Rollout) -> dict[str, Any]:
    return {"username": "ines"} if rollout.undo == "history" or rollout.is_again else {"automated": True}
