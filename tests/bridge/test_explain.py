"""What is told about one event, and the commands `events` and `dead-letters` over a real Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from undelivered import NOW, SECOND, closed, deployed, envelope, failed, github, received, record, refused, settle

from bridge import cli, redis_url
from bridge.corrections import statement
from bridge.dead_letters import DeadLetters
from bridge.dora import Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.explain import duration, explained, explanation, story, told
from bridge.intake import Delivery
from bridge.ledger import Entry, Fact, Ledger, Record
from bridge.rules import Rule

ID = deployed(1).id
AT = NOW // 1_000_000


@pytest.fixture
async def ledger(redis_server: PrivateRedis) -> AsyncIterator[Ledger]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield Ledger(redis)
    await redis.aclose()


async def test_the_whole_story_of_one(ledger: Ledger, redis_server: PrivateRedis) -> None:
    rule = Rule.model_validate({"name": "to shopist", "match": {"kind": "*"}, "set": {"service": "shopist"}})
    [identifier] = await received(ledger, github(), rules=[rule])
    await settle(ledger, answer='{"errors":["Invalid service"]}')
    redis = redis_url.patient(redis_server.url)
    whole = await explained(ledger, DeadLetters(redis), identifier)
    await redis.aclose()
    assert whole is not None
    assert whole["delivery"]["secret"] == 1
    assert whole["delivery"]["id"] == "d-1"
    assert "x-hub-signature-256" not in whole["delivery"]["headers"]
    assert whole["kind"] == "deployment_status"
    assert whole["rule"] == "to shopist"
    assert whole["origins"]["service"] == "rule"
    assert whole["origins"]["env"] == "deployment.environment"
    assert whole["request"]["body"]["data"]["attributes"]["service"] == "shopist"
    assert (whole["reason"], whole["detail"]) == ("invalid", "400: Invalid service")
    text = story(whole)
    for part in ("secret 1", "to shopist", "service = shopist   <- rule", "Datadog refused it as invalid", "next"):
        assert part in text


async def test_what_a_person_asked_for(ledger: Ledger, redis_server: PrivateRedis) -> None:
    deletion = statement(Withdrawal(record_id=ID, what="deployment"), by="ada", now=NOW)
    await ledger.record([Entry(replace(deletion, after=()))])
    await settle(ledger, verdict="delivered", status=202)
    redis = redis_url.patient(redis_server.url)
    whole = await explained(ledger, DeadLetters(redis), ID)
    await redis.aclose()
    assert whole is not None
    assert (whole["by"], whole["next"]) == ("ada", "nothing: Datadog was told to delete it")
    text = story(whole)
    assert " by ada: delete\n" in text
    assert f"DELETE /api/v2/dora/deployment/{ID}" in text
    assert "webhooks" not in text


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            {"state": "delivered", "verdict": "delivered", "status": 200, "took_ms": 41.3},
            "Datadog took it (200 after 41 ms)",
        ),
        (
            {"state": "delivered", "verdict": "delivered", "status": 202, "reason": "delayed"},
            "Datadog took it, to be processed later (202)",
        ),
        (
            {"state": "waiting", "verdict": "errored", "status": 503, "reason": "server_error", "due": AT + 90_000},
            "Datadog failed (503): tried again after 1 min 30 s",
        ),
        (
            {"state": "waiting", "verdict": "errored", "status": 403, "reason": "auth", "blocked": True, "due": AT},
            "Datadog refused the API key (403): held until Datadog takes calls again",
        ),
        (
            {"state": "dead_lettered", "verdict": "rejected", "status": 422, "reason": "invalid"},
            "Datadog refused it as invalid (422): a dead letter now",
        ),
        (
            {"state": "dead_lettered", "verdict": "errored", "status": 0, "reason": "timeout"},
            "Datadog did not answer in time, and patience ended",
        ),
        (
            {"state": "delivered", "verdict": "delivered", "status": 200, "reason": "found"},
            "Datadog has it: the answer to its creation was lost, and it is in the list of incidents",
        ),
        (
            {"state": "delivered", "verdict": "delivered", "status": 404, "reason": "gone"},
            "Datadog does not have it: nothing is left to delete (404)",
        ),
        ({"state": "waiting", "by": "opening"}, "Its opening came, so it goes out after it"),
        ({"state": "waiting", "by": "redelivery"}, "The sender delivered it again, so it goes out again"),
        ({"state": "waiting", "by": "ada", "mode": "as_sent"}, "ada: redriven"),
        ({"state": "waiting", "by": "ada", "mode": "as_sent", "edits": {"env": {}}}, "ada: edited and redriven"),
        ({"state": "waiting", "by": "ada", "mode": "retranslate"}, "ada: translated again and redriven"),
        ({"state": "discarded", "by": "ada"}, "ada: Discarded"),
        ({"state": "superseded", "reason": "a later one came first"}, "Superseded: a later one came first"),
    ],
)
def test_lines_in_words(line: dict[str, Any], sentence: str) -> None:
    assert told({"at": AT, **line}) == sentence


@pytest.mark.parametrize(
    ("destination", "line", "says"),
    [
        ({}, {}, "first of its key"),
        ({}, {"due": int(time.time() * 1000) + 86_400_000}, "tried again at"),
        (
            {"state": "parked", "reason": "auth", "until": str(int(time.time() * 1000) + 86_400_000)},
            {},
            "accepts the key",
        ),
        ({"state": "held", "reason": "rate_limited", "until": "1"}, {}, "rate limit"),
    ],
)
def test_what_happens_next(destination: dict[str, str], line: dict[str, Any], says: str) -> None:
    lines = [{"at": AT, "state": "waiting", **line}]
    assert says in explanation(Record(envelope(deployed(1)), lines), destination=destination)["next"]


def test_what_is_sent_is_shown_as_it_is_sent() -> None:
    opening = {**failed().body["data"]["attributes"], "services": ["as-opened"]}
    shown = explanation(Record(envelope(closed())), fact=Fact({}, opening, {}))
    assert shown["request"]["body"]["data"]["attributes"]["services"] == ["as-opened"]
    second = deployed(1).finished_at // SECOND + 1
    shown = explanation(Record(envelope(deployed(1))), fact=Fact({}, {}, {"second": second}))
    assert shown["request"]["body"]["data"]["attributes"]["finished_at"] == second * SECOND


def test_a_call_to_incident_management_is_shown_as_it_is_made() -> None:
    opening, ended = envelope(failed(name="Slow", send_as="incident")), envelope(closed(send_as="incident"))
    fact = Fact({}, opening.attributes, {}, "a6250371")
    assert explanation(Record(opening), fact=fact)["request"]["path"] == "/api/v2/incidents"
    assert explanation(Record(ended), fact=fact)["request"]["path"] == "/api/v2/incidents/a6250371"
    assert explanation(Record(ended))["request"]["path"] == "/api/v2/incidents/{uuid}"
    raw = ({"origins": {opening.id: {"name": "event.data.title", "services": "option services"}}}, b"")
    text = story(explanation(Record(opening, raw=raw), fact=fact))
    assert "title = Slow   <- event.data.title" in text
    assert "services = ['chekout']   <- option services" in text
    assert "state = active\n" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.041, "41 ms"), (1, "1 s"), (1.26, "1.3 s"), (59, "59 s"), (60, "1 min"), (90, "1 min 30 s"), (3600, "1 h"),
     (5400, "1 h 30 min"), (86_400, "1 d"), (2 * 86_400 + 7200, "2 d 2 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- the commands; in a thread, since each runs an event loop of its own

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def command(redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("DORA_BRIDGE_REDIS_URL", redis_server.url)
    monkeypatch.setenv("LOGNAME", "grace")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.commands, arguments, standalone_mode=False)

    async def in_thread(*arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments)

    return in_thread


async def test_listing(ledger: Ledger, command: Command) -> None:
    await refused(ledger, deployed(1), deployed(2, service="other"))
    await record(ledger, deployed(3))
    rows = json.loads((await command("dead-letters", "list", "--service", "other", "--json")).stdout)["dead_letters"]
    assert [row["id"] for row in rows] == [deployed(2).id]
    text = (await command("dead-letters", "list")).stdout
    assert "invalid: 400: Invalid service" in text
    rows = json.loads((await command("events", "list", "--state", "waiting", "--json")).stdout)["events"]
    assert [row["id"] for row in rows] == [deployed(3).id]
    assert "none" in (await command("events", "list", "--q", "nothing has this")).stderr


async def test_showing(ledger: Ledger, command: Command) -> None:
    [identifier] = await received(ledger, github())
    await settle(ledger)
    shown = json.loads((await command("dead-letters", "show", identifier, "--json")).stdout)
    assert json.loads(shown["body"])["deployment"]
    assert "as received" in (await command("dead-letters", "show", identifier)).stdout
    assert "body" not in json.loads((await command("events", "show", identifier, "--json")).stdout)
    await record(ledger, deployed(3))
    failure = (await command("dead-letters", "show", deployed(3).id)).exception
    assert "no dead letter: it is waiting" in str(failure)


async def test_redriving_and_discarding(ledger: Ledger, command: Command) -> None:
    await refused(ledger, *(deployed(n) for n in range(1, 9)))
    for wrong in ((), (ID, "--all"), ("--all", "--source", "github"), ("--all", "--set", "x")):
        assert isinstance((await command("dead-letters", "redrive", *wrong)).exception, click.UsageError)
    assert (await command("dead-letters", "redrive", "--all", "--dry-run")).stdout == "8 would be redriven\n"
    done = await command("dead-letters", "redrive", ID, "--set", "service=checkout", "--set", 'custom_tags=["a:b"]')
    assert done.stdout == f"{ID}: redriven\n"
    assert (
        json.loads((await command("dead-letters", "discard", deployed(2).id, "--json")).stdout)["status"] == "discarded"
    )
    done = await command("dead-letters", "redrive", "--service", "chekout", "--json")
    assert json.loads(done.stdout)["redriven"] == 6
    sent = await settle(ledger, verdict="delivered")
    assert len(sent) == 7
    [first] = [head.envelope for head in sent if head.envelope.id == ID]
    assert (first.services, first.attributes["custom_tags"]) == (("checkout",), ["a:b"])
    [lines] = await ledger.stories([ID])
    assert lines[1]["by"] == "cli:grace"
    failure = await command("dead-letters", "redrive", ID)
    assert failure.return_value == 1
    assert "no dead letter: it is delivered" in failure.stderr


async def test_exporting(ledger: Ledger, command: Command) -> None:
    await refused(ledger, deployed(1), deployed(2))
    await received(ledger, Delivery(github().headers, {}, b"{"))
    lines = (await command("dead-letters", "export")).stdout.splitlines()
    assert [json.loads(line)["body"] for line in lines] == [None, None, "{"]
