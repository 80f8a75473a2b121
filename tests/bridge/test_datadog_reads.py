"""What an operator lists and gets, from the sandbox and from a Datadog that answers oddly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from bridge.datadog_calls import DatadogCalls
from bridge.datadog_reads import DatadogReads, RecordKind, Row, checked_id, line, query_of, whole
from bridge.errors import DatadogUnreadable, Invalid, Unknown
from bridge.sandbox import create_sandbox
from bridge.times import SECOND

KEYS = {"base_url": "http://datadog", "api_key": "the-api-key", "app_key": "the-app-key"}
HEADERS = {"DD-API-KEY": "k", "DD-APPLICATION-KEY": "k"}
NOW = 1_795_000_000
UUID = "00000000-aaaa-4000-8000-000000000001"


def reads_of(transport: httpx.AsyncBaseTransport, waits: list[float] | None = None) -> DatadogReads:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return DatadogReads(DatadogCalls(httpx.AsyncClient(transport=transport), sleep=sleep), **KEYS)


def answering(*answers: httpx.Response) -> httpx.MockTransport:
    left = list(answers)
    return httpx.MockTransport(lambda _: left.pop(0))


class Datadog:
    """A sandbox with a clock of its own, and reads of it."""

    def __init__(self) -> None:
        self.now = float(NOW)
        self.transport = httpx.ASGITransport(create_sandbox(clock=lambda: self.now))
        self.reads = reads_of(self.transport)

    async def post(self, path: str, attributes: dict[str, Any], **data: Any) -> str:
        body = {"data": {"attributes": attributes, **data}}
        async with httpx.AsyncClient(transport=self.transport, base_url="http://datadog", headers=HEADERS) as client:
            answer = await client.post(f"/api/v2/{path}", json=body)
            assert answer.status_code in (200, 201), answer.text
            return str(answer.json()["data"]["id"])

    async def deployed(self, number: int, **more: Any) -> str:
        times = {"started_at": NOW - 60 * number - 30, "finished_at": NOW - 60 * number}
        return await self.post("dora/deployment", {"id": f"deployment-{number:08}", "service": "shop", **times, **more})

    async def newest(self, kind: RecordKind, *, ago_s: int = 86_400, limit: int = 50, **query: str) -> Sequence[Row]:
        asked = query_of(kind, **query)
        since, until = (NOW - ago_s) * SECOND, (NOW + 3600) * SECOND
        return await self.reads.newest(kind, since=since, until=until, query=asked, limit=limit)


@pytest.fixture
def datadog() -> Datadog:
    return Datadog()


def ids(rows: Sequence[Row]) -> list[str]:
    return [row["id"] for row in rows]


async def test_deployments_the_newest_first(datadog: Datadog) -> None:
    made = [await datadog.deployed(number) for number in (3, 1, 2)]
    assert ids(await datadog.newest("deployment")) == sorted(made)
    assert ids(await datadog.newest("deployment", limit=2)) == sorted(made)[:2]
    assert ids(await datadog.newest("deployment", ago_s=150)) == sorted(made)[:2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"service": "shop"}, {1, 2}),
        ({"service": "sho*"}, {1, 2}),
        ({"service": "two words"}, {3}),
        ({"service": "shop", "env": "prod"}, {1}),
        ({"team": "web"}, {2}),
        ({"query": "version:v1"}, {1}),
        ({"env": "prod", "query": "-service:shop"}, {3}),
        ({"service": "nobody"}, set()),
    ],
)
async def test_only_what_is_asked_for(datadog: Datadog, query: dict[str, str], expected: set[int]) -> None:
    await datadog.deployed(1, env="prod", version="v1")
    await datadog.deployed(2, env="staging", team="web")
    await datadog.deployed(3, env="prod", service="two words")
    assert {int(id_[-1]) for id_ in ids(await datadog.newest("deployment", **query))} == expected


async def test_failures(datadog: Datadog) -> None:
    failure = {"id": "failure-00000001", "services": ["shop", "cart"], "started_at": NOW - 60, "severity": "SEV-1"}
    await datadog.post("dora/failure", failure)
    [row] = await datadog.newest("failure", service="cart")
    assert line("failure", row).endswith("shop, cart/-  open  SEV-1")
    assert await datadog.reads.get("failure", "failure-00000001") == row


async def test_incidents(datadog: Datadog) -> None:
    made = []
    for number in range(3):
        fields = {"services": {"type": "autocomplete", "value": [f"service-{number}"]}}
        attributes = {"title": f"Down {number}", "customer_impacted": False, "fields": fields}
        made.append(await datadog.post("incidents", attributes, type="incidents"))
        datadog.now += 60
    assert ids(await datadog.newest("incident")) == made[::-1]
    assert ids(await datadog.newest("incident", limit=1)) == made[2:]
    assert ids(await datadog.newest("incident", ago_s=-60)) == made[:0:-1]
    assert ids(await datadog.newest("incident", service="service-1")) == [made[1]]
    assert ids(await datadog.newest("incident", query="state:resolved")) == []
    just_now = await datadog.post("incidents", {"title": "Down", "customer_impacted": False}, type="incidents")
    assert ids(await datadog.newest("incident")) == [just_now, *made[::-1]]
    assert ids(await datadog.newest("incident", query="state:active")) == made[::-1], "a search lags behind"
    row = await datadog.reads.get("incident", made[0])
    assert line("incident", row) == f"2026-11-18T11:06:40Z  {made[0]}  active UNKNOWN  Down 0"


async def test_incidents_of_several_pages(datadog: Datadog) -> None:
    attributes = {"title": "Down", "customer_impacted": False}
    made = [await datadog.post("incidents", attributes, type="incidents") for _ in range(250)]
    datadog.now += 60
    assert sorted(ids(await datadog.newest("incident", limit=1000))) == sorted(made)
    assert len(await datadog.newest("incident", limit=101)) == 101
    assert sorted(ids(await datadog.newest("incident", limit=1000, query="state:active"))) == sorted(made)
    later = [await datadog.post("incidents", attributes, type="incidents") for _ in range(3)]
    assert sorted(ids(await datadog.newest("incident", ago_s=-30))) == sorted(later)
    assert set(later) == set(ids(await datadog.newest("incident", limit=3)))


async def test_one_deployment(datadog: Datadog) -> None:
    identifier = await datadog.deployed(1, version="v1", custom_tags=["a:b"])
    text = whole(await datadog.reads.get("deployment", identifier))
    assert text.splitlines()[0] == f"dora_deployment {identifier}"
    assert '  custom_tags    ["a:b"]' in text
    assert "  version        v1" in text


@pytest.mark.parametrize("kind", ["deployment", "failure", "incident"])
async def test_one_that_is_not_there(datadog: Datadog, kind: RecordKind) -> None:
    with pytest.raises(Unknown, match=rf"Datadog answers 404: {kind} \S+ not found"):
        await datadog.reads.get(kind, UUID)


async def test_its_rate_limit_is_waited_for() -> None:
    waits: list[float] = []
    limited = httpx.Response(429, headers={"x-ratelimit-reset": "7"})
    reads = reads_of(answering(limited, httpx.Response(200, json={"data": {"id": "x", "attributes": {}}})), waits)
    assert await reads.get("deployment", "x") == {"id": "x", "attributes": {}}
    assert len(waits) == 1
    assert 7 <= waits[0] <= 7.7


@pytest.mark.parametrize(
    ("kind", "permission"),
    [("deployment", "dora_metrics_read"), ("failure", "dora_metrics_read"), ("incident", "incident_read")],
)
async def test_a_key_that_is_refused_is_told(kind: RecordKind, permission: str) -> None:
    for ask in (
        lambda reads: reads.get(kind, UUID),
        lambda reads: reads.newest(kind, since=0, until=SECOND, query="", limit=1),
    ):
        with pytest.raises(DatadogUnreadable, match=f"DD_APP_KEY.*{permission}") as caught:
            await ask(reads_of(answering(httpx.Response(403, json={"errors": ["Forbidden"]}))))
        assert "the-ap" not in str(caught.value)


@pytest.mark.parametrize("kind", ["deployment", "failure", "incident"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(400, json={"errors": [{"detail": "bad query"}]}), "400 .*bad query"),
        (httpx.Response(200, text="<html>"), "unknown shape"),
        (httpx.Response(200, json={"data": [{"attributes": 7}]}), "unknown shape"),
    ],
)
async def test_what_cannot_be_read_is_told(kind: RecordKind, answer: httpx.Response, words: str) -> None:
    with pytest.raises(DatadogUnreadable, match=words):
        await reads_of(answering(answer)).newest(kind, since=0, until=SECOND, query="", limit=1)


async def test_both_keys_and_a_quoted_id_are_sent() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"data": {"id": "x"}})

    await reads_of(httpx.MockTransport(handler)).get("deployment", "a:b")
    assert seen[0].url.raw_path == b"/api/v2/dora/deployments/a%3Ab"
    assert [seen[0].headers[name] for name in ("dd-api-key", "dd-application-key")] == ["the-api-key", "the-app-key"]


@pytest.mark.parametrize("identifier", ["", ".", "..", "a/b", "a b", "ü", "x" * 129, "a?b", "~"])
def test_what_can_be_no_id(identifier: str) -> None:
    for kind in ("deployment", "failure", "incident"):
        with pytest.raises(Invalid):
            checked_id(kind, identifier)  # type: ignore[arg-type]


def test_ids() -> None:
    assert checked_id("deployment", "eG42zNIkVjM") == "eG42zNIkVjM"
    assert checked_id("incident", UUID) == UUID
    with pytest.raises(Invalid, match="UUID"):
        checked_id("incident", "pagerduty-incident-P1")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"service": "shop", "env": "prod*"}, "service:shop env:prod*"),
        ({"service": 'a "b" \\'}, 'service:"a \\"b\\" \\\\"'),
        ({"team": "web", "query": "version:v1"}, "team:web version:v1"),
    ],
)
def test_queries(given: dict[str, str], expected: str) -> None:
    assert query_of("deployment", **given) == expected


def test_queries_of_incidents_name_its_fields() -> None:
    assert query_of("incident", service="s", env="e", team="t") == "services:s Envs:e teams:t"


def test_a_deployment_as_one_line() -> None:
    times = {"finished_at": "2030-01-31T12:00:00.123Z"}
    told = line("deployment", {"id": "d", "attributes": times})
    assert told.split() == ["2030-01-31T12:00:00Z", "d", "-/-"]
    git = {"commit_sha": "a" * 40, "repository_id": "github.com/acme/shop"}
    attributes = {"service": "s", "env": "e", "version": "v1", "git": git, **times}
    assert line("deployment", {"id": "d", "attributes": attributes}).split()[2:] == ["s/e", "v1", "a" * 12]
