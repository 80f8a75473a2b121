"""What is remembered of a statement for linking: which deployments were live when, and which incidents there were.

Kept apart from the events, since they expire after days, and small, since there is one for each deployment: a
deployment is a text of about fifty bytes in the hash of its service, which Redis stores without overhead. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bridge.compact import compact
from bridge.dora import NOT_A_CHANGE_TAG, ChangeFailureByVersion
from bridge.envelope import Envelope

_MS = 1_000_000
ROLLBACK = "rollback:true"
"""The custom tag of a deployment that says of itself that it is a rollback, and not always of what."""
Ended = Literal["", "merged", "not_a_change"]


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing to remember, of the services it concerns."""

    kind: Literal["deployment", "undeployed", "incident", "reopened", "withdrawn", "label", "verdict"]
    id: str
    at: int
    """Milliseconds since the epoch: the end of a deployment, the start of an incident, also when it is opened again."""
    text: str
    service: str = ""
    """Of a deployment, also of one that was withdrawn; an incident says it in its text."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment, as far as linking needs it. Times are milliseconds since the epoch."""

    id: str
    service: str
    env: str
    started_at: int
    finished_at: int
    commit: str = ""
    """The first twelve digits of its commit."""
    version: str = ""
    """A digest of its version."""

    @classmethod
    def from_text(cls, id_: str, service: str, text: str) -> Deployed:
        finished, took, content, env = text.split("|", 3)
        finished_at = int(finished, 16)
        commit, _, version = content.partition(":")
        return cls(id_, service, env, finished_at - int(took, 16), finished_at, commit, version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident, or what a webhook says itself of a failed deployment. Times are milliseconds since the epoch."""

    id: str
    endpoint: str
    services: tuple[str, ...]
    env: str
    started_at: int | None
    """None: not known; then the failed deployment is named."""
    finished_at: int | None = None
    root_cause: str = ""
    """The first twelve digits of the commit that a person named."""
    ended: Ended = ""
    """Why it marks no deployment, whatever else is known."""
    deployment_id: str = ""
    """The failed deployment, of what a webhook says itself."""
    remediation_id: str = ""
    explicit: bool = False
    """A webhook says itself that a deployment failed; no incident needs to be linked."""
    override: Literal["", "apply", "reject"] = ""
    """What a person decided."""

    @classmethod
    def from_fields(cls, id_: str, fields: Mapping[str, str]) -> Incident:
        """Of what the ledger keeps: the first statement says what and when it was, the last one how it ended."""
        first, last = json.loads(fields["first"]), json.loads(fields["last"])
        return cls(
            id=id_,
            endpoint=first["endpoint"],
            services=tuple(first["services"]),
            env=first.get("env", ""),
            started_at=first.get("at"),
            finished_at=last.get("end"),
            root_cause=last.get("root_cause") or first.get("root_cause", ""),
            ended=_ended(fields, last),
            deployment_id=last.get("deployment_id", ""),
            remediation_id=last.get("remediation_id", ""),
            explicit=last.get("explicit", False),
            override=_override(fields.get("override", "")),
        )


def _ended(fields: Mapping[str, str], last: Mapping[str, Any]) -> Ended:
    if "withdrawn" in fields or last.get("ended") == "merged":
        return "merged"
    # a label that was set or taken off says more than what came with the incident
    is_labelled = fields["label"] == "set" if "label" in fields else last.get("ended") == "not_a_change"
    return "not_a_change" if is_labelled else ""


def _override(text: str) -> Literal["", "apply", "reject"]:
    return "apply" if text == "apply" else "reject" if text == "reject" else ""


def _commit_of(attributes: Mapping[str, Any]) -> str:
    git = attributes.get("git")
    return str(git["commit_sha"])[:12].lower() if isinstance(git, Mapping) and git.get("commit_sha") else ""


def _version_of(attributes: Mapping[str, Any]) -> str:
    version = attributes.get("version")
    return hashlib.sha256(str(version).encode()).hexdigest()[:8] if version else ""


def traces_of(envelope: Envelope) -> Sequence[Trace]:
    """What there is to remember of a statement; of a note only that it is about a label."""
    if not envelope.method:
        label = envelope.concerns
        return (Trace("label", label["incident"], label["at"], label["label"]),) if "label" in label else ()
    attributes, family = envelope.attributes, envelope.key.partition(":")[0]
    if family == "deployment":
        return _of_deployment(envelope, attributes)
    if envelope.method == "DELETE":
        return _of_withdrawal(envelope, family)
    if envelope.path == ChangeFailureByVersion.path:
        return ()  # which deployment it is about only Datadog knows
    if family == "change":
        return _of_change(envelope, attributes)
    return _of_incident(envelope, attributes)


def _of_deployment(envelope: Envelope, attributes: Mapping[str, Any]) -> Sequence[Trace]:
    finished_at, service = attributes["finished_at"] // _MS, attributes["service"]
    took = finished_at - attributes["started_at"] // _MS
    env = attributes.get("env", "")
    text = f"{finished_at:x}|{took:x}|{_commit_of(attributes)}:{_version_of(attributes)}|{env}"
    deployed = Trace("deployment", envelope.datadog_id, finished_at, text, service)
    if ROLLBACK not in attributes.get("custom_tags", ()):
        return (deployed,)
    # which deployment it undid has to be found: the linker does
    signal = _signal(envelope, service, env, at=finished_at, remediation_id=envelope.datadog_id)
    return (deployed, Trace("incident", f"{envelope.datadog_id}~rollback", finished_at, signal))


def _of_withdrawal(envelope: Envelope, family: str) -> Sequence[Trace]:
    identifier = envelope.datadog_id
    if family != "change":
        return (Trace("withdrawn", identifier, 0, "merged"),)
    # a person's verdict, which stands: nothing more is to be said of a deployment that is gone
    gone = {"change_failure": False, "remediation": {}, "by": envelope.source, "withdrawn": True}
    signals = [Trace("withdrawn", f"{identifier}~{word}", 0, "withdrawn") for word in ("rollback", "change-failure")]
    service = envelope.concerns.get("service", "")
    history = [Trace("undeployed", identifier, 0, "", service)] if service else []
    return (*history, Trace("verdict", identifier, 0, compact(gone)), *signals)


def _of_change(envelope: Envelope, attributes: Mapping[str, Any]) -> Sequence[Trace]:
    remediation = attributes.get("remediation", {})
    said = {
        "change_failure": attributes.get("change_failure", False),
        "remediation": remediation,
        "by": envelope.source,
        "revision": envelope.order,
    }
    verdict = Trace("verdict", envelope.datadog_id, 0, compact(said))
    concerns = envelope.concerns
    if not concerns:
        return (verdict,)
    at = envelope.received_at // _MS
    signal = _signal(
        envelope,
        concerns["service"],
        concerns.get("env", ""),
        at=int(concerns["at"]) if "at" in concerns else None,
        deployment_id=envelope.datadog_id,
        remediation_id=remediation.get("id", ""),
    )
    return (verdict, Trace("incident", envelope.fact, at, signal))


def _signal(envelope: Envelope, service: str, env: str, **more: Any) -> str:
    said = {"endpoint": envelope.endpoint, "services": [service], "env": env, "explicit": True, **more}
    return _told(said)


def _of_incident(envelope: Envelope, attributes: Mapping[str, Any]) -> Sequence[Trace]:
    started_at, finished_at = attributes.get("started_at"), attributes.get("finished_at")
    tags = attributes.get("custom_tags", ())
    merged = any(str(tag).startswith("merged_into:") for tag in tags)
    said = {
        "endpoint": envelope.endpoint,
        "services": list(attributes.get("services", ())),
        "env": attributes.get("env", ""),
        "at": started_at // _MS if started_at is not None else None,
        "end": finished_at // _MS if finished_at is not None else None,
        "root_cause": _commit_of(attributes),
        "ended": "merged" if merged else "not_a_change" if NOT_A_CHANGE_TAG in tags else "",
    }
    text = _told(said)
    # a closing may lack start and services: then its opening, which is there already, has them
    told = Trace("incident", envelope.datadog_id, (started_at or 0) // _MS, text)
    occurrence = envelope.occurrence
    if occurrence is None or not occurrence.names or started_at is None:
        return (told,)
    return (told, Trace("reopened", occurrence.first, started_at // _MS, envelope.datadog_id))


def _told(said: Mapping[str, Any]) -> str:
    return compact({name: value for name, value in said.items() if value not in ("", None)})
