"""What Datadog has, as an operator asks for it: the newest deployments, failures or incidents, or one by its id.

Sources: Datadog API reference, "Delivery Performance" (lists and single records of DORA), "Incidents" (search and get).
The list of incidents has no time, order or query, so it is read from its new end. A query is a search, whose index lags
behind: what was created just before is missing (recorded).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args
from urllib.parse import quote

import httpx

from bridge.datadog_calls import DatadogCalls, request
from bridge.datadog_lists import list_request
from bridge.datadog_records import services_of, time_of
from bridge.errors import DatadogUnreadable, Invalid, Unknown
from bridge.incident_list import PAGE, pages_since
from bridge.incident_list import PATH as INCIDENTS
from bridge.search import said
from bridge.times import SECOND, to_rfc3339

RecordKind = Literal["deployment", "failure", "incident"]
RECORD_KINDS: tuple[RecordKind, ...] = get_args(RecordKind)
Row = Mapping[str, Any]
"""One record as Datadog gives it: `id`, `type`, `attributes`."""

_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.:-]{1,128}", re.ASCII)
"""What Datadog makes up itself may be shorter than the 16 characters that it demands of us."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_PATHS: Mapping[RecordKind, str] = {
    "deployment": "/api/v2/dora/deployments",
    "failure": "/api/v2/dora/failures",
    "incident": INCIDENTS,
}
_PERMISSIONS: Mapping[RecordKind, str] = {
    "deployment": "dora_metrics_read",
    "failure": "dora_metrics_read",
    "incident": "incident_read",
}
_OF_DORA = ("service", "env", "team")
_FACETS: Mapping[RecordKind, tuple[str, str, str]] = {
    "deployment": _OF_DORA,
    "failure": _OF_DORA,
    "incident": ("services", "Envs", "teams"),  # fields; Envs is one that an organisation adds for DORA (set-up guide)
}
_PLAIN = re.compile(r"[\w.*-]+", re.ASCII)


def checked_id(kind: RecordKind, identifier: str) -> str:
    """The id, if it can be one of that kind: it becomes a part of a path. Raises: Invalid."""
    if kind == "incident" and not _UUID.fullmatch(identifier):
        raise Invalid("ID: not the UUID of an incident, as `dora-bridge datadog list incidents` shows it", "id")
    if not _ID.fullmatch(identifier):
        raise Invalid("ID: not 1 to 128 of A-Z, a-z, 0-9 and - _ . :", "id")
    return identifier


def query_of(kind: RecordKind, *, service: str = "", env: str = "", team: str = "", query: str = "") -> str:
    """A query in event search syntax; all parts must hold. A `*` in a name stands for anything."""
    named = zip(_FACETS[kind], (service, env, team), strict=True)
    return " ".join([*(f"{facet}:{_term(value)}" for facet, value in named if value), *([query] if query else [])])


