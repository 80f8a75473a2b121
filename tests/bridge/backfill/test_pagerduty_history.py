"""Incidents and their log become the webhooks that were missed; what is not known is left open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from stand_ins.pagerduty import PagerDuty
from stand_ins.serving import serving

from bridge import configuration
from bridge.backfill import pagerduty_history
from bridge.backfill.pace import Pace
from bridge.backfill.unit import Unit
from bridge.backfill.vendor_api import PAGERDUTY, VendorApi
from bridge.envelope import Envelope
from bridge.errors import SenderUnreadable
from bridge.intake import receive
from bridge.times import from_rfc3339

SINCE, UNTIL = from_rfc3339("2026-01-01T00:00:00Z"), from_rfc3339("2026-02-01T00:00:00Z")
NOW = from_rfc3339("2026-03-01T00:00:00Z")
MERGED = {"type": "merge_resolve_reason", "incident": {"id": "PTARGET", "type": "incident_reference"}}


def at(hour: int, day: int = 5) -> str:
    return f"2026-01-{day:02d}T{hour:02d}:00:00Z"


@dataclass
class World:
    pagerduty: PagerDuty
    api: VendorApi

    async def units(self, since: int = SINCE, until: int = UNTIL, services: Sequence[str] = ()) -> list[Unit]:
        units = await pagerduty_history.units(self.api, since=since, until=until, services=services)
        return sorted(units, key=lambda one: one.at)

    async def told(self, key: bool = True, **given: Any) -> list[Envelope]:
        endpoint = configuration.parse({}, "bridge.yaml")[1]["pagerduty"]
        return [
            envelope
            for unit in await self.units(**given)
            for delivery in await unit.read()
            for envelope in receive(endpoint, delivery, secret=0, now=NOW, application_key=key).envelopes
        ]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    pagerduty = PagerDuty()
    with serving(pagerduty.app) as url:
        async with httpx.AsyncClient() as client:
            api = VendorApi(
                PAGERDUTY, client, base_url=url, token=lambda: (b"pd_token",), pace=Pace(1e6), longest_wait_s=0
            )
            yield World(pagerduty, api)


def ids(envelopes: Sequence[Envelope]) -> list[str]:
    return [one.id for one in envelopes]


async def test_opening_and_end(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1), at(3), priority={"summary": "P2"})
    opened, closed = await world.told()
    assert ids([opened, closed]) == ["pagerduty-incident-PONE~open", "pagerduty-incident-PONE~closed"]
    assert opened.attributes["started_at"] == closed.attributes["started_at"] == from_rfc3339(at(1))
    assert closed.attributes["finished_at"] == from_rfc3339(at(3))
    assert "finished_at" not in opened.attributes
    assert (opened.services, opened.attributes["severity"]) == (("checkout",), "SEV-2")
    assert "resolved_by:user" in closed.attributes["custom_tags"]
    assert "pagerduty_incident:1" in opened.attributes["custom_tags"]


async def test_an_open_one_stays_open(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1))
    assert ids(await world.told()) == ["pagerduty-incident-PONE~open"]


async def test_an_end_of_an_older_one_is_found(world: World) -> None:
    world.pagerduty.trigger("POLD", "2025-12-20T00:00:00Z", at(3))
    world.pagerduty.trigger("PGONE", "2025-12-20T00:00:00Z", "2025-12-21T00:00:00Z")
    [closed] = await world.told()
    assert closed.id == "pagerduty-incident-POLD~closed"
    assert closed.attributes["started_at"] == from_rfc3339("2025-12-20T00:00:00Z")


async def test_an_older_one_that_had_ended_before_is_not_ended_anew(world: World) -> None:
    """It was reopened, and PagerDuty does not say when: its second part is not told."""
    world.pagerduty.trigger("POLD", "2025-12-20T00:00:00Z", "2025-12-21T00:00:00Z", at(3))
    assert await world.told() == []


async def test_a_reopened_one_is_two_failures(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1), at(3), at(7), reopened_at=at(5))
    assert ids(await world.told()) == [
        "pagerduty-incident-PONE~open",
        "pagerduty-incident-PONE~closed",
        f"pagerduty-incident-PONE-r{from_rfc3339(at(5)) // 10**9}~open",
        f"pagerduty-incident-PONE-r{from_rfc3339(at(5)) // 10**9}~closed",
    ]


async def test_a_reopened_one_without_a_time_is_told_up_to_its_first_end(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1), at(3), at(7))
    _, closed = await world.told()
    assert closed.attributes["finished_at"] == from_rfc3339(at(3))


async def test_a_merged_one_is_withdrawn(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1), at(3), resolve_reason=MERGED)
    assert ids(await world.told()) == ["pagerduty-incident-PONE~open", "pagerduty-incident-PONE~withdrawn"]
    _, closed = await world.told(key=False)
    assert "merged_into:PTARGET" in closed.attributes["custom_tags"]


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"resolved_at": at(4)}, at(4)),
        ({"last_status_change_at": at(6)}, at(6)),
        ({"resolved_at": None, "last_status_change_at": None}, None),
        ({"status": "acknowledged", "last_status_change_at": at(6)}, None),
    ],
)
async def test_an_end_without_a_log(world: World, fields: dict[str, Any], end: str | None) -> None:
    world.pagerduty.trigger("PONE", at(1), at(3), **{"status": "resolved", **fields})
    world.pagerduty.log = []
    told = await world.told()
    assert [one.attributes.get("finished_at") for one in told][1:] == ([from_rfc3339(end)] if end else [])


async def test_some_services_only(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1), service={"id": "PSVC2", "summary": "search"})
    world.pagerduty.trigger("PTWO", at(1))
    world.pagerduty.trigger("POLD", "2025-12-20T00:00:00Z", at(3))
    assert ids(await world.told(services=["PSVC2"])) == ["pagerduty-incident-PONE~open"]


async def test_many_and_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of at most half a year, and of no more records than may be asked for."""
    monkeypatch.setattr(pagerduty_history, "PER_PAGE", 2)
    monkeypatch.setattr(pagerduty_history, "MOST_RECORDS", 6)
    world.pagerduty.most_records = 6
    for number in range(1, 11):
        world.pagerduty.trigger(f"P{number:03d}", at(1, number), at(2, number))
    told = await world.told(since=from_rfc3339("2025-01-01T00:00:00Z"))
    assert len(told) == 20
    assert len(set(ids(told))) == 20, "none twice, none lost"


async def test_what_is_no_list(world: World) -> None:
    for body in ({"error": {}}, [], {"incidents": ["P1"]}):
        world.pagerduty.gate.refuse(200, body=body or None)
        with pytest.raises(SenderUnreadable, match="no incidents in the answer"):
            await world.units()


async def test_the_same_again_is_the_same_delivery(world: World) -> None:
    world.pagerduty.trigger("PONE", at(1), at(3))
    first, second = [[await unit.read() for unit in await world.units()] for _ in range(2)]
    assert first == second
