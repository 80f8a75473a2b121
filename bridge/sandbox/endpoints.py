"""The calls of Datadog that the sandbox knows: paths, keys, and the shape and media type of each answer.

Source: https://docs.datadoghq.com/api/latest/dora-metrics/, https://docs.datadoghq.com/api/latest/incidents/;
shapes and media types as in the recorded answers that Datadog publishes with its API clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import responses
from typing import Any

from bridge.sandbox import rules as rules
from bridge.sandbox.incidents import Incidents
from bridge.sandbox.records import Deployments, Failures, listed

_JSON, _JSON_API, _HTML = "application/json", "application/vnd.api+json", "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back; `notes` are for the record only."""

    status: int
    body: bytes = b""
    media_type: str = _JSON
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Call:
    """What an endpoint is given: `json` is None if the body is not JSON; `now` in seconds since the epoch."""

    json: Any
    body: bytes
    query: dict[str, str]
    has_application_key: bool
    now: float
    id: str = ""


def refusal(status: int, path: str, *, note: str = "") -> Answer:
    """Datadog's usual answer for a status from 300 up, where no endpoint has more to say."""
    title = responses.get(status, "Error")
    if status == 400 and path.startswith("/api/v2/dora/"):
        return _refused([title])
    notes = [note] if note else []
    return _json(status, {"errors": [title]}, notes=notes) if status >= 400 else Answer(status, notes=notes)


class Store:
    """What Datadog would have in its databases; each method is an endpoint, a Call in, an Answer out."""

    def __init__(self, keep: int) -> None:
        self.deployments = Deployments(keep)
        self.failures = Failures(keep)
        self.incidents = Incidents(keep)

    def answer(self, method: str, path: str, call: Call) -> Answer:
        """The answer of an endpoint, or 404, 405, or 403 where an application key is needed and missing."""
        methods = _FIXED.get(path)
        if methods is None:
            parent, _, call.id = path.rpartition("/")
            methods = _BY_ID.get(parent) if call.id else None
        if methods is None:
            return refusal(404, path, note="Datadog has more paths than the sandbox knows")
        if method not in methods:
            return refusal(405, path)
        if (method, path) not in _WITHOUT_APPLICATION_KEY and not call.has_application_key:
            return refusal(403, path, note="DD-APPLICATION-KEY is missing")
        return methods[method](self, call)

    def validate(self, call: Call) -> Answer:
        return _json(200, {"valid": True})

    def post_deployment(self, call: Call) -> Answer:
        errors = rules.deployment_errors(call.json)
        if errors:
            return _refused(errors)
        id_, notes = self.deployments.add(call.json["data"]["attributes"], call.body)
        return self._posted("deployment", id_, notes, call)

    def post_failure(self, call: Call) -> Answer:
        errors = rules.failure_errors(call.json)
        if errors:
            return _refused(errors)
        id_, notes = self.failures.add(call.json["data"]["attributes"], call.body)
        return self._posted("failure", id_, notes, call)

    def _posted(self, kind: str, id_: str, notes: list[str], call: Call) -> Answer:
        for name in rules.unknown_attributes(call.json, kind):
            notes.append(f'unknown attribute "{name}": what Datadog does with it is not known')
        return _json(200, {"data": {"id": id_, "type": f"dora_{kind}"}}, _JSON_API, notes)

    def list_deployments(self, call: Call) -> Answer:
        return self._list(call, self.deployments, "dora_deployments_list_request")

    def list_failures(self, call: Call) -> Answer:
        return self._list(call, self.failures, "dora_failures_list_request")

    def _list(self, call: Call, kept: Deployments | Failures, type_: str) -> Answer:
        errors = rules.list_errors(call.json, type_)
        if errors:
            return _refused(errors)
        try:
            return _json(200, {"data": listed(kept, call.json["data"]["attributes"])}, _JSON_API)
        except ValueError as error:
            return _refused([str(error)])

    def get_deployment(self, call: Call) -> Answer:
        return self._get(call, self.deployments, "deployment")

    def get_failure(self, call: Call) -> Answer:
        return self._get(call, self.failures, "failure")

    def _get(self, call: Call, kept: Deployments | Failures, kind: str) -> Answer:
        event = kept.events.get(call.id)
        if event is None:
            return _refused([f"{kind} {call.id} not found"], 404)
        return _json(200, {"data": kept.read(event)}, _JSON_API)

    def patch_deployment(self, call: Call) -> Answer:
        errors = rules.patch_errors(call.json, call.id)
        if errors:
            return _refused(errors)
        return _json(202, {"data": None}, _JSON_API, self.deployments.doubts_about_id(call.id))

    def patch_by_version(self, call: Call) -> Answer:
        errors = rules.patch_by_version_errors(call.json)
        if errors:
            return _refused(errors)
        attributes = call.json["data"]["attributes"]
        notes = self.deployments.doubts_about_version(attributes["service"], attributes["env"], attributes["version"])
        return _json(202, {"data": None}, _JSON_API, notes)

    def delete_deployment(self, call: Call) -> Answer:
        notes = self.deployments.doubts_about_id(call.id)
        self.deployments.events.pop(call.id, None)
        return _json(202, {"data": None}, _JSON_API, notes)

    def delete_failure(self, call: Call) -> Answer:
        known = self.failures.events.pop(call.id, None) is not None
        notes = [] if known else [f"no failure {call.id}: Datadog's answer is not known"]
        return _json(202, {"data": None}, _JSON_API, notes)

    def post_incident(self, call: Call) -> Answer:
        errors = rules.incident_errors(call.json)
        if errors:
            return _refused_plainly(errors)
        return _json(201, {"data": self.incidents.create(call.json["data"], call.now)})

    def import_incident(self, call: Call) -> Answer:
        errors = rules.import_errors(call.json)
        if errors:
            return _refused_plainly(errors)
        return _json(201, {"data": self.incidents.import_(call.json["data"], call.now)}, _JSON_API)

    def list_incidents(self, call: Call) -> Answer:
        try:
            return _json(200, self.incidents.listed(*_page(call.query)))
        except ValueError as error:
            return _refused_plainly([str(error)])

    def search_incidents(self, call: Call) -> Answer:
        sort = call.query.get("sort", "-created")
        if "query" not in call.query or sort not in ("created", "-created"):
            return _refused_plainly(['"query" is required; "sort" is created or -created'])
        try:
            found = self.incidents.found(call.query["query"], sort, *_page(call.query), call.now)
        except ValueError as error:
            return _refused_plainly([str(error)])
        return _json(200, found)

    def get_incident(self, call: Call) -> Answer:
        incident = self.incidents.by_id.get(call.id)
        return _no_incident(call.id) if incident is None else _json(200, {"data": incident})

    def patch_incident(self, call: Call) -> Answer:
        incident = self.incidents.by_id.get(call.id)
        if incident is None:
            return _no_incident(call.id)
        errors = rules.incident_update_errors(call.json, call.id)
        if errors:
            return _refused_plainly(errors)
        self.incidents.update(incident, call.json["data"], call.now)
        return _json(200, {"data": incident})

    def delete_incident(self, call: Call) -> Answer:
        if self.incidents.by_id.pop(call.id, None) is None:
            return _no_incident(call.id)
        return Answer(204, media_type=_HTML)


