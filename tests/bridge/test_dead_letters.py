"""Redriving, editing, translating again, discarding and expiring dead letters, against a real Redis."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from undelivered import (
    ENDPOINTS,
    NOW,
    SECOND,
    closed,
    deployed,
    envelope,
    failed,
    github,
    heads,
    received,
    record,
    refused,
    settings,
    settle,
)

from bridge import redis_url, search
from bridge.configuration import Retention
from bridge.dead_letters import DeadLetters
from bridge.dora import ChangeFailure, Withdrawal
from bridge.edits import edited
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope
from bridge.errors import Invalid, NotNow, Unknown
from bridge.ids import one_of_several
from bridge.intake import Delivery, receive
from bridge.ledger import LANES, Entry, Ledger, Record, Settlement, entries_of
from bridge.links import Links
from bridge.redrive import Redrive
from bridge.rules import Rule
from bridge.samples import samples
from bridge.search import Filter
from bridge.times import to_rfc3339


@dataclass
class Desk:
    redis: Any
    ledger: Ledger
    dead: DeadLetters
    redrive: Redrive
    rung: list[int]

    def with_rules(self, *rules: dict[str, Any]) -> Redrive:
        async def ring() -> None:
            self.rung.append(1)

        return Redrive(settings(rules=list(rules)), self.ledger, self.dead, ring)

    async def state(self, identifier: str) -> str:
        record = await self.ledger.find(identifier)
        assert record is not None
        return record.state

    async def story(self, identifier: str) -> list[Any]:
        [story] = await self.ledger.stories([identifier])
        return story


@pytest.fixture
async def desk(redis_server: PrivateRedis) -> AsyncIterator[Desk]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    made = Desk(redis, Ledger(redis), DeadLetters(redis), Redrive.__new__(Redrive), [])
    made.redrive = made.with_rules()
    yield made
    await redis.aclose()


ID = deployed(1).id


async def test_a_redriven_dead_letter_goes_out_again_with_new_patience(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1), n=7)
    result = await desk.redrive.one(ID, by="ada")
    assert (result.status, result.events, desk.rung) == ("redriven", [ID], [1])
    [head] = await heads(desk.ledger)
    assert head.last["by"] == "ada"
    assert "n" not in head.last
    assert "since" not in head.last
    assert await desk.dead.count() == 0
    assert await desk.redis.ttl(f"dora:event:{ID}") == await desk.redis.ttl(f"dora:story:{ID}") == -1
    assert await desk.redis.zscore("dora:settled", ID) is None


async def test_what_is_no_dead_letter_is_left_alone(desk: Desk) -> None:
    with pytest.raises(Unknown):
        await desk.redrive.one("gh-dep-0000000001-nothing", by="ada")
    await record(desk.ledger, deployed(1))
    with pytest.raises(NotNow, match="waiting"):
        await desk.redrive.one(ID, by="ada")
    await settle(desk.ledger, verdict="delivered")
    with pytest.raises(NotNow, match="delivered"):
        await desk.redrive.one(ID, by="ada")
    with pytest.raises(NotNow):
        await desk.redrive.discard(ID, by="ada")
    assert await settle(desk.ledger) == []


async def test_two_people_at_once_redrive_once(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1))
    results = await asyncio.gather(*(desk.redrive.one(ID, by=f"p{n}") for n in range(8)), return_exceptions=True)
    assert sum(not isinstance(one, Exception) for one in results) == 1
    assert all(isinstance(one, NotNow) for one in results if isinstance(one, Exception))
    assert len(await settle(desk.ledger, verdict="delivered")) == 1
    assert len([line for line in await desk.story(ID) if line.get("by")]) == 1


async def test_an_edit_is_sent_and_the_original_is_kept(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1))
    await desk.redrive.one(ID, by="ada", edits={"service": "checkout", "env": None, "custom_tags": ["team:web"]})
    links = Links(desk.redis)
    assert [one.env for one in (await links.scene("checkout")).deployments] == [""], "linking knows what is sent"
    assert not (await links.scene("chekout")).deployments
    [head] = await heads(desk.ledger)
    assert head.key == "deployment:checkout:"
    attributes = head.envelope.attributes
    assert (attributes["service"], attributes.get("env"), attributes["custom_tags"]) == ("checkout", None, ["team:web"])
    assert attributes["finished_at"] == deployed(1).finished_at
    original = await desk.dead.original(ID)
    assert original is not None
    assert original.attributes["service"] == "chekout"
    changed = (await desk.story(ID))[-1]["edits"]
    assert changed["service"] == {"from": "chekout", "to": "checkout"}
    lines, _ = await desk.dead.audit(limit=10)
    assert lines[0] | {"at": 0} == {
        "at": 0,
        "who": "ada",
        "what": "redrive",
        "id": ID,
        "mode": "as_sent",
        "edits": {"service": "checkout", "env": None, "custom_tags": ["team:web"]},
    }


async def test_the_original_is_the_first_one_after_several_edits(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1))
    for name in ("one", "two"):
        await desk.redrive.one(ID, by="ada", edits={"service": name})
        await settle(desk.ledger)
    original = await desk.dead.original(ID)
    assert original is not None
    assert original.attributes["service"] == "chekout"


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ({"id": "gh-dep-0000000001-000000000002"}, "id"),
        ({"service": ""}, "service"),
        ({"service": None}, "service"),
        ({"service": 5}, "service"),
        ({"service": "a\nb"}, "service"),
        ({"servce": "x"}, "servce"),
        ({"services": ["x"]}, "services"),
        ({"custom_tags": ["novalue"]}, "custom_tags"),
        ({"custom_tags": "a:b"}, "custom_tags"),
        ({"custom_tags": ["a:b"] * 101}, "custom_tags"),
        ({"finished_at": 5}, "finished_at"),
        ({"finished_at": True}, "finished_at"),
        ({"finished_at": "yesterday"}, "finished_at"),
        ({"finished_at": "2001-01-01T00:00:00Z"}, "finished_at"),
        ({"finished_at": "2201-01-01T00:00:00Z"}, "finished_at"),
        ({"started_at": NOW, "finished_at": NOW - 3600 * SECOND}, "finished_at"),
        ({"git": {"commit_sha": "abc", "repository_url": "https://x"}}, "git"),
        ({"git": {"commit_sha": "a" * 40, "repository_url": "https://u:p@x/y"}}, "git"),
    ],
)
async def test_a_bad_edit_changes_nothing(desk: Desk, edits: dict[str, Any], field: str) -> None:
    await refused(desk.ledger, deployed(1))
    before = await desk.redis.get(f"dora:event:{ID}"), await desk.story(ID), await desk.redis.xlen("dora:audit")
    with pytest.raises(Invalid) as caught:
        await desk.redrive.one(ID, by="ada", edits=edits)
    assert caught.value.field == field
    assert field in caught.value.detail
    assert before == (
        await desk.redis.get(f"dora:event:{ID}"),
        await desk.story(ID),
        await desk.redis.xlen("dora:audit"),
    )
    assert await desk.dead.count() == 1


async def test_an_edited_opening_is_what_its_closing_repeats(desk: Desk) -> None:
    await refused(desk.ledger, failed())
    await desk.redrive.one(f"{failed().id}~open", by="ada", edits={"service": "checkout"})
    await record(desk.ledger, closed())
    sent = await settle(desk.ledger, verdict="delivered")
    assert [head.envelope.id.partition("~")[2] for head in sent] == ["open", "closed"]
    assert sent[0].envelope.attributes["services"] == ["checkout"]
    assert sent[1].opening["services"] == ["checkout"]


async def test_a_closing_cannot_contradict_what_datadog_has(desk: Desk) -> None:
    await record(desk.ledger, failed())
    await settle(desk.ledger, verdict="delivered")
    await refused(desk.ledger, closed())
    with pytest.raises(Invalid, match="opening"):
        await desk.redrive.one(f"{failed().id}~closed", by="ada", edits={"env": "staging"})
    await desk.redrive.one(f"{failed().id}~closed", by="ada", edits={"severity": "SEV-2"})
    [head] = await heads(desk.ledger)
    assert head.envelope.attributes["severity"] == "SEV-2"


async def test_an_opening_cannot_become_a_closing(desk: Desk) -> None:
    await refused(desk.ledger, failed())
    with pytest.raises(Invalid, match="opens"):
        await desk.redrive.one(f"{failed().id}~open", by="ada", edits={"finished_at": NOW - SECOND})


@pytest.mark.parametrize(
    ("verdict", "reason", "ends"),
    [
        ("delivered", "", "superseded"),
        ("errored", "timeout", "superseded"),
        ("rejected", "invalid", "redriven"),
    ],
)
async def test_never_open_after_closed(desk: Desk, verdict: str, reason: str, ends: str) -> None:
    await refused(desk.ledger, failed())
    await record(desk.ledger, closed())
    await settle(desk.ledger, verdict=verdict, reason=reason)
    result = await desk.redrive.one(f"{failed().id}~open", by="ada")
    assert result.status == ends
    assert await desk.state(f"{failed().id}~open") == ("waiting" if ends == "redriven" else "superseded")
    assert len(await settle(desk.ledger, verdict="delivered")) == (ends == "redriven")


async def test_an_opening_goes_before_its_waiting_closing_but_not_beside_it(desk: Desk) -> None:
    await refused(desk.ledger, failed(1), failed(2))
    await record(desk.ledger, closed(1))
    assert (await desk.redrive.one(f"{failed(1).id}~open", by="ada")).status == "redriven"
    sent = await settle(desk.ledger, verdict="delivered")
    assert [head.envelope.id.partition("~")[2] for head in sent] == ["open", "closed"]
    await record(desk.ledger, closed(2))
    assert len(await heads(desk.ledger)) == 1  # it may be on the wire at this moment
    assert (await desk.redrive.one(f"{failed(2).id}~open", by="ada")).status == "superseded"


async def test_an_incident_that_was_not_created_is_redriven_before_its_end_that_waits_for_it(desk: Desk) -> None:
    opened, ended = failed(1, send_as="incident"), closed(1, send_as="incident")
    await refused(desk.ledger, opened)
    await record(desk.ledger, ended)
    [head] = await heads(desk.ledger)
    line = {"at": 1, "state": "waiting", "verdict": "errored", "reason": "incident_pending"}
    await desk.ledger.settle("t", [Settlement(head.lane, head.key, head.envelope.id, "waiting", line, 600_000)])
    await desk.ledger.release("t", range(LANES))
    assert await heads(desk.ledger) == []
    await desk.ledger.release("t", range(LANES))
    assert (await desk.redrive.one(f"{opened.id}~open", by="ada")).status == "redriven"
    [head] = await heads(desk.ledger)  # at once, and not when its end was to be tried again
    assert head.envelope.id == f"{opened.id}~open"


async def test_it_is_redriven_while_its_end_is_in_hand_too(desk: Desk) -> None:
    opened = failed(1, send_as="incident")
    await refused(desk.ledger, opened)
    await record(desk.ledger, closed(1, send_as="incident"))
    assert len(await heads(desk.ledger)) == 1
    assert (await desk.redrive.one(f"{opened.id}~open", by="ada")).status == "redriven"


async def test_an_edited_incident_is_still_one(desk: Desk) -> None:
    await refused(desk.ledger, failed(1, send_as="incident"))
    await desk.redrive.one(f"{failed(1).id}~open", by="ada", edits={"services": ["checkout"], "severity": "SEV-1"})
    [head] = await heads(desk.ledger)
    assert (head.key, head.envelope.path) == (f"incident:{failed(1).id}", "/api/v2/incidents")
    assert head.envelope.attributes["severity"] == "SEV-1"
    assert head.opening["services"] == ["checkout"]


async def test_a_deployment_that_was_only_refused_is_judged_anew_when_it_comes_late(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1))
    assert await desk.redis.hget(f"dora:fact:{ID}", "adjusted") is not None
    await desk.redrive.one(ID, by="ada")
    assert await desk.redis.hget(f"dora:fact:{ID}", "adjusted") is None
    await settle(desk.ledger, verdict="errored", reason="timeout")
    await desk.redrive.one(ID, by="ada")
    assert await desk.redis.hget(f"dora:fact:{ID}", "adjusted") is not None, "Datadog may have it: repeat it as it was"


async def test_patches_can_be_edited_and_deletes_cannot(desk: Desk) -> None:
    patch = ChangeFailure(deployment_id=ID, service="checkout", env=None)
    delete = Withdrawal(record_id=failed().id)
    after, _ = edited(
        envelope(patch),
        {"remediation": {"id": deployed(2).id, "type": "rollback"}},
        now=NOW,
        opening={},
        opening_is_known=False,
    )
    assert after.attributes == {"change_failure": True, "remediation": {"id": deployed(2).id, "type": "rollback"}}
    with pytest.raises(Invalid, match="no attributes"):
        edited(envelope(delete), {"env": "x"}, now=NOW, opening={}, opening_is_known=False)
    with pytest.raises(Invalid, match="rollback"):
        edited(envelope(patch), {"remediation": {"id": "x", "type": "no"}}, now=NOW, opening={}, opening_is_known=False)


# -- translating again


BROKEN = github(environment=None)


async def test_a_note_is_translated_again_and_delivered(desk: Desk) -> None:
    delivery = github()
    [note] = await received(desk.ledger, Delivery(delivery.headers, {}, b"{"))
    assert await desk.state(note) == "dead_lettered"
    with pytest.raises(NotNow, match="translate it again"):
        await desk.redrive.one(note, by="ada", mode="as_sent")
    result = await desk.redrive.one(note, by="ada")
    assert result.status == "dead_lettered"
    assert (await desk.story(note))[-1]["by"] == "ada"
    assert await desk.dead.by_reason() == {"payload_invalid": 1}
    # today's code understands it
    raw = await desk.redis.get(f"dora:raw:{note}")
    await desk.redis.set(f"dora:raw:{note}", raw.partition(b"\n")[0] + b"\n" + delivery.body, keepttl=True)
    result = await desk.redrive.one(note, by="ada")
    assert result.status == "redriven"
    assert await desk.state(note) == "superseded"
    [head] = await heads(desk.ledger)
    assert [head.envelope.id] == result.events
    record = await desk.ledger.find(head.envelope.id)
    assert record is not None
    assert record.raw is not None
    assert record.raw[0]["origins"][head.envelope.id]["env"]


async def test_an_incident_goes_where_todays_options_say(desk: Desk) -> None:
    _, opened = samples(NOW)["pagerduty"]
    body = json.loads(opened)
    body["event"] |= {"event_type": "incident.resolved", "occurred_at": to_rfc3339(NOW)}
    [opening] = await received(desk.ledger, Delivery({}, {}, opened), "pagerduty")
    await settle(desk.ledger, verdict="delivered")
    endpoint = ENDPOINTS["pagerduty"]
    moved = replace(endpoint, options=endpoint.options.model_copy(update={"send_as": "incident"}))
    delivery = Delivery({}, {}, json.dumps(body).encode())
    await desk.ledger.record(entries_of(receive(moved, delivery, secret=1, now=NOW), delivery))
    [waited] = await settle(desk.ledger, verdict="errored", reason="incident_pending")
    assert (waited.key.partition(":")[0], waited.uuid) == ("incident", "")
    result = await desk.redrive.one(waited.envelope.id, by="ada", mode="retranslate")
    assert result.status == "redriven"
    [head] = await heads(desk.ledger)
    assert (head.envelope.path, head.key) == ("/api/v2/dora/failure", f"failure:{opening.removesuffix('~open')}")


async def test_todays_rules_apply(desk: Desk) -> None:
    [identifier] = await received(desk.ledger, github())
    await settle(desk.ledger)
    mapping = {"name": "map", "match": {"kind": "deployment_status"}, "set": {"service": "shopist", "env": "prod"}}
    result = await desk.with_rules(mapping).one(identifier, by="ada", mode="retranslate")
    assert (result.status, result.events) == ("redriven", [identifier])
    [head] = await heads(desk.ledger)
    assert (head.key, head.envelope.rule) == ("deployment:shopist:prod", "map")
    assert (await desk.story(identifier))[-1]["edits"]["service"]["to"] == "shopist"


async def test_a_rule_may_drop_it(desk: Desk) -> None:
    [identifier] = await received(desk.ledger, github())
    await settle(desk.ledger)
    drop = {"match": {"environment": "prod*"}, "drop": "not ours"}
    result = await desk.with_rules(drop).one(identifier, by="ada", mode="retranslate")
    assert (result.status, result.reason) == ("ignored", "not ours")
    assert await desk.state(identifier) == "ignored"
    assert await desk.dead.count() == 0


async def test_a_rule_may_make_several_of_it_and_nothing_twice(desk: Desk) -> None:
    [identifier] = await received(desk.ledger, github())
    await settle(desk.ledger)
    several = {"match": {"kind": "deployment_status"}, "set": {"services": ["a", "b"]}}
    result = await desk.with_rules(several).one(identifier, by="ada", mode="retranslate")
    assert (result.status, len(result.events)) == ("redriven", 2)
    assert await desk.state(identifier) == "superseded"
    sent = await settle(desk.ledger, verdict="delivered")
    assert sorted(head.envelope.services[0] for head in sent) == ["a", "b"]


async def test_one_of_the_several_may_be_what_it_was(desk: Desk) -> None:
    """Datadog may have it: then it must not come again under another id."""
    [identifier] = await received(desk.ledger, github())
    await settle(desk.ledger, verdict="errored", reason="timeout")
    several = {"match": {"kind": "deployment_status"}, "set": {"services": ["checkout", "b"]}}
    result = await desk.with_rules(several).one(identifier, by="ada", mode="retranslate")
    assert (result.status, len(result.events), result.events[0]) == ("redriven", 2, identifier)
    sent = await settle(desk.ledger, verdict="delivered")
    assert {head.envelope.services[0]: head.envelope.id for head in sent} == {
        "checkout": identifier,
        "b": one_of_several(identifier, "b"),
    }


async def test_a_change_failure_can_go_when_its_deployment_came_under_another_rule(desk: Desk) -> None:
    """That goes by the id which the change failure has waited for."""
    several = {"match": {"kind": "deployment_status"}, "set": {"services": ["checkout", "b"]}}
    rules = [Rule.model_validate(several)]
    *_, of_checkout, of_b = await received(desk.ledger, github(id=2, payload={"rollback_of": 1}), rules=rules)
    assert [one.rpartition("~")[2] for one in (of_checkout, of_b)] == ["remedied"] * 2
    await settle(desk.ledger)
    await received(desk.ledger, github(id=1))
    [deployed_] = await settle(desk.ledger, verdict="delivered")
    assert deployed_.envelope.id == of_checkout.partition("~")[0]
    for mode in ("retranslate", "as_sent"):
        result = await desk.with_rules(several).one(of_checkout, by="ada", mode=mode)
        assert (result.status, result.events) == ("redriven", [of_checkout])
        await settle(desk.ledger)


async def test_what_datadog_has_is_not_said_again_under_another_id(desk: Desk) -> None:
    delivery = github()
    both = Rule.model_validate({"match": {"kind": "deployment_status"}, "set": {"services": ["a", "b"]}})
    receipt = receive(ENDPOINTS["github"], delivery, secret=1, now=NOW, rules=[both])
    await desk.ledger.record(entries_of(receipt, delivery)[:1])
    await settle(desk.ledger, verdict="delivered")
    await desk.ledger.record(entries_of(receipt, delivery)[1:])
    await settle(desk.ledger)
    second = receipt.envelopes[1].id
    only_a = {"match": {"kind": "deployment_status"}, "set": {"service": "a"}}
    result = await desk.with_rules(only_a).one(second, by="ada", mode="retranslate")
    assert result.events == []
    assert await desk.state(second) == "superseded"
    assert await settle(desk.ledger) == []


async def test_without_its_body_it_says_so(desk: Desk) -> None:
    [identifier] = await received(desk.ledger, github())
    await settle(desk.ledger)
    await desk.redis.delete(f"dora:raw:{identifier}")
    with pytest.raises(NotNow, match="not kept"):
        await desk.redrive.one(identifier, by="ada", mode="retranslate")
    assert await desk.dead.count() == 1


# -- many


async def _many(desk: Desk, count: int) -> None:
    facts = [deployed(n, service=f"s{n % 10}", finished_at=NOW - 3000 * SECOND + n * SECOND) for n in range(count)]
    for start in range(0, count, 500):
        await record(desk.ledger, *facts[start : start + 500])
    await settle(desk.ledger)


async def test_many_by_a_filter_and_again(desk: Desk) -> None:
    await _many(desk, 1000)
    started = time.monotonic()
    asked = Filter(service="s3")
    assert await desk.redrive.matching(asked) == 100
    progress = await desk.redrive.many(asked, by="ada")
    assert (progress.matched, progress.redriven, progress.next_cursor) == (100, 100, None)
    again = await desk.redrive.many(asked, by="ada")
    assert (again.matched, again.redriven) == (0, 0)
    everything = await desk.redrive.many(Filter(), by="ada")
    assert (everything.matched, everything.redriven) == (900, 900)
    assert time.monotonic() - started < 10
    assert await desk.dead.count() == 0
    assert len(await settle(desk.ledger, verdict="delivered")) == 1000


async def test_many_goes_on_where_it_ended_and_leaves_new_ones_alone(desk: Desk) -> None:
    await _many(desk, 250)
    first = await desk.redrive.many(Filter(), by="ada", for_s=-1)
    assert (first.matched, first.redriven) == (0, 0)
    assert first.next_cursor is not None
    second = await desk.redrive.many(Filter(), by="ada", cursor=first.next_cursor)
    assert second.redriven == 250
    await settle(desk.ledger)
    assert await desk.dead.count() == 250, "they were refused again"


async def test_many_with_edits_and_notes(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1), deployed(2))
    await received(desk.ledger, Delivery(github().headers, {}, b"{"))
    progress = await desk.redrive.many(Filter(), by="ada", edits={"service": "checkout"})
    assert (progress.matched, progress.redriven, progress.otherwise) == (3, 2, {"dead_lettered": 1})
    assert {head.envelope.services for head in await settle(desk.ledger)} == {("checkout",)}


async def test_many_yield_to_live_traffic(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.redrive.BUSY", 50)
    await _many(desk, 200)
    live = [envelope(deployed(10_000 + n, service=f"live{n}")) for n in range(80)]
    await desk.ledger.record([Entry(one) for one in live])
    waiting: list[int] = []
    working = asyncio.create_task(
        desk.redrive.many(Filter(), by="ada", told=lambda progress: waiting.append(progress.redriven))
    )
    await asyncio.sleep(0.2)
    assert waiting == [], "it lets them pass"
    while live:
        await desk.redis.zrem("dora:waiting", *[one.id for one in live[:20]])
        live = live[20:]
        await asyncio.sleep(0.1)
    assert (await asyncio.wait_for(working, 10)).redriven == 200


# -- looking


async def test_pages_are_stable_while_things_come_and_go(desk: Desk) -> None:
    await _many(desk, 120)
    first = await search.page(desk.ledger, search.DEAD_LETTERS, Filter(), limit=50)
    await refused(desk.ledger, deployed(900))
    gone = first.records[10][1].envelope.id
    await desk.redrive.discard(gone, by="ada")
    seen = [record.envelope.id for _, record in first.records]
    cursor = first.next_cursor
    while cursor is not None:
        page = await search.page(desk.ledger, search.DEAD_LETTERS, Filter(), limit=50, cursor=cursor)
        seen += [record.envelope.id for _, record in page.records]
        cursor = page.next_cursor
    assert len(seen) == len(set(seen)) == 120


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_pages_of_the_same_millisecond(desk: Desk, oldest_first: bool) -> None:
    await _many(desk, 60)
    ids = await desk.redis.zrange("dora:dead", 0, -1)
    await desk.redis.zadd("dora:dead", dict.fromkeys(ids, 1_800_000_000_000))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await search.page(
            desk.ledger, search.DEAD_LETTERS, Filter(), limit=7, cursor=cursor, oldest_first=oldest_first
        )
        seen += [record.envelope.id for _, record in page.records]
        cursor = page.next_cursor
    assert sorted(seen) == sorted(id_.decode() for id_ in ids)


async def test_a_rare_thing_is_found_in_several_pages(desk: Desk) -> None:
    await refused(desk.ledger, deployed(500, service="needle"))
    await _many(desk, 300)
    page = await search.page(desk.ledger, search.DEAD_LETTERS, Filter(q="NEEDLE"), limit=5, look_through=200)
    assert page.records == []
    assert page.next_cursor is not None
    page = await search.page(
        desk.ledger, search.DEAD_LETTERS, Filter(q="NEEDLE"), limit=5, cursor=page.next_cursor, look_through=200
    )
    assert [record.envelope.services for _, record in page.records] == [("needle",)]
    assert page.next_cursor is None


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({"source": "github"}, True),
        ({"source": "argocd"}, False),
        ({"service": "chekout"}, True),
        ({"service": "check"}, False),
        ({"env": "production"}, True),
        ({"reason": "invalid"}, True),
        ({"reason": "timeout"}, False),
        ({"q": "INVALID SERV"}, True),
        ({"q": "v1"}, True),
        ({"q": "000000000001"}, True),
        ({"q": "nothing of it"}, False),
        ({"state": "dead_lettered"}, True),
        ({"state": "delivered"}, False),
        ({"source": "", "q": None}, True),
    ],
)
async def test_filters(given: dict[str, Any], matches: bool) -> None:
    line = {
        "state": "dead_lettered",
        "verdict": "rejected",
        "reason": "invalid",
        "answer": '{"errors":["Invalid service"]}',
    }
    assert search.parse(given, NOW).matches(Record(envelope(deployed(1)), [line])) is matches


@pytest.mark.parametrize(
    "given", [{"sorce": "x"}, {"since": "soon"}, {"state": "sad"}, {"q": 5}, {"until": "12"}, {"since": {}}]
)
def test_a_filter_that_makes_no_sense_selects_nothing_and_says_so(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        search.parse(given, NOW)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2030-01-31T12:00:00Z", 1_896_091_200_000),
        ("2030-01-31T13:00:00+01:00", 1_896_091_200_000),
        ("2030-01-31", 1_896_048_000_000),
        ("1896091200", 1_896_091_200_000),
        ("1896091200123", 1_896_091_200_123),
        ("2h", NOW // 10**6 - 7_200_000),
        ("7d", NOW // 10**6 - 604_800_000),
    ],
    ids=lambda given: given if isinstance(given, str) else "",  # two processes have to find the same names
)
def test_times_of_a_filter(text: str, milliseconds: int) -> None:
    assert search.moment(text, NOW, "since") == milliseconds


async def test_reasons_are_counted(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1), deployed(2))
    await record(desk.ledger, deployed(3))
    await settle(desk.ledger, verdict="errored", reason="timeout")
    await received(desk.ledger, Delivery(github().headers, {}, b"{"))
    unknown = closed(9, services=(), started_at=None, env=None)
    assert await record(desk.ledger, unknown) == ["dead_lettered"]
    counts = await desk.dead.by_reason()
    assert counts == {"invalid": 2, "timeout": 1, "payload_invalid": 1, "opening_unknown": 1}
    page = await search.page(desk.ledger, search.DEAD_LETTERS, Filter(), limit=50)
    listed = [search.reason_of(record) for _, record in page.records]
    assert {reason: listed.count(reason) for reason in listed} == counts
    for reason, count in counts.items():
        assert await desk.redrive.matching(Filter(reason=reason)) == count


async def test_a_closing_without_opening_needs_what_is_missing(desk: Desk) -> None:
    await record(desk.ledger, closed(9, services=(), started_at=None))
    identifier = f"{failed(9).id}~closed"
    with pytest.raises(NotNow, match="give what is missing"):
        await desk.redrive.one(identifier, by="ada")
    with pytest.raises(Invalid, match="started_at"):
        await desk.redrive.one(identifier, by="ada", edits={"service": "checkout"})
    result = await desk.redrive.one(
        identifier, by="ada", edits={"service": "checkout", "started_at": "2025-01-01T00:00:00Z"}
    )
    assert result.status == "redriven"
    [head] = await heads(desk.ledger)
    assert head.opening["services"] == ["checkout"]


# -- ends


async def test_a_discarded_one_is_never_sent_and_says_who(desk: Desk) -> None:
    [identifier] = await received(desk.ledger, github())
    await settle(desk.ledger)
    await desk.redrive.discard(identifier, by="ada")
    assert await desk.state(identifier) == "discarded"
    assert (await desk.story(identifier))[-1]["by"] == "ada"
    with pytest.raises(NotNow):
        await desk.redrive.one(identifier, by="ada")
    await received(desk.ledger, github())
    assert await settle(desk.ledger) == []
    week = 7 * 86_400
    for name in ("event", "story", "raw"):
        assert 0 < await desk.redis.ttl(f"dora:{name}:{identifier}") <= week
    lines, _ = await desk.dead.audit(limit=10)
    assert (lines[0]["who"], lines[0]["what"], lines[0]["id"]) == ("ada", "discard", identifier)


def _aged(desk: Desk, **retention: Any) -> DeadLetters:
    return DeadLetters(desk.redis, Retention(**retention))


async def _age(desk: Desk, identifier: str, days: float) -> None:
    await desk.redis.zadd("dora:dead", {identifier: int(time.time() * 1000 - days * 86_400_000)})


async def test_old_ones_expire_after_a_warning(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await refused(desk.ledger, deployed(1), deployed(2), deployed(3))
    await _age(desk, deployed(1).id, 91)
    await _age(desk, deployed(2).id, 85)
    caplog.set_level(logging.INFO, "dora-bridge")
    expiry = await desk.dead.expiry()
    assert (expiry.soon, expiry.count, expiry.is_near) == (2, 3, True)
    await desk.dead.prune()
    assert [entry.message for entry in caplog.records] == ["dead_letters.expiring", "dead_letters.expired"]
    assert await desk.dead.count() == 2
    assert await desk.ledger.find(deployed(1).id) is None
    assert (await desk.dead.expiry()).soon == 1
    await _age(desk, deployed(2).id, 92)
    await desk.dead.prune()
    assert await desk.dead.count() == 2, "not again within a few minutes, whoever asks"
    lines, _ = await desk.dead.audit(limit=5)
    assert (lines[0]["who"], lines[0]["count"]) == ("retention", 1)


async def test_the_oldest_go_when_there_are_too_many(desk: Desk) -> None:
    await refused(desk.ledger, *(deployed(n) for n in range(1, 6)))
    for number in range(1, 6):
        await _age(desk, deployed(number).id, 10 - number)
    few = _aged(desk, dead_letters_max=3)
    assert (await few.expiry()).is_near
    await few.prune()
    assert await few.count() == 3
    assert await desk.ledger.find(deployed(2).id) is None
    assert await desk.state(deployed(3).id) == "dead_lettered"


async def test_indexes_forget_what_expired_and_keep_old_dead_letters(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1), deployed(2))
    await record(desk.ledger, deployed(3))
    await settle(desk.ledger, verdict="delivered")
    long_ago = int(time.time() * 1000) - 30 * 86_400_000
    await desk.redis.zadd("dora:settled", {deployed(n).id: long_ago for n in (1, 2, 3)})
    await desk.redis.delete(f"dora:event:{deployed(2).id}", f"dora:event:{deployed(3).id}")
    await desk.dead.prune()
    assert await desk.redis.zrange("dora:settled", 0, -1) == [deployed(1).id.encode()]
    assert await desk.redis.zrange("dora:dead", 0, -1) == [deployed(1).id.encode()]


async def test_an_unreadable_record_is_left_out(desk: Desk) -> None:
    await refused(desk.ledger, deployed(1), deployed(2))
    newer = json.loads(await desk.redis.get(f"dora:event:{ID}")) | {"v": 999}
    await desk.redis.set(f"dora:event:{ID}", json.dumps(newer))
    page = await search.page(desk.ledger, search.DEAD_LETTERS, Filter(), limit=50)
    assert [record.envelope.id for _, record in page.records] == [deployed(2).id]


def test_an_edit_of_nothing_is_the_same_statement() -> None:
    for fact in (deployed(1), failed(), closed(), failed(revision=NOW), closed(revision=NOW)):
        before: Envelope = envelope(fact)
        after, _ = edited(before, {}, now=NOW, opening={}, opening_is_known=False)
        assert replace(after) == before
