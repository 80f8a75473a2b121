"""What the sandbox refuses: one pure function per request body, which gives back what is wrong with it.

Three kinds of rule, the surest first:

- *known*: a recorded answer of Datadog shows the refusal (`type` of lists and patches, `remediation.type`);
- *documented*: the OpenAPI document or the text of the API reference demands it (required attributes,
  types, the pattern of ids, 100 tags, `services` or `team`, one of `remediation.id` and
  `remediation.version`);
- *ours*: Datadog's behaviour is not known, but such a request cannot be right, so no client should send it
  (an end before the start, microseconds, an id in the body that is not the one in the path).

What is neither, an unknown attribute say, is accepted; `unknown_attributes` is for the note.

Source: https://docs.datadoghq.com/api/latest/dora-metrics/, https://docs.datadoghq.com/api/latest/incidents/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bridge.times import from_rfc3339

_PATCH_TYPE = "dora_deployment_patch_request"
STATES = ("active", "stable", "resolved", "completed")
SEVERITIES = ("UNKNOWN", "SEV-0", "SEV-1", "SEV-2", "SEV-3", "SEV-4", "SEV-5")

_ID = re.compile(r"[a-zA-Z0-9_.:-]{16,128}", re.ASCII)
_SHA = re.compile(r"[a-fA-F0-9]{40,}", re.ASCII)
_MAX_TAGS = 100
_MAX_IMPORT_TITLE = 1024

# An epoch number tells its unit by its size; these cover 2001 to 2286 (ns: 2262, the end of int64).
_SECONDS, _MILLISECONDS, _NANOSECONDS = 10**9, 10**12, 10**18

Check = Callable[[object], str | None]
"""Gives back what is wrong with a value, to follow the attribute's name, or None."""


def to_nanoseconds(value: object) -> int | None:
    """A DORA timestamp (Unix seconds, milli- or nanoseconds) as nanoseconds; None when it is none of them."""
    if type(value) is not int:
        return None
    if _NANOSECONDS <= value < 2**63:
        return value
    if _MILLISECONDS <= value < 10 * _MILLISECONDS:
        return value * 1_000_000
    if _SECONDS <= value < 10 * _SECONDS:
        return value * 1_000_000_000
    return None


def deployment_errors(body: object) -> list[str]:
    """What is wrong with the body of `POST /api/v2/dora/deployment`."""
    return _event_errors(body, _DEPLOYMENT, ("service", "started_at", "finished_at"))


def failure_errors(body: object) -> list[str]:
    """What is wrong with the body of `POST /api/v2/dora/failure` or `/api/v2/dora/incident`."""
    errors = _event_errors(body, _FAILURE, ("started_at",))
    if not errors:
        attributes = _attributes(body)
        if not attributes.get("services") and not attributes.get("team"):
            errors.append('one of the attributes "services" and "team" is required')
    return errors


def list_errors(body: object, expected_type: str) -> list[str]:
    """What is wrong with the body of a list request, whose `data.type` must be `expected_type`."""
    errors = _type_errors(body, expected_type)
    if errors:
        return errors
    return _wrong(_attributes(body), _LIST, ())


def patch_errors(body: object, deployment_id: str) -> list[str]:
    """What is wrong with the body of `PATCH /api/v2/dora/deployments/{deployment_id}`."""
    errors = _type_errors(body, _PATCH_TYPE)
    if errors:
        return errors
    errors = _id_errors(body, deployment_id)
    attributes = _attributes(body)
    errors += _wrong(attributes, _PATCH, ())
    return errors or _remediation_errors(attributes)


def patch_by_version_errors(body: object) -> list[str]:
    """What is wrong with the body of `PATCH /api/v2/dora/deployments`."""
    errors = _type_errors(body, _PATCH_TYPE)
    if errors:
        return errors
    attributes = _attributes(body)
    errors = _wrong(attributes, _PATCH_BY_VERSION, ("service", "env", "version", "change_failure"))
    if errors:
        return errors
    # Only this request's remediation is closed to further attributes (`additionalProperties: false`).
    extra = sorted(set(attributes.get("remediation", ())) - {"id", "type", "version"})
    return [f'unknown attribute "remediation.{name}"' for name in extra] + _remediation_errors(attributes)


