"""Whether PagerDuty's subscriptions are registered as an endpoint needs them, with the command that mends them.

https://developer.pagerduty.com/api-reference/ (Webhooks; schema: github.com/PagerDuty/api-schema)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import httpx

from bridge.backfill.vendor_api import PAGERDUTY, PER_PAGE
from bridge.check.finding import Finding
from bridge.check.public_address import is_address_of, wanted_address, without_query
from bridge.check.vendor_answer import vendor_answer
from bridge.errors import SenderUnreadable
from bridge.settings import SENDER_TOKENS, Secrets, Settings

_MOST_PAGES = 20


async def pagerduty_registration(settings: Settings, client: httpx.AsyncClient, public_url: str) -> list[Finding]:
    """Each subscription that posts to an endpoint of kind pagerduty; nothing without a token."""
    token = settings.sender_tokens.get("pagerduty")
    if token is None:
        return []
    found: list[Finding] = []
    for name in settings.secrets:
        endpoint = settings.endpoints[name]
        if endpoint.source.name != "pagerduty":
            continue
        options: Any = endpoint.options
        events = endpoint.source.matchable(options)
        try:
            known = await _subscriptions(client, token, options.api_url)
            found += _findings(known, options.api_url, name, events.keys(), public_url)
        except SenderUnreadable as error:
            detail = f"{error.detail} when asked for webhook subscriptions ({SENDER_TOKENS['pagerduty']})"
            found.append(Finding("warning", "pagerduty", detail))
        except (AttributeError, KeyError, TypeError, ValueError):
            detail = "PagerDuty describes its webhook subscriptions in a way that is not known"
            found.append(Finding("warning", "pagerduty", detail))
    return found


async def _subscriptions(client: httpx.AsyncClient, token: Secrets, api_url: str) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for page in range(_MOST_PAGES):
        params = {"limit": PER_PAGE, "offset": page * PER_PAGE}
        answer = await vendor_answer(client, PAGERDUTY, f"{api_url}/webhook_subscriptions", token, params)
        found += answer["webhook_subscriptions"]
        if not answer.get("more"):
            break
    return found


def _findings(
    known: Sequence[Mapping[str, Any]], api_url: str, endpoint: str, events: Collection[str], public_url: str
) -> list[Finding]:
    ours = [one for one in known if is_address_of(str(one["delivery_method"].get("url")), "", endpoint)]
    if not ours:
        wanted = wanted_address(public_url, endpoint)
        detail = f"no subscription of this account posts to {wanted}: make one (deploy/pagerduty/README.md)"
        return [Finding("problem", "pagerduty", detail)]
    found = []
    for one in ours:
        faults = faults_of(one, api_url, endpoint, events, public_url)
        posts = f"subscription {one['id']} is active and posts {', '.join(sorted(events))} to {endpoint}"
        found += faults or [Finding("ok", "pagerduty", posts)]
    return found


def faults_of(
    subscription: Mapping[str, Any], api_url: str, endpoint: str, events: Collection[str], public_url: str = ""
) -> list[Finding]:
    """What is wrong with a subscription as the API describes it, each with the command that mends it."""
    faults = []
    address = f"{api_url}/webhook_subscriptions/{subscription['id']}"
    method: Mapping[str, Any] = subscription["delivery_method"]

    def fault(what: str, mend: str) -> None:
        faults.append(Finding("problem", "pagerduty", f"subscription {subscription['id']} {what}: {mend}"))

    if not subscription["active"]:
        fault("is not active", _put(address, {"active": True}))
    if method.get("temporarily_disabled"):
        fault("was disabled by PagerDuty after refusals", f"curl -X POST {address}/enable {_AUTHORIZATION}")
    url = str(method.get("url"))
    if not is_address_of(url, public_url, endpoint):
        wanted = wanted_address(public_url, endpoint)
        # a second one works for sure; whether an update takes another address is not documented
        fault(f"posts to {without_query(url)}", f"make one to {wanted}, and delete this (deploy/pagerduty/README.md)")
    sent = set(subscription["events"])
    if lacking := sorted(set(events) - sent):
        fault(f"does not post {', '.join(lacking)}", _put(address, {"events": sorted(sent | set(lacking))}))
    return faults


_AUTHORIZATION = '-H "Authorization: Token token=$PAGERDUTY_TOKEN"'


def _put(address: str, change: Mapping[str, Any]) -> str:
    body = json.dumps({"webhook_subscription": change}, separators=(",", ":"))
    return f"curl -X PUT {address} {_AUTHORIZATION} -H 'Content-Type: application/json' -d '{body}'"
