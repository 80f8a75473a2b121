"""The sandbox Datadog: what it refuses, keeps, answers, and how it fails on command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from signal import SIGINT
from typing import Any

import httpx
import pytest
import uvicorn

from bridge.sandbox import create_sandbox, sandbox_config
from bridge.sandbox.incidents import SEARCH_LAG_S
from bridge.sandbox.records import compile_query, repository_id
from bridge.sandbox.rules import to_nanoseconds

KEYS = {"DD-API-KEY": "made-up-api-key", "DD-APPLICATION-KEY": "made-up-application-key"}
SHA = "66adc9350f2cc9b250b69abddab733dd55e1a588"
ID = "github-1234-prod"
START, END = 1_693_491_974, 1_693_491_984  # 2023-08-31T14:26:14Z and ten seconds later
GONE = object()
"""As the value of an attribute: the attribute is left out."""

DORA = "/api/v2/dora"
POST_DEPLOYMENT = ("POST", f"{DORA}/deployment")
DEPLOYMENT = {
    "id": ID,
    "service": "shop",
    "started_at": START,
    "finished_at": END,
    "env": "prod",
    "version": "v1",
    "team": "backend",
    "git": {"commit_sha": SHA, "repository_url": "https://github.com/acme/shop.git"},
    "custom_tags": ["region:eu", "url:https://example.com/a:b"],
}
FAILURE = {
    "id": "pagerduty-Q1234567",
    "services": ["shop", "cart"],
    "started_at": START,
    "env": "prod",
    "name": "Checkout is down",
    "severity": "SEV-1",
}
INCIDENT = {"title": "Checkout is down", "customer_impacted": False}


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def datadog(clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """A client with both keys of a fresh sandbox in this process."""
    transport = httpx.ASGITransport(create_sandbox(clock=clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=KEYS) as client:
        yield client


def body(attributes: dict[str, Any], *, base: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    merged = {name: value for name, value in ((base or {}) | attributes).items() if value is not GONE}
    return {"data": {"attributes": merged, **data}}


def patch_body(attributes: dict[str, Any], **data: Any) -> dict[str, Any]:
    return body(attributes, type="dora_deployment_patch_request", **data)


def details(answer: httpx.Response) -> list[str]:
    """The details of a refusal in DORA's shape, which is checked by the way."""
    assert answer.headers["content-type"] == "application/vnd.api+json"
    errors = answer.json()["errors"]
    assert all((error["status"], error["title"]) == ("400", "Bad Request") for error in errors)
    return [error["detail"] for error in errors]


async def notes(datadog: httpx.AsyncClient) -> str | None:
    """The note of the last request."""
    note: str | None = (await datadog.get("/sandbox/requests")).json()[-1]["note"]
    return note


async def script(datadog: httpx.AsyncClient, *steps: dict[str, Any]) -> None:
    assert (await datadog.post("/sandbox/script", json=list(steps))).status_code == 200


# What it refuses


SHARED_BY_BOTH = [
    ({"started_at": GONE}, "started_at"),
    ({"started_at": None}, "int64"),
    ({"started_at": float(START)}, "int64"),
    ({"started_at": str(START)}, "int64"),
    ({"started_at": True}, "int64"),
    ({"started_at": 0}, "nanoseconds, milliseconds or seconds"),
    ({"started_at": -START}, "nanoseconds, milliseconds or seconds"),
    ({"started_at": START * 10**6}, "nanoseconds, milliseconds or seconds"),  # microseconds
    ({"started_at": 2**63}, "nanoseconds, milliseconds or seconds"),
    ({"finished_at": None}, "int64"),
    ({"finished_at": START - 1}, "before"),
    ({"finished_at": (START - 1) * 1000}, "before"),
    ({"id": "fifteen-letters"}, "16 to 128"),
    ({"id": "x" * 129}, "16 to 128"),
    ({"id": "has a space in it"}, "16 to 128"),
    ({"id": "has/a/slash/in/it"}, "16 to 128"),
    ({"id": "ends-with-newline\n"}, "16 to 128"),
    ({"id": "has-ümlauts-in-it"}, "16 to 128"),
    ({"id": 1234567890123456}, "16 to 128"),
    ({"env": 1}, "env"),
    ({"env": None}, "env"),
    ({"version": 1.2}, "version"),
    ({"team": ["backend"]}, "team"),
    ({"git": None}, "git"),
    ({"git": {"commit_sha": SHA}}, "repository_url"),
    ({"git": {"repository_url": "https://github.com/a/b"}}, "commit_sha"),
    ({"git": {"commit_sha": SHA[:39], "repository_url": "https://github.com/a/b"}}, "40"),
    ({"git": {"commit_sha": SHA[:39] + "g", "repository_url": "https://github.com/a/b"}}, "40"),
    ({"git": {"commit_sha": SHA + "\n", "repository_url": "https://github.com/a/b"}}, "40"),
    ({"custom_tags": "region:eu"}, "custom_tags"),
    ({"custom_tags": ["region"]}, "key:value"),
    ({"custom_tags": [":eu"]}, "key:value"),
    ({"custom_tags": ["region:"]}, "key:value"),
    ({"custom_tags": [1]}, "key:value"),
    ({"custom_tags": [f"k{n}:v" for n in range(101)]}, "100"),
]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *SHARED_BY_BOTH,
        ({"service": GONE}, "service"),
        ({"service": ""}, "service"),
        ({"service": ["shop"]}, "service"),
        ({"finished_at": GONE}, "finished_at"),
    ],
)
async def test_refuses_a_deployment(datadog: httpx.AsyncClient, change: dict[str, Any], says: str) -> None:
    answer = await datadog.post(f"{DORA}/deployment", json=body(change, base=DEPLOYMENT))
    assert answer.status_code == 400
    assert says in "".join(details(answer))
    assert says in (await notes(datadog) or "")
    assert (await datadog.get(f"{DORA}/deployments/{ID}")).status_code == 404


