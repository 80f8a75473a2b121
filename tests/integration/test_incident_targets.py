"""Where an endpoint's incidents go: failures, the legacy endpoint, Incident Management; each through a whole system."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from load import incident
from system import System, unique, until

pytestmark = pytest.mark.integration
INCIDENTS = "/api/v2/incidents"
AT = int(time.time()) - 5000


def configure(system: System, endpoint: str = "pagerduty", **options: Any) -> None:
    """Gives an endpoint these options, and starts the web process."""
    path = system.folder / "bridge.yaml"
    path.write_text(json.dumps({"endpoints": {endpoint: {"priority_updates": "send", **options}}}))  # JSON is YAML
    system.environ["DORA_BRIDGE_CONFIG"] = str(path)
    system.start_web()


def event(number: int, kind: str, *, after_s: int = 0, **data: Any) -> bytes:
    """A PagerDuty event of the incident with this number, so long after the incident began."""
    status = {"resolved": "resolved"}.get(kind, "triggered")
    body = json.loads(incident(number, f"incident.{kind}", status, AT))
    body["event"] |= {"id": f"{kind}-{number}-{after_s}", "occurred_at": _time(AT + after_s)}
    body["event"]["data"] |= data
    return json.dumps(body).encode()


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


async def post(system: System, body: bytes, endpoint: str = "pagerduty", kind: str | None = None) -> str:
    """Posts it; the id of its first event."""
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await system.post(client, endpoint, body, kind)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["events"][0]["id"])


def alert(number: int, action: str, message: str, *, after_s: int = 0) -> bytes:
    """An action of Opsgenie on the alert with this number."""
    about = {
        "alertId": f"alert-{number}",
        "createdAt": AT * 1000,
        "updatedAt": (AT + after_s) * 10**9,
        "priority": "P1",
        "entity": "checkout",
        "message": message,
    }
    return json.dumps({"action": action, "alert": about}).encode()


def issue(number: int, action: str, title: str, *, after_s: int = 0, **more: Any) -> bytes:
    """An action of GitHub on the issue with this number, which is labelled as an incident."""
    about = {
        "id": number,
        "title": title,
        "labels": [{"name": "incident"}],
        "created_at": _time(AT),
        "updated_at": _time(AT + after_s),
        "closed_at": _time(AT + after_s) if action == "closed" else None,
    }
    repository = {"id": 1, "name": "checkout", "full_name": "acme/checkout", "html_url": "https://github.com/acme/x"}
    return json.dumps({"action": action, "issue": about, "repository": repository, **more}).encode()


def calls(system: System, path: str = INCIDENTS) -> list[str]:
    """Methods of the calls that were answered well, but for reading."""
    return [
        one["method"]
        for one in system.requests()
        if one["path"].startswith(path) and one["method"] != "GET" and (one["status"] or 0) < 300
    ]


def incidents(system: System) -> list[dict[str, Any]]:
    """The attributes of what there is in the sandbox's Incident Management."""
    return [row["attributes"] for row in system.incidents()]


def only_incident(system: System) -> dict[str, Any]:
    [found] = incidents(system)
    return found


async def story(system: System, identifier: str) -> tuple[str, Mapping[str, Any]]:
    """State, and last line of the story."""
    async with system.ledger() as ledger:
        record = await ledger.find(identifier)
        assert record is not None
        return record.state, record.story[-1] if record.story else {}


# -- Incident Management


async def test_opened_changed_and_resolved(system: System) -> None:
    configure(system, send_as="incident")
    number = unique()
    await post(system, event(number, "triggered", priority={"summary": "P3"}))
    system.start_worker()
    await system.until_drained()
    assert (only_incident(system)["state"], only_incident(system)["severity"]) == ("active", "SEV-3")
    await post(system, event(number, "priority_updated", after_s=60, priority={"summary": "P1"}))
    await system.until_drained()
    assert (only_incident(system)["state"], only_incident(system)["severity"]) == ("active", "SEV-1")
    resolved = event(number, "resolved", after_s=600, priority={"summary": "P1"}, title="It was the disk")
    await post(system, resolved)
    await system.until_drained()
    found = only_incident(system)
    assert (found["state"], found["severity"], found["title"]) == ("resolved", "SEV-1", "It was the disk")
    assert found["fields"]["services"]["value"][0].startswith("service-")
    assert calls(system) == ["POST", "PATCH", "PATCH"]
    async with httpx.AsyncClient(timeout=5) as client:
        again = await system.post(client, "pagerduty", resolved)
    assert again.json()["status"] == "duplicate"


