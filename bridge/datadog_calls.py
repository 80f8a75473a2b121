"""Calls that read from Datadog with both keys, one after the other, as patiently as its rate limits ask.

Source: Datadog API reference, "Rate Limits": `X-RateLimit-Reset` is the number of seconds until the limit begins anew.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypedDict

import httpx

from bridge import __version__
from bridge.errors import DatadogUnreadable

TIMEOUT_S = 30.0
LONGEST_WAIT_S = 15 * 60.0
"""A wait that Datadog asks for is honoured up to this, in case the header is absurd."""
TRIES = 5
"""How often a call is made that Datadog does not answer, or answers with 5xx."""
WAITS = 20
"""How often in a row its rate limit is waited for."""


class Keys(TypedDict):
    """Where to call, and what authorises it."""

    base_url: str
    api_key: str
    app_key: str


def request(
    method: str,
    path: str,
    *,
    base_url: str,
    api_key: str,
    app_key: str,
    body: Mapping[str, Any] | None = None,
    parameters: Mapping[str, str | int] | None = None,
) -> httpx.Request:
    """A call with both keys; `path` as it is, with what had to be escaped in it."""
    headers = {
        "DD-API-KEY": api_key,
        "DD-APPLICATION-KEY": app_key,
        "Accept": "application/json",
        "User-Agent": f"dora-bridge/{__version__}",
    }
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body).encode()
    return httpx.Request(method, base_url + path, headers=headers, content=content, params=parameters)


class DatadogCalls:
    """Makes one call at a time over `client`; `sleep` waits for Datadog's rate limit."""

    def __init__(self, client: httpx.AsyncClient, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._client = client
        self._sleep = sleep
        self._wait_s = 0.0

    async def answer(self, request: httpx.Request, *, what: str, permission: str) -> httpx.Response:
        """The answer, of any status but those that pass by waiting and those that refuse the keys.

        `what` is asked for, and needs this `permission`: for messages. Raises: DatadogUnreadable.
        """
        tries = waits = 0
        while True:
            if self._wait_s:
                # limits begin anew for everybody at once: jitter keeps all from calling in that very moment
                await self._sleep(self._wait_s * random.uniform(1.0, 1.1))  # noqa: S311 - spreads calls
                self._wait_s = 0.0
            try:
                answer = await self._client.send(request)
            except httpx.TransportError as error:
                problem = f"is not reachable: {type(error).__name__} (DD_SITE, DORA_BRIDGE_DATADOG_URL)"
            else:
                self._wait_s = _wait_s(answer)
                status = answer.status_code
                if status in (401, 403):
                    needs = f"DD_API_KEY, DD_APP_KEY; the application key needs the permission {permission}"
                    raise DatadogUnreadable(f"Datadog refuses to give {what}: {status} ({needs})")
                if status == 429 and waits < WAITS:
                    waits += 1
                    self._wait_s = max(1.0, self._wait_s)
                    continue
                if status not in (408, 429) and status < 500:
                    return answer
                problem = f"answers {status} when asked for {what}"
            tries += 1
            if tries >= TRIES:
                raise DatadogUnreadable(f"Datadog {problem}")
            self._wait_s = max(self._wait_s, 2.0**tries / 2)


def _wait_s(answer: httpx.Response) -> float:
    """How long the next call has to wait: until the limit begins anew, if it is used up."""
    used_up = answer.status_code == 429 or answer.headers.get("x-ratelimit-remaining", "").strip() == "0"
    reset = answer.headers.get("x-ratelimit-reset", "").strip()
    if not used_up or not reset.isascii() or not reset.isdigit():
        return 0.0
    return min(float(reset), LONGEST_WAIT_S)