@pytest.mark.parametrize("path", ["failure", "incident"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        *SHARED_BY_BOTH,
        ({"services": GONE}, '"services" and "team"'),
        ({"services": []}, '"services" and "team"'),
        ({"services": GONE, "team": ""}, '"services" and "team"'),
        ({"services": "shop"}, "services"),
        ({"services": [""]}, "services"),
        ({"services": GONE, "service": "shop"}, '"services" and "team"'),
        ({"name": 5}, "name"),
        ({"severity": 1}, "severity"),
    ],
)
async def test_refuses_a_failure(datadog: httpx.AsyncClient, path: str, change: dict[str, Any], says: str) -> None:
    answer = await datadog.post(f"{DORA}/{path}", json=body(change, base=FAILURE))
    assert answer.status_code == 400
    assert says in "".join(details(answer))


async def test_all_that_is_wrong_is_said_at_once(datadog: httpx.AsyncClient) -> None:
    answer = await datadog.post(f"{DORA}/deployment", json=body({"id": "short", "env": 1}))
    assert len(details(answer)) == 5  # and service, started_at, finished_at


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"data"',
        b"{}",
        b'{"data": []}',
        b'{"data": {}}',
        b'{"data": {"attributes": []}}',
        b'{"data": {"attributes": {"started_at": NaN}}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        POST_DEPLOYMENT,
        ("POST", f"{DORA}/failure"),
        ("POST", f"{DORA}/deployments"),
        ("POST", f"{DORA}/failures"),
        ("PATCH", f"{DORA}/deployments"),
        ("PATCH", f"{DORA}/deployments/{ID}"),
        ("POST", "/api/v2/incidents"),
        ("POST", "/api/v2/incidents/import"),
    ],
)
async def test_refuses_what_is_no_request(datadog: httpx.AsyncClient, method: str, path: str, content: bytes) -> None:
    answer = await datadog.request(method, path, content=content)
    assert answer.status_code == 400
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "change",
    [
        {"started_at": START * 10**9, "finished_at": END * 10**9},
        {"started_at": START * 1000, "finished_at": END * 1000},
        {"started_at": START, "finished_at": END * 10**9 + 123_456_789},
        {"finished_at": START},
        {"custom_tags": None},
        {"custom_tags": [f"k{n}:v" for n in range(100)]},
        {"id": "a.b:c_d-" * 16},
        {"git": GONE, "env": GONE, "version": GONE, "team": GONE, "custom_tags": GONE},
        {"git": {"commit_sha": "A" * 64, "repository_url": "https://github.com/a/b"}},
    ],
)
async def test_takes_a_deployment(datadog: httpx.AsyncClient, change: dict[str, Any]) -> None:
    sent = body(change, base=DEPLOYMENT)
    answer = await datadog.post(f"{DORA}/deployment", json=sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.api+json"
    assert answer.json() == {"data": {"id": sent["data"]["attributes"]["id"], "type": "dora_deployment"}}
    assert await notes(datadog) is None


async def test_an_event_without_id_gets_one_and_a_note(datadog: httpx.AsyncClient) -> None:
    answer = await datadog.post(f"{DORA}/deployment", json=body({"id": GONE}, base=DEPLOYMENT))
    given = answer.json()["data"]["id"]
    assert (await datadog.get(f"{DORA}/deployments/{given}")).status_code == 200
    assert "without id" in ((await datadog.get("/sandbox/requests")).json()[0]["note"])


@pytest.mark.parametrize(
    ("attributes", "data", "says"),
    [
        ({}, {"type": GONE}, 'got type "" expected one of "dora_deployment_patch_request"'),
        ({}, {"type": "dora_deployment"}, 'got type "dora_deployment" expected one of'),
        ({}, {"id": GONE}, "data.id"),
        ({}, {"id": "another-id-of-16"}, "path"),
        ({"change_failure": "true"}, {}, "boolean"),
        ({"remediation": "rollback"}, {}, "object"),
        ({"remediation": {"id": "x"}}, {}, 'attribute "type" must be one of "rollback rollforward"'),
        ({"remediation": {"id": "x", "type": "revert"}}, {}, "rollback rollforward"),
        ({"remediation": {"id": "x", "version": "v", "type": "rollback"}}, {}, 'either "id" or "version"'),
        ({"remediation": {"type": "rollback"}}, {}, 'either "id" or "version"'),
        ({"remediation": {"type": "rollback", "id": 5}}, {}, "remediation.id"),
    ],
)
async def test_refuses_a_patch(
    datadog: httpx.AsyncClient, attributes: dict[str, Any], data: dict[str, Any], says: str
) -> None:
    given = {"type": "dora_deployment_patch_request", "id": ID} | data
    kept = {name: value for name, value in given.items() if value is not GONE}
    answer = await datadog.patch(f"{DORA}/deployments/{ID}", json=body(attributes, **kept))
    assert answer.status_code == 400
    assert says in "".join(details(answer))


VERSION = {"service": "shop", "env": "prod", "version": "v1", "change_failure": True}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"service": GONE}, "service"),
        ({"env": GONE}, "env"),
        ({"version": GONE}, "version"),
        ({"change_failure": GONE}, "change_failure"),
        ({"change_failure": 1}, "boolean"),
        ({"remediation": {"type": "rollback", "version": "v0", "why": "x"}}, "remediation.why"),
        ({"remediation": {"type": "rollback", "version": "v0", "id": "x"}}, "either"),
        ({"remediation": {"version": "v0"}}, "rollback rollforward"),
    ],
)
async def test_refuses_a_patch_by_version(datadog: httpx.AsyncClient, change: dict[str, Any], says: str) -> None:
    sent = body(change, base=VERSION, type="dora_deployment_patch_request")
    answer = await datadog.patch(f"{DORA}/deployments", json=sent)
    assert answer.status_code == 400
    assert says in "".join(details(answer))


