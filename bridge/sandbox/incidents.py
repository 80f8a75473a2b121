"""The Incident Management of the sandbox: incidents by UUID, in the shape of Datadog's recorded answers."""

from __future__ import annotations

import copy
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bridge.sandbox.records import Recent, compile_query
from bridge.sandbox.rules import SEVERITIES, STATES

# Recorded: an incident was in the list at once, but not in a search right after. How long is not known.
SEARCH_LAG_S = 10.0

_USER_ID = "00000000-0000-0000-0000-00000000d07a"
_USER_DATA = {
    "type": "users",
    "id": _USER_ID,
    "attributes": {
        "uuid": _USER_ID,
        "handle": "sandbox@example.invalid",
        "email": "sandbox@example.invalid",
        "name": "dora-bridge sandbox",
        "icon": "https://example.invalid/icon.png",
    },
}
_USER = {"data": {"type": "users", "id": _USER_ID}}
_INCIDENT_TYPE = "00000000-0000-0000-0000-0000000017e0"
_FIELDS = {
    "teams": {"type": "autocomplete", "value": None},
    "severity": {"type": "dropdown", "value": "UNKNOWN"},
    "state": {"type": "dropdown", "value": "active"},
    "detection_method": {"type": "dropdown", "value": "unknown"},
    "root_cause": {"type": "textbox", "value": None},
    "summary": {"type": "textbox", "value": None},
    "services": {"type": "autocomplete", "value": None},
}
_OVER = ("resolved", "completed")
_COPIED_ON_UPDATE = (
    "title",
    "customer_impacted",
    "customer_impact_scope",
    "customer_impact_start",
    "customer_impact_end",
    "detected",
    "notification_handles",
)


