"""Incidents and rollbacks become change failures in Datadog, whatever the order in which webhooks come."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from system import System, deployment, unique, until

from bridge.ids import one_of_several
from bridge.ledger import lane_of

pytestmark = pytest.mark.integration

SERVICE = "checkout"
NOW = int(time.time())
Told = list[tuple[str, dict[str, Any]]]


def start(
    system: System, endpoints: dict[str, Any] | None = None, *, services: tuple[str, ...] = (), **linking: Any
) -> None:
    """`services`: what each deployment concerns, by a rule."""
    path = system.folder / "bridge.yaml"
    rules = [{"match": {"endpoint": "*"}, "set": {"services": services}}] if services else []
    path.write_text(json.dumps({"endpoints": endpoints or {}, "linking": linking, "rules": rules}))  # JSON is YAML
    system.environ["DORA_BRIDGE_CONFIG"] = str(path)
    system.start_web()
    system.start_worker()


async def post(system: System, endpoint: str, body: Any, kind: str | None = None, query: str = "") -> list[str]:
    """Posts a body; the ids it was accepted with."""
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await system.post(client, endpoint + query, json.dumps(body).encode(), kind)
    assert answer.status_code == 202, answer.text
    return [one["id"] for one in answer.json().get("events", [])]


async def deployed(system: System, sha: str, at: int, **more: Any) -> str:
    """A GitHub deployment of the commit `sha * 40` that finished `at`; its id in Datadog."""
    body = json.loads(deployment(unique(), at=at))
    body["deployment"] |= {"sha": sha * 40, **more}
    return (await post(system, "github", body, "deployment_status"))[0]


class Incident:
    """An incident of PagerDuty, and what is posted of it."""

    def __init__(self, system: System, at: int, service: str = SERVICE) -> None:
        self._system, self._at, self._number, self._service = system, at, unique(), service
        self.id = f"pagerduty-incident-P{self._number}"

    async def post(self, kind: str, occurred_at: int, **data: Any) -> list[str]:
        event = {
            "id": str(uuid.uuid4()),
            "event_type": f"incident.{kind}",
            "occurred_at": rfc3339(occurred_at),
            "data": {
                "id": f"P{self._number}",
                "number": 7,
                "status": kind,
                "created_at": rfc3339(self._at),
                "title": "Something is slow",
                "service": {"id": "PSVC", "summary": self._service},
                "urgency": "high",
                **data,
            },
        }
        return await post(self._system, "pagerduty", {"event": event})

    async def opens(self) -> None:
        await self.post("triggered", self._at)

    async def ends(self, at: int, **data: Any) -> None:
        await self.post("resolved", at, **data)


def rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def patches(system: System) -> Told:
    """Deployment and attributes of every PATCH that the sandbox took, in order."""
    return [
        (one["body"]["data"]["id"], one["body"]["data"]["attributes"])
        for one in system.requests()
        if one["method"] == "PATCH" and one["status"] == 202
    ]


async def until_told(system: System, wanted: Told) -> None:
    """Waits until the sandbox was told exactly this, in this order, and nothing more comes."""
    deadline = time.monotonic() + 30
    while patches(system) != wanted:
        assert time.monotonic() < deadline, patches(system)
        await asyncio.sleep(0.1)
    await quiet(system)
    assert patches(system) == wanted


async def quiet(system: System) -> None:
    """Waits until nothing waits to be linked or sent."""
    async with system.ledger() as ledger:
        while await ledger._redis.exists("dora:linking", "dora:waiting"):  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.1)
    await system.until_drained()


def failed(id_: str = "", type_: str = "") -> dict[str, Any]:
    return {"change_failure": True} | ({"remediation": {"id": id_, "type": type_}} if id_ else {})


async def test_an_incident_marks_the_latest_deployment_and_a_rollback_remedies_it(system: System) -> None:
    start(system, mode="auto")
    await deployed(system, "a", NOW - 5000)
    second = await deployed(system, "b", NOW - 4000)
    one, other = Incident(system, NOW - 3900), Incident(system, NOW - 3800)
    await one.opens()
    await other.opens()
    await until_told(system, [(second, failed())])
    third = await deployed(system, "a", NOW - 3000)
    await one.ends(NOW - 2900)
    await until_told(system, [(second, failed()), (second, failed(third, "rollback"))])


async def test_disorder_comes_to_the_same(system: System) -> None:
    """The incident first, then its deployments, the fix before the culprit."""
    start(system, mode="auto")
    incident = Incident(system, NOW - 3900)
    await incident.opens()
    await incident.ends(NOW - 2900)
    fix = await deployed(system, "c", NOW - 3000)
    await quiet(system)
    assert patches(system) == []
    early = await deployed(system, "a", NOW - 5000)
    await until_told(system, [(early, failed(fix, "rollforward"))])
    culprit = await deployed(system, "b", NOW - 4000)
    stable = {"change_failure": False}
    await quiet(system)
    told = patches(system)
    assert told[0] == (early, failed(fix, "rollforward"))
    assert sorted(told[1:], key=str) == sorted([(early, stable), (culprit, failed(fix, "rollforward"))], key=str)


async def test_a_merged_incident_is_taken_back_unless_another_one_says_the_same(system: System) -> None:
    start(system, mode="auto")
    id_ = await deployed(system, "a", NOW - 4000)
    one, other = Incident(system, NOW - 3900), Incident(system, NOW - 3800)
    await one.opens()
    await other.opens()
    await until_told(system, [(id_, failed())])
    merged = {"resolve_reason": {"type": "merge_resolve_reason", "incident": {"id": "PX"}}}
    await one.ends(NOW - 3700, **merged)
    await quiet(system)
    assert patches(system) == [(id_, failed())]
    await other.ends(NOW - 3600, **merged)
    await until_told(system, [(id_, failed()), (id_, {"change_failure": False})])
    assert [one["path"] for one in system.requests() if one["method"] == "DELETE"] == [
        f"/api/v2/dora/failure/{one.id}",
        f"/api/v2/dora/failure/{other.id}",
    ]


async def test_observed_is_shown_and_sent_when_a_person_applies_it(system: System) -> None:
    start(system)
    id_ = await deployed(system, "a", NOW - 4000)
    incident = Incident(system, NOW - 3900)
    await incident.opens()
    await quiet(system)
    assert patches(system) == []
    address, token = f"http://{system.internal}/admin", {"Authorization": "Bearer admin-token"}
    async with httpx.AsyncClient(base_url=address, headers=token, timeout=5) as admin:
        (decision,) = (await admin.get("/links", params={"status": "suggested"})).json()["links"]
        assert (decision["incident"], decision["deployment"], decision["service"]) == (incident.id, id_, SERVICE)
        assert decision["score"] > 0.5
        assert decision["reasons"]
        assert (await admin.get("/status")).json()["link_suggestions"] == 1
        assert (await admin.post(f"/links/{incident.id}/apply")).status_code == 200
        await until_told(system, [(id_, failed())])
        shown = (await admin.get(f"/events/{id_}")).json()
        assert shown["verdict"] == {"change_failure": True, "remediation": None, "by": "bridge"}
        assert [one["incident"] for one in shown["links"]] == [incident.id]
        assert (await admin.get("/status")).json()["link_suggestions"] == 0
        assert (await admin.post(f"/links/{incident.id}/reject")).status_code == 200
        await until_told(system, [(id_, failed()), (id_, {"change_failure": False})])
        assert (await admin.post("/links/pagerduty-incident-unknown/apply")).status_code == 404
        assert [one["status"] for one in (await admin.get(f"/events/{incident.id}")).json()["links"]] == ["rejected"]


async def test_a_late_deployment_goes_as_it_is_and_datadog_is_told_that_it_rolls_nothing_back(system: System) -> None:
    """By arrival it is a, b, a; by the ends a, a, b."""
    start(system)
    await deployed(system, "a", NOW - 5000)
    second = await deployed(system, "b", NOW - 4000)
    await quiet(system)
    late = await deployed(system, "a", NOW - 4500)
    await until_told(system, [(second, {"change_failure": False})])
    *_, sent = (one["body"]["data"]["attributes"] for one in system.requests() if one["path"].endswith("/deployment"))
    assert (sent["id"], sent["git"]["commit_sha"], "late:true" in sent["custom_tags"]) == (late, "a" * 40, False)
    third = await deployed(system, "a", NOW - 3000)
    stable: dict[str, Any] = {"change_failure": False}
    await until_told(system, [(second, stable), (second, failed(third, "rollback"))])


async def test_a_rollback_that_only_the_ends_show_is_told(system: System) -> None:
    """By arrival it is a, a, b; by the ends a, b, a."""
    start(system)
    await deployed(system, "a", NOW - 5000)
    rollback = await deployed(system, "a", NOW - 3000)
    await quiet(system)
    undone = await deployed(system, "b", NOW - 4000)
    await until_told(system, [(undone, failed(rollback, "rollback"))])


async def test_github_says_that_it_rolls_back_and_not_what(system: System) -> None:
    start(system)
    await deployed(system, "a", NOW - 6000)
    bad, worse = await deployed(system, "b", NOW - 5000), await deployed(system, "c", NOW - 4000)
    back = await deployed(system, "a", NOW - 3000, payload={"service": SERVICE, "rollback": True})
    await until_told(system, [(bad, failed(back, "rollback"))])
    assert worse not in dict(patches(system))


def argo(uid: str, history: list[tuple[int, str, int]], health: str = "Healthy") -> dict[str, Any]:
    """A notification of an application whose history has entries of number, revision letter and end."""
    source = {"repoURL": "https://github.com/acme/config.git", "path": "x", "targetRevision": "main"}
    entries = [
        {"id": n, "revision": sha * 40, "started_at": rfc3339(at - 60), "deployed_at": rfc3339(at), "sources": [source]}
        for n, sha, at in history
    ]
    return {
        "schema": "dora-bridge.argocd/v1",
        "application": {"name": "shop", "uid": uid, "annotations": {"dd_service": "shop", "dd_env": "prod"}},
        "health": {"status": health},
        "operation": {"phase": "Succeeded", "started_at": entries[-1]["started_at"], "partial": False},
        "history": entries,
    }


async def test_argo_cd_what_was_missed_is_told_by_the_next_notification(system: System) -> None:
    start(system)
    uid = str(uuid.uuid4())
    one, two, three, four = (1, "a", NOW - 5000), (2, "b", NOW - 4000), (3, "c", NOW - 3000), (4, "d", NOW - 2000)
    assert await post(system, "argocd", argo(uid, [one, two])) == [f"argo-{uid}-000002"]
    got = await post(system, "argocd", argo(uid, [one, two, three, four]))
    assert sorted(got) == [f"argo-{uid}-000003", f"argo-{uid}-000004"]
    assert await post(system, "argocd", argo(uid, [one, two, three, four])) == [f"argo-{uid}-000004"]
    await system.until_drained()
    assert sorted(system.sent_ids()) == [f"argo-{uid}-00000{n}" for n in (2, 3, 4)]


async def test_argo_cd_degraded_is_a_failed_deployment_and_the_next_one_remedies_it(system: System) -> None:
    start(system)
    uid = str(uuid.uuid4())
    one, two, three = (1, "a", NOW - 5000), (2, "b", NOW - 4000), (3, "c", NOW - 3000)
    await post(system, "argocd", argo(uid, [one]))
    await post(system, "argocd", argo(uid, [one, two], "Degraded"))
    bad, fix = f"argo-{uid}-000002", f"argo-{uid}-000003"
    await until_told(system, [(bad, failed())])
    await post(system, "argocd", argo(uid, [one, two, three]))
    await until_told(system, [(bad, failed()), (bad, failed(fix, "rollforward"))])
    assert sorted(one["body"]["data"]["attributes"]["id"] for one in system.requests() if one["method"] == "POST") == [
        f"argo-{uid}-00000{n}" for n in (1, 2, 3)
    ]


async def test_what_an_operator_says_stands_and_what_is_deleted_is_forgotten(system: System) -> None:
    start(system, mode="auto")
    first = await deployed(system, "a", NOW - 5000)
    second = await deployed(system, "b", NOW - 4000)
    incident = Incident(system, NOW - 3900)
    await incident.opens()
    await until_told(system, [(second, failed())])

    # not that deployment's fault, whatever else becomes known of it
    stable = {"change_failure": False}
    assert bridge(system, "datadog", "mark-failure", second, "--undo") == f"{second}~verdict-2: delivered"
    await Incident(system, NOW - 3800).opens()
    third = await deployed(system, "c", NOW - 3000)
    await incident.ends(NOW - 2900)
    await until_told(system, [(second, failed()), (second, stable)])

    # it never was: the incidents belong to the one before, and nothing more is said of what is gone
    assert bridge(system, "datadog", "delete", "deployment", second) == f"{second}~withdrawn: delivered"
    told = [(second, failed()), (second, stable), (first, failed(third, "rollforward"))]
    await until_told(system, told)
    assert bridge(system, "datadog", "delete", "deployment", third) == f"{third}~withdrawn: delivered"
    fourth = await deployed(system, "d", NOW - 2950)
    await until_told(system, [*told, (first, failed(fourth, "rollforward"))])


async def restart(system: System, services: tuple[str, ...]) -> None:
    """Another rule, once all that came under the one before was sent."""
    await quiet(system)
    for name in ("web", "worker"):
        system.kill(name, signal.SIGTERM)
    start(system, services=services)


async def test_a_rule_that_adds_a_service_leaves_the_deployment_what_it_is(system: System) -> None:
    start(system, services=("shop",))
    uid = str(uuid.uuid4())
    one, two, three = (1, "a", NOW - 5000), (2, "b", NOW - 4000), (3, "c", NOW - 3000)
    bad, fix = f"argo-{uid}-000002", f"argo-{uid}-000003"
    assert await post(system, "argocd", argo(uid, [one, two])) == [bad]
    await restart(system, ("shop", "billing"))

    await post(system, "argocd", argo(uid, [one, two], "Degraded"))
    of_billing = one_of_several(bad, "billing")
    await until_all_told(system, [(bad, failed()), (of_billing, failed())])
    await post(system, "argocd", argo(uid, [one, two, three]))
    remedies = [
        (bad, failed(one_of_several(fix, "shop"), "rollforward")),
        (of_billing, failed(one_of_several(fix, "billing"), "rollforward")),
    ]
    await until_all_told(system, [(bad, failed()), (of_billing, failed()), *remedies])
    assert sorted(deployments(system)) == sorted(
        [
            (bad, "shop"),
            (of_billing, "billing"),
            (one_of_several(fix, "shop"), "shop"),
            (one_of_several(fix, "billing"), "billing"),
        ]
    )

    later = one_of_several(bad, "shop")
    shown = bridge(system, "events", "show", f"{later}~change-failure")
    assert f"PATCH /api/v2/dora/deployments/{bad}" in shown
    assert f"called     {later} by rules" in shown
    assert bridge(system, "datadog", "delete", "deployment", later) == f"{bad}~withdrawn: delivered"
    await post(system, "argocd", argo(uid, [one, two], "Degraded"))
    await quiet(system)
    assert len(deployments(system)) == 4, "what was withdrawn does not come back"


async def test_a_rule_that_takes_a_service_away_too(system: System) -> None:
    """And what a rollback names is looked for, both the deployment that failed and the one that remedied it."""
    start(system, services=("shop", "billing"))
    numbers = [unique() for _ in range(3)]
    good, bad = [
        await deployed(system, sha, at, id=number)
        for sha, at, number in (("a", NOW - 5000, numbers[0]), ("b", NOW - 4000, numbers[1]))
    ]
    await restart(system, ("shop",))
    back = await deployed(system, "c", NOW - 3000, id=numbers[2], payload={"rollback_of": numbers[1]})
    assert [len(one) for one in (good, bad)] == [len(back) + 9] * 2
    await until_told(system, [(bad, failed(back, "rollback"))])


def deployments(system: System) -> list[tuple[str, str]]:
    """Id and service of all that the sandbox was told of."""
    told = [one["body"]["data"]["attributes"] for one in system.requests() if one["method"] == "POST"]
    return [(one["id"], one["service"]) for one in told]


async def until_all_told(system: System, wanted: Told) -> None:
    """As `until_told`, of several deployments: in any order."""
    deadline = time.monotonic() + 30
    while len(patches(system)) < len(wanted):
        assert time.monotonic() < deadline, patches(system)
        await asyncio.sleep(0.1)
    await quiet(system)
    assert sorted(patches(system), key=str) == sorted(wanted, key=str)


def bridge(system: System, *arguments: str) -> str:
    """What a command prints that ends well."""
    command = [sys.executable, "-m", "bridge", *arguments]
    done = subprocess.run(command, env=system.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip()


async def test_after_a_202_the_mark_is_due_just_ten_minutes_after_it(system: System) -> None:
    start(system, mode="auto")
    system.script({"status": 202, "match": {"method": "POST"}})
    culprit = await deployed(system, "b", NOW - 4000)
    await system.until_drained()
    await Incident(system, NOW - 3900).opens()
    mark = f"{culprit}~verdict-1"
    async with system.ledger() as ledger:
        deadline = time.monotonic() + 30
        while not (record := await ledger.find(mark)) or "due" not in (record.story or [{}])[-1]:
            assert time.monotonic() < deadline, "it was not tried"
            await asyncio.sleep(0.1)
        [(delivered, delayed)] = await ledger.delivered_at([culprit])
        assert delivered is not None
        assert delayed
        assert 0 <= record.story[-1]["due"] - (delivered + 600_000) < 5_000, "so long the try itself may take"
        # ten minutes later
        key = record.envelope.key
        await ledger._redis.hset(f"dora:fact:{culprit}", "delivered", delivered - 600_000)
        await ledger._redis.zadd(f"dora:lane:{lane_of(key)}", {key: 0}, xx=True)
    await until_told(system, [(culprit, failed())])


async def test_a_mark_whose_deployment_was_refused_says_what_to_mend(system: System) -> None:
    start(system, mode="auto")
    system.script({"status": 400, "body": {"errors": ["bad"]}, "match": {"method": "POST"}})
    culprit = await deployed(system, "b", NOW - 4000)
    await system.until_drained()
    incident = Incident(system, NOW - 3900)
    await incident.opens()
    mends = f"{culprit}~verdict-1 waits until somebody mends {culprit}, which is a dead letter"
    until(lambda: mends in bridge(system, "links", "list"), 30, "the link is shown as if Datadog had been told")
    assert f"dora-bridge dead-letters show {culprit}" in bridge(system, "links", "show", incident.id)
    assert await mark(system) == (f"{culprit}~verdict-1", [culprit])
    bridge(system, "dead-letters", "redrive", culprit)
    assert await mark(system) == (f"{culprit}~verdict-1", [])


async def mark(system: System) -> tuple[str, list[str]]:
    """Of the only link: the mark, and what has to be mended before it can go."""
    headers = {"Authorization": "Bearer admin-token"}
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await client.get(f"http://{system.internal}/admin/links?status=applied", headers=headers)
    [link] = answer.json()["links"]
    return link["mark"]["id"], link["mark"]["mend"]