def _json(status: int, value: object, media_type: str = _JSON, notes: list[str] | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), media_type, notes or [])


def _refused(details: list[str], status: int = 400) -> Answer:
    """The error shape of DORA: a list of JSON:API objects."""
    title = responses[status]
    errors = [{"status": str(status), "title": title, "detail": detail} for detail in details]
    return _json(status, {"errors": errors}, _JSON_API, details)


def _refused_plainly(details: list[str], status: int = 400) -> Answer:
    """The error shape of Incident Management: a list of strings."""
    return _json(status, {"errors": details}, notes=details)


def _no_incident(incident_id: str) -> Answer:
    return _refused_plainly([f"incident {incident_id} not found"], 404)


def _page(query: dict[str, str]) -> tuple[int, int]:
    """`page[size]` (1 to 100, default 10) and `page[offset]`. Raises: ValueError."""
    size, offset = query.get("page[size]", "10"), query.get("page[offset]", "0")
    if not (size.isascii() and size.isdigit() and 1 <= int(size) <= 100):
        raise ValueError("page[size] must be a number between 1 and 100")
    if not (offset.isascii() and offset.isdigit()):
        raise ValueError("page[offset] must be a number")
    return int(size), int(offset)


Endpoint = Callable[[Store, Call], Answer]

_DORA, _INCIDENTS = "/api/v2/dora", "/api/v2/incidents"
_FIXED: dict[str, dict[str, Endpoint]] = {
    "/api/v1/validate": {"GET": Store.validate},
    "/api/v2/validate_keys": {"GET": Store.validate},
    f"{_DORA}/deployment": {"POST": Store.post_deployment},
    f"{_DORA}/failure": {"POST": Store.post_failure},
    f"{_DORA}/incident": {"POST": Store.post_failure},
    f"{_DORA}/deployments": {"POST": Store.list_deployments, "PATCH": Store.patch_by_version},
    f"{_DORA}/failures": {"POST": Store.list_failures},
    _INCIDENTS: {"POST": Store.post_incident, "GET": Store.list_incidents},
    f"{_INCIDENTS}/search": {"GET": Store.search_incidents},
    f"{_INCIDENTS}/import": {"POST": Store.import_incident},
}
# Singular to delete, plural to read and change: so it is.
_BY_ID: dict[str, dict[str, Endpoint]] = {
    f"{_DORA}/deployment": {"DELETE": Store.delete_deployment},
    f"{_DORA}/failure": {"DELETE": Store.delete_failure},
    f"{_DORA}/deployments": {"GET": Store.get_deployment, "PATCH": Store.patch_deployment},
    f"{_DORA}/failures": {"GET": Store.get_failure},
    _INCIDENTS: {
        "GET": Store.get_incident,
        "PATCH": Store.patch_incident,
        "DELETE": Store.delete_incident,
    },
}
_WITHOUT_APPLICATION_KEY = {
    ("GET", "/api/v1/validate"),
    ("POST", f"{_DORA}/deployment"),
    ("POST", f"{_DORA}/failure"),
    ("POST", f"{_DORA}/incident"),
}
