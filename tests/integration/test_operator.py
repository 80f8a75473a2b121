"""`dora-bridge datadog …` over a real system: an operator looks at Datadog's records and puts them right."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

import httpx
import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v2.model.dora_deployment_fetch_response import DORADeploymentFetchResponse
from datadog_api_client.v2.model.dora_deployment_patch_by_version_request import DORADeploymentPatchByVersionRequest
from datadog_api_client.v2.model.dora_deployment_patch_request import DORADeploymentPatchRequest
from datadog_api_client.v2.model.dora_deployments_list_response import DORADeploymentsListResponse
from system import System, deployment, unique

from bridge.samples import samples

pytestmark = pytest.mark.integration

KEYS = {"DD-API-KEY": "key", "DD-APPLICATION-KEY": "key"}


class Done(NamedTuple):
    code: int
    out: str
    err: str


def bridge(system: System, *arguments: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        env=system.environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def datadog(system: System, *arguments: str) -> Done:
    return bridge(system, "datadog", *arguments)


def taken(system: System, *arguments: str) -> str:
    """The id in the ledger of what an operator had Datadog told, which took it."""
    done = datadog(system, *arguments, "--by", "ada")
    assert done.code == 0, done
    identifier, _, state = done.out.strip().partition(": ")
    assert state == "delivered"
    assert "Datadog took it (20" in done.err
    return identifier


async def delivered(system: System, *bodies: bytes, endpoint: str = "github", kind: str | None = None) -> list[str]:
    """The answers to these webhooks, when all that they say has been delivered."""
    statuses = []
    async with httpx.AsyncClient(timeout=10) as client:
        for body in bodies:
            answer = await system.post(client, endpoint, body, kind)
            statuses.append(answer.json()["status"])
    await system.until_drained()
    return statuses


def parsed(value: object, model: Any) -> Any:
    """What Datadog's own client makes of it."""
    with ApiClient(Configuration()) as client:
        read = client.deserialize(json.dumps(value), (model,), True)
    assert not getattr(read, "_unparsed", False)
    return read


async def test_a_deployment_is_looked_at_marked_and_withdrawn(system: System) -> None:
    system.start_web()
    system.start_worker()
    first = unique()
    wrong, other = deployment(first), deployment(first + 1)
    assert await delivered(system, wrong, other, kind="deployment_status") == ["accepted"] * 2
    wrong_id, other_id = system.sent_ids()

    listed = datadog(system, "list", "deployments", "--service", "checkout", "--env", "prod*", "--json")
    rows = json.loads(listed.out)["deployments"]
    assert {row["id"] for row in rows} == {wrong_id, other_id}
    assert len(parsed({"data": rows}, DORADeploymentsListResponse).data) == 2
    assert len(datadog(system, "list", "deployments", "--limit", "1").out.splitlines()) == 1
    got = datadog(system, "get", "deployment", wrong_id, "--json")
    assert parsed({"data": json.loads(got.out)}, DORADeploymentFetchResponse).data.attributes.service == "checkout"

    seen = len(system.requests())
    assert taken(system, "mark-failure", wrong_id) == f"{wrong_id}~verdict-1"
    assert taken(system, "mark-failure", wrong_id, "--undo") == f"{wrong_id}~verdict-2"
    remedied = ("--remediation-id", other_id, "--type", "rollforward")
    assert taken(system, "mark-failure", wrong_id, *remedied) == f"{wrong_id}~verdict-3"
    version = rows[0]["attributes"]["version"]
    by_version = ("--service", "checkout", "--env", "production", "--version", version)
    taken(system, "mark-failure", *by_version, "--remediation-version", "v0", "--type", "rollback")
    patches = system.requests()[seen:]
    bodies = [one["body"] for one in patches]
    assert [one["method"] for one in patches] == ["PATCH"] * 4
    assert [body["data"]["attributes"]["change_failure"] for body in bodies] == [True, False, True, True]
    assert bodies[2]["data"]["attributes"]["remediation"] == {"id": other_id, "type": "rollforward"}
    for body in bodies[:3]:
        parsed(body, DORADeploymentPatchRequest)
    parsed(bodies[3], DORADeploymentPatchByVersionRequest)

    assert taken(system, "delete", "deployment", wrong_id) == f"{wrong_id}~withdrawn"
    assert wrong_id not in datadog(system, "list", "deployments").out
    gone = datadog(system, "get", "deployment", wrong_id)
    assert (gone.code, gone.out) == (1, "")
    assert f"Datadog answers 404: deployment {wrong_id} not found" in gone.err

    # it does not come back, whoever says it again
    seen = len(system.requests())
    assert await delivered(system, wrong, kind="deployment_status") == ["duplicate"]
    refused = datadog(system, "mark-failure", wrong_id)
    assert (refused.code, refused.out) == (1, "")
    assert f"events show {wrong_id}~withdrawn" in refused.err
    assert len(system.requests()) == seen

    story = bridge(system, "events", "show", wrong_id).out
    assert "by ada: delete" in story
    assert f"DELETE /api/v2/dora/deployment/{wrong_id}" in story
    assert f"{wrong_id}~verdict-3" in story
    told = json.loads(bridge(system, "events", "list", "--source", "operator", "--json").out)["events"]
    assert len(told) == 5


