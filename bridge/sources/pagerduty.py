"""PagerDuty V3 webhooks: an incident is a failure that opens and closes.

Bodies, behaviour, signatures: https://github.com/PagerDuty/developer-docs, docs/webhooks/01-Overview.md,
02-Behavior.md and 04-Signatures.md.

    incident.triggered          a failure opens, at `created_at`
    incident.resolved           it closes, at the event's `occurred_at`: there is no `resolved_at`
      by merging it             it is withdrawn, as the other incident counts; without application key, closed
    incident.reopened           another failure opens, at `reopened_at`
    incident.priority_updated   ignored; with an option, the open failure again with its new severity
    any other                   ignored
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bridge.dora import Failure, SendAs, Withdrawal
from bridge.errors import PayloadInvalid
from bridge.ids import fact_id
from bridge.severity import severity
from bridge.signatures import HmacSha256
from bridge.source import Context, Options, Source, Traits, Translation, first, nothing
from bridge.times import SECOND, OptionalRfc3339, Rfc3339, from_rfc3339


def _text(value: object) -> str | None:
    """Text without blanks around it, or a whole number's digits; anything else counts as absent."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: object) -> int | None:
    try:
        return from_rfc3339(value)
    except ValueError:
        return None


def _object(value: object) -> object:
    return value if isinstance(value, dict) else {}


def _object_or_null(value: object) -> object:
    return None if value is None else _object(value)


