"""Incidents of a PagerDuty account, as the V3 webhooks that told of them.

    GET /incidents      those created in the time asked for
    GET /log_entries    what happened in it to any incident: here are the ends, which incidents themselves lack
    GET /incidents/{id} those that ended in it but are older

https://developer.pagerduty.com/api-reference/ (schema: github.com/PagerDuty/api-schema). At most six months and
10,000 records can be asked for at once, so wide windows are halved.

An incident that was reopened is a failure for each time: its second one begins at `reopened_at`. Where PagerDuty does
not say when that was, only the first one is told; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bridge.backfill.unit import Unit, composed, ready
from bridge.backfill.vendor_api import PER_PAGE, Params, VendorApi
from bridge.errors import SenderUnreadable
from bridge.times import SECOND, from_rfc3339, to_rfc3339

MOST_RECORDS = 10_000
_WIDEST_S = 180 * 86_400
_RESOLVED = "resolve_log_entry"

Incident = Mapping[str, Any]
Entry = Mapping[str, Any]


async def units(
    api: VendorApi, *, since: int, until: int, services: Sequence[str] = (), teams: Sequence[str] = ()
) -> list[Unit]:
    """Units of openings and ends, of all incidents or those of some services or teams, by their ids.

    Times are nanoseconds since the epoch, UTC. Raises: SenderUnreadable.
    """
    of_teams: dict[str, Any] = {"team_ids[]": list(teams)} if teams else {}
    of_services: dict[str, Any] = {"service_ids[]": list(services)} if services else {}
    wanted = {"statuses[]": ["triggered", "acknowledged", "resolved"], **of_teams, **of_services}
    incidents = {str(one.get("id")): one async for one in _all(api, "incidents", wanted, since, until)}
    ends: dict[str, list[Entry]] = {}
    async for entry in _all(api, "log_entries", {"is_overview": "true", **of_teams}, since, until):
        if entry.get("type") == _RESOLVED and isinstance(entry.get("incident"), dict):
            ends.setdefault(str(entry["incident"].get("id")), []).append(entry)

    found = [unit for key, one in incidents.items() for unit in _units_of(one, ends.get(key, []), since, until)]
    for identifier in ends.keys() - incidents.keys():
        path = f"incidents/{quote(identifier, safe='')}"
        incident = await _incident(api, path)
        if not services or (incident.get("service") or {}).get("id") in services:
            # of an older one the whole log counts: it may have ended before
            log = [entry async for entry in _offsets(api, f"{path}/log_entries", "log_entries")]
            resolutions = [entry for entry in log if entry.get("type") == _RESOLVED]
            found += _units_of(incident, resolutions, since, until)
    return found


def _units_of(incident: Incident, resolutions: Sequence[Entry], since: int, until: int) -> Iterator[Unit]:
    for event_type, at, agent, data in phases(incident, resolutions):
        if since <= at <= until:
            key = f"incident {incident['id']} {event_type} {at // SECOND}"
            event = {
                "id": f"backfill-{incident['id']}-{event_type}-{at // SECOND}",
                "event_type": event_type,
                "resource_type": "incident",
                "occurred_at": to_rfc3339(at),
                "agent": agent,
                "data": data,
            }
            yield ready(key, at, composed({"event": event}))


def phases(
    incident: Incident, resolutions: Sequence[Entry]
) -> Iterator[tuple[str, int, Mapping[str, Any] | None, Mapping[str, Any]]]:
    """Type of event, its time (nanoseconds since the epoch, UTC), who caused it, and the incident as it was then.

    `resolutions` are the log entries of its ends. Raises: SenderUnreadable for an incident without `created_at`.
    """
    created = _moment(incident.get("created_at"))
    if created is None:
        raise SenderUnreadable("PagerDuty: an incident without a readable created_at")
    reopened = _moment(incident.get("reopened_at"))
    ends = _ends(incident, resolutions)
    whole = {**incident, "number": incident.get("incident_number", incident.get("number"))}
    first = {**whole, "reopened_at": None}

    yield "incident.triggered", created, None, _open(first)
    before = [at for at in ends if reopened is None or at < reopened]
    if before:
        # a merge ends an incident for good: of several ends it was the last one
        yield "incident.resolved", before[0], ends[before[0]], _ended(first, keep_reason=len(ends) == 1)
    if reopened is None:
        return
    yield "incident.reopened", reopened, None, _open(whole)
    if after := [at for at in ends if at >= reopened]:
        yield "incident.resolved", after[-1], ends[after[-1]], _ended(whole, keep_reason=True)


def _ends(incident: Incident, resolutions: Sequence[Entry]) -> dict[int, Mapping[str, Any] | None]:
    """When it was resolved, in order, and by whom."""
    found = {at: one.get("agent") for one in resolutions if (at := _moment(one.get("created_at"))) is not None}
    if not found and incident.get("status") == "resolved":
        # its last change of status was its end
        at = _moment(incident.get("resolved_at")) or _moment(incident.get("last_status_change_at"))
        found = {at: None} if at is not None else {}
    return dict(sorted(found.items()))


def _open(incident: Incident) -> Incident:
    return {**incident, "status": "triggered", "resolve_reason": None}


def _ended(incident: Incident, *, keep_reason: bool) -> Incident:
    reason = incident.get("resolve_reason") if keep_reason else None
    return {**incident, "status": "resolved", "resolve_reason": reason}


async def _incident(api: VendorApi, path: str) -> Incident:
    answer = await api.get(path)
    incident = answer.get("incident") if isinstance(answer, dict) else None
    if not isinstance(incident, dict):
        raise SenderUnreadable(f"PagerDuty: GET {path}: no incident in the answer")
    return incident


async def _all(api: VendorApi, name: str, params: Params, since: int, until: int) -> AsyncIterator[dict[str, Any]]:
    """All records of a window, in as many smaller ones as it takes; those on a border come twice."""
    start, end = since // SECOND, -(-until // SECOND)
    window = {"since": to_rfc3339(start * SECOND), "until": to_rfc3339(end * SECOND), "time_zone": "UTC"}
    rows: list[dict[str, Any]] | None = None
    if end - start <= _WIDEST_S:
        rows = []
        async for row in _offsets(api, name, name, {**params, **window}):
            rows.append(row)
            if len(rows) >= MOST_RECORDS and end - start > 1:
                rows = None
                break
    if rows is not None:
        for row in rows:
            yield row
        return
    middle = (start + end) // 2 * SECOND
    for half in ((start * SECOND, middle), (middle, end * SECOND)):
        async for row in _all(api, name, params, *half):
            yield row


async def _offsets(api: VendorApi, path: str, name: str, params: Params | None = None) -> AsyncIterator[dict[str, Any]]:
    """The records called `name` of all pages, of which there are at most MOST_RECORDS."""
    for offset in range(0, MOST_RECORDS, PER_PAGE):
        page = await api.get(path, {**(params or {}), "limit": PER_PAGE, "offset": offset})
        rows = page.get(name) if isinstance(page, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SenderUnreadable(f"PagerDuty: GET {path}: no {name} in the answer")
        for row in rows:
            yield row
        if not page.get("more"):
            return


def _moment(text: object) -> int | None:
    try:
        return from_rfc3339(text)
    except ValueError:
        return None
