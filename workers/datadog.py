"""All that is known about calling Datadog: how a request is built, and what an answer means. Pure.

Sources: Datadog API reference, "Delivery Performance" and "Rate Limits".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from bridge import __version__
from bridge.envelope import Envelope, adjusted, as_opened

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


def build_request(
    envelope: Envelope,
    *,
    opening: Mapping[str, Any],
    adjustment: Mapping[str, Any],
    base_url: str,
    api_key: str,
    app_key: str | None,
) -> httpx.Request:
    """The call that states this envelope: a failure made to match its opening, a deployment adjusted."""
    body = envelope.body
    if body is not None and envelope.method == "POST" and (opening or adjustment):
        attributes = as_opened(envelope.attributes, opening) if opening else adjusted(envelope.attributes, adjustment)
        body = {"data": {**body["data"], "attributes": attributes}}
    headers = {
        "DD-API-KEY": api_key,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"dora-bridge/{__version__}",
    }
    if envelope.method != "POST" and app_key:
        headers["DD-APPLICATION-KEY"] = app_key
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body, separators=(",", ":")).encode()
    return httpx.Request(envelope.method, base_url + envelope.path, headers=headers, content=content)


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


def _limits(answer: httpx.Response) -> dict[str, Any]:
    remaining = answer.headers.get("x-ratelimit-remaining", "").strip()
    reset_s = _seconds(answer.headers.get("x-ratelimit-reset"))
    return {
        "remaining": int(remaining) if remaining.isascii() and remaining.isdigit() else None,
        "reset_s": reset_s,
    }


def _seconds(text: str | None) -> float | None:
    """Seconds from now; None for anything else, an HTTP date included, and bounded."""
    try:
        seconds = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return min(seconds, LONGEST_WAIT_S) if 0 <= seconds < float("inf") else None
