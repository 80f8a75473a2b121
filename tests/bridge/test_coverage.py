"""The coverage report: what was asked for, what it prints, and the records it compares."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from bridge import coverage as coverage_
from bridge import redis_url
from bridge.coverage import Asked, Coverage, asked_for, coverage
from bridge.datadog_lists import DatadogLists
from bridge.datadog_records import DatadogRecord
from bridge.embedded_redis import PrivateRedis
from bridge.errors import ConfigurationError, Invalid
from bridge.ledger import Ledger
from bridge.reconcile import Claim, compare
from bridge.sandbox import create_sandbox
from bridge.settings import read

SECOND = 10**9
DAY = 86_400 * SECOND
UNTIL = 1_795_000_000 * SECOND
ASKED = Asked(since=UNTIL - DAY, until=UNTIL, settled_before=UNTIL)


def asked(**given: Any) -> Asked:
    return asked_for(**{"since": "7d", "until": None, "grace": "10m", "service": None, "env": None, **given})


def test_what_is_asked_for() -> None:
    now = time.time_ns()
    week = asked(service="checkout")
    assert abs(week.until - now) < 60 * SECOND
    assert abs(week.until - week.since - 7 * DAY) < 60 * SECOND
    assert abs(now - week.settled_before - 600 * SECOND) < 60 * SECOND
    assert (week.service, week.env) == ("checkout", "")
    assert asked(since="2026-01-01", until="2026-01-02T00:00:00Z").until == 1_767_312_000 * SECOND


@pytest.mark.parametrize(
    ("given", "field"),
    [({"since": "soon"}, "since"), ({"until": "x"}, "until"), ({"grace": "x"}, "grace"), ({"until": "8d"}, "since")],
)
def test_what_cannot_be_meant(given: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        asked(**given)
    assert caught.value.field == field


# -- the text


def report(claims: Sequence[Claim] = (), records: Sequence[DatadogRecord] = (), **more: Any) -> Coverage:
    comparison = compare(claims, records, since=ASKED.since, until=ASKED.until, settled_before=ASKED.settled_before)
    fields = {"asked": ASKED, "ledger_since": ASKED.since, "comparison": comparison, "untranslated": 0, "crowded": 0}
    return Coverage(**{**fields, **more})


def deployed(id_: str, service: str = "checkout", **more: Any) -> Claim:
    at = UNTIL - 3600 * SECOND
    fields = {"services": (service,), "env": "production", "started_at": at, "finished_at": at, "delivered_at": at}
    return Claim(**{"kind": "deployment", "id": id_, **fields, **more})


def test_a_report_of_nothing() -> None:
    nothing = report()
    assert nothing.text().splitlines() == [
        "ledger and Datadog, 2026-11-17T11:06:40Z to 2026-11-18T11:06:40Z",
        "",
        "Datadog has 0 of 0 events that the ledger delivered in this time.",
    ]
    assert not nothing.has_missing


def test_a_report() -> None:
    found = report([deployed("a", delayed=True), deployed("b", "api")], [DatadogRecord(kind="deployment", id="b")])
    assert found.has_missing
    assert found.text().splitlines()[2:] == [
        "service   env         matched  missing  unknown  duplicate  phantom  undeleted  waiting  dead letters",
        "api       production        1        0        0          0        0          0        0             0",
        "checkout  production        0        1        0          0        0          0        0             0",
        "all                         1        1        0          0        0          0        0             0",
        "",
        "missing    2026-11-18T10:06:40Z  deployment  a  checkout/production: Datadog took it with 202, to process it "
        "later, at 2026-11-18T10:06:40Z",
        "",
        "Datadog has 1 of 2 events that the ledger delivered in this time.",
    ]


def test_only_so_many_findings_are_printed() -> None:
    found = report([deployed(f"id-{n:03}") for n in range(60)])
    assert sum(line.startswith("missing ") for line in found.text().splitlines()) == 51
    assert "… and 10 more" in found.text()
    assert len(found.json()["findings"]) == 60


def test_what_the_report_cannot_tell_is_said() -> None:
    text = report(ledger_since=ASKED.since + 3600 * SECOND, untranslated=2, crowded=3).text()
    assert "retention.events_days" in text
    assert "2 more dead letters" in text
    assert "of 3 seconds" in text


# -- ledger and Datadog


@pytest.fixture
async def ledger(redis_server: PrivateRedis) -> AsyncIterator[Ledger]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Ledger(redis)
    await redis.aclose()


async def test_a_filter_holds_for_both_sides(ledger: Ledger) -> None:
    transport = httpx.ASGITransport(app=create_sandbox())
    async with httpx.AsyncClient(transport=transport, base_url="http://datadog") as client:
        for service, env in (("checkout", "production"), ("checkout", "staging"), ("api", "production")):
            at = (UNTIL - 3600 * SECOND) // SECOND
            attributes = {"id": f"foreign-{service}-{env}", "service": service, "env": env, "version": "v1"}
            body = {"data": {"attributes": {**attributes, "started_at": at, "finished_at": at}}}
            await client.post("/api/v2/dora/deployment", json=body, headers={"DD-API-KEY": "k"})
        lists = DatadogLists(client, base_url="http://datadog", api_key="k", app_key="a")
        told: list[tuple[str, float]] = []
        everything = await coverage(ledger, lists, ASKED, events_days=7, told=lambda *one: told.append(one))
        assert everything.comparison.totals["unknown"] == 3
        assert [step for step, part in told if part >= 1] == ["ledger", "deployment", "failure"]
        only = Asked(since=ASKED.since, until=ASKED.until, settled_before=UNTIL, service="checkout", env="staging")
        one = await coverage(ledger, lists, only, events_days=7)
        assert [row["service"] for row in one.json()["rows"]] == ["checkout"]
        assert one.comparison.totals["unknown"] == 1


@pytest.mark.parametrize(("given", "named"), [({"DD_API_KEY": "k"}, "DD_APP_KEY"), ({"DD_APP_KEY": "k"}, "DD_API_KEY")])
async def test_both_keys_are_needed(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{named}: .*dora_metrics_read"):
        await coverage_.reconcile(read(given), ASKED)
