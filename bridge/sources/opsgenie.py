"""Opsgenie and Jira Service Management: an alert that matters is a failure that opens and closes.

Both send the same bodies. https://docs.opsgenie.com/docs/marid-alert-action-data,
https://support.atlassian.com/jira-service-management-cloud/docs/alert-action-data-for-jira-edge-connector;
they cannot sign, only add headers: https://docs.opsgenie.com/v1.0/docs/webhook-integration.

    Create           a failure opens, at `alert.createdAt`
    Close            it closes, at `alert.updatedAt`
    Delete           the same, with the tag `closed_by:delete`, if it was open
    UpdatePriority   ignored; with an option, the open failure again with its new severity
    UpdateMessage    ignored; with an option, the open failure again with its new title
    AddTags          the tag not-a-change: no deployment is to be blamed for it; RemoveTags: one may be
    any other        ignored

Most alerts are no failures: those count that have a priority or a tag of `failures_from`. So does, whatever
its priority, the alert of an Opsgenie incident: somebody declared an incident, just what we look for.
An incident opens one alert for each responder team; the one of its owner stands for it.

Priority, tags and details may change until the end, or be missing there. A Close that does not look like that
of a failure still closes one if its opening was reported, and only then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bridge.dora import NOT_A_CHANGE_TAG, SEND_AS, Failure, SendAs
from bridge.errors import PayloadInvalid
from bridge.ids import fact_id
from bridge.payload import (
    Found,
    Item,
    Items,
    Maybe,
    Object,
    Part,
    Stripped,
    StrippedOrNumber,
    TextOrNumber,
    as_tags,
    fields_of,
)
from bridge.severity import severity
from bridge.signatures import SharedToken
from bridge.source import NOT_A_CHANGE, Context, Mark, Options, Source, Traits, Translation, first, nothing
from bridge.times import OptionalEpoch


def _priority(value: object) -> object:
    """`P1` … `P5` for P1, p1, 1 and "1" (bodies of 2017); anything else as it is."""
    number = str(value).strip().upper().removeprefix("P")
    return f"P{number}" if number in {"1", "2", "3", "4", "5"} else value


def _in_lower_case(details: dict[str, str]) -> dict[str, str]:
    # of keys that differ in case only, the same one counts in whatever order they come: that in lower case, if there is
    return {key.lower(): text for key, text in sorted(details.items())}


Priority = Annotated[Literal["P1", "P2", "P3", "P4", "P5"], BeforeValidator(_priority)]


class Responder(Part):
    type: TextOrNumber = None
    name: TextOrNumber = None


class Alert(Part):
    alertId: Stripped
    tinyId: TextOrNumber = None
    """A short number, used again later."""
    alias: TextOrNumber = None
    """Deduplicates open alerts: neither an id, since it returns after a Close, nor a service."""
    message: TextOrNumber = None
    createdAt: Maybe[OptionalEpoch] = None
    """Sent in milliseconds."""
    updatedAt: Maybe[OptionalEpoch] = None
    """Sent in nanoseconds, beyond what a float holds."""
    priority: Maybe[Priority] = None
    tags: Items[StrippedOrNumber] = ()
    addedTags: TextOrNumber = None
    """Separated by commas, like the next."""
    removedTags: TextOrNumber = None
    details: Annotated[Object[dict[str, Item[StrippedOrNumber]]], AfterValidator(_in_lower_case)] = Field({})
    """What people and integrations add; keys in lower case."""
    entity: TextOrNumber = None
    team: TextOrNumber = None
    responders: Items[Responder] = ()


class AlertAction(Part):
    action: str
    alert: Alert
    integrationId: TextOrNumber = None
    integrationName: TextOrNumber = None


class FailuresFrom(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    priorities: tuple[Priority, ...] = Field(("P1", "P2"), description="An alert of one of these priorities counts")
    tags: tuple[str, ...] = Field(("incident",), description="So does one with one of these tags; case does not matter")


class Integration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str | None = Field(None, description="Service of alerts that name none")
    team: str | None = Field(None, description="Team of alerts that name none")
    env: str | None = Field(None, description="Environment of alerts that name none")


class OpsgenieOptions(Options):
    product: Literal["opsgenie", "jsm"] = Field("opsgenie", description="Who sends it; ids begin with it")
    failures_from: FailuresFrom = Field(FailuresFrom(), description="Which alerts count as failures")
    services: dict[str, tuple[str, ...]] = Field(
        {}, description="Id of an impacted service of an incident -> the services it stands for"
    )
    integrations: dict[str, Integration] = Field(
        {}, description="integrationId of the webhook -> what its alerts do not say themselves"
    )
    priority_updates: Literal["ignore", "send"] = Field(
        "ignore", description="Whether a changed priority is sent as the severity of the open failure"
    )
    title_updates: Literal["ignore", "send"] = Field(
        "ignore", description="Whether a changed message is sent as the title of the open failure"
    )
    send_as: SendAs = Field("failure", description=SEND_AS)

    @property
    def named_services(self) -> tuple[tuple[str, str], ...]:
        impacted = ((one, f"services.{id_}") for id_, services in self.services.items() for one in services)
        by_default = ((one.service, f"integrations.{id_}") for id_, one in self.integrations.items() if one.service)
        return (*impacted, *by_default)


_NOT_COUNTED = "neither its priority nor its tags count as a failure (option failures_from)"


def translate(event: AlertAction, context: Context) -> Translation:
    """What one action on an alert says."""
    alert, options = event.alert, context.options
    failure = _open_failure(event, context)
    traits = _traits(event, failure)
    if alert.details.get("incident-alert-type", "Owner").lower() != "owner":
        return nothing("the alert of another responder of an incident: the owner's counts", traits)
    counts = _incident_id(alert)[0] is not None or _is_failure(alert, options.failures_from)

    match event.action:
        case "Close":
            closing = _close(failure, alert, "" if counts else _NOT_COUNTED)
            return Translation(facts=(closing,), traits=traits)
        case "Delete":
            closing = _close(failure, alert, "it was deleted, but not reported as a failure before")
            closing = replace(closing, custom_tags=(*closing.custom_tags, "closed_by:delete"))
            return Translation(facts=(closing,), traits=traits)
        case "AddTags" | "RemoveTags":
            is_set = event.action == "AddTags"
            changed = (alert.addedTags if is_set else alert.removedTags) or ""
            if not _is_no_change(changed.split(",")):
                return nothing("changes of tags are not sent", traits)
            mark = Mark(failure.id, is_set, _updated_at(alert))
            return Translation(ignored="noted for linking", traits=traits, mark=mark)
        case "UpdatePriority" if options.priority_updates == "ignore":
            return nothing("changes of priority are not sent (option priority_updates)", traits)
        case "UpdateMessage" if options.title_updates == "ignore":
            return nothing("changes of title are not sent (option title_updates)", traits)
        case "UpdatePriority" | "UpdateMessage":
            what = "priority" if event.action == "UpdatePriority" else "title"
            unknown = f"its {what} changed, but it was not reported as a failure"
            failure = replace(failure, revision=_updated_at(alert), only_if_open=unknown)
        case _ if not counts:
            return nothing(_NOT_COUNTED, traits)

    if failure.started_at is None:
        raise PayloadInvalid("alert.createdAt is missing or not a time")
    if not failure.services and not failure.team:
        raise PayloadInvalid(
            "nothing says what failed: add details.service, a tag service:<name>, an entity or a responder "
            "team to the alert, or its integrationId to the option integrations"
        )
    return Translation(facts=(failure,), traits=traits)


def _is_no_change(tags: Iterable[str]) -> bool:
    return any(tag.strip().casefold() == NOT_A_CHANGE for tag in tags)


def _is_failure(alert: Alert, wanted: FailuresFrom) -> bool:
    tags = {tag.lower() for tag in wanted.tags}
    return alert.priority in wanted.priorities or any(tag.lower() in tags for tag in alert.tags)


_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_INCIDENT_ALIAS = re.compile(rf"({_UUID})_{_UUID}", re.ASCII)
"""Alias of an incident's alert: `<incident-id>_<team-id>`."""


