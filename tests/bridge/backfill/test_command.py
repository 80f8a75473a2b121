"""`dora-bridge backfill` as a user runs it, against stand-ins of the vendors and a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis as blocking_redis
from stand_ins.github import GitHub
from stand_ins.pagerduty import PagerDuty
from stand_ins.serving import serving

from bridge import cli
from bridge.embedded_redis import PrivateRedis
from bridge.times import SECOND, to_rfc3339

HOOK = "repos/acme/shop/hooks/123"


def ago(hours: float) -> str:
    return to_rfc3339(int(time.time() - hours * 3600) * SECOND)


class Done(NamedTuple):
    code: int
    out: str
    err: str


class World:
    def __init__(self, redis: PrivateRedis, folder: Path, github: str, pagerduty: str) -> None:
        (folder / "bridge.yaml").write_text(
            f"endpoints: {{github: {{kind: github, api_url: '{github}'}},"
            f" pagerduty: {{kind: pagerduty, api_url: '{pagerduty}'}}}}\n"
        )
        self.folder = folder
        self.redis = blocking_redis.Redis.from_url(redis.url)
        self.redis.flushdb()
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DORA_BRIDGE_"))},
            "DORA_BRIDGE_REDIS_URL": redis.url,
            "DORA_BRIDGE_CONFIG": str(folder / "bridge.yaml"),
            "DORA_BRIDGE_GITHUB_TOKEN": "ghs_token",
            "DORA_BRIDGE_PAGERDUTY_TOKEN": "pd_token",
            "DORA_BRIDGE_ARGOCD_TOKEN": "argo_token",
        }

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bridge", "backfill", *arguments],
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, **environ: str) -> Done:
        process = self.start(*arguments, **environ)
        out, err = process.communicate(timeout=60)
        assert b"Traceback" not in err, err.decode()
        assert b"_token" not in out + err.replace(b"DORA_BRIDGE", b""), "a token is never shown"
        return Done(process.returncode, out.decode(), err.decode())

    def waiting(self) -> set[str]:
        return {one.decode() for one in self.redis.zrange("dora:waiting", 0, -1)}  # type: ignore[union-attr]


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def pagerduty() -> PagerDuty:
    return PagerDuty()


@pytest.fixture
def world(redis_server: PrivateRedis, tmp_path: Path, github: GitHub, pagerduty: PagerDuty) -> Iterator[World]:
    with serving(github.app) as first, serving(pagerduty.app) as second:
        world = World(redis_server, tmp_path, first, second)
        yield world
        world.redis.close()


def test_github_shows_first_and_applies_then(world: World, github: GitHub) -> None:
    finished = ago(30)
    github.deploy(1, ("success", finished))
    github.deploy(2, ("success", ago(20)))
    github.deploy(3, ("failure", ago(10)))
    shown = world.run("github", "--repository", "acme/shop")
    assert shown.code == 0, shown.err
    first, second, summary, hint = shown.out.splitlines()
    assert first.split() == [
        "new",
        finished,
        "gh-dep-0000004242-000000000001",
        "deployment_status",
        "shop",
        "production",
    ]
    assert "000000000002" in second
    assert (summary, hint) == ("2 lacking", "nothing was recorded: --apply does it")
    assert world.waiting() == set()

    applied = world.run("github", "--repository", "acme/shop", "--apply")
    assert applied.out.splitlines()[-1] == "2 added"
    assert world.waiting() == {f"gh-dep-0000004242-{number:012d}" for number in (1, 2)}
    [(_, fields)] = world.redis.xrange("dora:audit")  # type: ignore[misc]
    line = json.loads(fields[b"line"])
    assert (line["what"], line["count"], line["filter"]["endpoint"]) == ("backfill", 2, "github")
    assert line["who"].startswith("cli:")
    again = world.run("github", "--repository", "acme/shop", "--apply", "--json")
    document = json.loads(again.out)
    assert (document["applied"], document["events"], document["counts"]) == (True, [], {"known": 2})


def test_failed_deliveries_and_deployments_are_one_fact(world: World, github: GitHub) -> None:
    """The hook's body has more to say, and comes first only if it is older; either way there is one event."""
    github.deploy(1, ("success", ago(3)))
    body = {
        "deployment": github.deployments[0],
        "deployment_status": github.statuses[1][0],
        "repository": {"id": 4242, "name": "shop", "html_url": "https://github.com/acme/shop"},
    }
    github.deliver(HOOK, 11, "guid-1", ago(3), 503, payload=body)
    github.deliver(HOOK, 12, "guid-2", ago(2), 202)
    github.deliver(HOOK, 13, "guid-3", ago(1), 503, event="push", payload={"ref": "main"})
    done = world.run("github", "--repository", "acme/shop", "--hook", HOOK, "--apply")
    assert done.out.splitlines()[-1] == "1 added, 1 known"
    assert len(world.waiting()) == 1


def test_a_killed_one_goes_on_where_it_stopped(world: World, github: GitHub) -> None:
    for number in range(1, 5):
        github.deploy(number, ("success", ago(10 - number)))
    held = "/repos/acme/shop/deployments/3/statuses"
    github.held[held] = threading.Event()
    process = world.start("github", "--repository", "acme/shop", "--apply")
    deadline = time.monotonic() + 30
    while held not in github.gate.paths() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(world.waiting()) == 2
    github.held.pop(held).set()
    github.gate.calls.clear()

    done = world.run("github", "--repository", "acme/shop", "--apply")
    assert done.out.splitlines()[-1] == "2 added, 2 recorded before"
    assert len(world.waiting()) == 4
    read = [path for path in github.gate.paths() if path.endswith("statuses")]
    assert read == [f"/repos/acme/shop/deployments/{number}/statuses" for number in (3, 4)]
    assert world.run("github", "--repository", "acme/shop", "--apply").out.splitlines()[-1] == "0 added, 4 known"


