"""Incidents that are opened again, and ends that come before their beginnings; each through a whole system."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from system import System, unique
from test_incident_targets import AT, _time, alert, calls, configure, event, incidents, issue, only_incident, post

pytestmark = pytest.mark.integration
REOPENED = {"reopened_at": _time(AT + 900)}


def spans(system: System) -> dict[str, tuple[int, int | None]]:
    """Id -> start and end (seconds after AT) of each failure as Datadog has it at last."""
    records: dict[str, dict[str, Any]] = {}
    for one in system.requests():
        if one["method"] == "POST" and one["path"] == "/api/v2/dora/failure" and one["status"] in (200, 202):
            attributes = one["body"]["data"]["attributes"]
            records[attributes["id"]] = attributes
        if one["method"] == "DELETE" and one["status"] in (200, 202, 204):
            del records[one["path"].rpartition("/")[2]]

    def after(at: int | None) -> int | None:
        return None if at is None else at // 10**9 - AT

    return {id_: (after(one["started_at"]) or 0, after(one.get("finished_at"))) for id_, one in records.items()}


async def answer(system: System, body: bytes, endpoint: str = "pagerduty", kind: str | None = None) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=5) as client:
        told = await system.post(client, endpoint, body, kind)
    assert told.status_code == 202, told.text
    whole: dict[str, Any] = told.json()
    return whole


# -- PagerDuty


@pytest.mark.parametrize("on_reopening", [REOPENED, {}], ids=["reopening-with", "reopening-without"])
@pytest.mark.parametrize("on_end", [REOPENED, {}], ids=["end-with", "end-without"])
async def test_each_time_ends_when_it_ended(
    system: System, on_reopening: dict[str, str], on_end: dict[str, str]
) -> None:
    """PagerDuty says `reopened_at` in some bodies, and not in others."""
    system.start_web()
    number = unique()
    first = await post(system, event(number, "triggered"))
    await post(system, event(number, "resolved", after_s=600))
    # events occur a moment after what they are about
    began = 900 if on_reopening else 901
    second = await post(system, event(number, "reopened", after_s=901, **on_reopening))
    end = event(number, "resolved", after_s=1800, **on_end)
    assert await post(system, end) == second == f"{first}-r{AT + began}"
    assert (await answer(system, end))["status"] == "duplicate"
    assert (await answer(system, event(number, "resolved", after_s=600)))["status"] == "duplicate"
    system.start_worker()
    await system.until_drained()
    assert spans(system) == {first: (0, 600), second: (began, 1800)}


async def test_what_is_said_of_an_incident_is_about_the_last_time_it_was_opened(system: System) -> None:
    """Opened three times; bodies without `reopened_at`. The third time it was merged into another."""
    configure(system)
    number = unique()
    first = await post(system, event(number, "triggered"))
    await post(system, event(number, "resolved", after_s=600))
    second = await post(system, event(number, "reopened", after_s=900))
    assert await post(system, event(number, "priority_updated", after_s=950, priority={"summary": "P1"})) == second
    await post(system, event(number, "resolved", after_s=1800))
    third = await post(system, event(number, "reopened", after_s=2000))
    merge = {"type": "merge_resolve_reason", "incident": {"id": "POTHER"}}
    assert await post(system, event(number, "resolved", after_s=2100, resolve_reason=merge)) == third
    system.start_worker()
    await system.until_drained()
    assert spans(system) == {first: (0, 600), second: (900, 1800)}
    raised = [one["body"]["data"]["attributes"] for one in system.requests() if "'SEV-1'" in str(one["body"])]
    assert {one["id"] for one in raised} == {second}


# -- GitHub issues


@pytest.mark.parametrize("send_as", ["failure", "incident"])
async def test_an_issue_is_another_failure_when_it_is_reopened(system: System, send_as: str) -> None:
    configure(system, "github", failures_from=["issues"], send_as=send_as)
    number = unique()
    first = await post(system, issue(number, "opened", "Slow"), "github", "issues")
    await post(system, issue(number, "closed", "Slow", after_s=600), "github", "issues")
    second = await post(system, issue(number, "reopened", "Slow", after_s=3_000), "github", "issues")
    end = issue(number, "closed", "Slow", after_s=3_600)
    assert await post(system, end, "github", "issues") == second
    assert (await answer(system, end, "github", "issues"))["status"] == "duplicate"
    system.start_worker()
    await system.until_drained()
    if send_as == "failure":
        assert spans(system) == {first: (0, 600), second: (3_000, 3_600)}
    else:
        assert [one["state"] for one in incidents(system)] == ["resolved", "resolved"]


async def test_an_end_waits_for_the_reopening_that_it_belongs_to(system: System) -> None:
    """GitHub keeps no order. Without that opening nobody knows how long it lasted, and the first end stays true."""
    configure(system, "github", failures_from=["issues"])
    number = unique()
    first = await post(system, issue(number, "opened", "Slow"), "github", "issues")
    await post(system, issue(number, "closed", "Slow", after_s=600), "github", "issues")
    later = await answer(system, issue(number, "closed", "Slow", after_s=3000), "github", "issues")
    early = await answer(system, issue(number, "closed", "Slow", after_s=1800), "github", "issues")
    for one in (later, early):
        assert one["status"] == "dead_lettered"
        assert "when it was opened again" in one["reason"]
    second = await post(system, issue(number, "reopened", "Slow", after_s=1200), "github", "issues")
    system.start_worker()
    await system.until_drained()
    assert spans(system) == {first: (0, 600), second: (1200, 1800)}
    third = await post(system, issue(number, "reopened", "Slow", after_s=2400), "github", "issues")
    await system.until_drained()
    assert spans(system) == {first: (0, 600), second: (1200, 1800), third: (2400, 3000)}
    async with system.ledger() as ledger:
        assert (await ledger.counts())["dead_letters"] == 0


# -- an end before its beginning


@pytest.mark.parametrize("endpoint", ["pagerduty", "opsgenie"])
async def test_what_came_before_its_opening_follows_it(system: System, endpoint: str) -> None:
    configure(system, endpoint, send_as="incident")
    number = unique()
    opening, end = {
        "pagerduty": (event(number, "triggered"), event(number, "resolved", after_s=600)),
        "opsgenie": (alert(number, "Create", "Slow"), alert(number, "Close", "Slow", after_s=600)),
    }[endpoint]
    dead = await answer(system, end, endpoint)
    assert (dead["status"], "the opening of this incident" in dead["reason"]) == ("dead_lettered", True)
    identifier = await post(system, opening, endpoint)
    system.start_worker()
    await system.until_drained()
    assert calls(system) == ["POST", "PATCH"]
    assert only_incident(system)["state"] == "resolved"
    async with system.ledger() as ledger:
        assert (await ledger.counts())["dead_letters"] == 0
        record = await ledger.find(f"{identifier}~closed")
        assert record is not None
        assert record.story[1]["by"] == "opening"