def _incident_id(alert: Alert) -> tuple[str | None, str]:
    """The Opsgenie incident that opened this alert, if one did, and where it is named."""
    alias = _INCIDENT_ALIAS.fullmatch(alert.alias or "")
    return first(
        (alert.details.get("incident-id"), "alert.details.incident-id"),
        (alias and alias[1], "alert.alias"),
    )


def _open_failure(event: AlertAction, context: Context) -> Failure:
    """The failure as far as the alert itself tells; every action we read carries the alert."""
    alert, options = event.alert, context.options
    integration = options.integrations.get(event.integrationId or "", Integration())
    incident_id, incident_place = _incident_id(alert)
    if incident_id:
        identifier = fact_id(f"{options.product}-incident", incident_id, instance=options.instance)
    else:
        identifier = fact_id(f"{options.product}-alert", alert.alertId, instance=options.instance)
    found: Found = {
        "id": (identifier, incident_place or "alert.alertId"),
        "started_at": (alert.createdAt, "alert.createdAt"),
        "services": _services(alert, integration, options.services),
        "team": first(
            *((responder.name, "alert.responders") for responder in alert.responders if responder.type == "team"),
            (alert.team, "alert.team"),
            (integration.team, "option integrations"),
        ),
        "env": first(
            (alert.details.get("env"), "alert.details.env"),
            (alert.details.get("environment"), "alert.details.environment"),
            (_env_of_tags(alert, "env"), "alert.tags env"),
            (_env_of_tags(alert, "environment"), "alert.tags environment"),
            (integration.env, "option integrations"),
            (context.headers.get("dd_env"), "header dd_env"),
            (context.query.get("env"), "query env"),
        ),
        "name": (alert.message, "alert.message"),
        "severity": (severity(alert.priority), "alert.priority"),
    }
    marked = (NOT_A_CHANGE_TAG,) if _is_no_change(alert.tags) else ()
    return Failure(**fields_of(found), custom_tags=(*_tags(event), *marked), send_as=options.send_as)