class Incidents:
    """The incidents, by UUID. Times given in are seconds since the epoch."""

    def __init__(self, keep: int) -> None:
        self.by_id: Recent[dict[str, Any]] = Recent(keep)
        self._created: Recent[float] = Recent(keep)
        self._public_id = 0

    def create(self, data: dict[str, Any], now: float) -> dict[str, Any]:
        """Keeps the incident of a checked create request and gives back its resource object."""
        asked, time = data["attributes"], _moment(now)
        return self._keep(data, now, detected=time, declared=time, impacted=asked["customer_impacted"])

    def import_(self, data: dict[str, Any], now: float) -> dict[str, Any]:
        """The same of a checked import request, whose times are those of the request."""
        asked, time = data["attributes"], _moment(now)
        incident = self._keep(
            data,
            now,
            detected=asked.get("detected", time),
            declared=asked.get("declared", time),
            impacted=False,
        )
        if "resolved" in asked:
            incident["attributes"]["resolved"] = asked["resolved"]
        incident["attributes"]["visibility"] = asked.get("visibility", "organization")
        return incident

    def update(self, incident: dict[str, Any], data: dict[str, Any], now: float) -> None:
        """Changes what a checked PATCH names. `resolved` is the time of the PATCH: Datadog takes no other."""
        asked, attributes = data.get("attributes", {}), incident["attributes"]
        attributes |= {name: asked[name] for name in _COPIED_ON_UPDATE if name in asked}
        self._set_fields(attributes, asked.get("fields", {}), now)
        attributes["modified"] = _moment(now)
        attributes["last_modified_by_uuid"] = _USER_ID
        commander = data.get("relationships", {}).get("commander_user")
        if commander is not None:
            incident["relationships"]["commander_user"] = commander

    def listed(self, size: int, offset: int) -> dict[str, Any]:
        """The answer of the list: oldest first, as recorded."""
        page = list(self.by_id.values())[offset : offset + size]
        return {"data": page, "meta": _pagination(offset, len(page))}

    def found(self, query: str, sort: str, size: int, offset: int, now: float) -> dict[str, Any]:
        """The answer of the search, whose index lags behind by `SEARCH_LAG_S`.

        Raises: ValueError when the query is more than the sandbox understands.
        """
        fits = compile_query(query)
        hits = [
            incident
            for id_, incident in self.by_id.items()
            if now - self._created[id_] >= SEARCH_LAG_S and fits(_values_of(incident["attributes"]))
        ]
        if sort == "-created":
            hits.reverse()
        page = hits[offset : offset + size]
        facets = {
            name: [{"name": value, "count": counts[value]} for value in known]
            for name, known in (("state", STATES), ("severity", SEVERITIES))
            for counts in [Counter(hit["attributes"][name] for hit in hits)]
        }
        attributes = {
            "total": len(hits),
            "facets": facets,
            "incidents": [{"data": incident} for incident in page],
        }
        return {
            "data": {"type": "incidents_search_results", "attributes": attributes},
            "meta": _pagination(offset, len(page)),
        }

    def _keep(
        self, data: dict[str, Any], now: float, *, detected: str, declared: str, impacted: bool
    ) -> dict[str, Any]:
        self._public_id += 1
        asked, time = data["attributes"], _moment(now)
        attributes: dict[str, Any] = {
            "public_id": self._public_id,
            "incident_type_uuid": asked.get("incident_type_uuid", _INCIDENT_TYPE),
            "title": asked["title"],
            "resolved": None,
            "customer_impact_scope": asked.get("customer_impact_scope"),
            "customer_impact_start": time if impacted else None,
            "customer_impact_end": None,
            "customer_impacted": impacted,
            "notification_handles": asked.get("notification_handles"),
            "last_modified_by": {"data": _USER_DATA},
            "last_modified_by_uuid": None,
            "created": time,
            "modified": time,
            "commander": None,
            "detected": detected,
            "created_by": {"data": _USER_DATA},
            "created_by_uuid": None,
            "creation_idempotency_key": None,
            "customer_impact_duration": 0,
            "time_to_detect": 0,
            "time_to_repair": 0,
            "time_to_internal_response": 0,
            "time_to_resolve": 0,
            "archived": None,
            "is_test": asked.get("is_test", False),
            "declared": declared,
            "declared_by": {"data": _USER_DATA},
            "declared_by_uuid": None,
            "fields": copy.deepcopy(_FIELDS) | {"slug": {"type": "textbox", "value": f"IR-{self._public_id}"}},
            "field_analytics": None,
            "severity": "UNKNOWN",
            "state": "active",
            "non_datadog_creator": None,
            "visibility": "organization",
            "case_id": None,
        }
        self._set_fields(attributes, asked.get("fields", {}), now)
        incident: dict[str, Any] = {
            "type": "incidents",
            "id": str(uuid.uuid4()),
            "attributes": attributes,
            "relationships": {
                "created_by_user": _USER,
                "last_modified_by_user": _USER,
                "commander_user": {"data": None},
                "declared_by_user": _USER,
                **{name: {"data": []} for name in ("user_defined_fields", "integrations", "attachments")},
                **{name: {"data": []} for name in ("responders", "impacts")},
            },
        }
        commander = (data.get("relationships") or {}).get("commander_user")
        if commander is not None:
            incident["relationships"] |= {"commander_user": commander}
        self.by_id.put(incident["id"], incident)
        self._created.put(incident["id"], now)
        return incident

    def _set_fields(self, attributes: dict[str, Any], asked: dict[str, Any], now: float) -> None:
        fields = attributes["fields"]
        for name, field in asked.items():
            value = field.get("value")
            known = fields.get(name, {}).get("type", "dropdown")
            if value is not None and isinstance(value, str) != (known in ("dropdown", "textbox")):
                known = "dropdown" if isinstance(value, str) else "multiselect"
            fields[name] = {"type": field.get("type", known), "value": value}
        if "state" in asked:
            state = asked["state"]["value"]
            if (state in _OVER) != (attributes["state"] in _OVER):
                attributes["resolved"] = _moment(now) if state in _OVER else None
            attributes["state"] = state
        if "severity" in asked:
            attributes["severity"] = asked["severity"]["value"]


def _pagination(offset: int, size: int) -> dict[str, Any]:
    return {"pagination": {"offset": offset, "next_offset": offset + size, "size": size}}


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")


def _values_of(attributes: dict[str, Any]) -> Callable[[str], list[str]]:
    def values_of(key: str) -> list[str]:
        if key in ("state", "severity"):
            return [attributes[key]]
        if key in ("customer_impacted", "is_test"):
            return [str(attributes[key]).lower()]
        value = attributes["fields"].get(key, {}).get("value")
        return value if isinstance(value, list) else [] if value is None else [value]

    return values_of
