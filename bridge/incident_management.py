"""A failure in Incident Management: which call tells of its opening, change, end or withdrawal. Pure.

Source: Datadog API reference, "Incidents". What it forces on us:

- Datadog notes the time of each call itself: an incident begins when it is created, and is resolved when the PATCH
  comes. When it really began stands in the summary.
- Datadog gives each incident a UUID, takes no id of ours, and makes a second incident of a repetition. So the summary
  ends with a line that holds our id, by which one whose creation was not answered is found in the list.
- Severity, state, services and teams are `fields` that every organisation has. Of others Datadog may refuse the
  whole incident, so env and the rest stand in the summary too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.dora import FAILURE_PATHS, UUID
from bridge.envelope import Envelope
from bridge.severity import incident_severity
from bridge.times import to_rfc3339

PATH = FAILURE_PATHS["incident"]
_LONGEST_TITLE = 1024
"""API reference, "Import an incident"; of a creation no limit is documented."""


def is_incident(envelope: Envelope) -> bool:
    """Whether it is told to Incident Management."""
    return envelope.path == PATH or envelope.path.startswith(f"{PATH}/")


def creates(envelope: Envelope) -> bool:
    """Whether the call makes a new incident: the first statement about one does, those after it change that one."""
    phase, _, revision = envelope.rank.partition(".")
    return envelope.path == PATH and phase == "0" and not int(revision or 0)


def needs_uuid(envelope: Envelope) -> bool:
    """Whether the call needs the id that Datadog gave the incident: it changes, ends or withdraws it."""
    return UUID in envelope.path or (envelope.path == PATH and not creates(envelope))


def call_of_incident(
    envelope: Envelope, *, opening: Mapping[str, Any], uuid: str
) -> tuple[str, str, Mapping[str, Any] | None]:
    """Method, path and body of the call that states this envelope.

    `opening`: the attributes of the failure as first reported. Without `uuid` the placeholder `{uuid}` stands in the
    path and body of what is not a creation.
    """
    if envelope.method == "DELETE":
        path = envelope.path if is_incident(envelope) else f"{PATH}/{UUID}"
        return "DELETE", path.replace(UUID, uuid or UUID), None
    attributes = envelope.attributes
    if creates(envelope):
        return "POST", PATH, {"data": {"type": "incidents", "attributes": _created(attributes)}}
    said = _ended(attributes, opening) if "finished_at" in attributes else _changed(attributes)
    known = uuid or UUID
    return "PATCH", f"{PATH}/{known}", {"data": {"id": known, "type": "incidents", "attributes": said}}


def spelled(attributes: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Name -> value, and which attribute of the failure it was; of the attributes of any call, for people."""
    plain = {name: value for name, value in attributes.items() if name != "fields"}
    plain |= {name: field["value"] for name, field in attributes.get("fields", {}).items()}
    return {name: (value, _FROM.get(name, name)) for name, value in plain.items()}


_FROM = {"title": "name", "teams": "team"}


def is_marked(incident: Mapping[str, Any], datadog_id: str) -> bool:
    """Whether an incident, as the list gives it, was created for this id of ours."""
    return datadog_id in _marks(incident)


def mark_of(incident: Mapping[str, Any]) -> str:
    """Our id of an incident, as Datadog gives it; empty if the bridge did not create it."""
    return next(reversed(_marks(incident)), "")


_MARK = "dora-bridge: "


def _marks(incident: Mapping[str, Any]) -> list[str]:
    """What the lines of the summary say after `dora-bridge: `; people may have written above and below."""
    try:
        lines = incident["attributes"]["fields"]["summary"]["value"].splitlines()
    except (LookupError, TypeError, AttributeError):
        return []
    return [line.strip().removeprefix(_MARK) for line in lines if line.strip().startswith(_MARK)]


def _created(attributes: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "severity": _dropdown(incident_severity(attributes.get("severity"))),
        "state": _dropdown("active"),
        "summary": {"type": "textbox", "value": _summary(attributes)},
    }
    if attributes.get("services"):
        fields["services"] = {"type": "autocomplete", "value": list(attributes["services"])}
    if attributes.get("team"):
        fields["teams"] = {"type": "autocomplete", "value": [attributes["team"]]}
    # that customers are affected no sender says, and Datadog would want to know how
    return {"title": _title(attributes), "customer_impacted": False, "fields": fields}


def _changed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    severity = incident_severity(attributes.get("severity"))
    fields = {} if severity == "UNKNOWN" else {"fields": {"severity": _dropdown(severity)}}
    return {"title": _title(attributes), **fields}


def _ended(attributes: Mapping[str, Any], opening: Mapping[str, Any]) -> dict[str, Any]:
    """The state; title and severity only if the sender changed them, so that what people changed in Datadog stays."""
    fields = {"state": _dropdown("resolved")}
    severity = incident_severity(attributes.get("severity"))
    if severity not in ("UNKNOWN", incident_severity(opening.get("severity"))):
        fields["severity"] = _dropdown(severity)
    renamed = attributes.get("name") not in (None, opening.get("name"))
    return ({"title": _title(attributes)} if renamed else {}) | {"fields": fields}


def _summary(attributes: Mapping[str, Any]) -> str:
    git = attributes.get("git")
    lines = [
        f"started_at: {to_rfc3339(attributes['started_at'])}",
        *(f"{name}: {attributes[name]}" for name in ("env", "version") if attributes.get(name)),
        *([f"git: {git['repository_url']} {git['commit_sha']}"] if git else []),
        *attributes.get("custom_tags", ()),
    ]
    plain = [" ".join(line.split()) for line in lines]
    # nobody else's line may look like the mark
    return "\n".join([*(line for line in plain if not line.startswith(_MARK)), f"{_MARK}{attributes['id']}"])


def _title(attributes: Mapping[str, Any]) -> str:
    return str(attributes.get("name") or attributes["id"])[:_LONGEST_TITLE]


def _dropdown(value: str) -> dict[str, str]:
    return {"type": "dropdown", "value": value}
