"""Which sources fell silent, and which of several secrets still match: whether an old one can go."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bridge.check.ago import length
from bridge.check.finding import Finding
from bridge.last_heard import Heard, LastHeard
from bridge.settings import Settings

SILENT_DAYS = 7.0
UNUSED_S = 86_400.0
"""A secret that matched nothing for so long before another one did can go."""
_DAY_S = 86_400


async def heard(settings: Settings, last_heard: LastHeard, *, silent_days: float) -> list[Finding]:
    """Errors of redis-py pass through."""
    now = time.time()
    known = await last_heard.of({name: secrets() for name, secrets in settings.secrets.items()})
    return [
        finding
        for name, one in known.items()
        for finding in (*_traffic(name, one, now, silent_days), *rotation(name, one.secrets, now))
    ]


def _traffic(name: str, one: Heard, now: float, silent_days: float) -> list[Finding]:
    if one.any_at is None:
        detail = f"{name}: no authentic webhook was noted yet (is it registered with the sender?)"
        return [Finding("warning", "traffic", detail)]
    ago_s = now - one.any_at / 1000
    if ago_s > silent_days * _DAY_S:
        detail = f"{name}: no authentic webhook for {length(ago_s)} (does the sender still post to it?)"
        return [Finding("warning", "traffic", detail)]
    detail = f"{name}: the last authentic webhook came {length(ago_s)} ago"
    if one.accepted_at is None:
        return [Finding("warning", "traffic", f"{detail}, but none became an event (dora-bridge events list)")]
    accepted_s = now - one.accepted_at / 1000
    if accepted_s > silent_days * _DAY_S:
        return [Finding("warning", "traffic", f"{detail}, but none became an event for {length(accepted_s)}")]
    return [Finding("ok", "traffic", f"{detail}, the last that became an event {length(accepted_s)} ago")]


def rotation(name: str, matched: Sequence[int | None], now: float) -> list[Finding]:
    """Of an endpoint with several secrets: when each matched last (ms since the epoch), and which one can go.

    `now` is seconds since the epoch, UTC.
    """
    if len(matched) < 2:
        return []
    told = []
    for position, at in enumerate(matched, start=1):
        said = "never matched" if at is None else f"matched {length(now - at / 1000)} ago for the last time"
        told.append(f"secret {position} {said}")
    detail = f"{name}: {', '.join(told)}"
    latest = max((at for at in matched if at is not None), default=None)
    if latest is None:
        return [Finding("ok", "rotation", f"{detail}: change the sender to secret 1")]
    unused = [
        position
        for position, at in enumerate(matched, start=1)
        # what never matched may be the new one, which the sender does not have yet
        if at is not None and (latest - at) / 1000 > UNUSED_S
    ]
    fresh = [str(position) for position, at in enumerate(matched, start=1) if at is None]
    if unused:
        gone = " and ".join(f"secret {position}" for position in unused)
        return [Finding("ok", "rotation", f"{detail}: {gone} can go")]
    if fresh:
        which = " and ".join(fresh)
        return [Finding("ok", "rotation", f"{detail}: no sender uses secret {which} yet, or none does any more")]
    return [Finding("ok", "rotation", f"{detail}: all are in use")]