@pytest.mark.parametrize(
    ("attributes", "type_", "says"),
    [
        ({}, None, 'got type "" expected one of "dora_deployments_list_request"'),
        ({}, "dora_failures_list_request", 'got type "dora_failures_list_request"'),
        ({"from": START}, "dora_deployments_list_request", "RFC 3339"),
        ({"to": "2023-08-31"}, "dora_deployments_list_request", "RFC 3339"),
        ({"limit": 0}, "dora_deployments_list_request", "1000"),
        ({"limit": 1001}, "dora_deployments_list_request", "1000"),
        ({"limit": "5"}, "dora_deployments_list_request", "1000"),
        ({"sort": "service"}, "dora_deployments_list_request", "sort"),
        ({"query": "just words"}, "dora_deployments_list_request", "key:value"),
    ],
)
async def test_refuses_a_list(
    datadog: httpx.AsyncClient, attributes: dict[str, Any], type_: str | None, says: str
) -> None:
    data: dict[str, Any] = {} if type_ is None else {"type": type_}
    answer = await datadog.post(f"{DORA}/deployments", json=body(attributes, **data))
    assert answer.status_code == 400
    assert says in "".join(details(answer))


@pytest.mark.parametrize(
    ("change", "data", "says"),
    [
        ({"title": GONE}, {}, "title"),
        ({"title": ""}, {}, "title"),
        ({"customer_impacted": GONE}, {}, "customer_impacted"),
        ({"customer_impacted": "no"}, {}, "boolean"),
        ({"customer_impacted": True}, {}, "description cannot be empty"),
        ({"fields": {"severity": "SEV-1"}}, {}, "severity"),
        ({"fields": {"severity": {"type": "dropdown", "value": "critical"}}}, {}, "severity"),
        ({"fields": {"state": {"type": "dropdown", "value": "open"}}}, {}, "state"),
        ({"fields": {"teams": {"type": "autocomplete", "value": "backend"}}}, {}, "list"),
        ({"fields": {"teams": {"type": "dropdown", "value": ["backend"]}}}, {}, "several"),
        ({"fields": {"teams": {"type": "menu", "value": "backend"}}}, {}, "type"),
        ({"fields": {"teams": {"value": 5}}}, {}, "teams"),
        ({"initial_cells": [{"cell_type": "text", "content": {}}]}, {}, "markdown"),
        ({"initial_cells": {}}, {}, "markdown"),
        ({"notification_handles": ["@slack"]}, {}, "objects"),
        ({}, {"type": "incident"}, 'got type "incident" expected one of "incidents"'),
        ({}, {"relationships": {}}, "commander_user"),
    ],
)
async def test_refuses_an_incident_with_strings(
    datadog: httpx.AsyncClient, change: dict[str, Any], data: dict[str, Any], says: str
) -> None:
    sent = body(change, base=INCIDENT, **({"type": "incidents"} | data))
    answer = await datadog.post("/api/v2/incidents", json=sent)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert says in "".join(answer.json()["errors"])


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({}, "title"),
        ({"title": "x" * 1025}, "1024"),
        ({"title": "x", "declared": START}, "RFC 3339"),
        ({"title": "x", "resolved": "2025-01-01T01:00:00Z"}, "resolved"),
        ({"title": "x", "visibility": "secret"}, "organization private"),
        ({"title": "x", "fields": {"state": {"type": "dropdown", "value": "active"}}}, "nothing else"),
    ],
)
async def test_refuses_an_import(datadog: httpx.AsyncClient, attributes: dict[str, Any], says: str) -> None:
    answer = await datadog.post("/api/v2/incidents/import", json=body(attributes, type="incidents"))
    assert answer.status_code == 400
    assert says in "".join(answer.json()["errors"])


@pytest.mark.parametrize(
    ("number", "nanoseconds"),
    [
        (10**9 - 1, None),
        (10**9, 10**18),
        (10**10 - 1, (10**10 - 1) * 10**9),
        (10**10, None),
        (10**12, 10**18),
        (10**13, None),
        (10**15, None),
        (10**18 - 1, None),
        (10**18, 10**18),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (True, None),
        (1.7e9, None),
    ],
)
def test_units_of_timestamps(number: object, nanoseconds: int | None) -> None:
    assert to_nanoseconds(number) == nanoseconds


# Keys, paths, methods

NEEDS_ONLY_THE_API_KEY = [
    POST_DEPLOYMENT,
    ("POST", f"{DORA}/failure"),
    ("POST", f"{DORA}/incident"),
    ("GET", "/api/v1/validate"),
]
NEEDS_BOTH_KEYS = [
    ("GET", "/api/v2/validate_keys"),
    ("POST", f"{DORA}/deployments"),
    ("POST", f"{DORA}/failures"),
    ("GET", f"{DORA}/deployments/{ID}"),
    ("GET", f"{DORA}/failures/{ID}"),
    ("PATCH", f"{DORA}/deployments/{ID}"),
    ("PATCH", f"{DORA}/deployments"),
    ("DELETE", f"{DORA}/deployment/{ID}"),
    ("DELETE", f"{DORA}/failure/{ID}"),
    ("POST", "/api/v2/incidents"),
    ("GET", "/api/v2/incidents"),
    ("GET", "/api/v2/incidents/search"),
    ("POST", "/api/v2/incidents/import"),
    ("GET", "/api/v2/incidents/00000000-0000-0000-0000-000000000000"),
    ("PATCH", "/api/v2/incidents/00000000-0000-0000-0000-000000000000"),
    ("DELETE", "/api/v2/incidents/00000000-0000-0000-0000-000000000000"),
]


