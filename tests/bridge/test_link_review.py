"""What people see of links and say to them, over a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from linked import DEPLOYMENT, happened, look
from undelivered import deployed, envelope, failed, record

from bridge import link_review, redis_url
from bridge.dora import ChangeFailure, RemediationType
from bridge.embedded_redis import PrivateRedis
from bridge.errors import Invalid, NotNow, Unknown
from bridge.ledger import Ledger
from bridge.links import Links


@pytest.fixture
async def both(redis_server: PrivateRedis) -> AsyncIterator[tuple[Ledger, Links]]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Ledger(redis), Links(redis)
    await redis.aclose()


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"status": "open"}, "status"), ({"limit": "0"}, "limit"), ({"cursor": "!"}, "cursor"), ({"stats": "x"}, "stats")],
)
async def test_a_slip_lists_nothing(both: tuple[Ledger, Links], asked: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        await link_review.listing(both[1], both[0], asked)
    assert refused.value.field == field


async def test_pages_by_cursor(both: tuple[Ledger, Links]) -> None:
    ledger, links = both
    await record(ledger, deployed(1))
    incidents = [await happened(ledger, number) for number in (1, 2, 3)]
    await look(links)
    first = await link_review.listing(links, ledger, {"limit": "2"})
    second = await link_review.listing(links, ledger, {"limit": "2", "cursor": first["next_cursor"]})
    assert [one["incident"] for one in first["links"] + second["links"]] == incidents
    assert second["next_cursor"] is None


async def test_nothing_is_said_to_what_is_not_there(both: tuple[Ledger, Links]) -> None:
    ledger, links = both
    with pytest.raises(Unknown):
        await link_review.say(links, ledger, "pagerduty-incident-unknown", "apply", by="ada")
    incident = await happened(ledger)
    with pytest.raises(NotNow, match=r"linking\.mode"):
        await link_review.say(links, ledger, incident, "apply", by="ada")
    await look(links)
    with pytest.raises(NotNow, match="no deployment of the service"):
        await link_review.say(links, ledger, incident, "apply", by="ada")
    assert [one["override"] for one in await link_review.say(links, ledger, incident, "reject", by="ada")] == ["reject"]


async def test_a_deployment_shows_its_incidents_and_what_datadog_was_told(both: tuple[Ledger, Links]) -> None:
    ledger, links = both
    await record(ledger, deployed(1))
    incident = await happened(ledger)
    await look(links)
    shown = await link_review.about(links, ledger, envelope(deployed(1)))
    assert [one["incident"] for one in shown["links"]] == [incident]
    assert shown["verdict"] is None
    fact = ChangeFailure(
        deployment_id=DEPLOYMENT,
        service="chekout",
        env="production",
        remediation_id=deployed(2).id,
        remediation_type="rollback",
        revision=1,
    )
    await ledger_takes(ledger, fact)
    remedy = {"id": deployed(2).id, "type": "rollback"}
    for one in (deployed(1), fact):
        shown = await link_review.about(links, ledger, envelope(one))
        assert shown["verdict"] == {"change_failure": True, "remediation": remedy, "by": "pagerduty"}
    assert link_review.verdict_said(shown["verdict"]) == f"it failed, remedied by {deployed(2).id} (rollback)"
    shown = await link_review.about(links, ledger, envelope(failed(1)))
    assert [one["deployment"] for one in shown["links"]] == [DEPLOYMENT]
    assert shown["verdict"] is None


async def ledger_takes(ledger: Ledger, fact: ChangeFailure) -> None:
    assert await record(ledger, fact) == ["accepted"]


async def test_what_a_webhook_says_itself_is_shown_at_its_deployment(both: tuple[Ledger, Links]) -> None:
    ledger, links = both
    await record(ledger, deployed(1))
    await ledger_takes(ledger, ChangeFailure(deployment_id=DEPLOYMENT, service="chekout", env="production", at=1))
    await look(links, mode="auto")
    (link,) = (await link_review.about(links, ledger, envelope(deployed(1))))["links"]
    assert (link["incident"], link["status"], link["score"]) == (f"{DEPLOYMENT}~change-failure", "applied", 1.0)


def link(**more: Any) -> dict[str, Any]:
    return {
        "incident": "inc-1",
        "service": "checkout",
        "status": "suggested",
        "deployment": "dep-1",
        "env": "production",
        "score": 0.8,
        "reasons": ["it is the latest", "it names this env"],
        "remediation": None,
        "at": "2030-01-31T12:00:00Z",
        "override": None,
        "mark": None,
    } | more


REMEDY: dict[RemediationType | str, str] = {"id": "dep-2", "type": "rollback"}


@pytest.mark.parametrize(
    ("given", "seen_from", "told"),
    [
        (
            link(),
            "inc-1",
            [
                "suggested, score 0.80: dep-1, checkout in production",
                "it is the latest",
                "it names this env",
                "`dora-bridge links apply inc-1` marks the deployment as failed",
            ],
        ),
        (
            link(status="applied", remediation=REMEDY, reasons=["it is the latest"]),
            "dep-1",
            [
                "applied, score 0.80: inc-1: dep-1, checkout in production",
                "it is the latest",
                "remedied by dep-2 (rollback)",
            ],
        ),
        (
            link(status="no_link", deployment=None, env=None, score=0.0, reasons=["none is known"]),
            "",
            ["no_link: inc-1: no deployment of checkout", "none is known"],
        ),
    ],
)
def test_in_words(given: dict[str, Any], seen_from: str, told: list[str]) -> None:
    assert list(link_review.lines(given, seen_from=seen_from)) == told


def test_a_line_of_a_list() -> None:
    why = "0.80: it is the latest; it names this env"
    assert link_review.line(link()) == (
        f"2030-01-31T12:00:00Z  suggested  inc-1: dep-1, checkout in production ({why})"
    )
    assert link_review.line(link(at=None, deployment=None, status="no_link")).startswith("-    ")
