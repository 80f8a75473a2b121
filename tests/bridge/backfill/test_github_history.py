"""What a repository tells becomes the webhooks that were missed: the same facts, ids and times."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from stand_ins.github import REPOSITORY, GitHub
from stand_ins.serving import serving

from bridge import configuration
from bridge.backfill import github_history
from bridge.backfill.github_history import Repository
from bridge.backfill.pace import Pace
from bridge.backfill.unit import COMPOSED, Unit
from bridge.backfill.vendor_api import GITHUB, VendorApi
from bridge.envelope import Envelope
from bridge.errors import SenderUnreadable
from bridge.intake import Delivery, receive
from bridge.sources.github import GitHubOptions
from bridge.times import from_rfc3339

DAY = "2026-01-05"
SINCE, UNTIL = from_rfc3339("2026-01-01T00:00:00Z"), from_rfc3339("2026-02-01T00:00:00Z")
NOW = from_rfc3339("2026-03-01T00:00:00Z")
OPTIONS = GitHubOptions()
LINK = "https://github.com/acme/shop/actions/runs/77/job/88"


@dataclass
class World:
    github: GitHub
    client: httpx.AsyncClient
    url: str

    async def units(self, options: GitHubOptions = OPTIONS, *, url: str = "") -> list[Unit]:
        api = VendorApi(
            GITHUB,
            self.client,
            base_url=url or self.url,
            token=lambda: (b"ghs_token",),
            pace=Pace(1e6),
            longest_wait_s=0,
        )
        return await Repository(api, "acme/shop", since=SINCE, until=UNTIL).units(options)

    async def deliveries(self, options: GitHubOptions = OPTIONS) -> list[Delivery]:
        return [one for unit in await self.units(options) for one in await unit.read()]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    github = GitHub()
    with serving(github.app) as url:
        async with httpx.AsyncClient() as client:
            yield World(github, client, url)


def received(delivery: Delivery, options: GitHubOptions = OPTIONS, rules: Sequence[Any] = ()) -> Envelope:
    endpoint = configuration.parse({}, "bridge.yaml")[1]["github"]
    endpoint = type(endpoint)("github", endpoint.source, options)
    [envelope] = receive(endpoint, delivery, secret=0, now=NOW, rules=rules).envelopes
    return envelope


async def test_a_deployment_is_as_its_webhook(world: World) -> None:
    """The very same body, as far as it is read, as GitHub posts; so the same id, times and rules."""
    world.github.deploy(
        5,
        ("waiting", f"{DAY}T08:00:00Z"),
        ("in_progress", f"{DAY}T10:00:01Z"),
        ("success", f"{DAY}T10:05:00Z"),
        link=LINK,
        ref="v1.2.3",
    )
    world.github.runs[77] = {"id": 77, "path": ".github/workflows/deploy.yml", "conclusion": "success"}
    world.github.jobs[88] = {"id": 88, "started_at": f"{DAY}T10:00:00Z"}
    [delivery] = await world.deliveries()
    envelope = received(delivery)
    assert envelope.id == "gh-dep-0000004242-000000000005"
    assert envelope.attributes["started_at"] == from_rfc3339(f"{DAY}T10:00:00Z"), "the job's, after the approval"
    assert envelope.attributes["finished_at"] == from_rfc3339(f"{DAY}T10:05:00Z")
    assert "github_run_id:77" in envelope.attributes["custom_tags"]
    assert (envelope.attributes["env"], envelope.attributes["version"]) == ("production", "v1.2.3")
    rule = configuration.parse(
        {"rules": [{"match": {"workflow": ".github/workflows/deploy.yml"}, "set": {"service": "web"}}]}, "x"
    )[0].rules
    assert received(delivery, rules=rule).services == ("web",)
    assert delivery.headers["user-agent"] == COMPOSED


@pytest.mark.parametrize("link", ["", "https://ci.example.com/1", LINK])
async def test_without_its_job_it_begins_when_it_was_created(world: World, link: str) -> None:
    world.github.deploy(5, ("success", f"{DAY}T10:05:00Z"), link=link, created_at=f"{DAY}T10:00:00Z")
    [delivery] = await world.deliveries()
    assert received(delivery).attributes["started_at"] == from_rfc3339(f"{DAY}T10:00:00Z")


async def test_the_first_success_counts_and_others_are_no_deployments(world: World) -> None:
    world.github.most_per_page = 2
    world.github.deploy(
        1, ("success", f"{DAY}T01:00:00Z"), ("success", f"{DAY}T02:00:00Z"), ("inactive", f"{DAY}T03:00:00Z")
    )
    world.github.deploy(2, ("in_progress", f"{DAY}T01:00:00Z"), ("failure", f"{DAY}T01:01:00Z"))
    world.github.deploy(3)
    [delivery] = await world.deliveries()
    assert received(delivery).attributes["finished_at"] == from_rfc3339(f"{DAY}T01:00:00Z")


async def test_only_deployments_of_the_time_asked_for(world: World) -> None:
    world.github.most_per_page = 1
    for number, day in enumerate(("2025-12-30", "2025-12-31", "2026-01-02", "2026-02-02"), start=1):
        world.github.deploy(number, ("success", f"{day}T00:00:00Z"))
    assert [unit.key for unit in await world.units()] == ["deployment repos/acme/shop 3"]
    listings = [path for path in world.github.gate.paths() if path.endswith("/deployments")]
    assert len(listings) == 3, "it stops at the first one that is too old"


async def test_a_run_of_several_jobs_is_read_once(world: World) -> None:
    world.github.runs[77] = {"id": 77, "path": "deploy.yml"}
    for number in (1, 2):
        world.github.deploy(number, ("success", f"{DAY}T00:00:00Z"), link=LINK)
    await world.deliveries()
    assert world.github.gate.paths().count("/repos/acme/shop/actions/runs/77") == 1


async def test_a_server_that_fails_is_no_missing_job(world: World) -> None:
    """Else one and the same deployment would have another start, depending on the weather."""
    world.github.deploy(1, ("success", f"{DAY}T00:00:00Z"), link=LINK)
    [unit] = await world.units()
    for status in (200, 403):
        body = world.github.statuses[1] if status == 200 else {}
        world.github.gate.refuse(status, body=body)
    world.github.gate.refuse(422)
    with pytest.raises(SenderUnreadable, match="422"):
        await unit.read()


def run(number: int, at: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "run_attempt": 1,
        "path": ".github/workflows/deploy.yml",
        "event": "push",
        "conclusion": "success",
        "head_sha": "a" * 40,
        "head_branch": "main",
        "created_at": at,
        "run_started_at": at,
        "updated_at": at.replace(":00:00Z", ":09:00Z"),
        **fields,
    }


async def test_runs(world: World) -> None:
    options = GitHubOptions(deployments_from=("workflow_run",))
    world.github.runs = {1: run(1, f"{DAY}T01:00:00Z"), 2: run(2, f"{DAY}T02:00:00Z", conclusion="failure")}
    [delivery] = await world.deliveries(options)
    envelope = received(delivery, options)
    assert envelope.id == "gh-run-0000004242-000000000001-1"
    assert envelope.attributes["finished_at"] == from_rfc3339(f"{DAY}T01:09:00Z")


async def test_more_runs_than_a_search_finds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_history, "MOST_RUNS", 10)
    world.github.most_runs = 10
    world.github.runs = {n: run(n, f"2026-01-{n % 28 + 1:02d}T{n % 20:02d}:00:00Z") for n in range(1, 61)}
    units = await world.units(GitHubOptions(deployments_from=("workflow_run",)))
    assert len(units) == 60
    assert len({unit.key for unit in units}) == 60, "none twice"


async def test_releases(world: World) -> None:
    options = GitHubOptions(deployments_from=("release",))
    release = {"id": 9, "tag_name": "v1.0", "draft": False, "prerelease": False, "published_at": f"{DAY}T00:00:00Z"}
    world.github.releases = [
        {**release, "id": 8, "published_at": "2025-01-01T00:00:00Z"},
        {**release, "id": 7, "published_at": None, "draft": True},
        release,
    ]
    [delivery] = await world.deliveries(options)
    assert received(delivery, options).id == "gh-rel-0000004242-000000000009"


async def test_issues_open_and_close(world: World) -> None:
    options = GitHubOptions(deployments_from=(), failures_from=("issues",), incident_labels=("incident", "outage"))
    issue = {
        "id": 6,
        "title": "down",
        "labels": [{"name": "incident"}, {"name": "outage"}],
        "created_at": f"{DAY}T00:00:00Z",
        "closed_at": f"{DAY}T02:00:00Z",
        "updated_at": f"{DAY}T02:00:00Z",
        "state": "closed",
    }
    old = {**issue, "id": 5, "created_at": "2025-06-01T00:00:00Z"}
    request = {**issue, "id": 4, "pull_request": {"url": "…"}}
    world.github.issues = [issue, old, request]
    envelopes = [received(one, options) for one in await world.deliveries(options)]
    assert sorted(one.id.partition("~")[0][-1] + one.id.partition("~")[2][:4] for one in envelopes) == [
        "5clos",
        "6clos",
        "6open",
    ], "each once, whatever number of labels, and the opening as it was then"


async def test_an_enterprise_server_names_itself(world: World) -> None:
    """Ids of its facts are made from its host."""
    world.github.deploy(5, ("success", f"{DAY}T10:05:00Z"))

    def answer(request: httpx.Request) -> httpx.Response:
        body: Any = REPOSITORY if request.url.path.endswith("/acme/shop") else world.github.deployments
        return httpx.Response(200, json=world.github.statuses[5] if "statuses" in request.url.path else body)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as world.client:
        [unit] = await world.units(url="https://git.example.com/api/v3")
        [delivery] = await unit.read()
    assert delivery.headers["x-github-enterprise-host"] == "git.example.com"
    digest = hashlib.sha256(b"git.example.com").hexdigest()[:8]
    assert received(delivery).id == f"gh-{digest}-dep-0000004242-000000000005"


async def test_what_is_no_repository(world: World) -> None:
    world.github.gate.refuse(200, body=[])
    with pytest.raises(SenderUnreadable, match="not a repository"):
        await world.units()
    world.github.gate.refuse(200, body=REPOSITORY)
    world.github.gate.refuse(200, body={"message": "odd"})
    with pytest.raises(SenderUnreadable, match="not a list"):
        await world.units()
    world.github.gate.refuse(200, body=REPOSITORY)
    world.github.gate.refuse(200, body=["odd"])
    with pytest.raises(SenderUnreadable, match="not a list of runs"):
        await world.units(GitHubOptions(deployments_from=("workflow_run",)))
    world.github.deploy(1, created_at="soon")
    with pytest.raises(SenderUnreadable, match="readable created_at"):
        await world.units()


async def test_the_same_again_is_the_same_delivery(world: World) -> None:
    """So that notes about what is ignored are recognised too."""
    world.github.deploy(5, ("success", f"{DAY}T10:05:00Z"))
    first, second = await world.deliveries(), await world.deliveries()
    assert first == second
    assert json.loads(first[0].body)["repository"] == REPOSITORY
