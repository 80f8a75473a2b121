"""The facts, one class per Datadog call, in Datadog's words.

All times are integer nanoseconds since the epoch, UTC. Every fact knows the call that states it (`method`, `path`,
`body`), its `id` as Datadog sees it, the `key` within which order matters, and which part of the webhook each field
came from (`origins`). Source: Datadog API reference, "Delivery Performance (formerly DORA Metrics)".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

Origins = Mapping[str, str]
"""Field of the fact -> where in the webhook it was found, e.g. `{"env": "deployment.environment"}`."""

NOT_A_CHANGE_TAG = "not_a_change:true"
"""The custom tag of an incident that came with the label not-a-change."""

MAX_TAGS = 100
"""Datadog: at most 100 `custom_tags` per event."""


@dataclass(frozen=True, slots=True)
class Git:
    """A commit; `commit_sha` is 40 or more hex digits, `repository_url` carries no credentials."""

    commit_sha: str
    repository_url: str


@dataclass(frozen=True, slots=True)
class History:
    """The place of a deployment in the history that its sender keeps, numbered upwards.

    `role`: empty for what the webhook is about. `implied`: what it is about presupposes the deployment, which may
    have been reported before. `missed`: it came before; reported only if the ledger knows of this history, and of
    nothing so new in it.
    """

    name: str
    number: int
    role: Literal["", "implied", "missed"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """`POST /api/v2/dora/deployment`: one version of one service went live in one environment."""

    id: str
    service: str
    started_at: int
    finished_at: int
    env: str | None = None
    version: str | None = None
    team: str | None = None
    git: Git | None = None
    custom_tags: tuple[str, ...] = ()
    history: History | None = None
    twin: str = field(default="", compare=False)
    """The id it has where it concerns one service, if this is one of several (twins.py); empty if it concerns one."""
    version_as: Callable[[str], tuple[str | None, str]] | None = field(default=None, compare=False, repr=False)
    """The version, and where it was found, if the service had this name: which of several images is meant."""
    origins: Origins = field(default_factory=dict, compare=False)

    method = "POST"
    path = "/api/v2/dora/deployment"

    def named(self, service: str) -> Deployment:
        """The same of a service of this name."""
        version, place = self.version_as(service) if self.version_as else (None, "")
        if version is None:
            return replace(self, service=service)
        return replace(self, service=service, version=version, origins={**self.origins, "version": place})

    @property
    def key(self) -> str:
        return deployment_key(self.service, self.env)

    @property
    def body(self) -> dict[str, Any]:
        return _attributes(
            id=self.id,
            service=self.service,
            env=self.env,
            started_at=self.started_at,
            finished_at=self.finished_at,
            version=self.version,
            team=self.team,
            git=_git(self.git),
            custom_tags=list(self.custom_tags[:MAX_TAGS]),
        )


PATCH_TYPE = "dora_deployment_patch_request"
RemediationType = Literal["rollback", "rollforward"]
SendAs = Literal["failure", "legacy_incident", "incident"]
FAILURE_PATHS: Mapping[SendAs, str] = {
    "failure": "/api/v2/dora/failure",
    "legacy_incident": "/api/v2/dora/incident",
    "incident": "/api/v2/incidents",
}
SEND_AS = "failure; legacy_incident: Datadog's older endpoint; or incident: Incident Management, with DD_APP_KEY"
"""What the option `send_as` of endpoints means."""
UUID = "{uuid}"
"""Stands in a path for the id that Datadog gave an incident: only the ledger knows it, once it was created."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Which time an incident is open that can be opened again, each time as a failure of its own.

    `first`: the id of the failure that it is the first time. `at`: when it was opened this time, if the sender
    `names` that; else when the sender said this, of whichever time it was open last by then (`occurrences.py`).
    """

    first: str
    at: int
    names: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """`POST /api/v2/dora/failure`: an incident opened, or (with `finished_at`) the same incident closed.

    With `send_as` "incident" it is told to Incident Management instead: `incident_management.py` has its calls.

    Datadog matches the closing to the opening by id, env, services and started_at, so a closing repeats them as
    they were sent. `started_at` and `services` may be missing in a closing whose opening is in the ledger.

    `revision` orders statements about one incident: a later one replaces an earlier one, never the other way.
    """

    id: str
    started_at: int | None
    finished_at: int | None = None
    services: tuple[str, ...] = ()
    team: str | None = None
    env: str | None = None
    name: str | None = None
    severity: str | None = None
    version: str | None = None
    git: Git | None = None
    custom_tags: tuple[str, ...] = ()
    revision: int = 0
    """Nanoseconds, only compared between two openings or two closings of one id; 0 where the first one stands."""
    only_if_open: str = ""
    """Not empty: report only if the opening is in the ledger; the text says why it is ignored otherwise."""
    send_as: SendAs = "failure"
    occurrence: Occurrence | None = None
    """None: it is not opened again, or this is said of its first time."""
    origins: Origins = field(default_factory=dict, compare=False)

    method = "POST"

    @property
    def path(self) -> str:
        return FAILURE_PATHS[self.send_as]

    @property
    def key(self) -> str:
        return f"{'incident' if self.send_as == 'incident' else 'failure'}:{self.id}"

    @property
    def body(self) -> dict[str, Any]:
        return _attributes(
            id=self.id,
            services=list(self.services) or None,
            team=self.team,
            env=self.env,
            started_at=self.started_at,
            finished_at=self.finished_at,
            name=self.name,
            severity=self.severity,
            version=self.version,
            git=_git(self.git),
            custom_tags=list(self.custom_tags[:MAX_TAGS]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFailure:
    """`PATCH /api/v2/dora/deployments/{id}`: that deployment failed, and maybe what remedied it; or it did not.

    Needs an application key, and the POSTs of the deployments it names first. `service` and `env` are theirs.
    """

    deployment_id: str
    service: str
    env: str | None
    failed: bool = True
    """False takes an earlier statement back: the deployment is stable."""
    remediation_id: str | None = None
    remediation_type: RemediationType | None = None
    at: int | None = None
    """When it was seen to fail; None where the webhook does not tell."""
    revision: int = 0
    """Counts what the bridge concludes about one deployment, from 1; 0 for what a webhook says itself."""
    history: History | None = None
    """Of the deployment that remedied it, where that came before what the webhook is about."""
    twin: str = field(default="", compare=False)
    remediation_twin: str = field(default="", compare=False)
    """As for a `Deployment`, of the one that failed and of the one that remedied it."""
    origins: Origins = field(default_factory=dict, compare=False)

    method = "PATCH"

    @property
    def id(self) -> str:
        return self.deployment_id

    @property
    def path(self) -> str:
        return f"/api/v2/dora/deployments/{quote(self.deployment_id, safe='')}"

    @property
    def key(self) -> str:
        # its own, so that a PATCH that has to wait does not hold up the deployments of the service
        return f"change:{self.deployment_id}"

    @property
    def body(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {"change_failure": self.failed}
        if self.remediation_id and self.remediation_type:
            attributes["remediation"] = {"id": self.remediation_id, "type": self.remediation_type}
        return {
            "data": {
                "id": self.deployment_id,
                "type": PATCH_TYPE,
                "attributes": attributes,
            }
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFailureByVersion:
    """`PATCH /api/v2/dora/deployments`: of the deployments of this version, the last one failed; or it did not.

    Needs an application key. Only a person says it: a webhook knows the id of its deployment. What remedied it is
    named by id or by version, not by both.
    """

    service: str
    env: str
    version: str
    failed: bool = True
    """False takes an earlier statement back."""
    remediation_id: str | None = None
    remediation_version: str | None = None
    remediation_type: RemediationType | None = None
    revision: int = 1
    """Counts what is said about this version, from 1."""

    method = "PATCH"
    path = "/api/v2/dora/deployments"

    @property
    def id(self) -> str:
        """Of the ledger alone: Datadog is told no id."""
        return f"version-{hashlib.sha256(json.dumps([self.service, self.env, self.version]).encode()).hexdigest()[:40]}"

    @property
    def key(self) -> str:
        return f"change:{self.id}"

    @property
    def body(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "service": self.service,
            "env": self.env,
            "version": self.version,
            "change_failure": self.failed,
        }
        if self.remediation_type and self.remediation_id:
            attributes["remediation"] = {"id": self.remediation_id, "type": self.remediation_type}
        elif self.remediation_type and self.remediation_version:
            attributes["remediation"] = {"version": self.remediation_version, "type": self.remediation_type}
        return {"data": {"type": PATCH_TYPE, "attributes": attributes}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """`DELETE /api/v2/dora/failure/{id}`, `…/deployment/{id}` or `/api/v2/incidents/{uuid}`: it was not one.

    Needs an application key. A failure, or an incident in Incident Management, is withdrawn when its incident was
    merged into another; a deployment only by a person.
    """

    record_id: str
    what: Literal["failure", "deployment", "incident"] = "failure"
    uuid: str = ""
    """Datadog's own id of an incident that the ledger need not know; empty: it is the one that was created for it."""
    service: str = ""
    """Of a deployment: whose history it leaves; empty where it is not known."""
    revision: int = 0
    """Counts repetitions by a person, of a record that is in Datadog all the same."""
    occurrence: Occurrence | None = None
    """As of the failure that it withdraws."""
    origins: Origins = field(default_factory=dict, compare=False)

    method = "DELETE"
    body = None

    @property
    def id(self) -> str:
        return self.record_id

    @property
    def path(self) -> str:
        if self.what == "incident":
            return f"{FAILURE_PATHS['incident']}/{quote(self.uuid, safe='') or UUID}"
        return f"/api/v2/dora/{self.what}/{quote(self.record_id, safe='')}"

    @property
    def key(self) -> str:
        return f"{'change' if self.what == 'deployment' else self.what}:{self.record_id}"


def withdrawal(failure: Failure) -> Withdrawal:
    """That this failure was not one, told to where it was sent."""
    what: Literal["failure", "incident"] = "incident" if failure.send_as == "incident" else "failure"
    origins = {"record_id": failure.origins["id"]}
    return Withdrawal(record_id=failure.id, what=what, occurrence=failure.occurrence, origins=origins)


Fact = Deployment | Failure | ChangeFailure | Withdrawal
"""What a webhook can come to."""


def deployment_key(service: str, env: str | None) -> str:
    """The key within which deployments are kept in order: one service in one environment."""
    return f"deployment:{service}:{env or ''}"


def _git(git: Git | None) -> dict[str, str] | None:
    return {"commit_sha": git.commit_sha, "repository_url": git.repository_url} if git else None


def _attributes(**values: Any) -> dict[str, Any]:
    return {"data": {"attributes": {name: value for name, value in values.items() if value not in (None, [])}}}
