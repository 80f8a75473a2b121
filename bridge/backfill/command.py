"""What `dora-bridge backfill` does: reads a sender's past, and says what the ledger lacks of it, or fills it in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from bridge import redis_url
from bridge.backfill import argocd_history, github_hooks, pagerduty_history
from bridge.backfill.fill import Fill
from bridge.backfill.github_history import Repository
from bridge.backfill.pace import Pace
from bridge.backfill.progress import Progress
from bridge.backfill.report import Report, tell
from bridge.backfill.unit import Unit
from bridge.backfill.vendor_api import ARGOCD, GITHUB, PAGERDUTY, TIMEOUT_S, Vendor, VendorApi
from bridge.dead_letters import DeadLetters
from bridge.desk import at_terminal, progress_bar
from bridge.errors import ConfigurationError, SenderUnreadable
from bridge.ledger import Ledger
from bridge.proxies import DIRECT
from bridge.settings import Settings
from bridge.source import Endpoint
from bridge.times import to_rfc3339
from bridge.wakeup import Doorbell

LONGEST_WAIT_S = 3700.0
"""GitHub's limit is renewed each hour: a person at a terminal waits that long, and sees why."""

Read = Callable[[], Awaitable[list[Unit]]]


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for. Times are nanoseconds since the epoch, UTC."""

    settings: Settings
    endpoint: Endpoint
    since: int
    until: int
    env: str
    apply: bool
    as_json: bool
    per_second: float


async def github(order: Order, repositories: Sequence[str], hooks: Sequence[str]) -> int:
    """Failed deliveries of hooks, and the past of repositories. The exit code."""
    options: Any = order.endpoint.options
    events = github_hooks.reported_events(options)
    async with _api(order, GITHUB, options.api_url) as api:
        span = {"since": order.since, "until": order.until}
        reads: list[Read] = [partial(github_hooks.units, api, hook, events, **span) for hook in hooks]
        reads += [partial(Repository(api, name, **span).units, options) for name in repositories]
        return await _run(order, reads, [*hooks, *repositories])


async def pagerduty(order: Order, services: Sequence[str], teams: Sequence[str]) -> int:
    """Incidents of an account. The exit code."""
    options: Any = order.endpoint.options
    async with _api(order, PAGERDUTY, options.api_url) as api:

        async def read() -> list[Unit]:
            return await pagerduty_history.units(
                api, since=order.since, until=order.until, services=services, teams=teams
            )

        return await _run(order, [read], [*services, *teams])


async def argocd(order: Order, documents: Mapping[str, bytes], url: str) -> int:
    """Histories of Applications in files, by their names, and of an API server. The exit code."""

    async def of_files() -> list[Unit]:
        found = []
        for name, content in documents.items():
            try:
                document = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise SenderUnreadable(f"{name}: not JSON") from error
            applications = argocd_history.applications_in(document, name)
            found += argocd_history.units(applications, since=order.since, until=order.until)
        return found

    if not url:
        return await _run(order, [of_files], sorted(documents))
    async with _api(order, ARGOCD, url.rstrip("/")) as api:

        async def of_server() -> list[Unit]:
            return argocd_history.units(await argocd_history.fetched(api), since=order.since, until=order.until)

        return await _run(order, [of_files, of_server], [*sorted(documents), url])


@contextlib.asynccontextmanager
async def _api(order: Order, vendor: Vendor, base_url: str) -> AsyncIterator[VendorApi]:
    token = order.settings.sender_tokens.get(order.endpoint.source.name)
    if token is None:
        raise ConfigurationError(f"{vendor.token_setting}: set a token for the API of {vendor.name} ({vendor.rights})")
    async with httpx.AsyncClient(timeout=TIMEOUT_S, mounts=DIRECT) as client:
        yield VendorApi(
            vendor,
            client,
            base_url=base_url,
            token=token,
            pace=Pace(order.per_second),
            longest_wait_s=LONGEST_WAIT_S,
            told=tell,
        )


async def _run(order: Order, reads: Sequence[Read], scope: Sequence[str]) -> int:
    report = Report(apply=order.apply, as_json=order.as_json, since=order.since, until=order.until)
    units: list[Unit] = []
    for read in reads:
        try:
            units += await read()
        except SenderUnreadable as error:
            report.unreadable(error.detail)
    redis = redis_url.patient(order.settings.environment.redis_url)
    try:
        fill = Fill(
            order.settings,
            order.endpoint,
            Ledger(redis, order.settings.configuration.retention),
            pace=Pace(order.per_second),
            progress=Progress(redis, order.endpoint.name, *scope),
            ring=Doorbell(redis).ring,
            apply=order.apply,
            env=order.env,
        )
        with progress_bar(len(units)) as bar:
            async for became in fill.run(units):
                report.add(became)
                bar.update(1)
        if order.apply:
            about = {
                "endpoint": order.endpoint.name,
                "since": to_rfc3339(order.since),
                "until": to_rfc3339(order.until),
            }
            line = {"who": at_terminal(), "what": "backfill", "filter": about, "count": report.lacked}
            await DeadLetters(redis, order.settings.configuration.retention).note(line)
    finally:
        await redis.aclose()
    return report.finish()
