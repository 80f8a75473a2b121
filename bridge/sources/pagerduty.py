"""PagerDuty V3 webhooks: an incident is a failure that opens and closes.

Bodies, behaviour, signatures: https://github.com/PagerDuty/developer-docs, docs/webhooks/01-Overview.md,
02-Behavior.md and 04-Signatures.md.

    incident.triggered          a failure opens, at `created_at`
    incident.resolved           it closes, at the event's `occurred_at`: there is no `resolved_at`
      by merging it             it is withdrawn, as the other incident counts; without application key, closed
    incident.reopened           another failure opens, at `reopened_at`; what was resolved stays so
    incident.priority_updated   ignored; with an option, the open failure again with its new severity
    any other                   ignored

Bodies of some years lack `reopened_at`, in any event. Then an incident was reopened when that occurred, and what is
said of it is about the last time it was opened by then, as the ledger knows it (`occurrences.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError

from bridge.dora import SEND_AS, Failure, Occurrence, SendAs, withdrawal
from bridge.errors import PayloadInvalid
from bridge.ids import fact_id
from bridge.payload import Found, Items, Object, Part, Stripped, TextOrNumber, Time, as_tags, fields_of
from bridge.severity import severity
from bridge.signatures import HmacSha256
from bridge.source import API_URL, Context, Options, Source, Traits, Translation, first, nothing
from bridge.times import SECOND, OptionalRfc3339, Rfc3339


class Reference(Part):
    """Another object of PagerDuty. May be sparse: the agent of a ping has only id and type."""

    id: TextOrNumber = None
    type: TextOrNumber = None
    summary: TextOrNumber = None


class ResolveReason(Part):
    type: TextOrNumber = None
    incident: Object[Reference] = Reference()
    """The incident that this one was merged into."""


def _as_in_v3(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class Incident(Part):
    id: Stripped
    number: TextOrNumber = None
    title: TextOrNumber = None
    status: TextOrNumber = None
    created_at: Time = None
    """Missing in bodies of 2021."""
    reopened_at: OptionalRfc3339 = None
    """Once reopened, an incident mostly carries it in all later events. Part of the id, so it must be readable."""
    service: Object[Reference] = Reference()
    teams: Items[Reference] = ()
    priority: Object[Reference] = Reference()
    urgency: TextOrNumber = None
    resolve_reason: Annotated[Object[ResolveReason], BeforeValidator(_as_in_v3)] = ResolveReason()
    """An object, null, or a string as in V2."""


class Event(Part):
    event_type: str
    occurred_at: Rfc3339
    agent: Object[Reference | None] = None
    """Who or what caused the event; null for PagerDuty's own automation."""
    data: Incident


class Webhook(Part):
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
    send_as: SendAs = Field("failure", description=SEND_AS)
    api_url: str = Field(
        "https://api.pagerduty.com",
        pattern=API_URL,
        description="Where catching up finds the API; in the EU https://api.eu.pagerduty.com",
    )

    @property
    def named_services(self) -> tuple[tuple[str, str], ...]:
        return tuple((one, f"services.{id_}") for id_, services in self.services.items() for one in services)


_LEFT_OUT = "incidents of this urgency do not count as failures (option urgencies)"
_MERGED = "it was merged into another incident, and not reported as a failure before"


def translate(webhook: Webhook, context: Context) -> Translation:
    """What one event says of its incident."""
    event, incident, options = webhook.event, webhook.event.data, context.options
    failure = _open_failure(event, context)
    traits = _traits(incident, failure.env)
    # only an urgency that was left out does not count: a missing or new one does
    left_out = incident.urgency in {"high", "low"} - set(options.urgencies)

    match event.event_type:
        case "incident.resolved" if _is_merge(incident) and (context.application_key or options.send_as == "incident"):
            return Translation(facts=(withdrawal(failure),), traits=traits)
        case "incident.resolved":
            # a merge is no recovery: it only ends what was reported, and makes no failure of its own
            unreported = _LEFT_OUT if left_out else _MERGED if _is_merge(incident) else ""
            return Translation(facts=(_close(failure, event, unreported),), traits=traits)
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