@pytest.mark.parametrize(("method", "path"), NEEDS_ONLY_THE_API_KEY + NEEDS_BOTH_KEYS)
async def test_keys(datadog: httpx.AsyncClient, method: str, path: str) -> None:
    statuses = []
    for present in [{}, {"DD-API-KEY": ""}, {"DD-API-KEY": "k"}, KEYS]:
        request = httpx.Request(method, f"http://sandbox{path}", headers=present)
        answer = await datadog.send(request)
        statuses.append(answer.status_code)
        if answer.status_code == 403:
            assert answer.json() == {"errors": ["Forbidden"]}
    needs_both = (method, path) in NEEDS_BOTH_KEYS
    assert statuses[:2] == [403, 403]
    assert (statuses[2] == 403) is needs_both
    assert statuses[3] != 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{DORA}/deployment", 405),
        ("PUT", f"{DORA}/deployment", 405),
        ("PATCH", f"{DORA}/deployment/{ID}", 405),  # singular deletes, plural patches
        ("DELETE", f"{DORA}/deployments/{ID}", 405),
        ("DELETE", "/api/v2/incidents/search", 405),
        ("POST", f"{DORA}/deployment/", 404),
        ("POST", f"{DORA}/deployments/{ID}/more", 404),
        ("POST", "/api/v2/dora", 404),
        ("POST", "/api/v2/events", 404),
        ("GET", "/api", 404),
        ("GET", "/elsewhere", 404),
        ("PUT", "/sandbox/script", 405),
        ("POST", "/sandbox/requests", 405),
        ("POST", "/", 405),
    ],
)
async def test_other_paths_and_methods(datadog: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await datadog.request(method, path)).status_code == status


# What it keeps and gives back


async def post(datadog: httpx.AsyncClient, attributes: dict[str, Any], *, kind: str = "deployment") -> None:
    base = DEPLOYMENT if kind == "deployment" else FAILURE
    answer = await datadog.post(f"{DORA}/{kind}", json=body(attributes, base=base))
    assert answer.status_code == 200


async def ids(datadog: httpx.AsyncClient, *, kind: str = "deployment", **attributes: Any) -> list[str]:
    sent = body(attributes, type=f"dora_{kind}s_list_request")
    answer = await datadog.post(f"{DORA}/{kind}s", json=sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.api+json"
    return [item["id"] for item in answer.json()["data"]]


async def test_a_deployment_is_read_back_in_datadogs_shape(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {"finished_at": END * 10**9 + 123_456_789})
    answer = await datadog.get(f"{DORA}/deployments/{ID}")
    assert answer.json() == {
        "data": {
            "id": ID,
            "type": "dora_deployment",
            "attributes": {
                "service": "shop",
                "started_at": "2023-08-31T14:26:14Z",
                "finished_at": "2023-08-31T14:26:24.123Z",
                "env": "prod",
                "version": "v1",
                "team": "backend",
                "git": {"commit_sha": SHA, "repository_id": "github.com/acme/shop"},
                "custom_tags": ["region:eu", "url:https://example.com/a:b"],
            },
        }
    }


async def test_a_failure_is_closed_by_sending_it_again(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {}, kind="incident")
    opened = (await datadog.get(f"{DORA}/failures/{FAILURE['id']}")).json()["data"]
    assert opened["type"] == "dora_failure"
    assert "finished_at" not in opened["attributes"]
    await post(datadog, {"finished_at": END}, kind="failure")
    assert await notes(datadog) is None
    closed = (await datadog.get(f"{DORA}/failures/{FAILURE['id']}")).json()["data"]
    assert closed["attributes"]["finished_at"] == "2023-08-31T14:26:24Z"
    assert await ids(datadog, kind="failure") == [FAILURE["id"]]


async def test_lists_by_time_limit_order_and_query(datadog: httpx.AsyncClient) -> None:
    for n in range(12):
        change = {"id": f"deployment-of-n-{n:02}", "finished_at": END + n, "env": "prod" if n % 2 else "dev"}
        await post(datadog, change)
    newest_first = [f"deployment-of-n-{n:02}" for n in range(11, -1, -1)]
    assert await ids(datadog) == newest_first[:10]
    assert await ids(datadog, limit=1000) == newest_first
    assert await ids(datadog, limit=2, sort="finished_at") == newest_first[:-3:-1]
    window = {"from": "2023-08-31T14:26:25Z", "to": "2023-08-31T16:26:26+02:00"}
    assert await ids(datadog, **window) == newest_first[-2:-4:-1][::-1]
    assert await ids(datadog, query="service:shop env:dev", limit=1) == ["deployment-of-n-10"]
    assert await ids(datadog, query="service:cart") == []
    assert await ids(datadog, **{"from": "2024-01-01T00:00:00Z"}) == []


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("", True),
        ("service:shop", True),
        ("service:sh", False),
        ("service:sh*", True),
        ("service:(cart OR shop) env:prod", True),
        ("service:shop AND env:dev", False),
        ("-env:prod", False),
        ("-env:dev", True),
        ('name:"Checkout is down"', True),
        ("@region:eu", True),
        ("@region:us", False),
        ("nothing:here", False),
    ],
)
def test_queries(query: str, fits: bool) -> None:
    record = {"service": ["cart", "shop"], "env": ["prod"], "name": ["Checkout is down"], "@region": ["eu"]}
    assert compile_query(query)(lambda key: record.get(key, [])) is fits


@pytest.mark.parametrize("query", ["shop", "service:shop OR env:prod", "(service:shop)", "AND"])
def test_queries_that_are_too_much(query: str) -> None:
    with pytest.raises(ValueError, match="key:value"):
        compile_query(query)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/shop",
        "https://github.com/acme/shop.git",
        "https://user:word@github.com/acme/shop/",
        "ssh://git@github.com:22/acme/shop.git",
        "ssh://git@github.com/acme/shop.git",
        "git@github.com:acme/shop.git",
        "github.com/acme/shop",
    ],
)
def test_repository_ids(url: str) -> None:
    assert repository_id(url) == "github.com/acme/shop"


