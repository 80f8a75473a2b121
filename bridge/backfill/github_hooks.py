"""Deliveries of a GitHub hook: which ones never arrived, what they said, and how GitHub is asked to repeat them.

Deliveries: https://docs.github.com/en/rest/repos/webhooks (and /orgs/webhooks, /apps/webhooks, which are alike)
Failures: https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries

GitHub repeats nothing by itself, and keeps deliveries for some days only. A hook is named by its path in the API:
`repos/acme/shop/hooks/123`, `orgs/acme/hooks/4` or `app/hook`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bridge.backfill.unit import Unit
from bridge.backfill.vendor_api import VendorApi
from bridge.errors import SenderUnreadable
from bridge.intake import Delivery
from bridge.settings import Settings
from bridge.source import Options
from bridge.times import from_rfc3339


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """One attempt at a delivery, as a list has it."""

    id: int
    guid: str
    """The same for each attempt; the web process knows it as X-GitHub-Delivery."""
    at: int
    """Nanoseconds since the epoch, UTC."""
    event: str
    arrived: bool
    is_repetition: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """A delivery none of whose attempts arrived. Times are nanoseconds since the epoch, UTC."""

    guid: str
    id: int
    """Of its last attempt."""
    event: str
    first_at: int
    last_at: int
    attempts: int


def reported_events(options: Options) -> frozenset[str]:
    """Names of the events that an endpoint of kind github makes something of."""
    return frozenset((*getattr(options, "deployments_from", ()), *getattr(options, "failures_from", ())))


def hooks_of(settings: Settings) -> Mapping[tuple[str, str, str], frozenset[str]]:
    """Endpoint, address of the API and hook -> the events that are asked for again."""
    found = {}
    for name, endpoint in settings.endpoints.items():
        options: Any = endpoint.options
        if endpoint.source.name == "github":
            events = reported_events(options)
            found.update({(name, options.api_url, hook): events for hook in options.hooks})
    return found


async def deliveries(api: VendorApi, hook: str, *, since: int) -> list[HookDelivery]:
    """All attempts since then, newest first, as GitHub lists them. Raises: SenderUnreadable."""
    # not with `status=failure`: that leaves out deliveries that no server answered at all
    found: list[HookDelivery] = []
    async for page in api.pages(f"{hook}/deliveries"):
        rows = [_of_list(row, hook) for row in page]
        found += [row for row in rows if row.at >= since]
        if not rows or rows[-1].at < since:
            break
    return found


def missed(attempts: Sequence[HookDelivery], events: Collection[str]) -> list[Missed]:
    """Deliveries of these events that never arrived, oldest first.

    Where the first attempt is not among those given, nothing is known of how many there were: such a delivery is
    left out.
    """
    by_guid: dict[str, list[HookDelivery]] = {}
    for attempt in sorted(attempts, key=lambda one: one.at):
        by_guid.setdefault(attempt.guid, []).append(attempt)
    found = [
        Missed(guid, group[-1].id, group[0].event, group[0].at, group[-1].at, len(group))
        for guid, group in by_guid.items()
        if group[0].event in events and not group[0].is_repetition and not any(one.arrived for one in group)
    ]
    return sorted(found, key=lambda one: one.first_at)


async def as_posted(api: VendorApi, hook: str, identifier: int) -> Delivery:
    """What GitHub posted, or would have. Raises: SenderUnreadable."""
    path = f"{hook}/deliveries/{identifier}"
    whole = await api.get(path)
    request = whole.get("request") if isinstance(whole, dict) else None
    if not isinstance(request, dict) or not isinstance(request.get("payload"), dict):
        raise SenderUnreadable(f"GitHub: GET {path}: the payload is not kept any more")
    headers = {str(name).lower(): str(value) for name, value in (request.get("headers") or {}).items()}
    body = json.dumps(request["payload"], separators=(",", ":"), ensure_ascii=False).encode()
    # the body is JSON here, even if the hook posts forms
    return Delivery({**headers, "content-type": "application/json"}, _query(whole.get("url")), body)


async def ask_again(api: VendorApi, hook: str, identifier: int) -> None:
    """GitHub posts it once more, soon. Raises: SenderUnreadable."""
    await api.call("POST", f"{hook}/deliveries/{identifier}/attempts")


async def units(api: VendorApi, hook: str, events: Collection[str], *, since: int, until: int) -> list[Unit]:
    """A unit for each delivery that never arrived. Raises: SenderUnreadable."""
    attempts = await deliveries(api, hook, since=since)
    return [_unit(api, hook, one) for one in missed(attempts, events) if one.first_at <= until]


def _unit(api: VendorApi, hook: str, one: Missed) -> Unit:
    async def read() -> Sequence[Delivery]:
        return [await as_posted(api, hook, one.id)]

    return Unit(f"delivery {one.guid}", one.first_at, read)


def _of_list(row: Any, hook: str) -> HookDelivery:
    try:
        return HookDelivery(
            id=int(row["id"]),
            guid=str(row["guid"]),
            at=from_rfc3339(row["delivered_at"]),
            event=str(row["event"]),
            arrived=200 <= int(row["status_code"] or 0) < 300,
            is_repetition=bool(row.get("redelivery")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SenderUnreadable(f"GitHub: GET {hook}/deliveries: not a list of deliveries") from error


def _query(url: object) -> Mapping[str, str]:
    """What stands behind the `?` of the address that the hook posts to, such as `env=production`."""
    try:
        return dict(parse_qsl(urlsplit(str(url or "")).query))
    except ValueError:
        return {}
