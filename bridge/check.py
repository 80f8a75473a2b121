"""What would lose events, or keep them from Datadog: `dora-bridge check`."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge import redis_url
from bridge.backfill.github_hooks import hooks_of
from bridge.ledger import Ledger
from bridge.rule_reach import dead_rules
from bridge.settings import PREFIX, SENDER_TOKENS, Environment, Settings, secret_variable

OLDEST_REDIS = (6, 2)
_CLOCK_S = 5.0
_DATADOG_S = 10.0
_GOVERNMENT = ("ddog-gov.com", "us2.ddog-gov.com")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `problem` would lose events or keep them from Datadog, `warning` may, `ok` does not."""

    level: Literal["ok", "warning", "problem"]
    what: str
    detail: str


async def findings(
    settings: Settings, environ: Mapping[str, str], transport: httpx.AsyncBaseTransport | None = None
) -> list[Finding]:
    """All findings, of the configuration first, then of the world; `transport` makes the calls of Datadog."""
    found = [*_of_settings(settings, environ), *_of_rules(settings)]
    async with httpx.AsyncClient(transport=transport, timeout=_DATADOG_S) as client:
        found += await _of_datadog(settings, client)
        found += await _of_hooks(settings, client)
    redis = redis_url.impatient(settings.environment.redis_url)
    try:
        found += await _of_redis(redis)
        ledger = Ledger(redis, settings.configuration.retention)
        found += await _of_workers(ledger)
        found += await _of_services(settings, ledger)
        found += await _of_envs(ledger)
    except (RedisError, OSError) as error:
        found.append(Finding("problem", "redis", f"not reachable: {type(error).__name__} (DORA_BRIDGE_REDIS_URL)"))
    finally:
        await redis.aclose()
    return found


