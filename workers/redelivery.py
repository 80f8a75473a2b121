"""What GitHub could not deliver is asked for again: GitHub repeats nothing by itself.

With a token, and hooks in an endpoint's options, one process at a time lists what the hooks delivered in the last
days. A delivery of an event that the endpoint reports, none of whose attempts was answered with 2xx, is asked for
again: after a minute, then ever more rarely. GitHub then posts it like any other, signed, and the web process
recognises what it has. At the start of a process, and each hour, the log tells how much is missing, and since when.

    dora:redelivery                     one process does it in this interval
    dora:redelivery:all                 all of the last days was looked at within the hour: the last hour is enough
    dora:redelivery:asked:{hook}:{guid} asked for just now, which GitHub's list may not show yet

Source: https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

import httpx
from redis.asyncio import Redis

from bridge import metrics
from bridge.backfill import github_hooks
from bridge.backfill.github_hooks import Missed
from bridge.backfill.pace import Pace
from bridge.backfill.vendor_api import GITHUB, TIMEOUT_S, VendorApi
from bridge.errors import SenderUnreadable
from bridge.logs import log
from bridge.proxies import DIRECT
from bridge.settings import Settings
from bridge.times import SECOND, to_rfc3339

ROUND_S = 300.0
TRY_S = 60.0
"""How often each process sees whether it is time: whoever comes first does it for all."""
LOOK_BACK_S = 3 * 86_400
"""GitHub repeats what is no older than this; Enterprise Servers keep it for longer."""
RECENT_S = 3600
WAITS_S = (60, 600, 3600, 6 * 3600, 24 * 3600)
"""After so many attempts, so long since the last one. After more, it is left to people."""
MOST_ASKED = 50
"""Of one hook in one round: they all come in soon, beside what is new."""
_PER_SECOND = 2.0
_LONGEST_WAIT_S = 30.0  # beyond it the next round goes on


def due(missed: Sequence[Missed], now: int) -> list[Missed]:
    """Those to be asked for now (nanoseconds since the epoch, UTC), oldest first, at most MOST_ASKED."""
    wanted = [
        one
        for one in missed
        if one.attempts <= len(WAITS_S) and now - one.last_at >= WAITS_S[one.attempts - 1] * SECOND
    ]
    return wanted[:MOST_ASKED]


class Redelivery:
    """Asks, round by round. Errors of redis-py pass through."""

    def __init__(self, redis: Redis, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._redis: Any = redis
        self._token = settings.sender_tokens.get("github")
        self._hooks = github_hooks.hooks_of(settings)
        self._transport = transport
        self._is_first = True

    @property
    def is_on(self) -> bool:
        return self._token is not None and bool(self._hooks)

    async def round(self) -> None:
        """Asks for what is due, unless another process has done so in this interval."""
        # a little shorter than a round, so that the try that comes right after it does not come too early
        if self._token is None or not await self._redis.set("dora:redelivery", "1", nx=True, px=int(ROUND_S * 900)):
            return
        whole = await self._redis.set("dora:redelivery:all", "1", nx=True, ex=RECENT_S) or self._is_first
        self._is_first = False
        async with httpx.AsyncClient(timeout=TIMEOUT_S, transport=self._transport, mounts=DIRECT) as client:
            for (endpoint, base_url, hook), events in self._hooks.items():
                api = VendorApi(
                    GITHUB,
                    client,
                    base_url=base_url,
                    token=self._token,
                    pace=Pace(_PER_SECOND),
                    longest_wait_s=_LONGEST_WAIT_S,
                )
                try:
                    await self._look_at(api, endpoint, hook, events, LOOK_BACK_S if whole else RECENT_S)
                except SenderUnreadable as error:
                    log("redelivery.failed", logging.WARNING, endpoint=endpoint, hook=hook, reason=error.detail)

    async def _look_at(self, api: VendorApi, endpoint: str, hook: str, events: Collection[str], back_s: int) -> None:
        now = time.time_ns()
        attempts = await github_hooks.deliveries(api, hook, since=now - back_s * SECOND)
        missed = github_hooks.missed(attempts, events)
        if missed and back_s == LOOK_BACK_S:
            times = {"first": to_rfc3339(missed[0].first_at), "last": to_rfc3339(missed[-1].first_at)}
            log("redelivery.gap", logging.WARNING, endpoint=endpoint, hook=hook, missed=len(missed), **times)
        for one in due(missed, now):
            asked = f"dora:redelivery:asked:{hook}:{one.guid}"  # several hooks share the guid of an event
            if not await self._redis.set(asked, "1", nx=True, px=int(2 * ROUND_S * 1000)):
                continue
            await github_hooks.ask_again(api, hook, one.id)
            log("redelivery.asked", endpoint=endpoint, hook=hook, delivery=one.guid, attempt=one.attempts + 1)
            metrics.REDELIVERIES.labels(endpoint).inc()
