"""What is posted: the webhooks of a fictitious company's months, in order of arrival, and some that are bad. Pure.

The company is that of `make year`: all senders, services that are deployed together, incidents that open, close,
are merged and reopened, redeliveries, disorder, second subscriptions; and more of its troubles (`troubles.py`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from year.cast import DAY
from year.company import company
from year.vendors.post import Webhook
from year.webhooks import configuration as configuration_of
from year.webhooks import webhooks

from bridge import configuration as configuration_
from bridge.configuration import Configuration
from bridge.intake import Delivery, receive
from bridge.senders import signed
from bridge.source import Endpoint
from soak.troubles import with_troubles

FEWEST_A_DAY = 80
BAD_SHARE = 0.04
Bad = Literal["", "wrong secret", "no signature", "no JSON", "cut off", "without what it needs"]
_FORGED: Sequence[Bad] = ("wrong secret", "no signature")
_BROKEN: Sequence[Bad] = ("no JSON", "cut off", "without what it needs")


@dataclass(frozen=True, slots=True)
class Posting:
    """One webhook, and what is bad about it."""

    webhook: Webhook
    bad: Bad = ""

    @property
    def is_forged(self) -> bool:
        return self.bad in _FORGED


@dataclass(frozen=True)
class Traffic:
    """What is posted, and the `bridge.yaml` that it is posted to."""

    content: Mapping[str, Any]
    postings: Sequence[Posting]

    def parsed(self) -> tuple[Configuration, Mapping[str, Endpoint]]:
        return configuration_.parse(dict(self.content), "bridge.yaml")


def traffic(seed: int, number: int, now: int) -> Traffic:
    """So many webhooks of what happened until `now` (seconds since the epoch)."""
    days = max(14, number // FEWEST_A_DAY + 1)
    story = with_troubles(company(seed, days, now), seed, now - days * DAY, now)
    # which deployment an incident belongs to depends on what was heard: the year looks at that
    content = configuration_of(story, {"mode": "off"})
    for options in content["endpoints"].values():
        # so that a failure has two statements, which their requests tell apart
        options.pop("priority_updates", None)
    content["endpoints"]["github"] = {}
    content["endpoints"]["opsgenie"] = {}
    dice = random.Random(f"bad/{seed}")  # noqa: S311 - a choice, no secret
    postings = []
    for webhook in webhooks(story, seed)[:number]:
        postings.append(Posting(webhook))
        if dice.random() < BAD_SHARE:
            postings.append(_spoiled(webhook, dice))
    return Traffic(content, postings)


def _spoiled(webhook: Webhook, dice: random.Random) -> Posting:
    """It again, spoiled, and under ids of its own wherever an id can be read."""
    bad = dice.choice([*_FORGED, *_BROKEN])
    number = dice.randrange(10**8, 10**9)
    body = _under_other_ids(webhook.body, number)
    if bad == "no JSON":
        body = b"service is up again, number %d" % number
    elif bad == "cut off":
        body = body[: len(body) // 2]
    elif bad == "without what it needs":
        body = _without(body, ("created_at", "createdAt", "uid", "conclusion", "state"))
    headers = {name: f"{value[:-9]}{number}" for name, value in webhook.headers.items()}
    return Posting(
        Webhook(at=webhook.at, endpoint=webhook.endpoint, body=body, kind=webhook.kind, headers=headers), bad
    )


def _under_other_ids(body: bytes, number: int) -> bytes:
    """A forged webhook must make statements that nobody else makes."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: _other_id(one, number) if key in _IDS else renamed(one) for key, one in value.items()}
        return [renamed(one) for one in value] if isinstance(value, list) else value

    return json.dumps(renamed(json.loads(body))).encode()


_IDS = ("id", "uid", "alertId", "incident-id")


def _other_id(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return f"{value}{number}"
    return number if isinstance(value, int) and value > 1_000 else value


def _without(body: bytes, names: Sequence[str]) -> bytes:
    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(one) for key, one in value.items() if key not in names}
        return [bare(one) for one in value] if isinstance(value, list) else value

    return json.dumps(bare(json.loads(body))).encode()


def headers_of(posting: Posting, endpoint: Endpoint, secret: bytes) -> dict[str, str]:
    """All headers that it is posted with; names in lower case."""
    webhook = posting.webhook
    headers = signed(endpoint, webhook.body, kind=webhook.kind, secret=secret)
    if posting.bad == "wrong secret":
        headers = signed(endpoint, webhook.body, kind=webhook.kind, secret=b"somebody else's secret")
    headers = {name.lower(): value for name, value in {**headers, **webhook.headers}.items()}
    if posting.bad == "no signature":
        for name in ("x-hub-signature-256", "x-pagerduty-signature", "authorization"):
            headers.pop(name, None)
    return headers


def statements(
    posting: Posting, endpoint: Endpoint, configuration: Configuration, headers: Mapping[str, str], now: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the statements that it makes, and of those it makes only if they were missed. `now` in nanoseconds."""
    receipt = receive(
        endpoint,
        Delivery(headers, {}, posting.webhook.body),
        secret=1,
        now=now,
        rules=configuration.rules,
        application_key=True,
    )
    missed = {one.id for one in receipt.envelopes if one.is_catch_up}
    return tuple(one.id for one in receipt.envelopes if one.id not in missed), tuple(sorted(missed))