def _of_settings(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    environment = settings.environment
    found = []
    for name in settings.endpoints:
        if name in settings.secrets:
            count = len(settings.secrets[name]())
            found.append(Finding("ok", "endpoint", f"/webhooks/{name} accepts {count} secret{'s' * (count != 1)}"))
        elif name in settings.configuration.endpoints:
            detail = f"{name} is configured but has no secret, so no route (set {secret_variable(name)})"
            found.append(Finding("problem", "endpoint", detail))
    if not settings.secrets:
        found.append(Finding("problem", "endpoint", "no endpoint has a secret (set DORA_BRIDGE_SECRETS__<ENDPOINT>)"))
    if environment.api_key is None:
        found.append(Finding("problem", "datadog", "no API key: nothing can be delivered (set DD_API_KEY)"))
    else:
        found.append(Finding("ok", "datadog", f"events go to {settings.datadog_url}"))
    if environment.app_key is None:
        for name in settings.incident_endpoints:
            detail = f"{name} sends to Incident Management, which needs an application key (set DD_APP_KEY)"
            found.append(Finding("problem", "endpoint", detail))
        detail = "no application key: change failures, withdrawals and read-back are off (DD_APP_KEY)"
        found.append(Finding("warning", "datadog", detail))
    if environment.site in _GOVERNMENT and environment.datadog_url is None:
        found.append(
            Finding("warning", "datadog", f"the site {environment.site} does not offer DORA metrics (DD_SITE)")
        )
    known = {str(info.alias) for info in Environment.model_fields.values()}
    for one in (f"{PREFIX}ADMIN_TOKEN", *SENDER_TOKENS.values()):
        known |= {one, f"{one}_FILE"}
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(f"{PREFIX}SECRETS__"):
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            found.append(Finding("warning", "settings", f"{variable} is no setting{hint}"))
    return found


def _of_rules(settings: Settings) -> list[Finding]:
    return [
        Finding("warning", "rules", f"{dead.rule} can never match: {dead.why} (rules)")
        for dead in dead_rules(settings.configuration.rules, settings.endpoints)
    ]


async def _of_datadog(settings: Settings, client: httpx.AsyncClient) -> list[Finding]:
    """Whether Datadog takes the keys. Source: API reference, "Validate API key", "… API and application keys"."""
    api_key, app_key = settings.environment.api_key, settings.environment.app_key
    if api_key is None:
        return []
    headers = {b"DD-API-KEY": api_key.get_secret_value().encode()}
    questions = [("the API key (DD_API_KEY)", "/api/v1/validate")]
    if app_key is not None:
        headers[b"DD-APPLICATION-KEY"] = app_key.get_secret_value().encode()
        questions.append(("the application key (DD_APP_KEY)", "/api/v2/validate_keys"))
    found: list[Finding] = []
    for key, path in questions:
        try:
            status = (await client.get(settings.datadog_url + path, headers=headers)).status_code
        except httpx.TransportError as error:
            detail = (
                f"{settings.datadog_url} is not reachable: {type(error).__name__} (DD_SITE, DORA_BRIDGE_DATADOG_URL)"
            )
            return [Finding("problem", "datadog", detail)]
        if status in (401, 403):
            return [*found, Finding("problem", "datadog", f"Datadog refuses {key}")]
        if status == 200:
            found.append(Finding("ok", "datadog", f"Datadog takes {key}"))
        else:
            found.append(Finding("warning", "datadog", f"Datadog answers {status} when asked about {key}"))
    return found


async def _of_hooks(settings: Settings, client: httpx.AsyncClient) -> list[Finding]:
    """Whether what GitHub could not deliver is asked for again."""
    found: list[Finding] = []
    token = settings.sender_tokens.get("github")
    for (endpoint, base_url, hook), _ in hooks_of(settings).items():
        if token is None:
            detail = f"{hook} is listed for {endpoint}, but failed deliveries are not asked for again without a token"
            found.append(Finding("warning", "github", f"{detail} ({SENDER_TOKENS['github']})"))
            continue
        headers = {b"Authorization": b"Bearer " + token()[0]}
        try:
            answer = await client.get(f"{base_url}/{hook}/deliveries", params={"per_page": 1}, headers=headers)
            problem = "" if answer.status_code == 200 else f"GitHub answers {answer.status_code}"
        except httpx.TransportError as error:
            problem = f"GitHub is not reachable: {type(error).__name__}"
        detail = f"failed deliveries of {hook} are asked for again"
        if problem:
            detail = f"{problem} when asked for deliveries of {hook} (hooks, {SENDER_TOKENS['github']})"
        found.append(Finding("warning" if problem else "ok", "github", detail))
    return found


async def _of_redis(redis: Redis) -> list[Finding]:
    info: Mapping[str, Any] = await redis.info()
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    found = []
    if version < OLDEST_REDIS:
        found.append(Finding("problem", "redis", f"version {info['redis_version']} is too old: 6.2 or newer is needed"))
    else:
        found.append(Finding("ok", "redis", f"reachable, version {info['redis_version']}"))
    if not int(info.get("aof_enabled", 0)):
        found.append(Finding("problem", "redis", "no append-only file: a restart loses every event (appendonly yes)"))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        found.append(Finding("problem", "redis", f"maxmemory-policy {policy} throws events away (noeviction)"))
    if str(info.get("role", "master")) != "master":
        found.append(Finding("problem", "redis", "this is a replica: it takes no writes (DORA_BRIDGE_REDIS_URL)"))
    seconds, microseconds = await redis.time()
    skew_s = abs(time.time() - seconds - microseconds / 1e6)
    if skew_s > _CLOCK_S:
        found.append(Finding("warning", "clock", f"the clocks of this machine and Redis differ by {skew_s:.0f} s"))
    return found


async def _of_workers(ledger: Ledger) -> list[Finding]:
    alive = await ledger.workers()
    if alive:
        return [Finding("ok", "worker", f"{alive} worker process{'es' * (alive != 1)} alive")]
    return [Finding("warning", "worker", "no worker process is alive: events wait (dora-bridge worker)")]


async def _of_services(settings: Settings, ledger: Ledger) -> list[Finding]:
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


async def _of_envs(ledger: Ledger) -> list[Finding]:
    without_env = await ledger.without_env()
    how = "map them with a rule (set: {env: …}); dora-bridge events list --without-env shows which"
    return [Finding("warning", "env", f"{without_env.said}: {how}")] if without_env else []
