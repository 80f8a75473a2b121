"""Which statement a call to Datadog makes, as the call itself shows it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.incident_management import PATH as INCIDENTS
from bridge.incident_management import mark_of

_LISTS = ("/api/v2/dora/deployments", "/api/v2/dora/failures")


def name_of(call: Mapping[str, Any]) -> str | None:
    """The name of the statement that `method`, `path` and `body` make; None for a call that only reads.

    An incident that was closed, reopened under the same id and closed again has two closings, which end it differently.
    What changes something that is there is named by all that it says of it, since no id of the statement is in it.
    """
    method, path, body = call["method"], call["path"], call["body"]
    if method == "GET" or (method == "POST" and path in _LISTS):
        return None
    about = path.rpartition("/")[2]
    if method == "DELETE":
        return f"{about} withdrawn"
    try:
        attributes = body["data"]["attributes"]
        if method == "PATCH":
            return f"{about} changed: {json.dumps(attributes, sort_keys=True)}"
        if path == INCIDENTS:
            return f"{mark_of(body['data'])} created"
        if path == "/api/v2/dora/deployment":
            return str(attributes["id"])
        if path in ("/api/v2/dora/failure", "/api/v2/dora/incident"):
            end = attributes.get("finished_at")
            return f"{attributes['id']} " + ("opened" if end is None else f"closed at {end}")
    except (KeyError, TypeError):
        pass
    return f"{method} {path}"


def kind_of(call: Mapping[str, Any]) -> str:
    """Method and what it is about, such as `DELETE failure`."""
    _, _, _, area, *rest = str(call["path"]).split("/")
    return f"{call['method']} {rest[0] if area == 'dora' else area}"


def is_creation(call: Mapping[str, Any]) -> bool:
    """Whether it makes an incident in Incident Management, and would make another one each time."""
    return bool(call["method"] == "POST" and call["path"] == INCIDENTS)