async def test_a_failure_and_an_incident_are_withdrawn(system: System) -> None:
    system.start_web()
    system.start_worker()
    _, body = samples()["pagerduty"]
    await delivered(system, body, endpoint="pagerduty")
    [identifier] = system.sent_ids()
    assert identifier in datadog(system, "list", "failures", "--since", "30d").out
    taken(system, "delete", "failure", identifier)
    assert datadog(system, "list", "failures", "--since", "30d").err == "none\n"

    attributes = {"title": "Checkout is down", "customer_impacted": False}
    incident = {"data": {"type": "incidents", "attributes": attributes}}
    async with httpx.AsyncClient(base_url=f"http://{system.datadog}", headers=KEYS, timeout=10) as client:
        created = await client.post("/api/v2/incidents", json=incident)
        uuid = created.json()["data"]["id"]
        assert "Checkout is down" in datadog(system, "get", "incident", uuid).out
        assert "Checkout is down" in datadog(system, "list", "incidents").out, "although it was created just now"
        searched = datadog(system, "list", "incidents", "--query", "state:active")
        assert searched.err == "searched: what was created or changed just before may be missing\nnone\n"
        assert taken(system, "delete", "incident", uuid) == f"{uuid}~withdrawn"
        assert (await client.get(f"/api/v2/incidents/{uuid}")).status_code == 404
    again = datadog(system, "delete", "incident", uuid)
    told = "delivered (Datadog does not have it: nothing is left to delete)"
    assert (again.code, again.out) == (0, f"{uuid}~withdrawn-1: {told}\n")
    assert "it is not in Datadog" in bridge(system, "events", "show", f"{uuid}~withdrawn-1").out


async def test_what_datadog_refuses_and_does_not_know(system: System) -> None:
    system.start_worker()
    system.script({"status": 400, "body": {"errors": ["no such thing"]}})
    refused = datadog(system, "mark-failure", "sent-by-something-else")
    assert refused.code == 1
    assert refused.out == "sent-by-something-else~verdict-1: dead_lettered (400: no such thing)\n"

    # the worker waits as long as Datadog asks it to, and the operator with it
    system.script({"status": 429, "headers": {"X-RateLimit-Reset": "1"}})
    assert taken(system, "mark-failure", "sent-by-something-else", "--undo") == "sent-by-something-else~verdict-2"
    # so does a command that reads
    system.script({"status": 429, "headers": {"X-RateLimit-Reset": "1"}})
    assert datadog(system, "list", "deployments").err == "waits 1 s for Datadog\nnone\n"

    # a failure may not be there yet: it is told again as long as patience lasts, not the operator's
    made_up = "sent-by-something-else"
    system.script({"status": 404, "body": {"errors": ["not found"]}, "match": {"method": "DELETE"}})
    unknown = datadog(system, "delete", "failure", made_up, "--timeout", "1.5")
    assert (unknown.code, unknown.out) == (1, f"{made_up}~withdrawn: waiting (404: not found)\n")
    assert "Datadog does not know the record it is about (404" in unknown.err
    assert "it is tried again at" in unknown.err
