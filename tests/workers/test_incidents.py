"""Creating an incident exactly once: against the sandbox, with a real Redis and answers that get lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from typing import Any

import httpx
import pytest

from bridge import redis_url
from bridge.dora import Failure
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.incident_list import PAGE
from bridge.ledger import LANES, Entry, Head, Ledger
from bridge.sandbox import create_sandbox
from bridge.times import to_rfc3339
from workers.courier import Courier
from workers.datadog import Outcome, Reason, Verdict, build_request, incidents_request
from workers.incidents import MOST_PAGES, Incidents, looked_through, rows_of

NS = 10**9
T = 1_800_000_000 * NS
OPEN = Failure(id="pagerduty-incident-P1AAAAAA", started_at=T, services=("checkout",), name="Slow", send_as="incident")
KEYS = {"base_url": "http://sandbox", "api_key": "k", "app_key": "a"}


class Wire(httpx.AsyncBaseTransport):
    """A way to the sandbox on which each answer may be replaced, or lost after the request was taken."""

    def __init__(self) -> None:
        self.sandbox = httpx.ASGITransport(app=create_sandbox())
        self.sent: list[str] = []
        self.then: list[Callable[[httpx.Response], httpx.Response]] = []
        """What to do to the answers to come, one each."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.method)
        answer = await self.sandbox.handle_async_request(request)
        await answer.aread()
        if self.then:
            answer = self.then.pop(0)(answer)
        return httpx.Response(answer.status_code, stream=httpx.ByteStream(answer.content))

    async def incidents(self) -> list[dict[str, Any]]:
        """What there is in the sandbox."""
        request = incidents_request(0, **KEYS)
        answer = await self.sandbox.handle_async_request(request)
        await answer.aread()
        found: list[dict[str, Any]] = json.loads(answer.content)["data"]
        return found


def lost(_: httpx.Response) -> httpx.Response:
    raise httpx.ReadError("cut")


def late(_: httpx.Response) -> httpx.Response:
    raise httpx.ReadTimeout("late")


def killed(_: httpx.Response) -> httpx.Response:
    raise asyncio.CancelledError


def cut(answer: httpx.Response) -> httpx.Response:
    return httpx.Response(answer.status_code, content=answer.content[:40])


def status(code: int) -> Callable[[httpx.Response], httpx.Response]:
    return lambda _: httpx.Response(code, json={"errors": ["no"]})


class World:
    def __init__(self, redis: Any) -> None:
        self.ledger = Ledger(redis)
        self.wire = Wire()
        self.incidents = self.of_a_new_process()

    def of_a_new_process(self) -> Incidents:
        courier = Courier(1, transport=lambda: self.wire)
        return Incidents(self.ledger, courier, _build, lambda offset: incidents_request(offset, **KEYS))

    async def head(self) -> Head:
        envelope = Envelope(endpoint="pagerduty", source="pagerduty", received_at=T, **identity(OPEN))
        await self.ledger.record([Entry(envelope)])
        await self.ledger.take("me", 1)
        _, [head], _ = await self.ledger.fetch("me", range(LANES), wanted=1, each=1)
        return head


def _build(head: Head) -> httpx.Request:
    return build_request(head.envelope, opening=head.opening, adjustment=head.adjustment, uuid=head.uuid, **KEYS)


@pytest.fixture
async def world(redis_server: PrivateRedis) -> AsyncIterator[World]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield World(redis)
    await redis.aclose()


async def test_the_first_try_asks_for_no_list(world: World) -> None:
    outcome = await world.incidents.create(await world.head(), lambda: True)
    [incident] = await world.wire.incidents()
    assert outcome == Outcome(Verdict.DELIVERED, status=201, uuid=incident["id"])
    assert world.wire.sent == ["POST"]


@pytest.mark.parametrize(
    ("fate", "reason"), [(lost, Reason.NETWORK), (cut, Reason.UNNAMED), (status(502), Reason.SERVER_ERROR)]
)
async def test_an_incident_whose_answer_was_lost_is_found_and_not_made_again(
    world: World, fate: Callable[[httpx.Response], httpx.Response], reason: Reason
) -> None:
    head = await world.head()
    world.wire.then = [fate]
    first = await world.incidents.create(head, lambda: True)
    assert (first.verdict, first.reason) == (Verdict.ERRORED, reason)
    # by another process just as well
    second = await world.of_a_new_process().create(head, lambda: True)
    [incident] = await world.wire.incidents()
    assert second == Outcome(Verdict.DELIVERED, Reason.FOUND, 200, uuid=incident["id"])
    assert world.wire.sent == ["POST", "GET"]


async def test_a_worker_that_is_killed_before_the_answer_leaves_a_trace(world: World) -> None:
    head = await world.head()
    world.wire.then = [killed]
    with pytest.raises(asyncio.CancelledError):
        await world.incidents.create(head, lambda: True)
    outcome = await world.of_a_new_process().create(head, lambda: True)
    assert outcome.reason is Reason.FOUND
    assert len(await world.wire.incidents()) == 1