def test_what_cannot_be_read_is_said_and_the_rest_is_done(world: World, github: GitHub) -> None:
    github.deploy(1, ("success", ago(3)))
    done = world.run("github", "--repository", "acme/shop", "--hook", "orgs/acme/hooks/9", "--apply")
    assert done.code == 1
    assert "GitHub: GET orgs/acme/hooks/9/deliveries: answered 404: does it exist" in done.err
    assert done.out.splitlines()[-1] == "1 added, 1 unreadable"


def test_a_wrong_token(world: World) -> None:
    done = world.run("github", "--repository", "acme/shop", DORA_BRIDGE_GITHUB_TOKEN="wrong")
    assert done.code == 1
    assert "is DORA_BRIDGE_GITHUB_TOKEN set to a token that is valid?" in done.err


def test_a_limit_is_waited_for_and_told(world: World, github: GitHub) -> None:
    github.deploy(1, ("success", ago(3)))
    github.gate.refuse(429, {"retry-after": "0"})
    done = world.run("github", "--repository", "acme/shop")
    assert done.code == 0
    assert "answered 429: waiting 1 s" in done.err


def test_pagerduty(world: World, pagerduty: PagerDuty) -> None:
    pagerduty.trigger("PONE", ago(30), ago(29))
    pagerduty.trigger("PTWO", ago(2), service={"id": "POTHER", "summary": "other"})
    shown = world.run("pagerduty", "--since", "3d")
    assert shown.out.splitlines()[-2] == "3 lacking"
    pagerduty.trigger("PMERGED", ago(2000), ago(1), resolve_reason={"type": "merge_resolve_reason"})
    shown = world.run("pagerduty", "--since", "3d", DD_APP_KEY="key")
    assert shown.out.splitlines()[-2] == "  1 ignored: the incident that was merged away was never reported"
    applied = world.run("pagerduty", "--service", "PSVC1", "--env", "production", "--apply", "--json", "--until", "90m")
    document = json.loads(applied.out)
    assert [(one["id"], one["env"], one["services"]) for one in document["events"]] == [
        ("pagerduty-incident-PONE~open", "production", ["checkout"]),
        ("pagerduty-incident-PONE~closed", "production", ["checkout"]),
    ]
    assert world.waiting() == {"pagerduty-incident-PONE~open", "pagerduty-incident-PONE~closed"}


def test_argocd_from_files_and_a_server(world: World) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    entry = {"id": 4, "revision": "a" * 40, "deployStartedAt": ago(60), "deployedAt": ago(59)}
    old = {**entry, "id": 3, "revision": "b" * 40, "deployStartedAt": ago(600), "deployedAt": ago(599)}
    application: Any = {"metadata": {"name": "shop", "uid": "1" * 36}, "status": {"history": [old, entry]}}
    (world.folder / "list.json").write_text(json.dumps({"kind": "List", "items": [application]}))
    done = world.run("argocd", str(world.folder / "list.json"), "--since", "7d")
    assert done.out.splitlines()[-2] == "1 lacking", "older than a day, and older ones were not asked for"

    def applications(request: Request) -> JSONResponse:
        assert request.headers["authorization"] == "Bearer argo_token"
        return JSONResponse({"items": [application]})

    with serving(Starlette(routes=[Route("/api/v1/applications", applications)])) as url:
        done = world.run("argocd", "--url", f"{url}/", "--since", "60d", "--apply")
    assert done.out.splitlines()[-1] == "2 added"
    (world.folder / "odd.json").write_text("{")
    done = world.run("argocd", str(world.folder / "odd.json"), str(world.folder / "list.json"))
    assert (done.code, "odd.json: not JSON" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["github"], "say what to read: --repository OWNER/NAME, or --hook"),
        (["github", "--repository", "shop"], "--repository shop: not like acme/shop"),
        (["github", "--hook", "hooks/1"], "--hook hooks/1: not like repos/acme/shop/hooks/123"),
        (["github", "--repository", "a/b", "--endpoint", "pagerduty"], "it is of kind pagerduty, not github"),
        (["github", "--repository", "a/b", "--since", "soon"], "since: neither a time"),
        (["github", "--repository", "a/b", "--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["argocd"], "say what to read: FILES, or --url"),
        (["argocd", "--url", "https://user:pass@argo"], "--url: not an http or https URL without credentials"),
        (["argocd", "missing.json"], "missing.json: No such file"),
        (["github", "--repository", "a/b"], "DORA_BRIDGE_GITHUB_TOKEN: set a token for the API of GitHub (read access"),
        (["pagerduty"], "DORA_BRIDGE_PAGERDUTY_TOKEN: set a token for the API of PagerDuty (read access"),
        (["argocd", "--url", "https://argo"], "DORA_BRIDGE_ARGOCD_TOKEN: set a token for the API of Argo CD"),
    ],
)
def test_wrong_usage(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dora-bridge", "backfill", *arguments])
    for name in list(os.environ):
        if name.startswith(("DD_", "DORA_BRIDGE_")):
            monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert words in capfd.readouterr().err