async def test_patch_and_delete(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {})
    remediation = {"id": "eG42zNIkVjM", "type": "rollback"}
    attributes = {"change_failure": True, "remediation": remediation}
    patched = await datadog.patch(f"{DORA}/deployments/{ID}", json=patch_body(attributes, id=ID))
    assert (patched.status_code, patched.json()) == (202, {"data": None})
    assert await notes(datadog) is None
    by_version = await datadog.patch(f"{DORA}/deployments", json=patch_body(VERSION))
    assert (by_version.status_code, by_version.json()) == (202, {"data": None})
    assert await notes(datadog) == f"meant deployment {ID}"
    assert (await datadog.delete(f"{DORA}/deployment/{ID}")).status_code == 202
    assert await notes(datadog) is None
    assert (await datadog.get(f"{DORA}/deployments/{ID}")).status_code == 404
    assert await ids(datadog) == []
    await post(datadog, {}, kind="failure")
    assert (await datadog.delete(f"{DORA}/failure/{FAILURE['id']}")).status_code == 202
    assert (await datadog.get(f"{DORA}/failures/{FAILURE['id']}")).status_code == 404


async def test_patch_by_version_means_the_one_that_finished_last(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {"id": "the-one-that-finished-last", "finished_at": END + 5})
    await post(datadog, {"id": "the-one-that-came-last"})
    await datadog.patch(f"{DORA}/deployments", json=patch_body(VERSION))
    assert await notes(datadog) == "meant deployment the-one-that-finished-last"


async def test_percent_encoded_ids(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {"id": "with:colons:in:it"})
    assert (await datadog.get(f"{DORA}/deployments/with%3Acolons%3Ain%3Ait")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("PATCH", f"deployments/{ID}", patch_body({"change_failure": True}, id=ID)),
        ("PATCH", "deployments", patch_body(VERSION)),
        ("DELETE", f"deployment/{ID}", None),
        ("DELETE", f"failure/{ID}", None),
    ],
)
async def test_what_is_not_known_is_taken_with_a_note(
    datadog: httpx.AsyncClient, method: str, path: str, content: object
) -> None:
    assert (await datadog.request(method, f"{DORA}/{path}", json=content)).status_code == 202
    assert "Datadog's answer is not known" in (await notes(datadog) or "")


@pytest.mark.parametrize(
    ("kind", "first", "second", "says"),
    [
        ("deployment", {}, {"id": "another-id-of-16", "env": "dev"}, f"same second as {ID}"),
        ("deployment", {}, {"id": "another-id-of-16", "service": "cart"}, None),
        ("deployment", {}, {"id": "another-id-of-16", "finished_at": END + 1}, None),
        ("deployment", {}, {}, "sent before"),
        ("deployment", {}, {"id": "another-id-of-16", "service": "cart", "colour": "red"}, '"colour"'),
        ("failure", {}, {}, None),
        ("failure", {}, {"started_at": START * 1000}, None),
        ("failure", {}, {"started_at": START + 1}, "another env, services or started_at"),
        ("failure", {}, {"services": ["shop"]}, "another env, services or started_at"),
        ("failure", {}, {"env": GONE}, "another env, services or started_at"),
        ("failure", {}, {"id": "another-id-of-16"}, f"as {FAILURE['id']}"),
        ("failure", {}, {"id": "another-id-of-16", "env": "dev"}, None),
        ("failure", {"finished_at": END}, {}, "closed before"),
    ],
)
async def test_doubtful_events_are_taken_with_a_note(
    datadog: httpx.AsyncClient, kind: str, first: dict[str, Any], second: dict[str, Any], says: str | None
) -> None:
    await post(datadog, first, kind=kind)
    await post(datadog, second, kind=kind)
    note = await notes(datadog)
    assert note is None if says is None else says in (note or "")


async def test_the_life_of_an_incident(datadog: httpx.AsyncClient, clock: Clock) -> None:
    fields = {
        "severity": {"type": "dropdown", "value": "SEV-2"},
        "services": {"type": "autocomplete", "value": ["shop"]},
        "Envs": {"value": ["prod"]},
    }
    created = await datadog.post("/api/v2/incidents", json=body({"fields": fields}, base=INCIDENT, type="incidents"))
    assert (created.status_code, created.headers["content-type"]) == (201, "application/json")
    incident = created.json()["data"]
    path = f"/api/v2/incidents/{incident['id']}"
    attributes = incident["attributes"]
    assert (attributes["state"], attributes["severity"], attributes["resolved"]) == ("active", "SEV-2", None)
    assert attributes["fields"]["Envs"] == {"type": "multiselect", "value": ["prod"]}
    assert (await datadog.get(path)).json()["data"] == incident

    listed = (await datadog.get("/api/v2/incidents")).json()
    assert [item["id"] for item in listed["data"]] == [incident["id"]]
    assert listed["meta"] == {"pagination": {"offset": 0, "next_offset": 1, "size": 1}}
    search = {"query": "state:(active OR stable) AND severity:SEV-2 AND services:shop"}
    assert (await datadog.get("/api/v2/incidents/search", params=search)).json()["data"]["attributes"]["total"] == 0, (
        "the index of the search lags behind"
    )
    clock.now += SEARCH_LAG_S
    found = (await datadog.get("/api/v2/incidents/search", params=search)).json()["data"]["attributes"]
    assert (found["total"], found["incidents"]) == (1, [{"data": incident}])

    clock.now = 1_700_000_100
    resolved = {"fields": {"state": {"type": "dropdown", "value": "resolved"}}, "title": "Over"}
    patched = await datadog.patch(path, json=body(resolved, type="incidents", id=incident["id"]))
    assert patched.status_code == 200
    after = patched.json()["data"]["attributes"]
    assert (after["state"], after["title"]) == ("resolved", "Over")
    assert after["resolved"] == "2023-11-14T22:15:00.000000+00:00", "the time of the PATCH"
    assert after["fields"]["severity"]["value"] == "SEV-2"
    active = {"fields": {"state": {"type": "dropdown", "value": "active"}}}
    reopened = await datadog.patch(path, json=body(active, type="incidents", id=incident["id"]))
    assert reopened.json()["data"]["attributes"]["resolved"] is None
    wrong = await datadog.patch(path, json=body({}, type="incidents", id="another"))
    assert wrong.status_code == 400

    assert (await datadog.delete(path)).status_code == 204
    for answer in [await datadog.delete(path), await datadog.get(path), await datadog.patch(path, json={})]:
        assert answer.status_code == 404
        assert answer.json() == {"errors": [f"incident {incident['id']} not found"]}