def _open_failure(event: Event, context: Context) -> Failure:
    """The failure as far as its event itself tells; every event carries the whole incident."""
    incident, options = event.data, context.options
    service_id = incident.service.id or ""
    identifier = fact_id("pagerduty-incident", incident.id, instance=options.instance)
    id_place, start = "event.data.id", (incident.created_at, "event.data.created_at")
    occurrence = None if event.event_type == "incident.triggered" else Occurrence(identifier, event.occurred_at)
    again, place = incident.reopened_at, "event.data.reopened_at"
    if again is None and event.event_type == "incident.reopened":
        again, place = event.occurred_at, "event.occurred_at"
    if again is not None:  # each time is a failure of its own
        occurrence = Occurrence(identifier, again, names=True)
        identifier = fact_id("pagerduty-incident", incident.id, f"r{again // SECOND}", instance=options.instance)
        id_place, start = f"event.data.id, {place}", (again, place)
    mapped = options.services.get(service_id)
    named = (incident.service.summary,) if incident.service.summary else ()
    rank, rank_place = first(
        (incident.priority.summary, "event.data.priority.summary"),
        ({"high": "High", "low": "Low"}.get(incident.urgency or ""), "event.data.urgency"),
    )
    found: Found = {
        "id": (identifier, id_place),
        "started_at": start,
        "services": (mapped, "option services") if mapped else (named, "event.data.service.summary"),
        "team": (options.teams.get(service_id), "option teams"),
        "env": first(
            (options.envs.get(service_id), "option envs"),
            (context.headers.get("dd_env"), "header dd_env"),
            (context.query.get("env"), "query env"),
        ),
        "name": first(
            (incident.title, "event.data.title"),
            (incident.number and f"PagerDuty incident #{incident.number}", "event.data.number"),
        ),
        "severity": (options.severity_map.get(rank or "") or severity(rank), rank_place),
    }
    custom_tags = as_tags(
        pagerduty_incident=incident.number,
        pagerduty_service=incident.service.id,
        urgency=incident.urgency,
    )
    return Failure(**fields_of(found), custom_tags=custom_tags, send_as=options.send_as, occurrence=occurrence)


def _close(failure: Failure, event: Event, only_if_open: str) -> Failure:
    by = {"user_reference": "user", "inbound_integration_reference": "integration"}
    resolved_by = by.get(event.agent.type or "") if event.agent else "auto"
    merged_into = event.data.resolve_reason.incident.id if _is_merge(event.data) else None
    return replace(
        failure,
        finished_at=event.occurred_at,
        only_if_open=only_if_open,
        custom_tags=(*failure.custom_tags, *as_tags(resolved_by=resolved_by, merged_into=merged_into)),
        origins={**failure.origins, "finished_at": "event.occurred_at"},
    )


def _is_merge(incident: Incident) -> bool:
    """Whether it was resolved by merging it into another incident, which is no recovery."""
    return "merge" in (incident.resolve_reason.type or "").lower()


def _traits(incident: Incident, env: str | None) -> Traits:
    teams = tuple(team.summary for team in incident.teams if team.summary)
    return {
        "service": incident.service.summary,
        "team": teams,
        "environment": env,
        "labels": (*as_tags(pagerduty_service=incident.service.id), *teams),
    }


class _EventHead(Part):
    id: TextOrNumber = None
    event_type: TextOrNumber = None


class _Head(Part):
    event: Object[_EventHead] = _EventHead()


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


_MATCHABLE = frozenset({"service", "team", "environment", "labels"})


def matchable(options: PagerDutyOptions) -> Mapping[str, frozenset[str]]:
    """Changes of priority only if they are sent."""
    updates = ("incident.priority_updated",) if options.priority_updates == "send" else ()
    kinds = ("incident.triggered", "incident.resolved", "incident.reopened", *updates)
    return dict.fromkeys(kinds, _MATCHABLE)


SOURCE = Source(
    name="pagerduty",
    scheme=HmacSha256("x-pagerduty-signature", "v1=", several=True),
    kind=kind,
    models=dict.fromkeys(
        ("incident.triggered", "incident.resolved", "incident.reopened", "incident.priority_updated"), Webhook
    ),
    translate=translate,
    delivery_id=delivery_id,
    headers=headers,
    matchable=matchable,
    options=PagerDutyOptions,
    retries_mismatch=True,  # it keeps events for 48 hours after a 5xx, but drops them after a 4xx
)
