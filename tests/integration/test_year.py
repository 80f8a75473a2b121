"""A fictitious company's year, played against the bridge: Datadog has to come to what really happened.

Two weeks here, of a seed in which everything happens; `make year` plays 365 days (`DAYS=`, `SEED=`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from system import System
from year.cast import DAY
from year.company import Company, company
from year.facts import differences
from year.play import configure, play
from year.recompute import Store
from year.webhooks import configuration, webhooks
from year.wire import EVERY_RUN, calls

from bridge.times import SECOND, to_rfc3339

DAYS = int(os.environ.get("YEAR_DAYS", "14"))
SEED = int(os.environ.get("YEAR_SEED", "158"))
LONGEST_S = 60 + 4 * DAYS
MOST_LINES = 60
KEYS = {"DD-API-KEY": "key", "DD-APPLICATION-KEY": "key"}

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120 + 8 * DAYS)]


async def test_datadog_comes_to_what_really_happened(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    now = int(time.time())
    story = company(SEED, DAYS, now - now % 3600)
    told = webhooks(story, SEED)
    content = configuration(story, {"mode": "auto", "window_hours": 24})
    configure(system, content)
    system.start_web()
    for name in ("worker-1", "worker-2"):
        system.start_worker(name)

    reception = await play(system, story, told, content)
    await _until_settled(system)

    requests = system.requests()
    store = Store.after(requests)
    seen, invalid = calls(requests)
    wrongs = {
        "what the bridge answered": reception.wrongs,
        "what Datadog was asked": store.wrongs,
        "what Datadog's own client would not send": invalid,
        "what Datadog lists": _not_listed(system, story, store),
        "what it comes to": differences(story.facts, store.facts(system.incidents())),
    }
    with capsys.disabled():
        print(_report(story, len(told), reception.answers, seen, wrongs))  # noqa: T201 - it is what was checked
    assert seen.keys() >= EVERY_RUN
    assert not any(wrongs.values()), "see the report above"


def _report(
    story: Company,
    told: int,
    answers: Counter[str],
    seen: Counter[str],
    wrongs: dict[str, list[str]],
) -> str:
    facts = story.facts
    lines = [
        f"\n{DAYS} days, seed {SEED}: {told} webhooks, {_counts(answers)}",
        f"truth: {len(facts.deployments)} deployments, {len(facts.change_failures)} change failures,"
        f" {len(facts.incidents)} incidents; {_counts(Counter(story.scenes))}",
        f"Datadog was asked: {_counts(seen)}",
    ]
    for where, several in wrongs.items():
        lines += [f"{where}: {len(several)} wrong"] if several else []
        lines += [f"  {line}" + (f" ({times} times)" if times > 1 else "") for line, times in _first(several)]
    return "\n".join(lines)


def _first(lines: list[str]) -> list[tuple[str, int]]:
    return list(Counter(lines).items())[:MOST_LINES]


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counted.most_common())


async def _until_settled(system: System) -> None:
    """Waits until nothing waits, linking has looked at all it knows, and Datadog has heard nothing for a while."""
    redis = Redis.from_url(system.redis.url)
    try:
        deadline, before = time.monotonic() + LONGEST_S, -1
        while True:
            await system.until_drained(LONGEST_S)
            number = len(system.requests())
            if number == before and not await redis.zcard("dora:linking"):
                return
            before = number
            assert time.monotonic() < deadline, f"linking does not settle; see {system.folder}"
            await asyncio.sleep(2)
    finally:
        await redis.aclose()


def _not_listed(system: System, story: Company, store: Store) -> list[str]:
    """What Datadog lists other than its store should hold, by id."""
    begin = min(one.started for one in story.rollouts) - DAY
    wrongs = []
    for what, known in (("deployments", store.deployments), ("failures", store.incidents)):
        listed = set(_listed(system, what, begin, begin + (DAYS + 3) * DAY))
        wrongs += [f"{what}: {one} is not listed" for one in sorted(known.keys() - listed)]
        wrongs += [f"{what}: {one} is listed" for one in sorted(listed - known.keys())]
    return wrongs


def _listed(system: System, what: str, begin: int, end: int) -> Iterator[str]:
    """Ids of all that is listed; day by day, since a list has a limit and no cursor."""
    for day in range(begin, end, DAY):
        attributes: dict[str, Any] = {
            "from": to_rfc3339(day * SECOND),
            "to": to_rfc3339((day + DAY) * SECOND),
            "limit": 1000,
        }
        answer = httpx.post(
            f"http://{system.datadog}/api/v2/dora/{what}",
            json={"data": {"type": f"dora_{what}_list_request", "attributes": attributes}},
            headers=KEYS,
            timeout=60,
        )
        yield from (record["id"] for record in answer.raise_for_status().json()["data"])