def incident_errors(body: object) -> list[str]:
    """What is wrong with the body of `POST /api/v2/incidents`."""
    errors = _type_errors(body, "incidents")
    if errors:
        return errors
    attributes = _attributes(body)
    errors = _wrong(attributes, _INCIDENT, ("title", "customer_impacted"))
    if not errors and attributes["customer_impacted"] and not attributes.get("customer_impact_scope"):
        # The text users report (datadog-api-client-python issue 2679); the cause is the documented rule.
        errors.append("Failed to create incident: description cannot be empty (customer_impact_scope)")
    return errors + _relationship_errors(body, required=True)


def incident_update_errors(body: object, incident_id: str) -> list[str]:
    """What is wrong with the body of `PATCH /api/v2/incidents/{incident_id}`; it may have no attributes."""
    errors = _type_errors(body, "incidents", needs_attributes=False)
    if errors:
        return errors
    errors = _id_errors(body, incident_id) + _wrong(_attributes(body), _INCIDENT_UPDATE, ())
    return errors + _relationship_errors(body)


def import_errors(body: object) -> list[str]:
    """What is wrong with the body of `POST /api/v2/incidents/import`."""
    errors = _type_errors(body, "incidents")
    if errors:
        return errors
    attributes = _attributes(body)
    errors = _wrong(attributes, _IMPORT, ("title",))
    if errors:
        return errors
    if len(attributes["title"]) > _MAX_IMPORT_TITLE:
        errors.append(f'attribute "title" must have at most {_MAX_IMPORT_TITLE} characters')
    fields = attributes.get("fields", {})
    errors += [
        f'field "{name}" must have a value and nothing else' for name in fields if set(fields[name]) != {"value"}
    ]
    if "resolved" in attributes and fields.get("state", {}).get("value") != "resolved":
        errors.append('attribute "resolved" can only be set when the state field is "resolved"')
    return errors + _relationship_errors(body)


def unknown_attributes(body: object, kind: str) -> list[str]:
    """The attributes of a `deployment` or `failure` body that the API reference does not list."""
    known = _DEPLOYMENT if kind == "deployment" else _FAILURE
    return [name for name in _attributes(body) if name not in known]


