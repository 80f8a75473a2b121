"""Subscriptions at PagerDuty: what is wrong with each, and the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from checking import GOOD, Hosts, found, told
from stand_ins.pagerduty import PagerDuty

GOOD_TOKEN = "pd_token"
URL = "https://bridge.example.com/webhooks/pagerduty"
EVENTS = ("incident.triggered", "incident.resolved", "incident.reopened")
API = "https://api.pagerduty.com/webhook_subscriptions"
AUTHORIZATION = '-H "Authorization: Token token=$PAGERDUTY_TOKEN"'


@pytest.fixture
def pagerduty() -> PagerDuty:
    return PagerDuty()


async def look(
    pagerduty: PagerDuty, *, public_url: str = "", token: str = GOOD_TOKEN, **environ: str
) -> list[tuple[str, str]]:
    given = {**GOOD, "DORA_BRIDGE_SECRETS__PAGERDUTY": "hidden", "DORA_BRIDGE_PAGERDUTY_TOKEN": token, **environ}
    some = told(await found(Hosts(pagerduty=pagerduty.app), public_url, **given), "pagerduty")
    assert not any("pd_token" in detail or "hidden" in detail for _, detail in some)
    return some


async def test_as_it_should_be(pagerduty: PagerDuty) -> None:
    for number in range(150):  # of others, on two pages
        pagerduty.subscribe(f"PX{number}", "https://other.example.com/", "incident.triggered", active=False)
    pagerduty.subscribe("PSUB1", URL + "?env=production", *EVENTS, "incident.acknowledged")
    for public_url in ("", "https://bridge.example.com"):
        assert await look(pagerduty, public_url=public_url) == [
            (
                "ok",
                "subscription PSUB1 is active and posts incident.reopened, incident.resolved, incident.triggered"
                " to pagerduty",
            )
        ]
    assert {call.method for call in pagerduty.gate.calls} == {"GET"}


async def test_faults(pagerduty: PagerDuty) -> None:
    pagerduty.subscribe("PSUB1", URL, *EVENTS[:2], active=False, delivery_method={"temporarily_disabled": True})
    body = '{"webhook_subscription":{"events":["incident.reopened","incident.resolved","incident.triggered"]}}'
    put = f"curl -X PUT {API}/PSUB1 {AUTHORIZATION} -H 'Content-Type: application/json' -d"
    assert await look(pagerduty) == [
        ("problem", f'subscription PSUB1 is not active: {put} \'{{"webhook_subscription":{{"active":true}}}}\''),
        (
            "problem",
            f"subscription PSUB1 was disabled by PagerDuty after refusals: curl -X POST {API}/PSUB1/enable"
            f" {AUTHORIZATION}",
        ),
        ("problem", f"subscription PSUB1 does not post incident.reopened: {put} '{body}'"),
    ]


async def test_priorities_are_wanted_only_if_they_are_sent(pagerduty: PagerDuty, tmp_path: Path) -> None:
    pagerduty.subscribe("PSUB1", URL, *EVENTS)
    (tmp_path / "bridge.yaml").write_text("endpoints: {pagerduty: {priority_updates: send}}")
    [(level, detail)] = await look(pagerduty, DORA_BRIDGE_CONFIG=str(tmp_path / "bridge.yaml"))
    assert level == "problem"
    assert detail.startswith("subscription PSUB1 does not post incident.priority_updated: curl -X PUT")


async def test_address(pagerduty: PagerDuty) -> None:
    assert await look(pagerduty) == [
        (
            "problem",
            "no subscription of this account posts to https://YOUR-HOST/webhooks/pagerduty:"
            " make one (deploy/pagerduty/README.md)",
        )
    ]
    pagerduty.subscribe("PSUB1", "https://u:hidden@old.example.com/webhooks/pagerduty?t=hidden", *EVENTS)
    assert await look(pagerduty, public_url="https://bridge.example.com") == [
        (
            "problem",
            "subscription PSUB1 posts to https://old.example.com/webhooks/pagerduty:"
            f" make one to {URL}, and delete this (deploy/pagerduty/README.md)",
        )
    ]


async def test_what_cannot_be_read(pagerduty: PagerDuty) -> None:
    assert await look(pagerduty, token="") == [], "backfill is for who wants it"
    assert await look(pagerduty, token="wrong") == [
        ("warning", "PagerDuty answers 401 when asked for webhook subscriptions (DORA_BRIDGE_PAGERDUTY_TOKEN)")
    ]
    pagerduty.subscribe("PSUB1", URL, *EVENTS)
    del pagerduty.subscriptions[0]["delivery_method"]
    assert await look(pagerduty) == [
        ("warning", "PagerDuty describes its webhook subscriptions in a way that is not known")
    ]
