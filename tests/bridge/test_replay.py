"""`rules diff` over a real Redis: which webhooks it translates again, and what the command tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from bridge import redis_url
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope
from bridge.intake import Delivery, receive
from bridge.ledger import Ledger, entries_of
from bridge.replay import Replay, replay
from bridge.rule_diff import CHANGES
from bridge.samples import samples
from bridge.settings import Settings, read

DAY = 86_400
OLD = """
rules:
  - {name: shop, match: {environment: production}, set: {service: chekout}}
  - {name: previews, match: {environment: "preview-*"}, drop: not production}
"""
NEW = """
rules:
  - {name: shop, match: {environment: production}, set: {service: checkout}}
  - {name: previews, match: {environment: "preview-*"}, set: {env: preview}}
"""


class Files(NamedTuple):
    old: Path
    new: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(NEW)
    return Files(tmp_path / "old.yaml", tmp_path / "new.yaml")


@pytest.fixture
async def redis(redis_server: PrivateRedis) -> AsyncIterator[Redis]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    yield redis
    await redis.flushdb()
    await redis.aclose()


@pytest.fixture
def settings(redis_server: PrivateRedis, files: Files) -> Settings:
    return read(environ(redis_server, files))


def environ(server: PrivateRedis, files: Files) -> dict[str, str]:
    return {"DORA_BRIDGE_REDIS_URL": server.url, "DORA_BRIDGE_CONFIG": str(files.old)}


def github(
    number: int, environment: str = "production", state: str = "success", *, ago_s: int = 0, **fields: Any
) -> Delivery:
    kind, sample = samples(time.time_ns() - ago_s * 10**9)["github"]
    body = json.loads(sample)
    body["deployment"] |= {"id": number, "environment": environment, **fields}
    body["deployment_status"]["state"] = state
    headers = {"x-github-event": str(kind), "x-github-delivery": f"d-{number}-{state}"}
    return Delivery(headers, {}, json.dumps(body).encode())


async def come(
    redis: Redis, settings: Settings, *deliveries: Delivery, endpoint: str = "github", ago_s: float = 0
) -> list[str]:
    """Receives and records them, as the web process does; what became of each entry."""
    became: list[str] = []
    for delivery in deliveries:
        receipt = receive(
            settings.endpoints[endpoint],
            delivery,
            secret=1,
            now=time.time_ns() - int(ago_s * 10**9),
            rules=settings.configuration.rules,
            application_key=settings.application_key,
        )
        ledger = Ledger(redis, settings.configuration.retention)
        became += (await ledger.record(entries_of(receipt, delivery)))[0]
    return became


def told(result: Replay) -> list[tuple[str, str]]:
    return [(one.what, one.envelope.id[-4:]) for one in result.comparison.changes()]


def counts(result: Replay) -> dict[str, int]:
    whole = result.json()
    return {name: value if isinstance(value, int) else len(value) for name, value in whole.items()}


async def test_exactly_the_events_that_change(redis: Redis, settings: Settings, files: Files) -> None:
    deliveries = [
        github(1),
        github(2, "staging"),
        github(3, "preview-1"),
        github(4, "preview-2", transient_environment=True),
        github(5, state="queued"),
    ]
    assert await come(redis, settings, *deliveries) == ["accepted", "accepted", "ignored", "ignored", "ignored"]
    result = await replay(settings, files.new, None)
    assert told(result) == [("changed", "0001"), ("added", "0003")]
    assert counts(result) == {
        "webhooks": 3,
        "expired": 0,
        "without_body": 2,
        "added": 1,
        "removed": 0,
        "changed": 1,
        "unchanged": 1,
    }


async def test_the_same_file_changes_nothing_and_the_way_back_is_the_mirror(
    redis: Redis, settings: Settings, files: Files
) -> None:
    await come(redis, settings, github(1), github(3, "preview-1"))
    assert told(await replay(settings, files.old, None)) == []
    files.old.write_text(NEW)
    back = read({"DORA_BRIDGE_REDIS_URL": settings.environment.redis_url, "DORA_BRIDGE_CONFIG": str(files.old)})
    files.new.write_text(OLD)
    # what the current rules drop is translated under them, whatever it became when it was received
    assert told(await replay(back, files.new, None)) == [("changed", "0001"), ("removed", "0003")]


async def test_dead_letters_are_translated_again_too(redis: Redis, settings: Settings, files: Files) -> None:
    files.new.write_text("endpoints: {pagerduty: {services: {P1: [checkout]}}}")
    body = json.dumps(
        {
            "event": {
                "id": "e1",
                "event_type": "incident.triggered",
                "occurred_at": "2026-01-01T00:00:00Z",
                "data": {"id": "Q1", "created_at": "2026-01-01T00:00:00Z", "service": {"id": "P1"}},
            }
        }
    ).encode()
    assert await come(redis, settings, Delivery({}, {}, body), endpoint="pagerduty") == ["dead_lettered"]
    (change,) = (await replay(settings, files.new, None)).comparison.changes()
    assert (change.what, change.envelope.services) == ("added", ("checkout",))
    assert change.why.startswith("a dead letter: event.data has neither service.summary nor teams")


async def test_headers_query_and_time_of_receipt_are_those_of_then(
    redis: Redis, settings: Settings, files: Files
) -> None:
    """As of now the deployment would be too old, and without the query it had no env."""
    files.new.write_text("{endpoints: {github: {deployments_from: [release], ignore_older_than_hours: 1}}}")
    files.old.write_text("{endpoints: {github: {deployments_from: [release], ignore_older_than_hours: 2}}}")
    settings = read({"DORA_BRIDGE_REDIS_URL": settings.environment.redis_url, "DORA_BRIDGE_CONFIG": str(files.old)})
    body = json.loads(github(1).body)
    published = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 2.5 * 3600))
    release = {"action": "published", "release": {"id": 7, "tag_name": "v1", "published_at": published}}
    delivery = Delivery(
        {"x-github-event": "release"},
        {"env": "production"},
        json.dumps({**release, "repository": body["repository"]}).encode(),
    )
    assert await come(redis, settings, delivery, ago_s=3600) == ["accepted"]
    (change,) = (await replay(settings, files.new, None)).comparison.changes()
    assert (change.what, change.why) == ("removed", "ignored: it finished longer ago than ignore_older_than_hours")
    assert change.envelope.attributes["env"] == "production"


async def test_since(redis: Redis, settings: Settings, files: Files) -> None:
    await come(redis, settings, github(1, ago_s=2 * DAY), ago_s=2 * DAY)
    await come(redis, settings, github(2, ago_s=3600), ago_s=3600)
    assert told(await replay(settings, files.new, None)) == [("changed", "0001"), ("changed", "0002")]
    assert told(await replay(settings, files.new, "2h")) == [("changed", "0002")]
    assert told(await replay(settings, files.new, "1m")) == []


async def test_bodies_that_are_not_kept_any_more_are_counted(redis: Redis, settings: Settings, files: Files) -> None:
    await come(redis, settings, github(1), github(2), github(3, "preview-1"))
    for key in await redis.keys("dora:raw:*0001"):
        await redis.delete(key)
    for key in await redis.keys("dora:raw:in-*"):
        await redis.delete(key)
    result = await replay(settings, files.new, None)
    assert (told(result), result.expired, result.without_body) == ([("changed", "0002")], 2, 0)
    assert "2 webhooks left out: the body is not kept any more (retention.raw_days)" in result.text()


async def test_several_events_of_one_webhook_are_one_webhook(redis: Redis, settings: Settings, files: Files) -> None:
    files.old.write_text("rules: [{match: {environment: production}, set: {services: [a, b, c]}}]")
    files.new.write_text("rules: [{match: {environment: production}, set: {services: [a, b, d]}}]")
    settings = read({"DORA_BRIDGE_REDIS_URL": settings.environment.redis_url, "DORA_BRIDGE_CONFIG": str(files.old)})
    assert await come(redis, settings, github(1)) == ["accepted"] * 3
    result = await replay(settings, files.new, None)
    found = [(one.what, one.envelope.services) for one in result.comparison.changes()]
    assert found == [("removed", ("c",)), ("added", ("d",))]
    assert counts(result) | {"webhooks": 1, "unchanged": 2} == counts(result)


@pytest.mark.parametrize("before", [["a"], ["a", "b"], ["b", "c"]])
@pytest.mark.parametrize("after", [["a"], ["a", "b"], ["a", "b", "c"], ["c"]])
async def test_it_says_what_would_be_told_from_now_on(
    redis: Redis, settings: Settings, files: Files, before: list[str], after: list[str]
) -> None:
    """Which is what the ledger makes of the same webhooks when the new file is used."""
    for path, services in ((files.old, before), (files.new, after)):
        path.write_text(json.dumps({"rules": [{"match": {"kind": "*"}, "set": {"services": services}}]}))
    environ = {"DORA_BRIDGE_REDIS_URL": settings.environment.redis_url, "DD_API_KEY": "k", "DD_APP_KEY": "k"}
    old, new = (read({**environ, "DORA_BRIDGE_CONFIG": str(path)}) for path in files)
    deliveries = [github(1), github(2, payload={"rollback_of": 1})]
    await come(redis, old, *deliveries)
    known = {id_.decode() for id_ in await redis.zrange("dora:waiting", 0, -1)}
    result = await replay(old, files.new, None)

    said = [one for delivery in deliveries for one in _received(new, delivery)]
    named = {one.id for one in await Ledger(redis).as_reported(said)}
    found = {what: {one.envelope.id for one in result.comparison.changes() if one.what == what} for what in CHANGES}
    assert found == {"added": named - known, "removed": known - named, "changed": found["changed"]}
    assert len(found["changed"]) + result.comparison.unchanged == len(named & known)


def _received(settings: Settings, delivery: Delivery) -> Sequence[Envelope]:
    return receive(
        settings.endpoints["github"],
        delivery,
        secret=1,
        now=time.time_ns(),
        rules=settings.configuration.rules,
        application_key=True,
    ).envelopes


async def test_many(redis: Redis, settings: Settings, files: Files) -> None:
    deliveries = [github(number, "production" if number % 3 else "staging") for number in range(1000, 1250)]
    await come(redis, settings, *deliveries)
    result = await replay(settings, files.new, None)
    assert told(result) == [("changed", str(number)) for number in range(1000, 1250) if number % 3]
    assert counts(result)["unchanged"] == 83


async def test_nothing_is_written(redis: Redis, settings: Settings, files: Files) -> None:
    async def everything() -> dict[bytes, Any]:
        return {key: await redis.dump(key) for key in sorted(keys)}

    await come(redis, settings, github(1), github(3, "preview-1"), github(5, state="queued"))
    keys = await redis.keys("*")
    before = await everything()
    await replay(settings, files.new, None)
    assert sorted(await redis.keys("*")) == sorted(keys)
    assert await everything() == before


async def test_the_body_that_a_rule_dropped_expires_with_the_others(redis: Redis, settings: Settings) -> None:
    await come(redis, settings, github(3, "preview-1"))
    (key,) = await redis.keys("dora:raw:*")
    assert 0 < await redis.ttl(key) <= 3 * DAY
    assert key.startswith(b"dora:raw:in-")


# -- the command


def command(server: PrivateRedis, files: Files, *arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "rules", "diff", "--config", str(files.new), *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **environ(server, files)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


async def test_command(redis: Redis, settings: Settings, files: Files, redis_server: PrivateRedis) -> None:
    await come(redis, settings, github(1), github(2, "staging"), github(3, "preview-1"), github(5, state="queued"))
    code, out, err = command(redis_server, files)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "changed  gh-dep-0000004242-000000000001  POST /api/v2/dora/deployment",
        '         service: "chekout" -> "checkout"',
        "added    gh-dep-0000004242-000000000003  POST /api/v2/dora/deployment",
        '         service "checkout", env "preview", by previews',
        "         before ignored: not production (previews)",
        "1 added, 0 removed, 1 changed, 1 unchanged, of 3 webhooks",
        "1 webhook left out: ignored before any rule, so no body was kept",
    ]
    code, out, err = command(redis_server, files, "--json", "--since", "1d", "--check")
    assert (code, err) == (1, "")
    assert [one["id"][-4:] for one in json.loads(out)["changed"]] == ["0001"]
    assert command(redis_server, Files(files.old, files.old), "--check")[0] == 0


@pytest.mark.parametrize(
    ("content", "arguments", "line"),
    [
        (
            "rules: [{match: {repo: x}, drop: y}]",
            [],
            "new.yaml: rules.0.match.repo: unknown key; did you mean repository?",
        ),
        ("", ["--since", "yesterday"], "since: neither a time like "),
        (None, [], "Invalid value for '--config': File "),
    ],
)
def test_command_used_wrongly(
    files: Files, redis_server: PrivateRedis, content: str | None, arguments: list[str], line: str
) -> None:
    if content is None:
        files.new.unlink()
    else:
        files.new.write_text(content)
    code, out, err = command(redis_server, files, *arguments)
    assert (code, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1


def test_command_without_redis(files: Files) -> None:
    class Nowhere:
        url = "redis://127.0.0.1:1/0"

    code, out, err = command(Nowhere(), files)  # type: ignore[arg-type]
    assert (code, out) == (1, "")
    assert err.startswith("dora-bridge: ConnectionError: ")
