"""Links in Redis: what is listed, who waits for a person, and what a person said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from linked import DEPLOYMENT, happened, incident_id, look
from undelivered import NOW, SECOND, deployed, failed, record

from bridge import links as links_
from bridge import redis_url
from bridge.dora import ChangeFailure
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope
from bridge.ledger import Entry, Ledger
from bridge.links import Links


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Any]:
    client = redis_url.patient(redis_server.url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
def ledger(redis: Any) -> Ledger:
    return Ledger(redis)


@pytest.fixture
def links(redis: Any) -> Links:
    return Links(redis)


async def test_decisions_are_listed_newest_incident_first(ledger: Ledger, links: Links) -> None:
    await record(ledger, deployed(1))
    for number in (3, 1, 2):
        await happened(ledger, number)
    await look(links)
    found, place = await links.listed(limit=10)
    assert [one["incident"] for one in found] == [incident_id(number) for number in (1, 2, 3)]
    assert place is None
    assert {one["deployment"] for one in found} == {DEPLOYMENT}


async def test_pages_neither_repeat_nor_leave_out(ledger: Ledger, links: Links) -> None:
    await record(ledger, deployed(1))
    for number in range(1, 8):
        # all in the same moment, so that ids decide
        await happened(ledger, number, env="production" if number % 2 else "staging")
    await look(links)
    seen, place = [], None
    while True:
        found, place = await links.listed(status="suggested", limit=2, before=place)
        seen += [one["incident"] for one in found]
        if place is None:
            break
    assert sorted(seen) == [incident_id(number) for number in (1, 3, 5, 7)]


async def test_an_incident_of_two_services_has_two_decisions(ledger: Ledger, links: Links) -> None:
    await record(ledger, deployed(1), deployed(2, service="cart"))
    incident = await happened(ledger, services=("chekout", "cart"))
    await look(links)
    await look(links, "cart")
    found = await links.decisions([incident])
    assert [(one["service"], one["deployment"]) for one in found] == [("cart", deployed(2).id), ("chekout", DEPLOYMENT)]
    assert await links.suggestions() == 2
    assert [one["service"] for one in await links.blaming(DEPLOYMENT, ["chekout"])] == ["chekout"]


async def test_what_a_person_says_is_kept_audited_and_looked_at(ledger: Ledger, links: Links, redis: Any) -> None:
    await record(ledger, deployed(1))
    incident = await happened(ledger)
    await look(links)
    for service, mark in await links.due(most=10):
        await links.done(service, mark)
    assert await links.suggestions() == 1
    assert await links.override(incident, "apply", by="ada")
    assert [service for service, _ in await links.due(most=10)] == ["chekout"]
    assert [one["override"] for one in await links.decisions([incident])] == ["apply"]
    await look(links)
    assert [one["status"] for one in await links.decisions([incident])] == ["applied"]
    assert await links.suggestions() == 0
    ((_, fields),) = await redis.xrevrange("dora:audit", count=1)
    assert fields[b"line"] == b'{"who": "ada", "what": "apply link", "id": "%b"}' % incident.encode()
    assert not await links.override("unknown", "apply", by="ada")


async def test_a_suggestion_that_became_another_thing_waits_no_more(ledger: Ledger, links: Links) -> None:
    await record(ledger, deployed(1))
    await happened(ledger)
    await look(links)
    assert await links.suggestions() == 1
    await look(links, mode="auto")
    assert await links.suggestions() == 0


async def test_what_is_ignored_for_want_of_an_opening_is_no_incident(ledger: Ledger, links: Links) -> None:
    closing = failed(1, finished_at=NOW - 60 * SECOND, only_if_open="it does not count")
    assert await record(ledger, deployed(1), closing) == ["accepted", "ignored"]
    assert (await links.scene("chekout")).incidents == []


async def test_what_a_webhook_says_itself_stays_true_after_a_verdict(ledger: Ledger, links: Links) -> None:
    await record(ledger, deployed(1))
    verdict = ChangeFailure(deployment_id=DEPLOYMENT, service="chekout", env="production", revision=1)
    said = ChangeFailure(
        deployment_id=DEPLOYMENT,
        service="chekout",
        env="production",
        remediation_id=deployed(2).id,
        remediation_type="rollback",
    )
    assert await record(ledger, verdict, said) == ["accepted", "superseded"]
    [incident] = (await links.scene("chekout")).incidents
    assert (incident.explicit, incident.remediation_id) == (True, deployed(2).id)
    assert (await links.verdicts([DEPLOYMENT]))[DEPLOYMENT]["revision"] == 1, "what was not sent was not told"


@pytest.mark.parametrize(("words", "ended"), [(["set", "off"], ""), (["off", "set"], ""), (["set"], "not_a_change")])
async def test_an_older_word_does_not_undo_a_newer_one(
    ledger: Ledger, links: Links, words: list[str], ended: str
) -> None:
    incident = await happened(ledger)
    for number, word in enumerate(words):
        concerns = {"incident": incident, "label": word, "at": 1_000 if word == "set" else 2_000}
        note = Envelope(
            id=f"in-{number:032d}", endpoint="e", source="s", received_at=NOW, state="ignored", concerns=concerns
        )
        await ledger.record([Entry(note)])
    [found] = (await links.scene("chekout")).incidents
    assert found.ended == ended


async def test_what_an_incident_belongs_to_is_not_forgotten(
    ledger: Ledger, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_, "MOST_DEPLOYMENTS", 3)
    await record(ledger, deployed(1))
    await happened(ledger)
    await look(links)
    await record(ledger, *(deployed(number, finished_at=NOW + number * SECOND) for number in range(2, 12)))
    await look(links)
    known = [one.id for one in (await links.scene("chekout")).deployments]
    assert known == [DEPLOYMENT, *(deployed(number).id for number in (9, 10, 11))]
    assert [one["deployment"] for one in await links.decisions([incident_id()])] == [DEPLOYMENT]
