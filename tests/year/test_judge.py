"""The judge is judged: its story is the same each time and free of contradictions, and it sees what is wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from year.cast import PAGERDUTY
from year.company import Company, company
from year.facts import SECOND, Deployed, Facts, Incident, Place, Remedy, differences
from year.recompute import Store, rollbacks
from year.webhooks import webhooks

END = 1_795_000_000


@pytest.fixture(scope="module")
def year() -> Company:
    return company(1, 365, END)


def test_the_company_is_as_large_as_it_is_said_to_be(year: Company) -> None:
    assert len({service for unit in year.units for service in unit.services}) == 40
    assert len({unit.repository.name for unit in year.units}) == 12
    assert len({one.place for one in year.facts.deployments}) == len(year.facts.deployments) > 5_000


def test_the_same_seed_tells_the_same_story() -> None:
    assert company(7, 20, END) == company(7, 20, END)
    assert webhooks(company(7, 20, END), 7) == webhooks(company(7, 20, END), 7)
    assert company(7, 20, END).facts != company(8, 20, END).facts


def test_everything_that_can_happen_happens_in_a_year(year: Company) -> None:
    scenes = Counter(year.scenes)
    assert len(scenes) == 20
    assert min(scenes.values()) > 10
    assert any(one.is_lost for one in year.rollouts)
    assert {one.undo for one in year.rollouts} == {None, "plain", "payload", "rollback_of", "task", "history"}
    assert {one.pager for one in year.alarms} == {*PAGERDUTY, "opsgenie", "jsm", "issues"}


@pytest.mark.parametrize("seed", range(5))
def test_datadogs_own_rule_finds_no_failure_that_is_not_in_the_truth(seed: int) -> None:
    story = company(seed, 365, END)
    detected = dict(rollbacks(story.facts.deployments))
    assert len(detected) > 300
    assert {place: story.facts.change_failures.get(place) for place in detected} == detected


def test_every_failure_is_of_a_deployment_and_every_remedy_is_a_later_one(year: Company) -> None:
    places = {one.place for one in year.facts.deployments}
    for place, remedy in year.facts.change_failures.items():
        assert place in places
        assert remedy is None or Place(place.service, place.env, remedy.finished) in places
        assert remedy is None or remedy.finished > place.finished


def test_webhooks_arrive_late_twice_and_in_disorder(year: Company) -> None:
    told = webhooks(company(1, 30, END), 1)
    assert [one.at for one in told] == sorted(one.at for one in told)
    assert max(Counter(one.body for one in told).values()) > 1
    assert {one.endpoint for one in told} == {
        *("github", "github-mobile", "github-issues", "argocd", *PAGERDUTY, "opsgenie", "jsm")
    }


PLACE = Place("shop", "production", 5_000 * SECOND)
LATER = replace(
    Deployed(PLACE, 4_000 * SECOND, "a" * 40, "https://github.com/acme/shop", "1.0"),
    place=PLACE._replace(finished=9_000 * SECOND),
)
TRUTH = Facts(
    [Deployed(PLACE, 4_000 * SECOND, "b" * 40, "https://github.com/acme/shop", "1.1"), LATER],
    {PLACE: Remedy("rollback", 9_000 * SECOND)},
    [Incident(("shop",), "production", 6_000 * SECOND, 9_500 * SECOND, "SEV-1")],
)


def test_what_is_as_it_was_differs_in_nothing() -> None:
    assert differences(TRUTH, TRUTH) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(TRUTH, deployments=TRUTH.deployments[:1]), "deployment missing"),
        (replace(TRUTH, deployments=[*TRUTH.deployments, LATER]), "deployment 2 times"),
        (replace(TRUTH, deployments=[TRUTH.deployments[0], replace(LATER, commit=None)]), "deployment that was none"),
        (replace(TRUTH, change_failures={}), "change failure missing"),
        (replace(TRUTH, change_failures={**TRUTH.change_failures, LATER.place: None}), "phantom change failure"),
        (replace(TRUTH, change_failures={PLACE: None}), "remedy of shop"),
        (replace(TRUTH, incidents=[]), "incident missing"),
        (replace(TRUTH, incidents=[*TRUTH.incidents] * 2), "incident 2 times"),
        (replace(TRUTH, incidents=[TRUTH.incidents[0]._replace(finished=None)]), "still open"),
    ],
)
def test_each_kind_of_wrong_is_seen(found: Facts, said: str) -> None:
    assert any(said in line for line in differences(TRUTH, found))
    assert any(line.startswith("metric ") for line in differences(TRUTH, found))


def test_a_rollforward_is_no_rollback() -> None:
    (line,) = differences(TRUTH, replace(TRUTH, change_failures={PLACE: Remedy("rollforward", 9_000 * SECOND)}))
    assert "rollforward at 1970-01-01 02:30:00 instead of rollback" in line


def _posted(number: int, commit: str, **more: Any) -> dict[str, Any]:
    attributes = {
        "id": f"deployment-{number:08d}",
        "service": "shop",
        "env": "production",
        "started_at": number * SECOND,
        "finished_at": (number + 60) * SECOND,
        "git": {"commit_sha": commit, "repository_url": "https://github.com/acme/shop"},
    }
    return {
        "method": "POST",
        "path": "/api/v2/dora/deployment",
        "status": 200,
        "note": None,
        "body": {"data": {"attributes": attributes | more}},
    }


def _patched(number: int, **attributes: Any) -> dict[str, Any]:
    path = f"/api/v2/dora/deployments/deployment-{number:08d}"
    return {"method": "PATCH", "path": path, "status": 202, "note": None, "body": {"data": {"attributes": attributes}}}


def test_the_last_patch_stands() -> None:
    posts = [_posted(number, f"{number:040x}") for number in (1_000, 2_000)]
    remedy = {"id": "deployment-00002000", "type": "rollforward"}
    marked = _patched(1_000, change_failure=True, remediation=remedy)
    place = Place("shop", "production", 1_060 * SECOND)
    assert Store.after([*posts, marked]).facts().change_failures == {
        place: Remedy("rollforward", 2_060 * SECOND),
    }
    assert Store.after([*posts, marked, _patched(1_000, change_failure=False)]).facts().change_failures == {}


def test_datadog_detects_the_first_deployment_after_the_version_that_returned() -> None:
    posts = [
        _posted(number, commit * 40) for number, commit in ((1_000, "a"), (2_000, "b"), (3_000, "c"), (4_000, "a"))
    ]
    assert Store.after(posts).facts().change_failures == {
        Place("shop", "production", 2_060 * SECOND): Remedy("rollback", 4_060 * SECOND)
    }
    assert Store.after([posts[0], _posted(2_000, "a" * 40)]).facts().change_failures == {}


@pytest.mark.parametrize(
    "requests",
    [
        [_patched(1_000, change_failure=True)],
        [_posted(1_000, "a" * 40), _posted(1_000, "b" * 40)],
        [_posted(1_000, "a" * 40) | {"status": 400, "note": "wrong"}],
        [_posted(1_000, "a" * 40) | {"path": "/api/v2/events"}],
        [_posted(1_000, "a" * 40), _patched(1_000, change_failure=True, remediation={"id": "x", "type": "rollback"})],
    ],
)
def test_requests_that_no_client_should_make_are_seen(requests: list[dict[str, Any]]) -> None:
    assert Store.after(requests).wrongs