async def test_an_imported_incident_has_the_times_it_was_given(datadog: httpx.AsyncClient) -> None:
    times = {
        "detected": "2025-01-01T00:00:00Z",
        "declared": "2025-01-01T00:01:00Z",
        "resolved": "2025-01-01T01:00:00Z",
    }
    sent = {"title": "Old", "fields": {"state": {"value": "resolved"}}, **times}
    answer = await datadog.post("/api/v2/incidents/import", json=body(sent, type="incidents"))
    assert (answer.status_code, answer.headers["content-type"]) == (201, "application/vnd.api+json")
    attributes = answer.json()["data"]["attributes"]
    assert {name: attributes[name] for name in times} == times
    assert attributes["fields"]["state"] == {"type": "dropdown", "value": "resolved"}


@pytest.mark.parametrize("page", [{"page[size]": "0"}, {"page[size]": "101"}, {"page[offset]": "-1"}])
async def test_pages_of_incidents(datadog: httpx.AsyncClient, page: dict[str, str]) -> None:
    for n in range(3):
        await datadog.post("/api/v2/incidents", json=body({"title": f"{n}"}, base=INCIDENT, type="incidents"))
    answer = await datadog.get("/api/v2/incidents", params={"page[size]": "2", "page[offset]": "1"})
    assert [item["attributes"]["title"] for item in answer.json()["data"]] == ["1", "2"]
    assert (await datadog.get("/api/v2/incidents", params=page)).status_code == 400


# What it shows


async def test_requests_are_recorded_without_keys(datadog: httpx.AsyncClient) -> None:
    content = b'{"data": {"attributes": {"started_at": 1693491974000000001}}}'
    await datadog.post(f"{DORA}/deployment?a=1&api_key=made-up-api-key", content=content)
    await datadog.post(f"{DORA}/failure", content=b"not JSON")
    await datadog.get(f"{DORA}/deployments/{ID}")
    answer = await datadog.get("/sandbox/requests", headers={"DD-API-KEY": "", "DD-APPLICATION-KEY": ""})
    assert "made-up" not in answer.text
    first, second, third = answer.json()
    assert set(first) == {"n", "time", "method", "path", "query", "body", "status", "note"}
    assert (first["n"], first["time"]) == (1, "2023-11-14T22:13:20.250Z")
    assert (first["method"], first["path"]) == POST_DEPLOYMENT
    assert first["query"] == {"a": "1", "api_key": "(not kept)"}
    assert first["body"] == json.loads(content)
    assert (second["status"], second["body"]) == (400, "not JSON")
    assert (third["status"], third["body"]) == (404, None)


async def test_requests_are_filtered_and_cleared(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {})
    await post(datadog, {}, kind="failure")
    await ids(datadog)
    await script(datadog, {"status": 500, "times": 0})

    async def numbers(query: str) -> list[int]:
        return [seen["n"] for seen in (await datadog.get(f"/sandbox/requests{query}")).json()]

    assert await numbers("") == [1, 2, 3]
    assert await numbers("?since=1") == [2, 3]
    assert await numbers(f"?path={DORA}/deployment") == [1]
    assert await numbers("?path=/api/v2&since=2") == [3]
    assert (await datadog.get("/sandbox/requests?since=x")).status_code == 400
    assert (await datadog.delete("/sandbox/requests")).status_code == 204
    assert await numbers("") == []
    assert (await datadog.get("/api/v1/validate")).status_code == 500, "the script stays"
    await datadog.delete("/sandbox/script")
    assert await ids(datadog) == [], "what was stored is gone"
    assert await numbers("") == [4, 5], "the numbers go on"


async def test_memory_is_bounded() -> None:
    transport = httpx.ASGITransport(create_sandbox(keep=3))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=KEYS) as datadog:
        for n in range(5):
            await post(datadog, {"id": f"deployment-of-n-{n:02}", "finished_at": END + n})
        assert [seen["n"] for seen in (await datadog.get("/sandbox/requests")).json()] == [3, 4, 5]
        assert await ids(datadog) == [f"deployment-of-n-0{n}" for n in (4, 3, 2)]


async def test_the_page_says_what_this_is_and_escapes(datadog: httpx.AsyncClient) -> None:
    await post(datadog, {"version": "<script>alert(1)</script>"})
    page = await datadog.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "This is not Datadog" in page.text
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text


# What it can be told


async def statuses(datadog: httpx.AsyncClient, count: int) -> list[int]:
    return [(await datadog.get("/api/v1/validate")).status_code for _ in range(count)]