def _close(failure: Failure, alert: Alert, only_if_open: str) -> Failure:
    origins = {**failure.origins, "finished_at": "alert.updatedAt"}
    return replace(failure, finished_at=_updated_at(alert), only_if_open=only_if_open, origins=origins)


def _updated_at(alert: Alert) -> int:
    if alert.updatedAt is None:
        raise PayloadInvalid("alert.updatedAt is missing or not a time")
    return alert.updatedAt


def _services(
    alert: Alert, integration: Integration, impacted: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], str]:
    """What failed, without repetitions, and where it is named."""
    pairs = [tag.partition(":") for tag in _pieces(alert.tags)]
    tagged = [name.strip() for key, _, name in pairs if key.strip().lower() == "service"]
    ids = alert.details.get("impacted-services", "").split(",")
    candidates: tuple[tuple[Sequence[str | None], str], ...] = (
        ((alert.details.get("service"),), "alert.details.service"),
        (tagged, "alert.tags service"),
        ([name for one in ids for name in impacted.get(one.strip(), ())], "alert.details.impacted-services"),
        ((alert.entity,), "alert.entity"),
        ((integration.service,), "option integrations"),
    )
    for names, origin in candidates:
        if services := tuple(dict.fromkeys(name for name in names if name)):
            return services, origin
    return (), ""


def _env_of_tags(alert: Alert, key: str) -> str | None:
    """The value that tags `key:value` and `prefix:key:value` agree on; two different ones are no answer."""
    values = set()
    for tag in _pieces(alert.tags):
        *_, name, value = ("", *tag.split(":"))
        if name.strip().lower() == key and value.strip():
            values.add(value.strip())
    return values.pop() if len(values) == 1 else None


_KEY_VALUE = re.compile(r"[^\s:][^:]*:.*\S", re.DOTALL)


def _pieces(tags: Sequence[str]) -> Iterator[str]:
    """The tags; one like `component:mysql env:live`, where every word is `key:value`, is several."""
    for tag in tags:
        words = tag.split()
        yield from words if all(_KEY_VALUE.fullmatch(word) for word in words) else [tag]


MAX_ALERT_TAGS = 20
"""Of an alert's own tags, that many become `custom_tags`: Datadog takes 100, and people write many."""


def _tags(event: AlertAction) -> tuple[str, ...]:
    own = [piece for piece in _pieces(event.alert.tags) if _KEY_VALUE.fullmatch(piece)]
    ours = as_tags(opsgenie_alert=event.alert.tinyId, opsgenie_integration=event.integrationName)
    return (*ours, *list(dict.fromkeys(own))[:MAX_ALERT_TAGS])


def _traits(event: AlertAction, failure: Failure) -> Traits:
    return {
        "service": failure.services,
        "team": failure.team,
        "environment": failure.env,
        "labels": (*event.alert.tags, *as_tags(opsgenie_integration=event.integrationName)),
    }


class _AlertHead(Part):
    alertId: TextOrNumber = None
    updatedAt: TextOrNumber = None


class _Head(Part):
    action: TextOrNumber = None
    alert: Object[_AlertHead] = _AlertHead()


def _head(body: bytes) -> _Head:
    try:
        return _Head.model_validate_json(body)
    except ValidationError:
        return _Head()


def kind(headers: Mapping[str, str], body: bytes) -> str:
    action = _head(body).action
    if action is None:
        raise PayloadInvalid("action is missing, or the body is not JSON")
    return action


def delivery_id(headers: Mapping[str, str], body: bytes) -> str | None:
    """Made of what tells actions on one alert apart; an Escalate, which has no `updatedAt`, has none."""
    head = _head(body)
    if not (head.action and head.alert.alertId and head.alert.updatedAt):
        return None
    return f"{head.alert.alertId}-{head.action}-{head.alert.updatedAt}"


def headers(body: bytes, kind: str | None) -> dict[str, str]:
    return {"content-type": "application/json"}


_MATCHABLE = frozenset({"service", "team", "environment", "labels"})


def matchable(options: OpsgenieOptions) -> Mapping[str, frozenset[str]]:
    """Changes of priority and title only if they are sent."""
    updates = {"UpdatePriority": options.priority_updates, "UpdateMessage": options.title_updates}
    sent = (action for action, wish in updates.items() if wish == "send")
    return dict.fromkeys(("Create", "Close", "Delete", *sent), _MATCHABLE)


SOURCE = Source(
    name="opsgenie",
    scheme=SharedToken(),
    kind=kind,
    models=dict.fromkeys(
        ("Create", "Close", "Delete", "UpdatePriority", "UpdateMessage", "AddTags", "RemoveTags"), AlertAction
    ),
    translate=translate,
    delivery_id=delivery_id,
    headers=headers,
    matchable=matchable,
    options=OpsgenieOptions,
)
