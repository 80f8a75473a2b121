"""A run in which all is well, for tests to spoil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from soak.account import Account, account
from soak.evidence import Disturbance, Kept, Sent
from soak.naming import name_of

AT = 1_800_000_000.0
SERVICE = "deployment:shop/production"


def deployed(name: str, second: float, **more: Any) -> dict[str, Any]:
    attributes = {"id": name, "service": "shop", "env": "production", "finished_at": 1}
    return request("POST", "/api/v2/dora/deployment", attributes | more, second)


def failed(end: int | None, second: float, name: str = "incident", **more: Any) -> dict[str, Any]:
    attributes = {"id": name, "services": ["shop"], "started_at": 1}
    return request("POST", "/api/v2/dora/failure", attributes | ({"finished_at": end} if end else {}) | more, second)


def marked(name: str, second: float, **more: Any) -> dict[str, Any]:
    return request("PATCH", f"/api/v2/dora/deployments/{name}", {"change_failure": True} | more, second)


def created(name: str, second: float) -> dict[str, Any]:
    fields = {"summary": {"type": "textbox", "value": f"started_at: then\ndora-bridge: {name}"}}
    return request("POST", "/api/v2/incidents", {"title": "Slow", "fields": fields}, second) | {"status": 201}


def resolved(uuid: str, second: float) -> dict[str, Any]:
    attributes = {"fields": {"state": {"type": "dropdown", "value": "resolved"}}}
    return request("PATCH", f"/api/v2/incidents/{uuid}", attributes, second)


def withdrawn(path: str, second: float) -> dict[str, Any]:
    return request("DELETE", f"/api/v2/{path}", None, second) | {"status": 202 if "dora" in path else 204}


def request(method: str, path: str, attributes: Mapping[str, Any] | None, second: float) -> dict[str, Any]:
    body = None if attributes is None else {"data": {"attributes": dict(attributes)}}
    return {"method": method, "path": path, "body": body, "status": 200, "note": None, "at": AT + second}


OPEN, CLOSED = "incident~open", "incident~closed"
REMEDY = {"id": "unheard", "type": "rollforward"}
CHANGE, MARK, VERDICT = "change:bad", "bad~change-failure", "bad~verdict-1"
OF_ONE, OF_OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
"""Datadog's ids of the incidents `one` and `other`."""


def _says(call: Mapping[str, Any]) -> str:
    return name_of(call) or ""


SENT = (
    Sent("github", ("first",), said="accepted", acknowledged_at=AT + 1),
    Sent("github", ("second",), said="accepted", acknowledged_at=AT + 2),
    Sent("github", ("second",), said="duplicate", acknowledged_at=AT + 9),
    Sent("pagerduty", (OPEN,), said="accepted", acknowledged_at=AT + 1),
    Sent("pagerduty", (CLOSED,), said="accepted", acknowledged_at=AT + 3),
    Sent("github", ("in-note",), said="ignored", acknowledged_at=AT + 1),
    Sent("argocd", ("in-broken",), said="dead_lettered", acknowledged_at=AT + 1),
    Sent("opsgenie", ("unheard",), said="no answer"),
    Sent("opsgenie", ("never came",), said="no answer"),
    Sent("argocd", ("forged",), said="401", is_forged=True),
    Sent("argocd", ("bad",), said="accepted", acknowledged_at=AT + 1),
    Sent("argocd", (MARK,), said="accepted", acknowledged_at=AT + 2),
    Sent("pagerduty", ("child~open",), said="accepted", acknowledged_at=AT + 1),
    Sent("pagerduty", ("child~withdrawn",), said="accepted", acknowledged_at=AT + 2),
    Sent("pagerduty-ops", ("one~open",), said="accepted", acknowledged_at=AT + 1),
    Sent("pagerduty-ops", ("one~closed",), said="accepted", acknowledged_at=AT + 2),
    Sent("pagerduty-ops", ("other~open",), said="accepted", acknowledged_at=AT + 1),
    Sent("pagerduty-ops", ("other~withdrawn",), said="accepted", acknowledged_at=AT + 2),
)
KEPT = (
    Kept("first", "delivered", "first", SERVICE, 1, received_at=AT + 0.9),
    Kept("second", "delivered", "second", SERVICE, 2, received_at=AT + 1.9),
    Kept(OPEN, "delivered", "incident opened", "failure:incident", 1, received_at=AT + 0.9),
    Kept(CLOSED, "delivered", "incident closed at 5", "failure:incident", 2, received_at=AT + 2.9),
    Kept("in-note", "ignored"),
    Kept("in-broken", "dead_lettered", was_dead=True),
    Kept("unheard", "delivered", "unheard", "deployment:other/production", 1, received_at=AT + 0.9),
    Kept("bad", "delivered", "bad", "deployment:bad/production", 1, received_at=AT + 0.9),
    Kept(MARK, "delivered", _says(marked("bad", 0)), CHANGE, rank="0", after=("bad",)),
    Kept(VERDICT, "delivered", _says(marked("bad", 0, remediation=REMEDY)), CHANGE, 1, "2.1", after=("bad", "unheard")),
    Kept("child~open", "delivered", "child opened", "failure:child", 1),
    Kept("child~withdrawn", "delivered", "child withdrawn", "failure:child", 3),
    Kept("one~open", "delivered", "one created", "incident:one", 1),
    Kept("one~closed", "delivered", _says(resolved(OF_ONE, 0)), "incident:one", 2),
    Kept("other~open", "delivered", "other created", "incident:other", 1),
    Kept("other~withdrawn", "delivered", f"{OF_OTHER} withdrawn", "incident:other", 3),
)
REQUESTS = (
    deployed("first", 2) | {"status": 503, "note": "script: status 503"},
    deployed("first", 3),
    failed(None, 3),
    deployed("unheard", 3),
    deployed("second", 4),
    failed(5, 4),
    request("GET", "/api/v2/dora/deployments", None, 5),
    request("POST", "/api/v2/dora/failures", {"from": "a", "to": "b"}, 5),
    deployed("bad", 6),
    marked("bad", 7),
    marked("bad", 8, remediation=REMEDY),
    failed(None, 6, "child"),
    withdrawn("dora/failure/child", 7),
    created("one", 6),
    resolved(OF_ONE, 7),
    created("other", 6),
    withdrawn(f"incidents/{OF_OTHER}", 7),
)


def there(name: str, state: str) -> dict[str, Any]:
    """An incident as Incident Management lists it."""
    return {"attributes": created(name, 0)["body"]["data"]["attributes"] | {"state": state}}


LISTED = (there("one", "resolved"),)


def taken(
    sent: Sequence[Sent] = SENT,
    kept: Sequence[Kept] = KEPT,
    requests: Sequence[Mapping[str, Any]] = REQUESTS,
    disturbances: Sequence[Disturbance] = (),
    listed: Sequence[Mapping[str, Any]] = LISTED,
) -> Account:
    return account(sent, kept, requests, disturbances, listed=listed, now=AT + 99)


def wrongs(one: Account) -> dict[str, Sequence[str]]:
    return {name: getattr(one, name) for name in Account.WRONGS if getattr(one, name)}
