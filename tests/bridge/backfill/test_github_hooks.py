"""Deliveries of a hook: which never arrived, and what they said."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from stand_ins.github import GitHub
from stand_ins.serving import serving

from bridge.backfill import github_hooks
from bridge.backfill.github_hooks import HookDelivery, missed
from bridge.backfill.pace import Pace
from bridge.backfill.vendor_api import GITHUB, VendorApi
from bridge.errors import SenderUnreadable
from bridge.settings import read
from bridge.sources.github import GitHubOptions
from bridge.times import from_rfc3339

HOOK = "repos/acme/shop/hooks/123"
EVENTS = {"deployment_status"}
DAY = "2030-01-01"


@pytest.fixture
async def github() -> AsyncIterator[tuple[GitHub, VendorApi]]:
    stand_in = GitHub()
    with serving(stand_in.app) as url:
        async with httpx.AsyncClient() as client:
            yield (
                stand_in,
                VendorApi(
                    GITHUB, client, base_url=url, token=lambda: (b"ghs_token",), pace=Pace(1e6), longest_wait_s=0
                ),
            )


def attempt(guid: str, minute: int, *, arrived: bool = False, again: bool = False, event: str = "") -> HookDelivery:
    return HookDelivery(minute, guid, minute * 60, event or "deployment_status", arrived, again)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([attempt("a", 1)], {"a": 1}),
        ([attempt("a", 1, arrived=True)], {}),
        ([attempt("a", 1), attempt("a", 5, again=True)], {"a": 2}),
        ([attempt("a", 5, again=True, arrived=True), attempt("a", 1)], {}),
        ([attempt("a", 5, again=True)], {}),  # its first attempt is out of sight, and so are others maybe
        ([attempt("a", 1, event="push")], {}),
        ([attempt("b", 2), attempt("a", 1)], {"a": 1, "b": 1}),
    ],
)
def test_missed(attempts: list[HookDelivery], expected: dict[str, int]) -> None:
    found = missed(attempts, EVENTS)
    assert {one.guid: one.attempts for one in found} == expected
    assert [one.guid for one in found] == list(expected), "oldest first"


def test_the_last_attempt_is_the_one_to_repeat() -> None:
    [found] = missed([attempt("a", 9, again=True), attempt("a", 1)], EVENTS)
    assert (found.id, found.first_at, found.last_at) == (9, 60, 540)


async def test_deliveries_are_read_back_to_a_time(github: tuple[GitHub, VendorApi]) -> None:
    stand_in, api = github
    stand_in.most_per_page = 2
    for number in range(1, 8):
        stand_in.deliver(HOOK, number, f"guid-{number}", f"{DAY}T00:0{number}:00.000Z", 200 if number % 2 else 503)
    found = await github_hooks.deliveries(api, HOOK, since=from_rfc3339(f"{DAY}T00:04:00Z"))
    assert [(one.id, one.arrived) for one in found] == [(7, True), (6, False), (5, True), (4, False)]
    assert len(stand_in.gate.calls) == 3, "no further than needed"
    assert not any("status" in dict(call.params) for call in stand_in.gate.calls)


async def test_a_delivery_that_no_server_answered_is_missed(github: tuple[GitHub, VendorApi]) -> None:
    stand_in, api = github
    stand_in.deliver(HOOK, 1, "guid", f"{DAY}T00:00:00Z", 0, status_code=None)
    [found] = await github_hooks.deliveries(api, HOOK, since=0)
    assert not found.arrived


async def test_what_was_posted_is_told_with_its_query(github: tuple[GitHub, VendorApi]) -> None:
    stand_in, api = github
    stand_in.deliver(HOOK, 7, "guid-7", f"{DAY}T00:00:00Z", 503, payload={"action": "created", "name": "Zürich"})
    [unit] = await github_hooks.units(api, HOOK, EVENTS, since=0, until=2**62)
    [delivery] = await unit.read()
    assert delivery.body.decode() == '{"action":"created","name":"Zürich"}'
    assert delivery.headers["x-github-event"] == "deployment_status"
    assert delivery.headers["x-github-delivery"] == "guid-7"
    assert delivery.query == {"env": "production"}
    assert unit.key == "delivery guid-7"


async def test_a_payload_that_is_gone(github: tuple[GitHub, VendorApi]) -> None:
    stand_in, api = github
    stand_in.deliver(HOOK, 7, "guid-7", f"{DAY}T00:00:00Z", 503, payload=None)
    with pytest.raises(SenderUnreadable, match="not kept any more"):
        await github_hooks.as_posted(api, HOOK, 7)


async def test_asking_again(github: tuple[GitHub, VendorApi]) -> None:
    stand_in, api = github
    stand_in.deliver("app/hook", 7, "guid-7", f"{DAY}T00:00:00Z", 503)
    await github_hooks.ask_again(api, "app/hook", 7)
    assert stand_in.asked == [7]
    assert stand_in.gate.calls[-1][:2] == ("POST", "/app/hook/deliveries/7/attempts")


async def test_an_unknown_hook_and_an_odd_list(github: tuple[GitHub, VendorApi]) -> None:
    stand_in, api = github
    with pytest.raises(SenderUnreadable, match="404"):
        await github_hooks.deliveries(api, HOOK, since=0)
    stand_in.deliver(HOOK, 7, "guid-7", "yesterday", 503)
    with pytest.raises(SenderUnreadable, match="not a list of deliveries"):
        await github_hooks.deliveries(api, HOOK, since=0)


def test_only_what_the_endpoint_reports_is_asked_for(tmp_path: object) -> None:
    options = GitHubOptions(deployments_from=("workflow_run", "release"), failures_from=("issues",))
    assert github_hooks.reported_events(options) == {"workflow_run", "release", "issues"}
    assert github_hooks.hooks_of(read({})) == {}