async def test_steps_are_used_up_in_order(datadog: httpx.AsyncClient) -> None:
    await script(
        datadog,
        {"status": 429, "headers": {"X-RateLimit-Reset": "2"}, "times": 2},
        {"status": 503, "body": "down"},
        {"status": 500, "body": {"errors": []}, "headers": {"Content-Type": "application/vnd.api+json"}},
    )
    refused = await datadog.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
    assert (refused.status_code, refused.json()) == (429, {"errors": ["Too Many Requests"]})
    assert refused.headers["x-ratelimit-reset"] == "2"
    assert (await datadog.get("/sandbox/script")).json()["steps"][0]["times"] == 1
    assert await statuses(datadog, 1) == [429]
    down = await datadog.get("/api/v1/validate")
    assert (down.text, down.headers["content-type"]) == ("down", "text/plain; charset=utf-8")
    broken = await datadog.get("/api/v1/validate")
    assert (broken.json(), broken.headers["content-type"]) == ({"errors": []}, "application/vnd.api+json")
    assert await statuses(datadog, 1) == [200]
    assert (await datadog.get("/sandbox/script")).json() == {"steps": [], "rate_limit": None}
    assert await ids(datadog) == [], "a refused event is not stored"


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 408, 413, 422, 425, 500, 502, 529, 599])
async def test_every_status_can_be_had(datadog: httpx.AsyncClient, status: int) -> None:
    await script(datadog, {"status": status})
    answer = await datadog.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
    assert answer.status_code == status
    assert status < 400 or answer.json()["errors"]
    assert await notes(datadog) == f"script: status {status}"
    assert await ids(datadog) == []


async def test_202_is_stored_but_what_is_wrong_stays_refused(datadog: httpx.AsyncClient) -> None:
    await script(datadog, {"status": 202, "times": 2})
    delayed = await datadog.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
    assert (delayed.status_code, delayed.json()["data"]["id"]) == (202, ID)
    wrong = await datadog.post(f"{DORA}/deployment", json=body({"env": 1}, base=DEPLOYMENT))
    assert wrong.status_code == 400
    assert await ids(datadog) == [ID]
    await script(datadog, {"status": 204})
    assert (await datadog.get("/api/v1/validate")).content == b""


async def test_lost_events_are_answered_but_not_stored(datadog: httpx.AsyncClient) -> None:
    await script(datadog, {"status": 202, "lose": True}, {"lose": True})
    for status in (202, 200):
        answer = await datadog.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
        assert (answer.status_code, answer.json()["data"]["id"]) == (status, ID)
    assert await ids(datadog) == []


async def test_steps_for_some_requests_only(datadog: httpx.AsyncClient) -> None:
    await script(
        datadog,
        {"status": 500, "match": {"path": f"{DORA}/deployment", "method": "post"}},
        {"status": 502, "times": "forever", "match": {"contains": '"cart"'}},
        {"status": 503, "match": {"path": "/api/v2/incidents/"}},
    )
    assert await ids(datadog) == [], "/deployments is not below /deployment"
    assert await statuses(datadog, 1) == [200]
    for expected in (502, 502):
        answer = await datadog.post(f"{DORA}/failure", json=body({}, base=FAILURE))
        assert answer.status_code == expected
    for expected in (500, 200):
        answer = await datadog.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
        assert answer.status_code == expected
    assert (await datadog.get("/api/v2/incidents/search?query=")).status_code == 503


@pytest.mark.parametrize("times", [0, "forever"])
async def test_a_step_without_end(datadog: httpx.AsyncClient, times: object) -> None:
    await script(datadog, {"status": 500, "times": times})
    assert await statuses(datadog, 20) == [500] * 20
    assert (await datadog.get("/sandbox/script")).json()["steps"] == [{"status": 500, "times": "forever"}]
    await script(datadog, {"status": 502})
    assert await statuses(datadog, 2) == [502, 200]


async def test_a_request_without_key_uses_up_no_step(datadog: httpx.AsyncClient) -> None:
    await script(datadog, {"status": 500})
    assert (await datadog.get("/api/v1/validate", headers={"DD-API-KEY": ""})).status_code == 403
    assert await statuses(datadog, 2) == [500, 200]


async def test_rate_limit(datadog: httpx.AsyncClient, clock: Clock) -> None:
    await script(datadog, {"rate_limit": {"limit": 2, "period_s": 10}}, {"status": 500, "times": 1})
    clock.now = 1_700_000_003.5  # windows begin at multiples of ten seconds
    first = await datadog.get("/api/v1/validate")
    assert first.status_code == 500
    assert {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit")} == {
        "x-ratelimit-limit": "2",
        "x-ratelimit-period": "10",
        "x-ratelimit-remaining": "1",
        "x-ratelimit-reset": "7",
        "x-ratelimit-name": "dora_bridge_sandbox",
    }
    assert await statuses(datadog, 2) == [200, 429]
    refused = await datadog.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (429, "0")
    assert await notes(datadog) == "above the rate limit"
    clock.now = 1_700_000_009.9
    late = await datadog.get("/api/v1/validate")
    assert (late.status_code, late.headers["x-ratelimit-reset"]) == (429, "1")
    clock.now = 1_700_000_010
    assert await statuses(datadog, 3) == [200, 200, 429]
    assert (await datadog.get("/sandbox/script")).json()["rate_limit"] == {"limit": 2, "period_s": 10}
    await datadog.delete("/sandbox/script")
    assert await statuses(datadog, 3) == [200, 200, 200]