@pytest.mark.parametrize("drop", ["before_reply", "mid_reply"])
async def test_a_lost_answer_makes_no_second_incident(system: System, drop: str) -> None:
    configure(system, send_as="incident")
    system.script({"drop": drop, "match": {"method": "POST", "path": INCIDENTS}})
    number = unique()
    identifier = await post(system, event(number, "triggered"))
    system.start_worker()
    await system.until_drained()
    assert only_incident(system)["state"] == "active"
    assert (await story(system, f"{identifier}~open"))[1]["reason"] == "found"
    await post(system, event(number, "resolved", after_s=600))
    await system.until_drained()
    assert only_incident(system)["state"] == "resolved"


async def test_a_worker_killed_before_it_could_put_down_the_answer_makes_no_second_incident(system: System) -> None:
    configure(system, send_as="incident")
    system.script({"delay_ms": 4000, "match": {"method": "POST", "path": INCIDENTS}})
    await post(system, event(unique(), "triggered"))
    system.start_worker()
    until(lambda: bool(incidents(system)), 10, "it was not sent")
    await asyncio.to_thread(system.kill, "worker")
    system.start_worker("another")
    await system.until_drained()
    assert only_incident(system)["state"] == "active"


async def test_merged_is_deleted_even_if_the_answer_is_lost(system: System) -> None:
    configure(system, send_as="incident")
    number = unique()
    await post(system, event(number, "triggered"))
    system.start_worker()
    await system.until_drained()
    system.script({"drop": "before_reply", "match": {"method": "DELETE"}})
    merge = {"type": "merge_resolve_reason", "incident": {"id": "POTHER"}}
    identifier = await post(system, event(number, "resolved", after_s=60, resolve_reason=merge))
    await system.until_drained()
    assert incidents(system) == []
    assert (await story(system, f"{identifier}~withdrawn"))[0] == "delivered"


async def test_merged_before_it_was_reported_says_nothing(system: System) -> None:
    configure(system, send_as="incident")
    merge = {"type": "merge_resolve_reason", "incident": {"id": "POTHER"}}
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await system.post(client, "pagerduty", event(unique(), "resolved", resolve_reason=merge))
    assert answer.json()["status"] == "ignored"


async def test_reopened_is_another_incident(system: System) -> None:
    configure(system, send_as="incident")
    number = unique()
    await post(system, event(number, "triggered"))
    await post(system, event(number, "resolved", after_s=600))
    await post(system, event(number, "reopened", after_s=900, reopened_at=_time(AT + 900)))
    system.start_worker()
    await system.until_drained()
    assert sorted(one["state"] for one in incidents(system)) == ["active", "resolved"]
    await post(system, event(number, "resolved", after_s=1800, reopened_at=_time(AT + 900)))
    await system.until_drained()
    assert [one["state"] for one in incidents(system)] == ["resolved", "resolved"]


async def test_what_ends_an_incident_waits_until_a_person_mends_its_beginning(system: System) -> None:
    configure(system, send_as="incident")
    system.script({"status": 400, "match": {"method": "POST", "path": INCIDENTS}})
    number = unique()
    identifier = await post(system, event(number, "triggered"))
    await post(system, event(number, "resolved", after_s=600))
    system.start_worker()
    async with system.ledger() as ledger:
        deadline = time.monotonic() + 20
        while (await story(system, f"{identifier}~closed"))[1].get("reason") != "incident_pending":
            assert time.monotonic() < deadline, "the end did not wait"
            await asyncio.sleep(0.1)
        assert (await ledger.counts())["dead_letters"] == 1
    url = f"http://{system.internal}/admin/dead-letters/{identifier}~open/redrive"
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await client.post(url, headers={"Authorization": "Bearer admin-token"}, json={})
    assert answer.json()["status"] == "redriven", answer.text
    await system.until_drained()
    assert only_incident(system)["state"] == "resolved"


async def test_an_end_without_a_beginning_is_a_dead_letter_that_says_why(system: System) -> None:
    configure(system, send_as="incident")
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await system.post(client, "pagerduty", event(unique(), "resolved", after_s=600))
    assert answer.json()["status"] == "dead_lettered"
    assert "Incident Management takes the time of a call" in answer.json()["reason"]


async def test_refusals_of_incident_management_hold_up_nothing_else(system: System) -> None:
    configure(system, send_as="incident")
    system.script({"status": 403, "times": "forever", "match": {"path": INCIDENTS}})
    identifier = await post(system, event(unique(), "triggered"))
    system.start_worker()
    until(lambda: any(one["path"] == INCIDENTS for one in system.requests()), 10, "it was not tried")
    await post(system, alert(unique(), "Create", "Slow"), "opsgenie")
    until(lambda: calls(system, "/api/v2/dora/failure") == ["POST"], 10, "the failure is held up")
    assert (await story(system, f"{identifier}~open"))[0] == "waiting"