async def test_what_never_arrived_is_sent_once_the_list_shows_that(world: World) -> None:
    head = await world.head()
    assert await world.ledger.about_to_create(head.envelope.fact) is None
    outcome = await world.incidents.create(head, lambda: True)
    assert (outcome.verdict, outcome.reason) == (Verdict.DELIVERED, Reason.OK)
    assert world.wire.sent == ["GET", "POST"]


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        (status(429), Reason.RATE_LIMITED),
        (status(403), Reason.AUTH),
        (status(503), Reason.SERVER_ERROR),
        (late, Reason.TIMEOUT),
        (cut, Reason.SERVER_ERROR),
    ],
)
async def test_nothing_is_created_while_the_list_does_not_tell(
    world: World, fate: Callable[[httpx.Response], httpx.Response], reason: Reason
) -> None:
    head = await world.head()
    await world.ledger.about_to_create(head.envelope.fact)
    world.wire.then = [fate]
    outcome = await world.incidents.create(head, lambda: True)
    assert (outcome.verdict, outcome.reason) == (Verdict.ERRORED, reason)
    assert world.wire.sent == ["GET"]
    assert await world.wire.incidents() == []


@pytest.mark.parametrize("code", [400, 403, 429])
async def test_after_a_refusal_there_is_nothing_to_look_for(world: World, code: int) -> None:
    head = await world.head()
    world.wire.then = [status(code)]
    assert (await world.incidents.create(head, lambda: True)).verdict is not Verdict.DELIVERED
    assert (await world.incidents.create(head, lambda: True)).verdict is Verdict.DELIVERED
    assert world.wire.sent == ["POST", "POST"]


async def test_a_refusal_says_nothing_about_an_earlier_try(world: World) -> None:
    head = await world.head()
    await world.ledger.about_to_create(head.envelope.fact)
    world.wire.then = [lambda listed: listed, status(429)]
    await world.incidents.create(head, lambda: True)
    await world.incidents.create(head, lambda: True)
    assert world.wire.sent == ["GET", "POST", "GET"]


# -- looking through the list


def listed(number: int, mark: str = "") -> dict[str, Any]:
    return {
        "id": f"uuid-{number}",
        "attributes": {
            "created": to_rfc3339(T + number * 60 * NS),
            "fields": {"summary": {"type": "textbox", "value": f"dora-bridge: {mark}" if mark else None}},
        },
    }


def pages(
    search: Generator[int, Sequence[Mapping[str, Any]], str], rows: Sequence[Mapping[str, Any]]
) -> tuple[str, Counter[int]]:
    """What was found, and which offsets were read how often."""
    read: Counter[int] = Counter()
    offset = next(search)
    try:
        while True:
            read[offset] += 1
            offset = search.send(rows[offset : offset + PAGE])
    except StopIteration as end:
        return end.value, read


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 250, 999, 1_000, 1_001, 6_400, 6_401])
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_newest_are_found_in_a_list_of_any_length(count: int, *, newest_first: bool) -> None:
    since_ms = (T + (count - 150) * 60 * NS) // 1_000_000
    for place in {0, count // 2, count - 140, count - 100, count - 2, count - 1}:
        rows = [listed(number, "me" if number == place else "") for number in range(count)]
        if newest_first:
            rows.reverse()
        found, read = pages(looked_through("me", since_ms), rows)
        if place >= count - 150 and 0 <= place < count:
            assert found == f"uuid-{place}"
        assert found in ("", f"uuid-{place}")
        assert read.total() <= 25, "not the whole list"


def test_all_of_it_is_read_if_it_is_new() -> None:
    rows = [listed(number) for number in range(1_050)]
    found, read = pages(looked_through("me", 0), rows)
    assert found == ""
    assert set(read) >= set(range(0, 1_050, PAGE))


def test_times_that_cannot_be_read_end_no_search() -> None:
    rows = [{"id": str(number), "attributes": {"created": "?"}} for number in range(350)]
    rows[120] = listed(120, "me")
    assert pages(looked_through("me", 0), rows)[0] == "uuid-120"


async def test_a_list_without_an_end_is_given_up(world: World) -> None:
    head = await world.head()
    await world.ledger.about_to_create(head.envelope.fact)
    page = httpx.Response(200, json={"data": [listed(-1)] * PAGE})
    world.wire.then = [lambda _: page] * (MOST_PAGES + 1)
    outcome = await world.incidents.create(head, lambda: True)
    assert (outcome.verdict, outcome.reason) == (Verdict.ERRORED, Reason.SERVER_ERROR)
    assert world.wire.sent == ["GET"] * MOST_PAGES


@pytest.mark.parametrize("content", [b"", b"[]", b'{"data": {}}', b'{"data": ["x"]}', b'{"data": [', b"null"])
def test_other_shapes_are_no_list(content: bytes) -> None:
    assert rows_of(httpx.Response(200, content=content)) is None