async def test_a_rate_limit_begins_and_ends_where_it_stands(datadog: httpx.AsyncClient) -> None:
    await script(
        datadog,
        {"status": 500},
        {"rate_limit": {"limit": 1, "period_s": 60}},
        {"status": 502},
    )
    assert (await datadog.get("/sandbox/script")).json()["rate_limit"] is None
    assert await statuses(datadog, 3) == [500, 502, 429]
    await script(datadog, {"rate_limit": {"limit": 1, "period_s": 60}}, {"status": 500}, {"rate_limit": None})
    assert await statuses(datadog, 3) == [500, 200, 200]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "Expecting"),
        ('{"status": 500}', "list of steps"),
        ("[5]", "step 1"),
        ('[{"status": 500}, {"stauts": 500}]', 'step 2: unknown key "stauts"'),
        ("[{}]", "does nothing"),
        ('[{"times": 3}]', "does nothing"),
        ('[{"status": "500"}]', '"status"'),
        ('[{"status": 199}]', '"status"'),
        ('[{"status": 600}]', '"status"'),
        ('[{"status": true}]', '"status"'),
        ('[{"delay_ms": -1}]', '"delay_ms"'),
        ('[{"delay_ms": 0.5}]', '"delay_ms"'),
        ('[{"drop": "sometimes"}]', '"drop"'),
        ('[{"lose": 1}]', '"lose"'),
        ('[{"delay_ms": 1, "headers": {}}]', '"headers" needs'),
        ('[{"delay_ms": 1, "body": {}}]', '"body" needs'),
        ('[{"status": 500, "headers": []}]', '"headers"'),
        ('[{"status": 500, "headers": {"a b": "c"}}]', '"headers"'),
        ('[{"status": 500, "headers": {"a": "b\\nc"}}]', '"headers"'),
        ('[{"status": 500, "headers": {"Content-Length": "5"}}]', "Content-Length"),
        ('[{"status": 500, "times": -1}]', '"times"'),
        ('[{"status": 500, "times": "always"}]', '"times"'),
        ('[{"status": 500, "match": "POST"}]', '"match"'),
        ('[{"status": 500, "match": {"url": "/"}}]', "match.url"),
        ('[{"status": 500, "match": {"path": ""}}]', "match.path"),
        ('[{"rate_limit": 100}]', '"rate_limit"'),
        ('[{"rate_limit": {"limit": 100}}]', '"rate_limit"'),
        ('[{"rate_limit": {"limit": 0, "period_s": 1}}]', "rate_limit.limit"),
        ('[{"rate_limit": {"limit": 1, "period_s": 0.5}}]', "rate_limit.period_s"),
        ('[{"rate_limit": {"limit": 1, "period_s": 1}, "status": 500}]', '"status"'),
    ],
)
async def test_a_bad_script_is_refused_and_changes_nothing(datadog: httpx.AsyncClient, content: str, says: str) -> None:
    await script(datadog, {"status": 500})
    answer = await datadog.post("/sandbox/script", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"] == "bad_script"
    assert says in answer.json()["error"]["detail"]
    assert await statuses(datadog, 2) == [500, 200]


async def test_without_its_server_a_drop_raises(datadog: httpx.AsyncClient) -> None:
    await script(datadog, {"drop": "before_reply"})
    with pytest.raises(ConnectionResetError):
        await datadog.get("/api/v1/validate")


# On a real server


@contextmanager
def served() -> Iterator[str]:
    """The URL of a sandbox on a free port, served from a thread."""
    server = uvicorn.Server(sandbox_config("127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A client of the real server, which has forgotten what was before."""
    with httpx.Client(base_url=url, headers=KEYS, timeout=30) as client:
        client.delete("/sandbox/requests")
        client.delete("/sandbox/script")
        yield client


@pytest.mark.integration
@pytest.mark.parametrize(
    ("drop", "stored"), [("before_processing", False), ("before_reply", True), ("mid_reply", True)]
)
@pytest.mark.parametrize("delay_ms", [0, 20])
def test_connections_are_really_cut(client: httpx.Client, drop: str, stored: bool, delay_ms: int) -> None:
    client.post("/sandbox/script", json=[{"drop": drop, "delay_ms": delay_ms}])
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as caught:
        client.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT))
    if drop == "mid_reply":
        assert "without sending complete message body" in str(caught.value)
    [seen] = client.get("/sandbox/requests").json()
    assert (seen["status"], seen["body"]) == (None, body({}, base=DEPLOYMENT))
    assert f"drop {drop}" in seen["note"]
    assert client.get(f"{DORA}/deployments/{ID}").status_code == (200 if stored else 404)


@pytest.mark.integration
def test_a_cut_in_the_middle_has_headers_and_half_a_body(url: str, client: httpx.Client) -> None:
    client.post("/sandbox/script", json=[{"drop": "mid_reply"}])
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /api/v1/validate HTTP/1.1\r\nhost: x\r\ndd-api-key: k\r\n\r\n")
        received = b""
        while data := connection.recv(4096):
            received += data
    head, _, half = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 15" in head
    assert half == b'{"valid'


@pytest.mark.integration
def test_a_delayed_answer_was_processed_before_it_was_sent(client: httpx.Client) -> None:
    client.post("/sandbox/script", json=[{"delay_ms": 600_000, "status": 202}])
    with pytest.raises(httpx.ReadTimeout):
        client.post(f"{DORA}/deployment", json=body({}, base=DEPLOYMENT), timeout=0.2)
    assert client.get(f"{DORA}/deployments/{ID}").status_code == 200
    assert client.get("/sandbox/requests").json()[0]["status"] is None


@pytest.mark.integration
def test_a_delayed_answer_comes(client: httpx.Client) -> None:
    client.post("/sandbox/script", json=[{"delay_ms": 1, "status": 503, "body": {"errors": ["x"]}}])
    answer = client.get("/api/v1/validate")
    assert (answer.status_code, answer.json()) == (503, {"errors": ["x"]})


@pytest.mark.integration
def test_many_requests_are_listed_in_pieces(client: httpx.Client) -> None:
    for _ in range(1201):
        client.get("/api/v1/validate")
    seen = client.get("/sandbox/requests").json()
    assert [row["n"] - seen[0]["n"] for row in seen] == list(range(1201))


@pytest.mark.integration
def test_serve_sandbox_ends_with_ctrl_c() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from bridge.sandbox import serve_sandbox; serve_sandbox('127.0.0.1', {port})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as child:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    answer = httpx.get(f"http://127.0.0.1:{port}/sandbox/requests")
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert answer.json() == []
            child.send_signal(SIGINT)
            _, errors = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, errors) == (0, "")
