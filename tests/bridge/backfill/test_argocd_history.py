"""Each entry of an Application's history becomes the notification of its time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge import configuration
from bridge.backfill.argocd_history import applications_in, units
from bridge.dora import Deployment
from bridge.envelope import Envelope
from bridge.errors import SenderUnreadable
from bridge.intake import receive
from bridge.times import from_rfc3339

SINCE, UNTIL = from_rfc3339("2026-01-01T00:00:00Z"), from_rfc3339("2026-02-01T00:00:00Z")
NOW = from_rfc3339("2026-03-01T00:00:00Z")
UID = "11111111-2222-3333-4444-555555555555"


def entry(number: int, revision: str, day: int) -> dict[str, Any]:
    return {
        "id": number,
        "revision": revision * 40,
        "deployStartedAt": f"2026-01-{day:02d}T10:00:00Z",
        "deployedAt": f"2026-01-{day:02d}T10:01:00Z",
        "initiatedBy": {"username": "mona"},
        "source": {"repoURL": "https://github.com/acme/config", "path": "shop"},
    }


def application(*history: dict[str, Any], **status: Any) -> dict[str, Any]:
    last = history[-1]
    return {
        "kind": "Application",
        "metadata": {
            "name": "shop-prod",
            "uid": UID,
            "annotations": {
                "dd_env": "production",
                "dora-bridge/version": "2.0",
                "dora-bridge/commit-sha": "f" * 40,
                "dora-bridge/repository-url": "https://github.com/acme/shop",
            },
        },
        "spec": {"project": "default", "source": last["source"]},
        "status": {
            "history": list(history),
            "health": {"status": "Healthy", "lastTransitionTime": last["deployedAt"].replace(":01:", ":05:")},
            "operationState": {
                "phase": "Succeeded",
                "startedAt": last["deployStartedAt"],
                "finishedAt": last["deployedAt"],
                "syncResult": {"revision": last["revision"]},
            },
            "summary": {"images": ["registry.example.com/shop-prod:2.0"]},
            **status,
        },
    }


async def told(app: dict[str, Any], since: int = SINCE) -> list[Envelope]:
    endpoint = configuration.parse({"endpoints": {"argocd": {"ignore_older_than_hours": 0}}}, "x")[1]["argocd"]
    found = []
    for unit in sorted(units([app], since=since, until=UNTIL), key=lambda one: one.at):
        for delivery in await unit.read():
            envelopes = receive(endpoint, delivery, secret=0, now=NOW, application_key=True).envelopes
            found += [one for one in envelopes if one.history is None or one.history.role != "missed"]
    return found


V1, V2, V3 = entry(5, "a", 5), entry(6, "b", 6), entry(7, "c", 7)


async def test_every_entry_is_a_deployment_with_its_own_times() -> None:
    first, second, third = await told(application(V1, V2, V3))
    assert [one.id for one in (first, second, third)] == [f"argo-{UID}-{number:06d}" for number in (5, 6, 7)]
    assert first.attributes["started_at"] == from_rfc3339("2026-01-05T10:00:00Z")
    assert first.attributes["finished_at"] == from_rfc3339("2026-01-05T10:01:00Z")
    assert third.attributes["finished_at"] == from_rfc3339("2026-01-07T10:05:00Z"), "when it was healthy"
    assert {one.attributes["env"] for one in (first, second, third)} == {"production"}


async def test_what_is_said_of_today_is_not_said_of_the_past() -> None:
    first, last = await told(application(V1, V2))
    assert (last.attributes["version"], last.attributes["git"]["commit_sha"]) == ("2.0", "f" * 40)
    assert "version" not in first.attributes
    assert "git" not in first.attributes


async def test_only_entries_of_the_time_asked_for() -> None:
    since = from_rfc3339("2026-01-06T00:00:00Z")
    assert [one.id[-1] for one in await told(application(V1, V2, V3), since)] == ["6", "7"]


async def test_a_redeployment_is_none_and_a_rollback_is_one() -> None:
    again = {**V2, "id": 7, "deployStartedAt": "2026-01-07T10:00:00Z", "deployedAt": "2026-01-07T10:01:00Z"}
    envelopes = await told(application(V1, V2, again))
    assert [one.state for one in envelopes] == ["waiting", "waiting", "ignored"]
    back = {**V1, "id": 7, "deployStartedAt": "2026-01-07T10:00:00Z", "deployedAt": "2026-01-07T10:01:00Z"}
    *_, deployed, failed = await told(application(V1, V2, back))
    assert deployed.path == Deployment.path
    assert (failed.method, failed.datadog_id) == ("PATCH", f"argo-{UID}-000006")


async def test_a_later_operation_that_failed_does_not_hide_the_last_deployment() -> None:
    failing = {"phase": "Failed", "startedAt": "2026-01-09T00:00:00Z", "finishedAt": "2026-01-09T00:01:00Z"}
    [only] = await told(application(V1, operationState=failing, health={"status": "Degraded"}))
    assert only.path == Deployment.path
    assert only.attributes["finished_at"] == from_rfc3339("2026-01-05T10:01:00Z")


async def test_a_last_one_that_is_not_settled_is_left_to_its_notification() -> None:
    [first, last] = await told(application(V1, V2, health={"status": "Progressing"}))
    assert (first.state, last.state) == ("waiting", "ignored")


async def test_a_degraded_one_was_deployed_and_failed() -> None:
    envelopes = await told(application(V1, health={"status": "Degraded", "lastTransitionTime": V1["deployedAt"]}))
    assert [one.method for one in envelopes] == ["POST", "PATCH"]


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"kind": "List", "items": [one]}])
def test_lists_arrays_and_single_ones(wrap: Any) -> None:
    assert applications_in(wrap(application(V1)), "file") == [application(V1)]


@pytest.mark.parametrize("document", [None, 1, "text", {}, [1], {"items": ["x"]}, {"error": "unauthenticated"}])
def test_what_is_no_application(document: Any) -> None:
    with pytest.raises(SenderUnreadable, match="file: neither an Application nor a list"):
        applications_in(document, "file")


@pytest.mark.parametrize("empty", [[], {"items": None}, {"kind": "ApplicationList", "metadata": {}}])
def test_none_at_all(empty: Any) -> None:
    assert applications_in(empty, "file") == []


@pytest.mark.parametrize("status", [None, {}, {"history": None}, {"history": [1, {"id": 1, "deployedAt": "?"}]}])
def test_an_application_without_a_history(status: Any) -> None:
    assert units([{"metadata": {}, "status": status}], since=SINCE, until=UNTIL) == []


async def test_the_same_again_is_the_same_delivery() -> None:
    one, other = [[await unit.read() for unit in units([application(V1)], since=SINCE, until=UNTIL)] for _ in "ab"]
    assert one == other
    assert json.loads(one[0][0].body)["app"]["metadata"]["uid"] == UID
