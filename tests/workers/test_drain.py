"""A drain over a real Redis: one that stands still for longer than a lease, and one that webhooks want as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from bridge import redis_url
from bridge.dora import Deployment
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ledger import LANES, LEASE_MS, Entry, Head, Ledger, Settlement
from workers import drain as drain_
from workers.courier import Courier
from workers.destination import Destination, Grant, Report, Standing
from workers.drain import AT_ONCE, Drain
from workers.incidents import Incidents

NS = 10**9
T = 1_800_000_000 * NS
IDS = [f"gh-dep-{number:012d}" for number in range(4)]


class Stalls(Ledger):
    """Redis stands still while lanes are taken for the second time, and leases run out.

    The call was given up and made again; when Redis goes on, it does what both say, and the first answer is lost.
    """

    def __init__(self, redis: Any, clock: SimpleNamespace) -> None:
        super().__init__(redis)
        self._clock = clock
        self.taken = 0

    async def take(self, owner: str, alive: int) -> tuple[list[int], int]:
        self.taken += 1
        if self.taken == 2:
            self._clock.ahead_s += LEASE_MS / 1000 + 2
            await self._redis.delete(*(f"dora:lease:{lane}" for lane in range(LANES)))
            await super().take(owner, alive)
        return await super().take(owner, alive)


class Datadog(httpx.AsyncBaseTransport):
    """Notes what it is asked; answers after a while."""

    def __init__(self, takes_s: float) -> None:
        self.asked: list[str] = []
        self._takes_s = takes_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path[1:])
        await asyncio.sleep(self._takes_s)
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))


class Gate(Destination):
    """Lets calls out when it is open."""

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._is_open = is_open

    async def admit(self, family: str, wanted: int) -> Grant:
        is_open = self._is_open()
        return Grant(int(is_open), 0.05, probe=False, unlimited=is_open, limited=False)

    async def report(self, family: str, reports: Iterable[Report]) -> Standing:
        return Standing()


@pytest.fixture
async def ledger(redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stalls]:
    clock = SimpleNamespace(ahead_s=0.0, time_ns=time.time_ns, time=time.time, perf_counter=time.perf_counter)
    clock.monotonic = lambda: time.monotonic() + clock.ahead_s
    monkeypatch.setattr(drain_, "time", clock)
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Stalls(redis, clock)
    await redis.aclose()


def _build(head: Head) -> httpx.Request:
    return httpx.Request("POST", f"http://datadog/{head.envelope.id}")


def _deployment(id_: str, service: str, second: int) -> Entry:
    fact = Deployment(id=id_, service=service, env="production", started_at=T, finished_at=T + second * NS)
    return Entry(Envelope(endpoint="github", source="github", received_at=T, **identity(fact)))


def _drain(ledger: Ledger, destination: Destination, datadog: Datadog) -> Drain:
    courier = Courier(5, transport=lambda: datadog)
    return Drain(
        ledger,
        destination,
        courier,
        _build,
        Incidents(ledger, courier, _build, lambda offset: httpx.Request("GET", "http://datadog/list")),
        owner="me",
        concurrency=5,
        unsettled=[],
    )


@pytest.mark.parametrize("is_under_way", [False, True])
async def test_a_lane_that_was_taken_again_unnoticed_is_not_drained_twice(ledger: Stalls, is_under_way: bool) -> None:
    entries = [_deployment(id_, "shop", number) for number, id_ in enumerate(IDS)]
    await ledger.record(entries)
    datadog = Datadog(0.5 if is_under_way else 0.05)
    drain = _drain(ledger, Gate(lambda: is_under_way or ledger.taken > 1), datadog)
    stop, running = asyncio.Event(), None
    running = asyncio.create_task(drain.run(stop, lambda: 1))
    async with asyncio.timeout(30):
        while (await ledger.counts())["waiting"]:
            await asyncio.sleep(0.05)
            if running.done():  # nothing was due for a while
                await running
                running = asyncio.create_task(drain.run(stop, lambda: 1))
    stop.set()
    await running
    assert ledger.taken > 1
    assert datadog.asked == IDS


class Sizes(Ledger):
    """Notes how many statements each call is about."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self.sizes: list[int] = []

    async def fetch(
        self, owner: str, lanes: Sequence[int], *, wanted: int, each: int
    ) -> tuple[set[int], list[Head], int | None]:
        lost, heads, due_in_ms = await super().fetch(owner, lanes, wanted=wanted, each=each)
        self.sizes.append(len(heads))
        return lost, heads, due_in_ms

    async def settle(self, owner: str, settlements: Sequence[Settlement]) -> tuple[set[int], list[Head]]:
        self.sizes.append(len(settlements))
        return await super().settle(owner, settlements)


async def test_no_script_call_is_about_so_much_that_webhooks_would_wait(redis_server: PrivateRedis) -> None:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    ledger, datadog = Sizes(redis), Datadog(0.001)
    ids = [f"gh-dep-{number:012d}" for number in range(60)]
    await ledger.record([_deployment(id_, f"service-{number}", number) for number, id_ in enumerate(ids)])
    await _drain(ledger, Gate(lambda: True), datadog).run(asyncio.Event(), lambda: 1)
    assert (await ledger.counts())["waiting"] == 0
    assert sorted(datadog.asked) == ids
    assert max(ledger.sizes) == AT_ONCE
    await redis.aclose()
