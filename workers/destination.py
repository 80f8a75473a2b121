"""The state of Datadog that all worker processes share, for each family of calls: open, held or parked; and how many
calls are left in the period.

Open: calls are counted down from `X-RateLimit-Remaining`. Held: it asked to wait, or it fails: one probe when the
time is over. Parked: it refuses the key: one probe now and then, until it works.
"""

from __future__ import annotations

import importlib.resources
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bridge.ledger import FAMILIES
from bridge.logs import log
from workers.datadog import Outcome, Reason

_WHAT = {
    Reason.RATE_LIMITED: "limited",
    Reason.AUTH: "refused",
    Reason.REDIRECTED: "refused",
    Reason.SERVER_ERROR: "failing",
    Reason.TIMEOUT: "failing",
    Reason.NETWORK: "failing",
}
"""What an outcome says about the destination; every other one says that it works."""
NOT_SENT = (Reason.INTERNAL, Reason.DEPLOYMENT_PENDING, Reason.INCIDENT_PENDING)
"""Nothing went out, so they say nothing about the destination."""
_BETWEEN_OKS_S = 1.0


@dataclass(frozen=True, slots=True)
class Grant:
    """How many calls may go out now, or how long to wait before asking again.

    `unlimited`: for the next moments. `limited`: Datadog's rate limit is what has to be waited for.
    """

    calls: int
    wait_s: float
    probe: bool
    unlimited: bool
    limited: bool


@dataclass(frozen=True, slots=True)
class Report:
    """One outcome, as far as it tells about the destination."""

    outcome: Outcome
    key: str
    probe: bool
    took_ms: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a family of calls stands: whether it is open, and when (ms since the epoch) a call worked last."""

    is_open: bool = True
    worked_at_ms: int = 0


class Destination:
    """Asks for and reports on calls of every family, over Redis."""

    def __init__(self, redis: Redis, jitter: Callable[[], float] = random.random) -> None:
        self._redis: Any = redis
        scripts = importlib.resources.files("bridge") / "lua"
        clock = (scripts / "clock.lua").read_text("utf-8")
        self._admit = redis.register_script(clock + (scripts / "admit.lua").read_text("utf-8"))
        self._report = redis.register_script(clock + (scripts / "report.lua").read_text("utf-8"))
        self._jitter = jitter
        self._well: dict[str, float] = {}

    async def admit(self, family: str, wanted: int) -> Grant:
        calls, wait_ms, kind = await self._admit(args=[family, wanted])
        return Grant(
            int(calls),
            float(wait_ms) / 1000,
            probe=kind == b"probe",
            unlimited=kind == b"unlimited",
            limited=kind == b"limited",
        )

    async def probe_soon(self) -> None:
        """A family of calls whose key was refused is tried again now, and not minutes later."""
        for family in FAMILIES:
            destination = f"dora:destination:{family}"
            if await self._redis.hget(destination, "state") == b"parked":
                await self._redis.hset(destination, "until", 0)

    async def report(self, family: str, reports: Iterable[Report]) -> Standing:
        """Puts down outcomes; how the destination stands after them."""
        grouped: dict[tuple[str, bool], list[Report]] = {}
        for one in reports:
            if one.outcome.reason not in NOT_SENT:
                grouped.setdefault((_WHAT.get(one.outcome.reason, "ok"), one.probe), []).append(one)
        standing = Standing()
        # what works first: a refusal in the same batch must have the last word
        for (what, probe), group in sorted(grouped.items(), key=lambda item: item[0][0] != "ok"):
            if what == "ok" and not probe and self._well.get(family, 0) > time.monotonic() - _BETWEEN_OKS_S:
                continue
            standing = await self._put_down(family, what, probe, group)
            self._well[family] = time.monotonic() if what == "ok" else 0
        return standing

    async def _put_down(self, family: str, what: str, probe: bool, group: list[Report]) -> Standing:
        last = group[-1].outcome
        remaining = min((one.outcome.remaining for one in group if one.outcome.remaining is not None), default=None)
        # the reset is from when Datadog answered, which was after the call went out
        waits = [one.outcome.reset_s * 1000 - one.took_ms for one in group if one.outcome.reset_s is not None]
        wait_ms = max(0, int(max(waits))) if waits and what in ("ok", "limited") else ""
        before, after, held_ms, failures, worked_at = await self._report(
            args=[
                family,
                what,
                "" if remaining is None else remaining,
                wait_ms,
                last.reason.value or "ok",
                self._jitter(),
                len(group),
                int(probe),
                *{one.key for one in group},
            ]
        )
        if before != after:
            log(
                f"destination.{after.decode()}",
                logging.WARNING if after != b"open" else logging.INFO,
                family=family,
                reason=last.reason.value,
                status=last.status,
                next_attempt_s=round(held_ms / 1000, 1) if after != b"open" else None,
                failures=failures or None,
            )
        return Standing(after == b"open", int(worked_at))
