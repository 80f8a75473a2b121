"""The commands `links`, over a real Redis; in a thread, since each runs an event loop of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from click.testing import CliRunner, Result
from linked import DEPLOYMENT, happened, look
from undelivered import deployed, record

from bridge import cli, redis_url
from bridge.dead_letters import DeadLetters
from bridge.embedded_redis import PrivateRedis
from bridge.errors import NotNow, Unknown
from bridge.ledger import Ledger
from bridge.links import Links

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Any]:
    client = redis_url.patient(redis_server.url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def incident(redis: Any) -> str:
    """One suggestion."""
    await record(Ledger(redis), deployed(1))
    id_ = await happened(Ledger(redis))
    await look(Links(redis))
    return id_


@pytest.fixture
def command(redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("DORA_BRIDGE_REDIS_URL", redis_server.url)
    monkeypatch.setenv("LOGNAME", "grace")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.commands, arguments, standalone_mode=False)

    async def in_thread(*arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments)

    return in_thread


async def test_listing(incident: str, redis: Any, command: Command) -> None:
    older = await happened(Ledger(redis), 2)
    await look(Links(redis))
    text = (await command("links", "list", "--status", "suggested")).stdout
    assert [line.split()[1:3] for line in text.splitlines()] == [["suggested", f"{one}:"] for one in (incident, older)]
    found = json.loads((await command("links", "list", "--json", "--limit", "1")).stdout)
    assert [one["incident"] for one in found["links"]] == [incident]
    assert found["next_cursor"]
    assert "none" in (await command("links", "list", "--status", "applied")).stderr


async def test_showing(incident: str, command: Command) -> None:
    text = (await command("links", "show", incident)).stdout
    assert DEPLOYMENT in text
    assert f"dora-bridge links apply {incident}" in text
    (shown,) = json.loads((await command("links", "show", incident, "--json")).stdout)["links"]
    assert (shown["deployment"], shown["status"]) == (DEPLOYMENT, "suggested")
    assert isinstance((await command("links", "show", "unknown")).exception, Unknown)


async def test_an_incident_that_nothing_was_decided_about(redis: Any, command: Command) -> None:
    id_ = await happened(Ledger(redis))
    assert isinstance((await command("links", "show", id_)).exception, NotNow)


async def test_applying_and_rejecting(incident: str, redis: Any, command: Command) -> None:
    done = await command("links", "apply", incident, "unknown")
    assert done.return_value == 1
    assert done.stdout == f"{incident}: recorded\n"
    assert "no incident unknown is known" in done.stderr
    assert "no worker is alive" in done.stderr
    await look(Links(redis))
    assert json.loads((await command("links", "show", incident, "--json")).stdout)["links"][0]["status"] == "applied"
    await Ledger(redis).sign_of_life("w")
    done = await command("links", "reject", incident, "--json")
    assert done.return_value == 0
    assert json.loads(done.stdout)["links"][0]["override"] == "reject"
    assert done.stderr == ""
    lines, _ = await DeadLetters(redis).audit(limit=10)
    assert [(line["who"], line["what"]) for line in lines] == [
        ("cli:grace", "reject link"),
        ("cli:grace", "apply link"),
    ]


async def test_events_show_what_is_linked(incident: str, command: Command) -> None:
    text = (await command("events", "show", incident)).stdout
    assert "link       suggested, score 0." in text
    assert f"{DEPLOYMENT}, chekout in production" in text
    text = (await command("events", "show", DEPLOYMENT)).stdout
    assert f"{incident}: " in text
    (link,) = json.loads((await command("events", "show", DEPLOYMENT, "--json")).stdout)["links"]
    assert link["incident"] == incident


async def test_events_without_env(redis: Any, command: Command) -> None:
    await record(Ledger(redis), deployed(1), deployed(2, env=None))
    rows = json.loads((await command("events", "list", "--without-env", "--json")).stdout)["events"]
    assert [row["id"] for row in rows] == [deployed(2).id]
