"""The promise: what got a 202 reaches Datadog, once per id, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest
from system import System, deployment, unique

pytestmark = pytest.mark.integration


async def _post_all(system: System, numbers: list[int], accepted: set[str], at_a_time: int = 32) -> None:
    """Posts a deployment for each number, once; adds the ids of those that got a 202."""
    waiting = list(numbers)

    async def sender() -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while waiting:
                number = waiting.pop()
                body = deployment(number, service=f"service-{number % 40}")
                try:
                    answer = await system.post(client, "github", body, "deployment_status")
                except httpx.TransportError:
                    continue
                if answer.status_code == 202:
                    accepted.update(event["id"] for event in answer.json()["events"])

    await asyncio.gather(*(sender() for _ in range(at_a_time)))


async def test_killed_web_process_loses_nothing_it_acknowledged(system: System) -> None:
    system.start_web()
    system.start_worker()
    first = unique()
    accepted: set[str] = set()
    posting = asyncio.create_task(_post_all(system, list(range(first, first + 500)), accepted))
    while len(accepted) < 150:  # noqa: ASYNC110 - the senders fill it
        await asyncio.sleep(0.001)
    system.kill("web")
    assert len(accepted) < 500, "everything was posted before the kill: the test says nothing"
    await asyncio.to_thread(system.start_web)
    await posting
    await system.until_drained()
    sent = Counter(system.sent_ids())
    assert accepted <= set(sent)
    assert max(sent.values()) == 1
