"""The OpenAPI description of the admin: `GET /admin/openapi.json`. A test compares its paths with the routes."""

from __future__ import annotations

from typing import Any

from bridge import __version__
from bridge.envelope import STATES
from bridge.link_review import STATUSES
from bridge.redrive import MODES
from bridge.search import DEFAULT_ROWS, MOST_ROWS

_TEXT = {"type": "string"}
_OPTIONAL_TEXT = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "format": "date-time"}
_MAYBE_TIME = {"type": ["string", "null"], "format": "date-time"}
_FREE = {"type": "object", "additionalProperties": True}
_MAYBE_FREE = {"type": ["object", "null"], "additionalProperties": True}
_MARK = {
    **_MAYBE_FREE,
    "description": "How far telling Datadog has come: id and state of the statement, which deployments it waits_for, "
    "the dead letters to mend, and a text, empty if Datadog was told",
}


def document() -> dict[str, Any]:
    """The description, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dora-bridge admin",
            "version": __version__,
            "description": "The ledger, its dead letters, and what people did. On the internal listener. A token in "
            "DORA_BRIDGE_ADMIN_TOKEN may be written as name:token; the audit trail shows the name.",
        },
        "security": [{"token": []}],
        "paths": {
            "/admin/status": {"get": _get("What waits, where Datadog stands, who works", "Status")},
            "/admin/events": {"get": _get("Events, newest first", "Events", _filters(with_state=True))},
            "/admin/events/{id}": {"get": _get("The explanation of one event", "Event", _ID, missing=True)},
            "/admin/dead-letters": {"get": _get("Dead letters, newest first", "DeadLetters", _filters())},
            "/admin/dead-letters/export": {"get": _export()},
            "/admin/dead-letters/redrive": {
                "post": _post("Redrive all that a filter selects, or count them", "RedriveMany", "RedroveMany")
            },
            "/admin/dead-letters/{id}": {
                "get": _get("One dead letter with its body and the answer", "DeadLetter", _ID, missing=True),
                "delete": _get("Discard it: it is never sent", "Discarded", _ID, missing=True),
            },
            "/admin/dead-letters/{id}/redrive": {
                "post": _post("Redrive it, edited or translated again if wanted", "RedriveOne", "Redriven", _ID)
            },
            "/admin/links": {
                "get": _get("Which deployments incidents belong to, newest incidents first", "Links", _LINKS)
            },
            "/admin/links/{incident}/apply": {"post": _say("Mark the deployment of an incident as failed")},
            "/admin/links/{incident}/reject": {"post": _say("Never mark it, or take that back")},
            "/admin/audit": {"get": _get("What people did, newest first", "Audit", _paging())},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


_ID = [
    {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "Of the ledger, or the one that Datadog has",
        "schema": _TEXT,
    }
]


def _paging() -> list[dict[str, Any]]:
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": DEFAULT_ROWS}
    return [
        {"name": "limit", "in": "query", "schema": limit},
        {"name": "cursor", "in": "query", "description": "next_cursor of the page before", "schema": _TEXT},
    ]


_FILTERS = {
    "source": "Name of a source or endpoint",
    "reason": "As lists show it",
    "service": "One of its services",
    "env": "Its environment",
    "since": "Not before: RFC 3339, a date, an epoch number, or an age like 2h or 7d",
    "until": "Not after",
    "without_env": "1: only deployments and failures that name no environment",
    "q": "A part of an id, version, commit, name, reason or answer",
}


def _filters(*, with_state: bool = False) -> list[dict[str, Any]]:
    named = [{"name": name, "in": "query", "description": text, "schema": _TEXT} for name, text in _FILTERS.items()]
    if with_state:
        named.append({"name": "state", "in": "query", "schema": {"type": "string", "enum": list(STATES)}})
    return [*named, *_paging()]


_LINKS = [
    {"name": "status", "in": "query", "schema": {"type": "string", "enum": list(STATUSES)}},
    *_paging(),
]


def _answers(schema: str, *, missing: bool) -> dict[str, Any]:
    def answer(text: str, name: str = "Error") -> dict[str, Any]:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        return {"description": text, "content": content}

    answers = {
        "200": answer("Done", schema),
        "401": answer("No token, or a wrong one"),
        "404": answer("The admin is off: no token is configured"),
        "422": answer("Something given makes no sense; nothing has changed"),
        "429": answer("Too many different wrong tokens from this address within a minute"),
        "503": answer("Redis does not answer"),
    }
    if missing:
        answers["404"] = answer("The ledger knows no such event, or the admin is off: no token is configured")
        answers["409"] = answer("It is no dead letter (any more), or cannot be redriven like that; nothing has changed")
    return dict(sorted(answers.items()))


def _get(summary: str, schema: str, parameters: Any = (), *, missing: bool = False) -> dict[str, Any]:
    return {"summary": summary, "parameters": list(parameters), "responses": _answers(schema, missing=missing)}


def _post(summary: str, takes: str, gives: str, parameters: Any = ()) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{takes}"}}}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "requestBody": {"required": not parameters, "content": content},
        "responses": _answers(gives, missing=bool(parameters)),
    }


def _say(summary: str) -> dict[str, Any]:
    incident = {"name": "incident", "in": "path", "required": True, "description": "As lists show it", "schema": _TEXT}
    act = _get(summary, "LinkSaid", [incident], missing=True)
    act["responses"]["404"]["description"] = "No such incident is known"
    act["responses"]["409"]["description"] = "There is nothing to mark; nothing has changed"
    return act


def _export() -> dict[str, Any]:
    about = _get("All that a filter selects, oldest first, one JSON object a line", "DeadLetter", _filters())
    about["responses"]["200"] = {"description": "JSON lines", "content": {"application/x-ndjson": {"schema": _TEXT}}}
    return about


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


def _list_of(name: str, schema: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    return _object(f"{name} next_cursor", **{name: items, "next_cursor": _OPTIONAL_TEXT})


def _schemas() -> dict[str, Any]:
    destination = _object(
        "state until reason",
        state={"enum": ["open", "held", "parked"]},
        until=_MAYBE_TIME,
        reason=_OPTIONAL_TEXT,
    )
    row = {
        "id": _TEXT,
        "datadog_id": _TEXT,
        "source": _TEXT,
        "endpoint": _TEXT,
        "kind": _TEXT,
        "service": _OPTIONAL_TEXT,
        "env": _OPTIONAL_TEXT,
        "state": {"enum": list(STATES)},
        "reason": _TEXT,
        "detail": _OPTIONAL_TEXT,
        "received_at": _TIME,
        "attempts": _COUNT,
    }
    whole = {
        **row,
        "since": _MAYBE_TIME,
        "delivery": _FREE,
        "rule": _OPTIONAL_TEXT,
        "called": {
            **_FREE,
            "description": "Id of a deployment: its id by rules under which it concerns another number of services",
        },
        "by": _OPTIONAL_TEXT,
        "origins": _FREE,
        "key": _OPTIONAL_TEXT,
        "request": _MAYBE_FREE,
        "edits": _FREE,
        "story": {"type": "array", "items": _FREE},
        "next": _TEXT,
        "siblings": {"type": "array", "items": _TEXT},
        "links": {"type": "array", "items": {"$ref": "#/components/schemas/Link"}},
        "verdict": {
            **_MAYBE_FREE,
            "description": "What Datadog was told of a deployment: change_failure, remediation, and by whom",
        },
        "mark": _MARK,
    }
    link = {
        "incident": _TEXT,
        "service": _TEXT,
        "status": {"enum": list(STATUSES)},
        "deployment": _OPTIONAL_TEXT,
        "env": _OPTIONAL_TEXT,
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "reasons": {"type": "array", "items": _TEXT},
        "remediation": _MAYBE_FREE,
        "at": {**_MAYBE_TIME, "description": "When the incident began"},
        "override": {"enum": ["apply", "reject", None], "description": "What a person said"},
        "mark": _MARK,
    }
    body = {
        "answer": _MAYBE_FREE,
        "body": _OPTIONAL_TEXT,
        "body_bytes": {"type": ["integer", "null"]},
        "body_truncated": {"type": "boolean"},
    }
    mode = {"enum": list(MODES), "description": "Default: as it was sent, or translated again if it never was"}
    attributes = {**_FREE, "description": "New values of the call's attributes; null leaves one out"}
    counts = {"type": "object", "additionalProperties": _COUNT}
    needed = "id source kind service env reason attempts"
    return {
        "Error": _object("error", error=_object("reason detail", reason=_TEXT, detail=_TEXT, field=_TEXT)),
        "Status": _object(
            "destination waiting oldest_age_s dead_letters workers",
            destination=destination,
            destinations={"type": "object", "additionalProperties": destination},
            waiting=_COUNT,
            in_hand=_COUNT,
            states=counts,
            oldest_age_s={"type": "number"},
            lanes_overdue=_COUNT,
            dead_letters=counts,
            dead_letters_total=_COUNT,
            dead_letters_max=_COUNT,
            expiring=_object("soon", soon=_COUNT, soonest=_MAYBE_TIME, warning={"type": "boolean"}),
            workers=_COUNT,
            without_env=_object("deployments failures", deployments=_COUNT, failures=_COUNT),
            link_suggestions=_COUNT,
        ),
        "EventRow": _object(f"{needed} state received_at", **row),
        "Events": _list_of("events", "EventRow"),
        "Event": _object(f"{needed} state story next", **whole),
        "DeadLetterRow": _object(f"{needed} since", **row, since=_TIME),
        "DeadLetters": _list_of("dead_letters", "DeadLetterRow"),
        "DeadLetter": _object(f"{needed} since body", **whole, **body),
        "RedriveOne": _object(mode=mode, attributes=attributes),
        "Redriven": _object(
            "id status events",
            id=_TEXT,
            status={"enum": ["redriven", "superseded", "ignored", "dead_lettered"]},
            reason=_TEXT,
            events={"type": "array", "items": _TEXT},
        ),
        "RedriveMany": _object(
            "filter",
            filter=_object("", **{name: {"type": "string", "description": text} for name, text in _FILTERS.items()}),
            dry_run={"type": "boolean"},
            mode=mode,
            attributes=attributes,
            cursor={**_TEXT, "description": "next_cursor of an answer that was not complete"},
        ),
        "RedroveMany": _object(
            "matched redriven",
            matched=_COUNT,
            redriven=_COUNT,
            otherwise=counts,
            complete={"type": "boolean"},
            next_cursor=_OPTIONAL_TEXT,
            dry_run={"type": "boolean"},
        ),
        "Discarded": _object("id status", id=_TEXT, status=_TEXT),
        "Link": _object("incident service status deployment env score reasons remediation at mark", **link),
        "Links": _list_of("links", "Link"),
        "LinkSaid": _object(
            "status links",
            status={"const": "recorded", "description": "The worker looks at it within a second"},
            links={"type": "array", "items": {"$ref": "#/components/schemas/Link"}},
        ),
        "Audit": _list_of("audit", "AuditLine"),
        "AuditLine": _object("at who what", at=_TIME, who=_TEXT, what=_TEXT, id=_TEXT),
    }
