"""Which time an incident was open is meant: over a real ledger, with PagerDuty's webhooks."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from bridge import occurrences, redis_url
from bridge.dead_letters import DeadLetters
from bridge.embedded_redis import PrivateRedis
from bridge.intake import Delivery, receive
from bridge.ledger import Ledger, entries_of
from bridge.occurrences import latest, same
from bridge.redrive import Redrive
from bridge.settings import read
from bridge.times import SECOND, to_rfc3339

SETTINGS = read({"DORA_BRIDGE_SECRETS__PAGERDUTY": "x", "DD_APP_KEY": "k", "DD_API_KEY": "k"})
AT = int(time.time()) - 10_000
FIRST = "pagerduty-incident-PD4Z7Q1"


@pytest.fixture
async def ledger(redis_server: PrivateRedis) -> AsyncIterator[Ledger]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Ledger(redis)
    await redis.aclose()


async def nobody() -> None:
    """No worker has to be woken."""


def moment(second: float) -> str:
    return to_rfc3339(AT * SECOND + int(second * SECOND))


async def said(
    ledger: Ledger, kind: str, second: float, *, application_key: bool = True, **data: Any
) -> dict[str, str]:
    """Id -> what became of it, of an event that occurred so many seconds after AT."""
    about = {"id": "PD4Z7Q1", "created_at": moment(0), "service": {"id": "PS", "summary": "checkout"}, **data}
    event = {"id": f"{kind}-{second}", "event_type": f"incident.{kind}", "occurred_at": moment(second), "data": about}
    delivery = Delivery({}, {}, json.dumps({"event": event}).encode())
    endpoint, now = SETTINGS.endpoints["pagerduty"], time.time_ns()
    receipt = receive(endpoint, delivery, secret=1, now=now, application_key=application_key)
    receipt = await occurrences.placed(receipt, ledger)
    entries = entries_of(receipt, delivery)
    became, _ = await ledger.record(entries)
    return {entry.envelope.id: word for entry, word in zip(entries, became, strict=True)}


async def attributes(ledger: Ledger, identifier: str) -> Mapping[str, Any]:
    record = await ledger.find(identifier)
    assert record is not None
    return record.envelope.attributes


@pytest.mark.parametrize(
    ("at", "near", "last"),
    [
        (900, "", ""),
        (5_000, "a", ""),
        (10_000, "a", "a"),
        (12_000, "a", "a"),
        (13_500, "b", "a"),
        (17_000, "b", "b"),
        (30_000, "", "b"),
    ],
)
def test_the_same_opening_and_the_last_one(at: int, near: str, last: str) -> None:
    began = {"a": 10_000, "b": 16_000}
    assert (same(at, began), latest(at, began)) == (near, last)


async def test_a_reopening_is_known_by_either_of_its_times(ledger: Ledger) -> None:
    """Seen: `reopened_at` in whole seconds, and `occurred_at` more than one later."""
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    again = f"{FIRST}-r{AT + 900}"
    assert await said(ledger, "reopened", 901.274, reopened_at=moment(900)) == {f"{again}~open": "accepted"}
    assert await said(ledger, "reopened", 901.274) == {f"{again}~open": "duplicate"}
    assert await said(ledger, "resolved", 1800) == {f"{again}~closed": "accepted"}
    assert await said(ledger, "resolved", 1800, reopened_at=moment(900)) == {f"{again}~closed": "duplicate"}
    assert (await attributes(ledger, f"{again}~closed"))["started_at"] == (AT + 900) * SECOND


async def test_the_time_of_the_event_is_recognised_in_a_later_reopened_at(ledger: Ledger) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    again = f"{FIRST}-r{AT + 901}"
    assert await said(ledger, "reopened", 901.274) == {f"{again}~open": "accepted"}
    assert await said(ledger, "resolved", 1800, reopened_at=moment(900)) == {f"{again}~closed": "accepted"}
    assert (await attributes(ledger, f"{again}~closed"))["started_at"] == AT * SECOND + 901_274_000_000


async def test_an_end_that_another_reader_gives_in_whole_seconds_is_the_same_end(ledger: Ledger) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600.9)
    assert await said(ledger, "resolved", 600) == {f"{FIRST}~closed": "duplicate"}


async def test_a_late_first_end_is_the_first_end(ledger: Ledger) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "reopened", 900)
    assert await said(ledger, "resolved", 600) == {f"{FIRST}~closed": "accepted"}
    assert (await attributes(ledger, f"{FIRST}~closed"))["started_at"] == AT * SECOND


async def test_an_end_of_an_unknown_opening_needs_a_person_or_that_opening(ledger: Ledger) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    homeless = f"{FIRST}-e{AT + 1800}~closed"
    for _ in range(2):
        assert await said(ledger, "resolved", 1800) == {homeless: "dead_lettered"}
    assert "started_at" not in await attributes(ledger, homeless), "it is not known"
    again = f"{FIRST}-r{AT + 900}"
    became = await said(ledger, "reopened", 900)
    assert became == {f"{again}~open": "accepted", f"{again}~closed": "accepted"}
    assert await ledger.counts() == {"waiting": 4, "dead_letters": 0}
    record = await ledger.find(homeless)
    assert record is not None
    assert (record.state, record.reason) == ("superseded", "its opening is known now")
    assert await said(ledger, "resolved", 1800) == {f"{again}~closed": "duplicate"}
    known = await ledger.find(f"{again}~closed")
    assert known is not None
    assert known.raw is not None, "the body it came in is at hand"


async def test_an_opening_takes_no_end_of_before(ledger: Ledger) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    await said(ledger, "resolved", 1800)
    assert await said(ledger, "reopened", 2000) == {f"{FIRST}-r{AT + 2000}~open": "accepted"}
    assert await ledger.counts() == {"waiting": 3, "dead_letters": 1}


async def test_a_person_may_say_when_it_was_opened_again(ledger: Ledger) -> None:
    redis = ledger._redis
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    await said(ledger, "resolved", 1800)
    homeless = f"{FIRST}-e{AT + 1800}~closed"
    redrive = Redrive(SETTINGS, ledger, DeadLetters(redis), nobody)
    done = await redrive.one(homeless, by="me", edits={"started_at": moment(900)})
    assert (done.status, done.events) == ("redriven", [homeless])
    told = await attributes(ledger, homeless)
    assert (told["started_at"], told["finished_at"]) == ((AT + 900) * SECOND, (AT + 1800) * SECOND)


async def test_translated_again_it_finds_its_opening(ledger: Ledger) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    await said(ledger, "resolved", 1800)
    await said(ledger, "resolved", 1900)
    await said(ledger, "reopened", 900)  # takes the earlier of the two
    await said(ledger, "reopened", 1850)
    assert await ledger.counts() == {"waiting": 6, "dead_letters": 0}
    assert (await attributes(ledger, f"{FIRST}-r{AT + 1850}~closed"))["finished_at"] == (AT + 1900) * SECOND


@pytest.mark.parametrize("application_key", [True, False])
async def test_a_merge_of_an_unknown_opening_leaves_the_first_failure(ledger: Ledger, application_key: bool) -> None:
    await said(ledger, "triggered", 0)
    await said(ledger, "resolved", 600)
    merge = {"type": "merge_resolve_reason", "incident": {"id": "POTHER"}}
    became = await said(ledger, "resolved", 1800, application_key=application_key, resolve_reason=merge)
    word = "withdrawn" if application_key else "closed"
    assert became == {f"{FIRST}-e{AT + 1800}~{word}": "ignored"}
    again = f"{FIRST}-r{AT + 900}"
    assert (await said(ledger, "reopened", 900))[f"{again}~open"] == "accepted"