@pytest.mark.parametrize("command", [["-m", "bridge", "serve"], ["-m", "workers"]])
def test_without_the_key_it_needs_nothing_starts(system: System, command: list[str]) -> None:
    configure(system, send_as="incident")
    environ = {name: value for name, value in system.environ.items() if name != "DD_APP_KEY"}
    ended = subprocess.run([sys.executable, *command], env=environ, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "DD_APP_KEY" in ended.stderr
    assert "endpoints.pagerduty.send_as" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- every target


def titles(system: System, send_as: str) -> list[str]:
    """The titles that were told, in order."""
    told = [one["body"]["data"]["attributes"] for one in system.requests() if one["method"] in ("POST", "PATCH")]
    name = "title" if send_as == "incident" else "name"
    return [one[name] for one in told if name in one]


@pytest.mark.parametrize("send_as", ["failure", "legacy_incident", "incident"])
@pytest.mark.parametrize("endpoint", ["opsgenie", "github"])
async def test_a_changed_title_is_sent_while_it_is_open(system: System, endpoint: str, send_as: str) -> None:
    more = {"failures_from": ["issues"]} if endpoint == "github" else {}
    configure(system, endpoint, send_as=send_as, title_updates="send", **more)
    number = unique()
    bodies = {
        "opsgenie": [
            alert(number, "Create", "Slow"),
            alert(number, "UpdateMessage", "Down", after_s=60),
            alert(number, "Close", "It was the disk", after_s=600),
        ],
        "github": [
            issue(number, "opened", "Slow"),
            issue(number, "edited", "Down", after_s=60, changes={"title": {"from": "Slow"}}),
            issue(number, "closed", "It was the disk", after_s=600),
        ],
    }[endpoint]
    for body in bodies:
        await post(system, body, endpoint, "issues" if endpoint == "github" else None)
    if endpoint == "opsgenie":
        async with httpx.AsyncClient(timeout=5) as client:
            late = await system.post(client, endpoint, alert(number, "UpdateMessage", "Too late", after_s=900))
        assert late.json()["reason"] == "a later statement about it came first"
    system.start_worker()
    await system.until_drained()
    assert titles(system, send_as) == ["Slow", "Down", "It was the disk"]
    if send_as == "incident":
        assert (only_incident(system)["state"], only_incident(system)["title"]) == ("resolved", "It was the disk")


# -- failures and the legacy endpoint


@pytest.mark.parametrize(
    ("send_as", "path"), [("failure", "/api/v2/dora/failure"), ("legacy_incident", "/api/v2/dora/incident")]
)
async def test_a_failure_is_opened_changed_closed_reopened_and_merged(system: System, send_as: str, path: str) -> None:
    configure(system, send_as=send_as)
    number = unique()
    identifier = await post(system, event(number, "triggered", priority={"summary": "P3"}))
    await post(system, event(number, "priority_updated", after_s=60, priority={"summary": "P1"}))
    moved = {"priority": {"summary": "P1"}, "title": "It was the disk", "service": {"id": "PX", "summary": "elsewhere"}}
    await post(system, event(number, "resolved", after_s=600, **moved))
    again = {"reopened_at": _time(AT + 900)}
    await post(system, event(number, "reopened", after_s=900, **again))
    merge = {"resolve_reason": {"type": "merge_resolve_reason", "incident": {"id": "POTHER"}}, **again}
    await post(system, event(number, "resolved", after_s=950, **merge))
    system.start_worker()
    await system.until_drained()
    sent = [one for one in system.requests() if one["method"] == "POST"]
    assert {one["path"] for one in sent} == {path}
    told = [one["body"]["data"]["attributes"] for one in sent]
    opened, changed, closed = (one for one in told if one["id"] == identifier)
    [reopened] = [one for one in told if one["id"] != identifier]
    assert [one["severity"] for one in (opened, changed, closed)] == ["SEV-3", "SEV-1", "SEV-1"]
    assert closed["name"] == "It was the disk"
    assert closed["services"] == opened["services"], "as they were sent at the opening"
    assert ("finished_at" in changed, "finished_at" in closed) == (False, True)
    assert reopened["id"] == f"{identifier}-r{AT + 900}"
    [deleted] = [one for one in system.requests() if one["method"] == "DELETE"]
    assert deleted["path"] == f"/api/v2/dora/failure/{reopened['id']}"
