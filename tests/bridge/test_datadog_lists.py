"""Reading Datadog's lists whole, from the sandbox and from a Datadog that limits, fails and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bridge.datadog_calls import TRIES
from bridge.datadog_lists import MOST, DatadogLists
from bridge.errors import DatadogUnreadable
from bridge.sandbox import create_sandbox
from bridge.times import from_rfc3339

START = 1_795_000_000
KEYS = {"api_key": "the-api-key", "app_key": "the-app-key"}
SECOND = 10**9


class Store:
    """A list of deployments, `moments` in seconds, that gives at most 1000, the newest, of both ends inclusive."""

    def __init__(self, moments: list[int]) -> None:
        self.rows = [
            {"id": f"deployment-{n:08}", "attributes": {"service": "s", "finished_at": at, "started_at": at}}
            for n, at in enumerate(moments)
        ]
        self.calls = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        asked = json.loads(request.content)["data"]["attributes"]
        since, until = (from_rfc3339(asked[name]) // SECOND for name in ("from", "to"))
        within = [row for row in self.rows if since <= row["attributes"]["finished_at"] <= until]
        within.sort(key=lambda row: -row["attributes"]["finished_at"])
        return httpx.Response(200, json={"data": within[: asked["limit"]]})


def lists_of(handler: Callable[[httpx.Request], httpx.Response], waits: list[float] | None = None) -> DatadogLists:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return DatadogLists(client, base_url="http://datadog", sleep=sleep, **KEYS)


async def ids(lists: DatadogLists, length_s: int = 100_000, **more: Any) -> list[str]:
    between = lists.between("deployment", START * SECOND, (START + length_s) * SECOND, **more)
    return [record.id async for record in between]


async def test_what_fits_is_one_call() -> None:
    store = Store([START + n for n in range(MOST - 1)])
    assert len(await ids(lists_of(store))) == MOST - 1
    assert store.calls == 1


@pytest.mark.parametrize(
    "moments",
    [
        [START + n for n in range(5000)],
        [START + n // 400 for n in range(5000)],  # many in each second, at the borders of windows too
        [START + 99_999 - n for n in range(1000)],
        [START] * 999 + [START + 1] * 999 + [START + 2] * 999,
    ],
)
async def test_what_does_not_fit_is_read_in_parts_each_record_once(moments: list[int]) -> None:
    store = Store(moments)
    lists = lists_of(store)
    found = await ids(lists)
    # in the last case no border separates neighbouring seconds that are nearly full
    if not lists.crowded:
        assert sorted(found) == [row["id"] for row in store.rows]
    assert len(set(found)) == len(found)
    assert bool(lists.crowded) == (moments.count(START + 1) == 999)


async def test_a_second_that_does_not_fit_is_put_down() -> None:
    lists = lists_of(Store([START + 500] * (MOST + 5) + [START + 10]))
    found = await ids(lists)
    assert len(found) == MOST + 1
    assert ("deployment", START + 500) in lists.crowded


async def test_what_datadog_has_twice_comes_twice() -> None:
    store = Store([START + 5, START + 50_000])
    store.rows += [dict(store.rows[0]), {**store.rows[1], "attributes": {**store.rows[1]["attributes"], "env": "x"}}]
    store.rows += Store([START + n for n in range(3000)]).rows[2:]
    found = await ids(lists_of(store))
    assert found.count("deployment-00000000") == 2
    assert found.count("deployment-00000001") == 2
    assert len(found) == len(store.rows)


async def test_progress_comes_to_the_whole() -> None:
    told: list[int] = []
    await ids(lists_of(Store([START + n * 7 for n in range(3000)])), told=told.append)
    assert sum(told) == 100_000 * SECOND
    assert len(told) > 1


async def test_the_request_is_one_that_the_sandbox_takes() -> None:
    transport = httpx.ASGITransport(app=create_sandbox())
    attributes = {"id": "a-deployment-of-ours", "service": "s", "started_at": START, "finished_at": START + 5}
    async with httpx.AsyncClient(transport=transport, base_url="http://datadog") as client:
        body = {"data": {"attributes": attributes}}
        await client.post("/api/v2/dora/deployment", json=body, headers={"DD-API-KEY": "k"})
        lists = DatadogLists(client, base_url="http://datadog", **KEYS)
        assert await ids(lists) == ["a-deployment-of-ours"]
        assert await ids(lists, query="service:s") == ["a-deployment-of-ours"]
        assert await ids(lists, query="service:other") == []
        assert [one async for one in lists.between("failure", START * SECOND, (START + 9) * SECOND)] == []


async def test_both_keys_go_with_it() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"data": []})

    await ids(lists_of(handler))
    assert seen[0].headers["dd-api-key"] == "the-api-key"
    assert seen[0].headers["dd-application-key"] == "the-app-key"


# -- limits, failures, refusals


def answers(*answers_: httpx.Response | Exception) -> Callable[[httpx.Request], httpx.Response]:
    """These one after the other, then an empty list."""
    left = list(answers_)

    def handler(_: httpx.Request) -> httpx.Response:
        answer = left.pop(0) if left else httpx.Response(200, json={"data": []})
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


def limited(reset: str, remaining: str = "0", status: int = 429) -> httpx.Response:
    headers = {"X-RateLimit-Reset": reset, "X-RateLimit-Remaining": remaining}
    return httpx.Response(status, json={"data": []}, headers=headers)


async def test_the_limit_is_waited_for() -> None:
    waits: list[float] = []
    await ids(lists_of(answers(limited("7"), limited("3")), waits))
    assert [7 <= waits[0] <= 7.7, 3 <= waits[1] <= 3.3, len(waits)] == [True, True, 2]


@pytest.mark.parametrize(
    ("reset", "least", "most"), [("", 1, 1.1), ("odd", 1, 1.1), ("0", 1, 1.1), ("9e9", 1, 1.1), ("99999", 900, 990)]
)
async def test_odd_limits(reset: str, least: float, most: float) -> None:
    waits: list[float] = []
    await ids(lists_of(answers(limited(reset)), waits))
    assert least <= waits[0] <= most


async def test_a_limit_that_is_used_up_is_waited_for_before_the_next_call() -> None:
    waits: list[float] = []
    lists = lists_of(answers(limited("5", status=200), limited("5", "1", status=200)), waits)
    await ids(lists)
    assert waits == []
    await ids(lists)
    assert len(waits) == 1
    await ids(lists)
    assert len(waits) == 1


async def test_failures_are_tried_again() -> None:
    waits: list[float] = []
    error = httpx.ConnectError("no")
    assert await ids(lists_of(answers(httpx.Response(500), error, httpx.Response(408)), waits)) == []
    assert len(waits) == 3


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (answers(*[httpx.Response(503)] * TRIES), "Datadog answers 503 when asked for its list of deployments"),
        (answers(*[httpx.ConnectError("secret")] * TRIES), r"Datadog is not reachable: ConnectError \(DD_SITE"),
        (answers(httpx.Response(403)), "403 .*DD_APP_KEY.*dora_metrics_read"),
        (answers(httpx.Response(401)), "refuses to give its list of deployments: 401"),
        (answers(httpx.Response(400)), "answers 400"),
        (answers(httpx.Response(302)), "answers 302"),
        (answers(httpx.Response(200, json={"data": [5]})), "unknown shape"),
        (answers(httpx.Response(200, text="<html>")), "unknown shape"),
        (lambda _: limited("1"), "answers 429"),
    ],
)
async def test_what_cannot_be_read_is_told(handler: Any, words: str) -> None:
    with pytest.raises(DatadogUnreadable, match=words) as caught:
        await ids(lists_of(handler))
    assert not any(key in caught.value.detail for key in (*KEYS.values(), "secret"))
