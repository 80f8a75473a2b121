"""Whether what was received gets on: workers, what waits, where Datadog stands, dead letters, missing names."""

from __future__ import annotations

import time
from typing import Literal

from bridge.check.ago import length
from bridge.check.finding import Finding
from bridge.dead_letters import FULL, DeadLetters
from bridge.ledger import Ledger
from bridge.settings import Settings

OLD_S = 300.0
"""An event that waits for longer is late."""
STUCK_S = 1800.0
"""One that waits for so long does not wait for its turn any more."""


async def under_way(settings: Settings, ledger: Ledger, dead_letters: DeadLetters) -> list[Finding]:
    """Errors of redis-py pass through."""
    return [
        *await _workers(ledger),
        *await _waiting(ledger),
        *await _destinations(ledger),
        *await _dead_letters(ledger, dead_letters),
        *await _missing(ledger),
        *await _services(settings, ledger),
        *await _envs(ledger),
    ]


async def _workers(ledger: Ledger) -> list[Finding]:
    alive = await ledger.workers()
    if alive:
        return [Finding("ok", "worker", f"{alive} worker process{'es' * (alive != 1)} alive")]
    # without work it may be that none was started yet
    level: Literal["warning", "problem"] = "problem" if (await ledger.counts())["waiting"] else "warning"
    return [Finding(level, "worker", "no worker process is alive: events wait (dora-bridge worker)")]


async def _waiting(ledger: Ledger) -> list[Finding]:
    waiting, age_s = (await ledger.counts())["waiting"], await ledger.oldest_age_s()
    if not waiting:
        return []
    detail = f"{waiting:,} event{'s' * (waiting != 1)} waiting, the oldest for {length(age_s)}"
    if age_s < OLD_S:
        return [Finding("ok", "waiting", detail)]
    detail += " (dora-bridge events list --state waiting)"
    return [Finding("warning" if age_s < STUCK_S else "problem", "waiting", detail)]


async def _destinations(ledger: Ledger) -> list[Finding]:
    """Families of calls that Datadog refuses, or does not answer."""
    found = []
    for family, fields in (await ledger.destinations()).items():
        state = fields.get("state", "open")
        if state not in ("held", "parked"):
            continue
        since = length(time.time() - float(fields.get("since") or 0) / 1000)
        why = f"calls of {family}s are {state} for {since}: {fields.get('reason', 'unknown')}"
        if state == "parked":
            detail = f"{why}: Datadog refuses a key or permission; nothing is lost (DD_API_KEY, DD_APP_KEY)"
            found.append(Finding("problem", "datadog", detail))
        else:
            found.append(Finding("warning", "datadog", f"{why}; they go on by themselves"))
    return found


async def _dead_letters(ledger: Ledger, dead_letters: DeadLetters) -> list[Finding]:
    expiry = await dead_letters.expiry()
    if not expiry.count:
        return []
    [(oldest_ms, _)] = await ledger.places(["dead"], count=1, oldest_first=True) or [(0, "")]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in (await dead_letters.by_reason()).items())
    detail = f"{expiry.count:,} dead letter{'s' * (expiry.count != 1)} ({reasons})"
    if oldest_ms:
        detail += f", the oldest of {length(time.time() - oldest_ms / 1000)} ago"
    found = [Finding("warning", "dead letters", f"{detail} (dora-bridge dead-letters list)")]
    if expiry.soon:
        detail = f"{expiry.soon:,} of them will expire within days (dora-bridge dead-letters redrive, or export)"
        found.append(Finding("warning", "dead letters", detail))
    if expiry.count >= FULL * expiry.most:
        detail = f"beyond {expiry.most:,} the oldest are dropped (retention.dead_letters_max)"
        found.append(Finding("warning", "dead letters", detail))
    return found


async def _missing(ledger: Ledger) -> list[Finding]:
    missing = await ledger.missing()
    if not missing:
        return []
    detail = f"Datadog took {missing:,} event{'s' * (missing != 1)} and does not list {'them' if missing > 1 else 'it'}"
    return [Finding("warning", "datadog", f"{detail} (dora-bridge reconcile)")]


async def _services(settings: Settings, ledger: Ledger) -> list[Finding]:
    """Services that the configuration names and that nothing came for: a slip in a name goes unnoticed otherwise."""
    named: dict[str, str] = {}
    for position, rule in enumerate(settings.configuration.rules, start=1):
        for service in rule.named_services:
            named.setdefault(service, rule.called(position))
    for name, endpoint in settings.endpoints.items():
        for service, option in endpoint.options.named_services:
            named.setdefault(service, f"endpoints.{name}.{option}")
    if not named or await ledger.is_empty():
        return []
    days = settings.configuration.retention.memory_days
    heard_of = await ledger.heard_of(list(named))
    return [
        Finding("warning", "services", f"no event of service {service} came in the last {days:g} days ({where})")
        for service, where in named.items()
        if service not in heard_of
    ]


async def _envs(ledger: Ledger) -> list[Finding]:
    without_env = await ledger.without_env()
    how = "map them with a rule (set: {env: …}); dora-bridge events list --without-env shows which"
    return [Finding("warning", "env", f"{without_env.said}: {how}")] if without_env else []
