"""All that is known about calling Datadog: how a request is built, and what an answer means. Pure.

Sources: Datadog API reference, "Delivery Performance" and "Rate Limits".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import httpx

from bridge import __version__
from bridge.call import Call, call_of
from bridge.envelope import Envelope
from bridge.incident_list import PAGE
from bridge.incident_management import PATH as INCIDENTS
from bridge.incident_management import is_incident

LONGEST_WAIT_S = 15 * 60.0
"""A wait that Datadog asks for is honoured up to this, in case the header is absurd."""
_ANSWER_KEPT = 2048


class Verdict(StrEnum):
    DELIVERED = "delivered"
    ERRORED = "errored"
    """It may pass another time."""
    REJECTED = "rejected"
    """It never will."""


class Reason(StrEnum):
    OK = ""
    DELAYED = "delayed"
    """202 on a POST: accepted, processed later. As final as 200."""
    AUTH = "auth"
    REDIRECTED = "redirected"
    """DORA_BRIDGE_DATADOG_URL or DD_SITE leads elsewhere: every event would fare alike."""
    RATE_LIMITED = "rate_limited"
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    NETWORK = "network"
    DEPLOYMENT_PENDING = "deployment_pending"
    """Not sent: the deployment that a PATCH is about has not been delivered, or not long enough ago."""
    INCIDENT_PENDING = "incident_pending"
    """Not sent: the incident that it changes, ends or withdraws has not been created."""
    FOUND = "found"
    """Not sent again: the incident is there, created by a call that was not answered."""
    GONE = "gone"
    """Datadog does not have what was to be deleted."""
    UNNAMED = "unnamed"
    """Datadog created the incident, but its answer was cut before the id: the list will have it."""
    INTERNAL = "internal"
    """Not sent: this code failed on it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    reason: Reason = Reason.OK
    status: int = 0
    """0 where there was no answer."""
    answer: str = ""
    """The first 2 KiB of what Datadog said, of refusals."""
    remaining: int | None = None
    """Calls left in the period, of `X-RateLimit-Remaining`."""
    reset_s: float | None = None
    """Seconds until there are new ones, of `X-RateLimit-Reset`; on 429 else of `Retry-After`."""
    uuid: str = ""
    """The id that Datadog gave to what was created."""
    wait_s: float | None = None
    """After how many seconds what was not sent may be, where that is known."""


def build_request(
    envelope: Envelope,
    *,
    opening: Mapping[str, Any],
    adjustment: Mapping[str, Any],
    uuid: str = "",
    base_url: str,
    api_key: str,
    app_key: str | None,
) -> httpx.Request:
    """The call that states this envelope, as `call_of` makes it of what the ledger knows."""
    call = call_of(envelope, opening=opening, adjustment=adjustment, uuid=uuid)
    needs_app_key = call.method != "POST" or is_incident(envelope)
    return _request(call, base_url=base_url, api_key=api_key, app_key=app_key if needs_app_key else None)


def incidents_request(offset: int, *, base_url: str, api_key: str, app_key: str | None) -> httpx.Request:
    """One page of the list of incidents, of PAGE or fewer."""
    path = f"{INCIDENTS}?page[size]={PAGE}&page[offset]={offset}"
    return _request(Call("GET", path, None), base_url=base_url, api_key=api_key, app_key=app_key)


def _request(call: Call, *, base_url: str, api_key: str, app_key: str | None) -> httpx.Request:
    headers = {
        "DD-API-KEY": api_key,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"dora-bridge/{__version__}",
    }
    if app_key:
        headers["DD-APPLICATION-KEY"] = app_key
    content = None
    if call.body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(call.body, separators=(",", ":")).encode()
    return httpx.Request(call.method, base_url + call.path, headers=headers, content=content)


def judge(method: str, answer: httpx.Response | httpx.TransportError) -> Outcome:
    """What an answer, or the lack of one, means for the event. Every status from 100 to 599 has a meaning."""
    if not isinstance(answer, httpx.Response):
        timeout = isinstance(answer, httpx.TimeoutException)
        return Outcome(Verdict.ERRORED, Reason.TIMEOUT if timeout else Reason.NETWORK, answer=type(answer).__name__)
    status = answer.status_code
    if status in (200, 201, 204) or (status == 202 and method != "POST"):
        return Outcome(Verdict.DELIVERED, status=status, **_limits(answer))
    if status == 202:
        return Outcome(Verdict.DELIVERED, Reason.DELAYED, status, **_limits(answer))
    said = answer.content[:_ANSWER_KEPT].decode("utf-8", "replace")
    if 300 <= status < 400:
        return Outcome(Verdict.ERRORED, Reason.REDIRECTED, status, said)
    if status in (401, 403):
        return Outcome(Verdict.ERRORED, Reason.AUTH, status, said)
    if status == 429:
        limits = _limits(answer)
        if limits["reset_s"] is None:
            limits["reset_s"] = _seconds(answer.headers.get("retry-after"))
        return Outcome(Verdict.ERRORED, Reason.RATE_LIMITED, status, said, **limits)
    if status in (408, 425) or status >= 500:
        return Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, status, said, **_limits(answer))
    if status == 404 and method != "POST":
        # our own POST may not have arrived everywhere yet: `patience` gives it a few delayed tries
        return Outcome(Verdict.ERRORED, Reason.NOT_FOUND, status, said, **_limits(answer))
    return Outcome(Verdict.REJECTED, Reason.INVALID, status, said, **_limits(answer))


def judge_creation(answer: httpx.Response | httpx.TransportError) -> Outcome:
    """What the answer to the creation of an incident means: without its id, it is not known which one it is."""
    outcome = judge("POST", answer)
    if outcome.verdict is not Verdict.DELIVERED or not isinstance(answer, httpx.Response):
        return outcome
    try:
        uuid = answer.json()["data"]["id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        uuid = None
    if not (isinstance(uuid, str) and uuid):
        return replace(outcome, verdict=Verdict.ERRORED, reason=Reason.UNNAMED)
    return replace(outcome, reason=Reason.OK, uuid=uuid)


def _limits(answer: httpx.Response) -> dict[str, Any]:
    remaining = answer.headers.get("x-ratelimit-remaining", "").strip()
    reset_s = _seconds(answer.headers.get("x-ratelimit-reset"))
    return {
        # what Redis could not count down is no number of calls
        "remaining": int(remaining) if remaining.isascii() and remaining.isdigit() and len(remaining) < 10 else None,
        "reset_s": reset_s,
    }


def _seconds(text: str | None) -> float | None:
    """Seconds from now; None for anything else, an HTTP date included, and bounded."""
    try:
        seconds = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return min(seconds, LONGEST_WAIT_S) if 0 <= seconds < float("inf") else None