def _objects(value: object) -> list[object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _reason(value: object) -> object:
    return {"type": value} if isinstance(value, str) else _object(value)


Text = Annotated[str | None, BeforeValidator(_text)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Reference(_Model):
    """Another object of PagerDuty. May be sparse: the agent of a ping has only id and type."""

    id: Text = None
    type: Text = None
    summary: Text = None


LenientReference = Annotated[Reference, BeforeValidator(_object)]


class ResolveReason(_Model):
    type: Text = None
    incident: LenientReference = Reference()
    """The incident that this one was merged into."""


class Incident(_Model):
    id: str = Field(min_length=1)
    number: Text = None
    title: Text = None
    status: Text = None
    created_at: Annotated[int | None, BeforeValidator(_time)] = None
    """Missing in bodies of 2021."""
    reopened_at: OptionalRfc3339 = None
    """Once reopened, an incident carries it in all later events. Part of the id, so it must be readable."""
    service: LenientReference = Reference()
    teams: Annotated[tuple[Reference, ...], BeforeValidator(_objects)] = ()
    priority: LenientReference = Reference()
    urgency: Text = None
    resolve_reason: Annotated[ResolveReason, BeforeValidator(_reason)] = ResolveReason()
    """An object, null, or a string as in V2."""


class Event(_Model):
    event_type: str
    occurred_at: Rfc3339
    agent: Annotated[Reference | None, BeforeValidator(_object_or_null)] = None
    """Who or what caused the event; null for PagerDuty's own automation."""
    data: Incident


class Webhook(_Model):
    event: Event


class PagerDutyOptions(Options):
    services: dict[str, tuple[str, ...]] = Field(
        {}, description="Id of a PagerDuty service -> the services it stands for; by default its name"
    )
    teams: dict[str, str] = Field({}, description="Id of a PagerDuty service -> team handle in Datadog")
    envs: dict[str, str] = Field({}, description="Id of a PagerDuty service -> env")
    urgencies: tuple[Literal["high", "low"], ...] = Field(
        ("high", "low"), description="Urgencies of the incidents that count as failures"
    )
    severity_map: dict[str, str] = Field(
        {}, description="Name of a priority, or High or Low (urgency) where there is none -> severity"
    )
    priority_updates: Literal["ignore", "send"] = Field(
        "ignore", description="Whether a changed priority is sent as the severity of the open failure"
    )
    send_as: SendAs = Field("failure", description="failure, or legacy_incident: Datadog's older endpoint")


_LEFT_OUT = "incidents of this urgency do not count as failures (option urgencies)"
_MERGED = "it was merged into another incident, and not reported as a failure before"


def translate(webhook: Webhook, context: Context) -> Translation:
    """What one event says of its incident."""
    event, incident, options = webhook.event, webhook.event.data, context.options
    if event.event_type == "incident.reopened" and incident.reopened_at is None:
        raise PayloadInvalid("event.data.reopened_at is missing")

    failure = _open_failure(incident, context)
    traits = _traits(incident, failure.env)
    # only an urgency that was left out does not count: a missing or new one does
    left_out = incident.urgency in {"high", "low"} - set(options.urgencies)

    match event.event_type:
        case "incident.resolved" if _is_merge(incident) and context.application_key:
            withdrawal = Withdrawal(failure_id=failure.id, origins={"failure_id": failure.origins["id"]})
            return Translation(facts=(withdrawal,), traits=traits)
        case "incident.resolved":
            # a merge is no recovery: it only ends what was reported, and makes no failure of its own
            unreported = _LEFT_OUT if left_out else _MERGED if _is_merge(incident) else ""
            closing = replace(_close(failure, event), only_if_open=unreported)
            return Translation(facts=(closing,), traits=traits)
        case "incident.priority_updated" if options.priority_updates == "ignore":
            return nothing("changes of priority are not sent (option priority_updates)", traits)
        case "incident.priority_updated" if incident.status == "resolved":
            return nothing("the incident is resolved: its severity stays", traits)
        case "incident.priority_updated":
            unknown = "its priority changed, but it was not reported as a failure"
            failure = replace(failure, revision=event.occurred_at, only_if_open=unknown)
        case _ if left_out:
            return nothing(_LEFT_OUT, traits)
        case "incident.triggered" if failure.started_at is None:
            origins = {**failure.origins, "started_at": "event.occurred_at"}
            failure = replace(failure, started_at=event.occurred_at, origins=origins)

    if failure.started_at is None:
        raise PayloadInvalid("event.data.created_at is missing or not a time")
    if not failure.services and not failure.team and not incident.teams:
        raise PayloadInvalid("event.data has neither service.summary nor teams: nothing says what failed")
    return Translation(facts=(failure,), traits=traits)


def _open_failure(incident: Incident, context: Context) -> Failure:
    """The failure as far as the incident itself tells; every event carries the whole incident."""
    options, service_id = context.options, incident.service.id or ""
    reopened_at = incident.reopened_at
    occurrence = () if reopened_at is None else (f"r{reopened_at // SECOND}",)
    services = options.services.get(service_id, ())
    services_origin = "option services"
    if not services and incident.service.summary:
        services, services_origin = (incident.service.summary,), "event.data.service.summary"
    env, env_origin = first(
        (options.envs.get(service_id), "option envs"),
        (context.headers.get("dd_env"), "header dd_env"),
        (context.query.get("env"), "query env"),
    )
    name, name_origin = first(
        (incident.title, "event.data.title"),
        (incident.number and f"PagerDuty incident #{incident.number}", "event.data.number"),
    )
    rank, rank_origin = first(
        (incident.priority.summary, "event.data.priority.summary"),
        ({"high": "High", "low": "Low"}.get(incident.urgency or ""), "event.data.urgency"),
    )
    origins = {
        "id": "event.data.id" if reopened_at is None else "event.data.id, event.data.reopened_at",
        "started_at": "event.data.created_at" if reopened_at is None else "event.data.reopened_at",
        "services": services_origin,
        "team": "option teams",
        "env": env_origin,
        "name": name_origin,
        "severity": rank_origin,
    }
    failure = Failure(
        id=fact_id("pagerduty-incident", incident.id, *occurrence, instance=options.instance),
        started_at=incident.created_at if reopened_at is None else reopened_at,
        services=services,
        team=options.teams.get(service_id),
        env=env,
        name=name,
        severity=options.severity_map.get(rank or "") or severity(rank),
        custom_tags=_tags(
            pagerduty_incident=incident.number,
            pagerduty_service=incident.service.id,
            urgency=incident.urgency,
        ),
        send_as=options.send_as,
    )
    known = {field: origin for field, origin in origins.items() if getattr(failure, field)}
    return replace(failure, origins=known)


def _close(failure: Failure, event: Event) -> Failure:
    by = {"user_reference": "user", "inbound_integration_reference": "integration"}
    resolved_by = by.get(event.agent.type or "") if event.agent else "auto"
    merged_into = event.data.resolve_reason.incident.id if _is_merge(event.data) else None
    return replace(
        failure,
        finished_at=event.occurred_at,
        custom_tags=(*failure.custom_tags, *_tags(resolved_by=resolved_by, merged_into=merged_into)),
        origins={**failure.origins, "finished_at": "event.occurred_at"},
    )


def _is_merge(incident: Incident) -> bool:
    """Whether it was resolved by merging it into another incident, which is no recovery."""
    return "merge" in (incident.resolve_reason.type or "").lower()


def _tags(**values: str | None) -> tuple[str, ...]:
    return tuple(f"{key}:{value}" for key, value in values.items() if value)


def _traits(incident: Incident, env: str | None) -> Traits:
    teams = tuple(team.summary for team in incident.teams if team.summary)
    return {
        "service": incident.service.summary,
        "team": teams,
        "environment": env,
        "labels": (*_tags(pagerduty_service=incident.service.id), *teams),
    }


class _EventHead(_Model):
    id: Text = None
    event_type: Text = None


class _Head(_Model):
    event: Annotated[_EventHead, BeforeValidator(_object)] = _EventHead()


def _head(body: bytes) -> _EventHead:
    try:
        return _Head.model_validate_json(body).event
    except ValidationError:
        return _EventHead()


def kind(headers: Mapping[str, str], body: bytes) -> str:
    event_type = _head(body).event_type
    if event_type is None:
        raise PayloadInvalid("event.event_type is missing, or the body is not JSON")
    return event_type


def delivery_id(headers: Mapping[str, str], body: bytes) -> str | None:
    """The event's id; the `x-webhook-id` of one event differs between two subscriptions."""
    return _head(body).id


def headers(body: bytes, kind: str | None) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": "PagerDuty-Webhook/V3.0",
        "x-webhook-id": str(uuid.uuid4()),
    }


_MODELS: dict[str, Any] = dict.fromkeys(
    ("incident.triggered", "incident.resolved", "incident.reopened", "incident.priority_updated"), Webhook
)

SOURCE = Source(
    name="pagerduty",
    scheme=HmacSha256("x-pagerduty-signature", "v1=", several=True),
    kind=kind,
    models=_MODELS,
    translate=translate,
    delivery_id=delivery_id,
    headers=headers,
    options=PagerDutyOptions,
    retries_mismatch=True,  # it keeps events for 48 hours after a 5xx, but drops them after a 4xx
)
