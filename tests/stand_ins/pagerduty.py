"""A stand-in for PagerDuty's REST API: incidents and log entries, in pages of `limit` from `offset`.

After github.com/PagerDuty/api-schema: at most 10,000 records and six months for one question, `more` tells of further
pages, and times have whole seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from stand_ins.refusals import Gate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class PagerDuty:
    def __init__(self) -> None:
        self.gate = Gate("Token token=pd_token")
        self.incidents: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.subscriptions: list[dict[str, Any]] = []
        self.most_records = 10_000
        self.app = Starlette(routes=[Route("/{path:path}", self._answer)])

    def trigger(self, identifier: str, at: str, *ends: str, **fields: Any) -> dict[str, Any]:
        """An incident, and the log entries of its ends."""
        incident = {
            "id": identifier,
            "type": "incident",
            "incident_number": len(self.incidents) + 1,
            "title": f"Title of {identifier}",
            "created_at": at,
            "status": "resolved" if ends else "triggered",
            "incident_key": None,
            "service": {"id": "PSVC1", "type": "service_reference", "summary": "checkout"},
            "teams": [],
            "priority": None,
            "urgency": "high",
            "resolve_reason": None,
            **fields,
        }
        self.incidents.append(incident)
        self._note(incident, "trigger_log_entry", at)
        for end in ends:
            self._note(incident, "resolve_log_entry", end)
        return incident

    def subscribe(self, identifier: str, url: str, *events: str, **fields: Any) -> None:
        """A subscription as it is listed: its secret is never shown again."""
        method = {"type": "http_delivery_method", "url": url, "secret": None, "temporarily_disabled": False}
        subscription = {
            "id": identifier,
            "type": "webhook_subscription",
            "active": True,
            "delivery_method": method | fields.pop("delivery_method", {}),
            "events": list(events),
            "filter": {"type": "account_reference"},
            **fields,
        }
        self.subscriptions.append(subscription)

    def _note(self, incident: dict[str, Any], kind: str, at: str) -> None:
        entry = {
            "id": f"R{len(self.log):06d}",
            "type": kind,
            "created_at": at,
            "agent": {"id": "PUSER1", "type": "user_reference", "summary": "Mona"},
            "incident": {"id": incident["id"], "type": "incident_reference"},
        }
        self.log.append(entry)

    async def _answer(self, request: Request) -> Response:
        if refused := self.gate.passed(request):
            return refused
        assert request.headers["accept"] == "application/vnd.pagerduty+json;version=2"
        given = request.query_params
        match request.path_params["path"].split("/"):
            case ["incidents"]:
                services = given.getlist("service_ids[]")
                rows = [one for one in self.incidents if not services or one["service"]["id"] in services]
                return self._page(request, "incidents", self._between(request, rows))
            case ["log_entries"]:
                return self._page(request, "log_entries", self._between(request, self.log))
            case ["incidents", identifier]:
                return JSONResponse({"incident": next(one for one in self.incidents if one["id"] == identifier)})
            case ["incidents", identifier, "log_entries"]:
                rows = [one for one in self.log if one["incident"]["id"] == identifier]
                return self._page(request, "log_entries", rows)
            case ["webhook_subscriptions"]:
                return self._page(request, "webhook_subscriptions", self.subscriptions)
            case _:
                return JSONResponse({"error": {"message": "Not Found", "code": 2100}}, 404)

    def _between(self, request: Request, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        since, until = (datetime.fromisoformat(request.query_params[name]) for name in ("since", "until"))
        assert until - since <= timedelta(days=183), "more than six months"
        return [row for row in rows if since <= datetime.fromisoformat(row["created_at"]) <= until]

    def _page(self, request: Request, name: str, rows: list[dict[str, Any]]) -> Response:
        limit, offset = (int(request.query_params[one]) for one in ("limit", "offset"))
        if offset + limit > self.most_records:
            return JSONResponse({"error": {"message": "Invalid Input Provided", "code": 2001}}, 400)
        more = offset + limit < len(rows)
        return JSONResponse({name: rows[offset : offset + limit], "limit": limit, "offset": offset, "more": more})
