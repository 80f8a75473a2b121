"""Delivery by a real worker process to a sandbox that is told to fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from load import incident
from redis import Redis
from rq import Callback, Queue
from rq.serializers import JSONSerializer
from system import System, deployment, unique, until

from bridge.wakeup import DRAIN, QUEUE

pytestmark = pytest.mark.integration


async def post(system: System, body: bytes, endpoint: str = "github", kind: str | None = "deployment_status") -> str:
    """Posts a body; the id it was accepted with."""
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await system.post(client, endpoint, body, kind)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["events"][0]["id"])


def requests_of(system: System, identifier: str) -> list[dict[str, Any]]:
    return [one for one in system.requests() if one["body"]["data"]["attributes"]["id"] == identifier]


async def state_of(system: System, identifier: str) -> tuple[str, Mapping[str, Any]]:
    """State, and last line of the story."""
    async with system.ledger() as ledger:
        record = await ledger.find(identifier)
        assert record is not None
        return record.state, record.story[-1] if record.story else {}


async def test_a_transient_failure_is_tried_again_with_the_same_body(system: System) -> None:
    system.start_web()
    system.script({"status": 503, "times": 2})
    identifier = await post(system, deployment(unique()))
    system.start_worker()
    await system.until_drained()
    tries = requests_of(system, identifier)
    assert [one["status"] for one in tries] == [503, 503, 200]
    assert len({json.dumps(one["body"]) for one in tries}) == 1


async def test_a_refusal_is_a_dead_letter_with_the_answer_and_holds_up_nobody(system: System) -> None:
    system.start_web()
    system.script({"status": 400, "body": {"errors": [{"title": "Bad Request", "detail": "no such thing"}]}})
    refused = await post(system, deployment(unique(), at=1_750_000_000))
    passed = await post(system, deployment(unique(), at=1_750_000_060))
    system.start_worker()
    await system.until_drained()
    state, line = await state_of(system, refused)
    assert (state, line["status"], line["reason"]) == ("dead_lettered", 400, "invalid")
    assert "no such thing" in line["answer"]
    assert (await state_of(system, passed))[0] == "delivered"
    assert len(requests_of(system, refused)) == 1


async def test_a_delayed_answer_is_final(system: System) -> None:
    system.start_web()
    system.script({"status": 202, "times": 5})
    identifier = await post(system, deployment(unique()))
    system.start_worker()
    await system.until_drained()
    await asyncio.sleep(1.5)  # longer than a sweep
    state, line = await state_of(system, identifier)
    assert (state, line["reason"]) == ("delivered", "delayed")
    assert len(requests_of(system, identifier)) == 1


async def test_a_status_is_final_whatever_becomes_of_the_body(system: System) -> None:
    system.start_web()
    system.script({"drop": "mid_reply"})
    identifier = await post(system, deployment(unique()))
    system.start_worker()
    await system.until_drained()
    assert (await state_of(system, identifier))[0] == "delivered"
    assert len(requests_of(system, identifier)) == 1


@pytest.mark.parametrize("drop", ["before_processing", "before_reply"])
async def test_a_cut_connection_is_repeated_with_the_same_id_and_body(system: System, drop: str) -> None:
    system.start_web()
    system.script({"drop": drop})
    identifier = await post(system, deployment(unique()))
    system.start_worker()
    await system.until_drained()
    tries = requests_of(system, identifier)
    assert len(tries) == 2
    assert tries[0]["body"] == tries[1]["body"]
    assert tries[-1]["status"] == 200


async def test_a_refused_key_burns_nothing_and_flows_again(system: System) -> None:
    system.start_web()
    system.script({"status": 403, "times": "forever"})
    identifiers = [await post(system, deployment(unique(), service=f"s{n}")) for n in range(5)]
    system.start_worker()
    redis = Redis.from_url(system.redis.url)
    until(lambda: redis.hget("dora:destination:deployment", "state") == b"parked", 20, "it is not parked")
    await asyncio.sleep(1.5)
    assert len(system.requests()) <= 2, "one probe, and nothing while it is parked"
    system.script({"status": 200})
    redis.hset("dora:destination:deployment", "until", 0)  # the next probe is half a minute away
    await system.until_drained()
    assert Counter(system.sent_ids()) == Counter(identifiers)
    async with system.ledger() as ledger:
        assert (await ledger.counts())["dead_letters"] == 0


async def test_a_poison_event_waits_alone(system: System) -> None:
    system.start_web()
    system.script({"status": 500, "times": 1})
    poison = await post(system, deployment(unique(), service="poison"))
    system.start_worker()
    until(lambda: bool(requests_of(system, poison)), 10, "it was not tried")
    others = [await post(system, deployment(unique(), service=f"s{n}")) for n in range(20)]
    until(lambda: set(others) <= set(system.sent_ids()), 10, "the others do not pass")
    await system.until_drained()
    assert (await state_of(system, poison))[0] == "delivered"


async def test_opened_and_closed_arrive_in_order_and_match(system: System) -> None:
    system.start_web()
    number, at = unique(), int(time.time()) - 5000
    for kind, status in (("incident.triggered", "triggered"), ("incident.resolved", "resolved")):
        await post(system, incident(number, kind, status, at), "pagerduty", None)
    system.script({"drop": "before_reply"}, {"status": 503, "times": 2})
    system.start_worker()
    await system.until_drained()
    sent = [one["body"]["data"]["attributes"] for one in system.requests()]
    phases = ["finished_at" in one for one in sent]
    assert phases == sorted(phases), "never open after closed"
    for name in ("id", "services", "started_at"):
        assert len({str(one[name]) for one in sent}) == 1


async def test_a_limit_is_obeyed_by_all_processes(system: System) -> None:
    system.start_web()
    system.script({"rate_limit": {"limit": 20, "period_s": 1}})
    for number in range(100):
        await post(system, deployment(unique(), service=f"s{number}"))
    for number in range(3):
        system.start_worker(f"worker-{number}")
    await system.until_drained()
    statuses = Counter(one["status"] for one in system.requests())
    assert statuses[200] == 100
    assert statuses[429] <= 5


async def test_the_worker_runs_no_function_but_its_own(system: System) -> None:
    redis = Redis.from_url(system.redis.url)
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
    victim = system.folder / "victim"
    foreign = [
        queue.enqueue("os.mkdir", str(victim)),
        queue.enqueue(DRAIN, on_failure=Callback("os.getcwd"), args=["unwanted"]),
        queue.enqueue("workers.process.run", on_success=Callback("os.getcwd")),
    ]
    system.start_worker()
    until(lambda: all(job.get_status(refresh=True) == "failed" for job in foreign), 20, "they were not refused")
    assert not victim.exists()
    assert system.processes["worker"].poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_ends_in_time_and_leaves_nothing_undone(system: System, number: int) -> None:
    system.start_web()
    system.script({"delay_ms": 100, "times": "forever"})
    for one in range(200):
        await post(system, deployment(unique(), service=f"s{one}"))
    system.start_worker()
    until(lambda: len(system.requests()) > 20, 10, "nothing is sent")
    assert await asyncio.to_thread(system.kill, "worker", number) == 0
    system.start_worker()
    await system.until_drained()
    assert max(Counter(system.sent_ids()).values()) == 1, "nothing was in flight when it ended"


async def test_the_web_process_ends_in_time(system: System) -> None:
    system.start_web()
    await post(system, deployment(unique()))
    assert await asyncio.to_thread(system.kill, "web", signal.SIGTERM) == 0


async def test_a_hanging_redis_is_a_503_in_time_and_then_all_is_well(system: System) -> None:
    system.start_web()
    async with httpx.AsyncClient(timeout=5) as client:
        os.kill(system.redis.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            answers = await asyncio.gather(
                *(system.post(client, "github", deployment(unique()), "deployment_status") for _ in range(20))
            )
            assert time.monotonic() - started < 3, "senders are promised 2 s"
        finally:
            os.kill(system.redis.pid, signal.SIGCONT)
        assert {answer.status_code for answer in answers} == {503}
        assert all(answer.headers["retry-after"] for answer in answers)
        assert (await client.get(f"http://{system.public}/readyz")).status_code == 200
        told = await client.get(f"http://{system.public}/readyz?verbose")
        assert (told.status_code, told.text) == (200, "[+]shutdown ok\n[+]redis ok\nreadyz check passed\n")
    await post(system, deployment(unique()))


async def test_a_redis_that_is_gone_is_a_503_and_comes_back(system: System) -> None:
    system.start_web()
    system.start_worker()
    await post(system, deployment(unique()))
    await asyncio.to_thread(system.redis.kill)
    async with httpx.AsyncClient(timeout=5) as client:
        assert (await system.post(client, "github", deployment(unique()), "deployment_status")).status_code == 503
        told = await client.get(f"http://{system.public}/readyz?verbose")
        assert (told.status_code, told.text.splitlines()[1]) == (200, "[-]redis failed: ConnectionError; not counted")
        await asyncio.to_thread(system.redis.start)
        identifier = await post(system, deployment(unique()))
    await system.until_drained()
    assert identifier in system.sent_ids()
    assert {process.poll() for process in system.processes.values()} == {None}


async def test_a_worker_outlives_a_redis_that_goes_for_long_while_it_drains(system: System) -> None:
    """RQ's own worker gives up then, as if it had been asked to end."""
    system.start_web()
    system.script({"delay_ms": 1000, "times": 1})
    system.start_worker()
    one = await post(system, deployment(unique()))
    until(lambda: one in log_of(system), 20, "nothing was sent")
    system.redis.kill()
    gave_up = "found an unhandled exception, quitting"
    until(lambda: gave_up in log_of(system), 90, "RQ's worker did not give up: this test shows nothing")
    system.redis.start()
    other = await post(system, deployment(unique()))
    await system.until_drained()
    assert {one, other} <= set(system.sent_ids())
    assert system.kill("worker", signal.SIGTERM) == 0


def log_of(system: System) -> str:
    """What the worker logged, and the ids that the sandbox was sent."""
    return (system.folder / "worker.log").read_text("utf-8") + json.dumps([one["body"] for one in system.requests()])
