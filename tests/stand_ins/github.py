"""A stand-in for GitHub's REST API: deployments, runs, jobs, releases, issues, and deliveries of hooks.

After docs.github.com/en/rest: pages of `per_page` with `Link` headers, newest first; deliveries by `cursor`; a delivery
that is asked for again is listed as another one with the same guid and `redelivery: true`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from stand_ins.refusals import Gate
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

REPOSITORY = {
    "id": 4242,
    "name": "shop",
    "full_name": "acme/shop",
    "html_url": "https://github.com/acme/shop",
    "default_branch": "main",
}


class GitHub:
    """What it knows can be changed at will between calls."""

    def __init__(self) -> None:
        self.gate = Gate("Bearer ghs_token")
        self.deployments: list[dict[str, Any]] = []
        self.statuses: dict[int, list[dict[str, Any]]] = {}
        self.runs: dict[int, dict[str, Any]] = {}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.releases: list[dict[str, Any]] = []
        self.issues: list[dict[str, Any]] = []
        self.deliveries: dict[str, list[dict[str, Any]]] = {}
        self.hooks: dict[str, dict[str, Any]] = {}
        self.app_events: list[str] = []
        self.payloads: dict[int, dict[str, Any]] = {}
        self.url = "https://bridge.example.com/webhooks/github?env=production"
        self.asked: list[int] = []
        self.repeat: Callable[[dict[str, Any], dict[str, Any]], int] | None = None
        """Posts a delivery again, given its row and payload, and says what was answered."""
        self.most_per_page = 100
        self.most_runs = 1000
        self.held: dict[str, threading.Event] = {}
        """Calls of these paths are answered when the event is set."""
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    def deploy(self, number: int, *statuses: tuple[str, str], link: str = "", **fields: Any) -> None:
        """A deployment with its statuses, (state, time), in the order in which they were set."""
        created = fields.pop("created_at", statuses[0][1] if statuses else "2030-01-01T00:00:00Z")
        deployment = {
            "id": number,
            "sha": f"{number:040x}",
            "ref": "main",
            "task": "deploy",
            "payload": {},
            "environment": "production",
            "created_at": created,
            "updated_at": statuses[-1][1] if statuses else created,
            "creator": {"login": "mona"},
            "transient_environment": False,
            **fields,
        }
        self.deployments.insert(0, deployment)
        rows = [
            {
                "id": number * 10 + position,
                "state": state,
                "created_at": at,
                "log_url": link,
                "environment": "production",
            }
            for position, (state, at) in enumerate(statuses)
        ]
        self.statuses[number] = rows[::-1]

    def register(self, hook: str, *events: str, **fields: Any) -> dict[str, Any]:
        """A hook as it is listed; that of an App is known by its configuration alone, and its events by the App."""
        config = {"url": self.url, "content_type": "json", "insecure_ssl": "0", "secret": "********"}
        last_response = {"code": 202, "status": "active", "message": "OK"}
        if hook == "app/hook":
            self.app_events = list(events)
        self.hooks[hook] = {
            "type": "Repository",
            "id": int(hook.rpartition("/")[2]) if hook != "app/hook" else None,
            "name": "web",
            "active": True,
            "events": list(events),
            "config": config,
            "last_response": last_response,
            **fields,
        }
        self.deliveries.setdefault(hook, [])
        return self.hooks[hook]

    def deliver(self, hook: str, number: int, guid: str, at: str, status: int, **fields: Any) -> None:
        """One attempt at a delivery of a deployment_status, or of the `event` and `payload` that are given."""
        payload = fields.pop("payload", {})
        row = {
            "id": number,
            "guid": guid,
            "delivered_at": at,
            "redelivery": False,
            "duration": 0.1,
            "status": "OK" if 200 <= status < 300 else "failed to connect",
            "status_code": status,
            "event": "deployment_status",
            "action": "created",
            **fields,
        }
        self.deliveries.setdefault(hook, []).insert(0, row)
        self.payloads[number] = payload

    async def _answer(self, request: Request) -> Response:
        if refused := self.gate.passed(request):
            return refused
        if event := self.held.get(request.url.path):
            await asyncio.to_thread(event.wait, 60)
        parts = request.path_params["path"].split("/")
        if "deliveries" in parts:
            return self._hook(request, parts)
        path = "/".join(parts)
        if path == "app":
            return JSONResponse({"id": 1, "events": self.app_events})
        if path in self.hooks and path != "app/hook":
            return JSONResponse(self.hooks[path])
        if path.removesuffix("/config") in self.hooks:
            return JSONResponse(self.hooks[path.removesuffix("/config")]["config"])
        rest = parts[3:]
        match rest:
            case []:
                return JSONResponse(REPOSITORY)
            case ["deployments"]:
                return self._page(request, self.deployments)
            case ["deployments", number, "statuses"]:
                return self._page(request, self.statuses[int(number)])
            case ["actions", "runs"]:
                return self._found_runs(request)
            case ["actions", "runs", number] if int(number) in self.runs:
                return JSONResponse(self.runs[int(number)])
            case ["actions", "jobs", number] if int(number) in self.jobs:
                return JSONResponse(self.jobs[int(number)])
            case ["releases"]:
                return self._page(request, self.releases)
            case ["issues"]:
                label = request.query_params["labels"]
                rows = [one for one in self.issues if label in [each["name"] for each in one["labels"]]]
                return self._page(request, [one for one in rows if one["updated_at"] >= request.query_params["since"]])
            case _:
                return JSONResponse({"message": "Not Found"}, 404)

    def _hook(self, request: Request, parts: list[str]) -> Response:
        at = parts.index("deliveries")
        hook, rest = "/".join(parts[:at]), parts[at + 1 :]
        rows = self.deliveries.get(hook)
        if rows is None:
            return JSONResponse({"message": "Not Found"}, 404)
        if not rest:
            return self._page(request, rows, "cursor")
        row = next(one for one in rows if one["id"] == int(rest[0]))
        if rest[1:] == ["attempts"]:
            self.asked.append(row["id"])
            return JSONResponse({}, 202, background=BackgroundTask(self._repeat, hook, row))
        headers = {"X-GitHub-Event": row["event"], "X-GitHub-Delivery": row["guid"], "X-Hub-Signature-256": "sha256=0"}
        request_ = {"headers": headers, "payload": self.payloads[row["id"]]}
        return JSONResponse({**row, "url": self.url, "request": request_, "response": {"headers": {}, "payload": None}})

    def _repeat(self, hook: str, row: dict[str, Any]) -> None:
        if self.repeat is None:
            return
        payload = self.payloads[row["id"]]
        status, now = self.repeat(row, payload), datetime.now(UTC).isoformat(timespec="milliseconds")
        again = {"redelivery": True, "event": row["event"], "payload": payload}
        self.deliver(hook, max(self.payloads) + 1, row["guid"], now, status, **again)

    def _found_runs(self, request: Request) -> Response:
        since, until = request.query_params["created"].split("..")
        rows = [run for run in self.runs.values() if since <= run["created_at"] <= until]
        rows = [run for run in rows if run["conclusion"] == request.query_params["status"]]
        answer = self._page(request, rows[: self.most_runs])
        start, size = self._start(request, "page")
        body = {"total_count": len(rows), "workflow_runs": rows[: self.most_runs][start : start + size]}
        return JSONResponse(body, headers={name: text for name, text in answer.headers.items() if name == "link"})

    def _start(self, request: Request, name: str) -> tuple[int, int]:
        size = min(int(request.query_params.get("per_page", 30)), self.most_per_page)
        given = request.query_params.get(name, "")
        if name == "cursor":
            return int(given.removeprefix("v1_") or 0), size
        return (int(given or 1) - 1) * size, size

    def _page(self, request: Request, rows: list[dict[str, Any]], name: str = "page") -> Response:
        start, size = self._start(request, name)
        following = f"v1_{start + size}" if name == "cursor" else str(start // size + 2)
        # as on an Enterprise Server behind another name: only the query is to be followed
        url = request.url.replace(netloc="elsewhere.invalid").include_query_params(**{name: following})
        headers = {"Link": f'<{url}>; rel="next", <{url}>; rel="last"'} if start + size < len(rows) else {}
        return JSONResponse(rows[start : start + size], headers=headers)