def _term(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class DatadogReads:
    """Reads with both keys, over `calls`."""

    def __init__(self, calls: DatadogCalls, *, base_url: str, api_key: str, app_key: str) -> None:
        self._calls = calls
        self._base_url, self._api_key, self._app_key = base_url, api_key, app_key

    async def get(self, kind: RecordKind, identifier: str) -> Row:
        """The record of an id. Raises: Unknown, with what Datadog answered; Invalid, DatadogUnreadable."""
        path = f"{_PATHS[kind]}/{quote(checked_id(kind, identifier), safe='')}"
        answer = await self._ask(kind, path)
        if answer.status_code != 200:
            raise Unknown(f"Datadog answers {answer.status_code}: {said(answer.text[:2048]) or 'nothing more'}")
        row = _json(answer).get("data")
        if not isinstance(row, dict):
            raise DatadogUnreadable(f"Datadog's {kind} has an unknown shape")
        return row

    async def newest(self, kind: RecordKind, *, since: int, until: int, query: str, limit: int) -> Sequence[Row]:
        """The newest `limit` records between two times (ns), newest first.

        A deployment is at its end, a failure at its start, an incident where it was created. Raises: DatadogUnreadable.
        """
        if kind == "incident":
            return await (self._found(since, until, query, limit) if query else self._listed(since, until, limit))
        asked = list_request(
            kind,
            since,
            until,
            query=query,
            limit=limit,
            sort="-finished_at" if kind == "deployment" else "-started_at",
            base_url=self._base_url,
            api_key=self._api_key,
            app_key=self._app_key,
        )
        answer = self._good(kind, await self._calls.answer(asked, what=_list(kind), permission=_PERMISSIONS[kind]))
        return _rows(kind, _json(answer).get("data"))

    async def _listed(self, since: int, until: int, limit: int) -> Sequence[Row]:
        seen: dict[object, Row] = {}
        pages = pages_since(since // 1_000_000, lambda _: False)
        offset = next(pages)
        with contextlib.suppress(StopIteration):
            while True:
                parameters: dict[str, str | int] = {"page[size]": PAGE, "page[offset]": offset}
                answer = self._good("incident", await self._ask("incident", _PATHS["incident"], parameters))
                rows = _rows("incident", _json(answer).get("data"))
                seen |= {row.get("id"): row for row in rows}
                offset = pages.send(rows)
        created = {id_: time_of(row["attributes"].get("created")) or until for id_, row in seen.items()}
        asked = [id_ for id_, at in created.items() if since <= at <= until]
        asked.sort(key=created.__getitem__, reverse=True)
        return [seen[id_] for id_ in asked[:limit]]

    async def _found(self, since: int, until: int, query: str, limit: int) -> Sequence[Row]:
        found: list[Row] = []
        offset = 0
        while True:
            parameters: dict[str, str | int] = {
                "query": query,
                "sort": "-created",
                "page[size]": PAGE,
                "page[offset]": offset,
            }
            answer = self._good("incident", await self._ask("incident", "/api/v2/incidents/search", parameters))
            try:
                hits = [one["data"] for one in _json(answer)["data"]["attributes"]["incidents"]]
            except (KeyError, TypeError):
                raise DatadogUnreadable("Datadog's list of incidents has an unknown shape") from None
            for row in _rows("incident", hits):
                created = time_of(row["attributes"].get("created"))
                if created is not None and created < since:
                    return found
                if created is None or created <= until:
                    found.append(row)
                if len(found) >= limit:
                    return found
            if len(hits) < PAGE:
                return found
            offset += PAGE

    async def _ask(
        self, kind: RecordKind, path: str, parameters: Mapping[str, str | int] | None = None
    ) -> httpx.Response:
        asked = request(
            "GET",
            path,
            base_url=self._base_url,
            api_key=self._api_key,
            app_key=self._app_key,
            parameters=parameters,
        )
        what = _list(kind) if parameters else f"this {kind}"
        return await self._calls.answer(asked, what=what, permission=_PERMISSIONS[kind])

    def _good(self, kind: RecordKind, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == 200:
            return answer
        why = said(answer.text[:2048]) or "nothing more"
        raise DatadogUnreadable(f"Datadog answers {answer.status_code} when asked for {_list(kind)}: {why}")


def _list(kind: RecordKind) -> str:
    return f"its list of {kind}s"


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _rows(kind: RecordKind, rows: object) -> list[Row]:
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("attributes"), dict) for row in rows
    ):
        raise DatadogUnreadable(f"Datadog's list of {kind}s has an unknown shape")
    return rows


# -- as text


def line(kind: RecordKind, row: Row) -> str:
    """One record of a list."""
    attributes = row["attributes"]
    if kind == "incident":
        what = f"{attributes.get('state') or '-'} {attributes.get('severity') or '-'}  {attributes.get('title') or ''}"
        return f"{_second(attributes.get('created'))}  {row.get('id')}  {what}".rstrip()
    at = attributes.get("finished_at" if kind == "deployment" else "started_at")
    where = f"{', '.join(services_of(attributes)) or '-'}/{attributes.get('env') or '-'}"
    more = [attributes.get("version"), ((attributes.get("git") or {}).get("commit_sha") or "")[:12]]
    if kind == "failure":
        end = attributes.get("finished_at")
        more = [f"until {_second(end)}" if end else "open", attributes.get("severity"), attributes.get("name")]
    told = "  ".join(str(one) for one in more if one)
    return f"{_second(at)}  {row.get('id') or '-':48} {where}{f'  {told}' if told else ''}"


def whole(row: Row) -> str:
    """One record: its id, and each attribute that has a value."""
    lines = [f"{row.get('type') or 'record'} {row.get('id')}"]
    lines += [
        f"  {name:14} {value if isinstance(value, str | int | float) else _compact(value)}"
        for name, value in sorted(row.get("attributes", {}).items())
        if value not in (None, [], {}, "")
    ]
    return "\n".join(lines)


def _second(value: object) -> str:
    at = time_of(value)
    return "-" if at is None else to_rfc3339(at // SECOND * SECOND)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