def _attributes(body: object) -> dict[str, Any]:
    data = body.get("data") if isinstance(body, dict) else None
    attributes = data.get("attributes") if isinstance(data, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _envelope_errors(body: object, *, needs_attributes: bool = True) -> list[str]:
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    data = body.get("data")
    if not isinstance(data, dict):
        return ['"data" must be an object']
    if "attributes" not in data and not needs_attributes:
        return []
    if not isinstance(data.get("attributes"), dict):
        return ['"data.attributes" must be an object']
    return []


def _type_errors(body: object, expected: str, *, needs_attributes: bool = True) -> list[str]:
    """The envelope and `data.type`; with a wrong type Datadog looks at nothing else (recorded)."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        return _envelope_errors(body)
    got = body["data"].get("type", "")
    if got != expected:
        return [f'got type "{got}" expected one of "{expected}"']
    return _envelope_errors(body, needs_attributes=needs_attributes)


def _id_errors(body: Any, expected: str) -> list[str]:
    got = body["data"].get("id")
    if not isinstance(got, str) or not got:
        return ['"data.id" is required']
    return [] if got == expected else ['"data.id" must be the id in the path']


def _event_errors(body: object, checks: dict[str, Check], required: tuple[str, ...]) -> list[str]:
    errors = _envelope_errors(body)
    if errors:
        return errors
    attributes = _attributes(body)
    errors = _wrong(attributes, checks, required)
    if not errors and "finished_at" in attributes:
        started, finished = (
            to_nanoseconds(attributes["started_at"]),
            to_nanoseconds(attributes["finished_at"]),
        )
        if started is not None and finished is not None and finished < started:
            errors.append('attribute "finished_at" must not be before "started_at"')
    return errors


def _wrong(attributes: dict[str, Any], checks: dict[str, Check], required: tuple[str, ...]) -> list[str]:
    """One line for each absent required attribute and each attribute whose check finds something."""
    errors = [f'attribute "{name}" is required' for name in required if name not in attributes]
    for name, value in attributes.items():
        check = checks.get(name)
        if check is not None and (problem := check(value)) is not None:
            errors.append(f'attribute "{name}" {problem}')
    return errors


def _remediation_errors(attributes: dict[str, Any]) -> list[str]:
    remediation = attributes.get("remediation")
    if remediation is None:
        return []
    if remediation.get("type") not in ("rollback", "rollforward"):
        return ['attribute "type" must be one of "rollback rollforward"']  # recorded, letter for letter
    named = [name for name in ("id", "version") if name in remediation]
    if len(named) != 1:
        return ['attribute "remediation" must have either "id" or "version"']
    if not isinstance(remediation[named[0]], str) or not remediation[named[0]]:
        return [f'attribute "remediation.{named[0]}" must be a non-empty string']
    return []


def _relationship_errors(body: Any, *, required: bool = False) -> list[str]:
    """What is wrong with the users that an incident is related to; a user is taken away with null."""
    relationships = body["data"].get("relationships", {})
    if not isinstance(relationships, dict):
        return ['"data.relationships" must be an object']
    if required and "relationships" in body["data"] and "commander_user" not in relationships:
        return ['relationship "commander_user" is required where relationships are given']
    errors = []
    for name in ("commander_user", "declared_by_user"):
        user = relationships.get(name)
        data = user.get("data", "") if isinstance(user, dict) else user
        if data is None:
            continue
        if not isinstance(data, dict) or data.get("type") != "users" or type(data.get("id")) is not str:
            errors.append(f'relationship "{name}" must have null or a user with id and type as "data"')
    return errors


def _string(value: object) -> str | None:
    return None if type(value) is str else "must be a string"


def _filled(value: object) -> str | None:
    return None if type(value) is str and value else "must be a non-empty string"


def _boolean(value: object) -> str | None:
    return None if type(value) is bool else "must be a boolean"


def _object(value: object) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _handles(value: object) -> str | None:
    for item in value if isinstance(value, list) else [None]:
        if not isinstance(item, dict) or any(
            type(item.get(name, "")) is not str for name in ("handle", "display_name")
        ):
            return "must be a list of objects of the strings handle and display_name"
    return None


def _timestamp(value: object) -> str | None:
    if type(value) is not int:
        return "must be an int64"
    if to_nanoseconds(value) is None:
        return "must be a Unix timestamp in nanoseconds, milliseconds or seconds"
    return None


def _id(value: object) -> str | None:
    if type(value) is str and _ID.fullmatch(value):
        return None
    return "must be 16 to 128 of a-z, A-Z, 0-9, -, _, . and :"


def _tags(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, list):
        return "must be a list of strings or null"
    if len(value) > _MAX_TAGS:
        return f"must have at most {_MAX_TAGS} tags"
    for tag in value:
        key, _, rest = tag.partition(":") if type(tag) is str else ("", "", "")
        if not key.strip() or not rest.strip():
            return "must be a list of key:value strings"
    return None


def _services(value: object) -> str | None:
    if isinstance(value, list) and all(type(item) is str and item for item in value):
        return None
    return "must be a list of non-empty strings"


def _git(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    sha, url = value.get("commit_sha"), value.get("repository_url")
    if type(url) is not str or not url or type(sha) is not str:
        return 'must have both "commit_sha" and "repository_url"'
    return None if _SHA.fullmatch(sha) else 'must have a "commit_sha" of at least 40 hexadecimal digits'


def _moment(value: object) -> str | None:
    try:
        from_rfc3339(value)
    except ValueError:
        return "must be an RFC 3339 date-time"
    return None


def _moment_or_null(value: object) -> str | None:
    return None if value is None else _moment(value)


def _limit(value: object) -> str | None:
    return None if type(value) is int and 1 <= value <= 1000 else "must be an integer from 1 to 1000"


def _sort(value: object) -> str | None:
    known = ("started_at", "finished_at", "-started_at", "-finished_at")
    return (
        None if value in known else "must be started_at or finished_at, with - for descending (all the sandbox knows)"
    )


def _fields(value: object) -> str | None:
    """The user-defined fields of an incident; state and severity must be of Datadog's default lists."""
    if not isinstance(value, dict):
        return "must be an object"
    for name, field in value.items():
        if not isinstance(field, dict):
            return f'must have an object as "{name}"'
        problem = _field(field)
        if problem is not None:
            return f'has a field "{name}" that {problem}'
    for name, known in (("state", STATES), ("severity", SEVERITIES)):
        if name in value and value[name].get("value") not in known:
            return f'must have a "{name}" that is one of "{" ".join(known)}"'
    return None


def _field(field: dict[str, Any]) -> str | None:
    value, type_ = field.get("value"), field.get("type")
    if value is not None and not isinstance(value, str) and _services(value) is not None:
        return "must have a string, a list of strings or null as value"
    if "type" in field and type_ not in (
        "dropdown",
        "textbox",
        "multiselect",
        "textarray",
        "metrictag",
        "autocomplete",
    ):
        return "has no known type"
    if type_ in ("dropdown", "textbox") and isinstance(value, list):
        return f"cannot have several values, being a {type_}"
    if type_ in ("multiselect", "textarray", "metrictag", "autocomplete") and isinstance(value, str):
        return f"must have a list as value, being of type {type_}"
    return None


def _cells(value: object) -> str | None:
    for cell in value if isinstance(value, list) else [None]:
        content = cell.get("content") if isinstance(cell, dict) else None
        if (
            not isinstance(cell, dict)
            or not isinstance(content, dict)
            or cell.get("cell_type") != "markdown"
            or type(content.get("content", "")) is not str
            or type(cell.get("important", False)) is not bool
        ):
            return "must be a list of markdown cells with content"
    return None


def _visibility(value: object) -> str | None:
    return None if value in ("organization", "private") else 'must be one of "organization private"'


_DORA: dict[str, Check] = {
    "id": _id,
    "started_at": _timestamp,
    "finished_at": _timestamp,
    "env": _string,
    "version": _string,
    "team": _string,
    "git": _git,
    "custom_tags": _tags,
}
_DEPLOYMENT = _DORA | {"service": _filled}
_FAILURE = _DORA | {"services": _services, "name": _string, "severity": _string}
_LIST: dict[str, Check] = {"from": _moment, "to": _moment, "limit": _limit, "query": _string, "sort": _sort}
_PATCH: dict[str, Check] = {"change_failure": _boolean, "remediation": _object}
_PATCH_BY_VERSION = _PATCH | {"service": _filled, "env": _filled, "version": _filled}
_INCIDENT: dict[str, Check] = {
    "title": _filled,
    "customer_impacted": _boolean,
    "customer_impact_scope": _string,
    "fields": _fields,
    "incident_type_uuid": _string,
    "initial_cells": _cells,
    "is_test": _boolean,
    "notification_handles": _handles,
}
_INCIDENT_UPDATE: dict[str, Check] = {
    "title": _filled,
    "customer_impacted": _boolean,
    "customer_impact_scope": _string,
    "customer_impact_start": _moment_or_null,
    "customer_impact_end": _moment_or_null,
    "detected": _moment_or_null,
    "fields": _fields,
    "notification_handles": _handles,
}
_IMPORT: dict[str, Check] = {
    "title": _filled,
    "declared": _moment,
    "detected": _moment,
    "resolved": _moment,
    "fields": _fields,
    "incident_type_uuid": _string,
    "visibility": _visibility,
}
