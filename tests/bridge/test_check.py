"""`check`: what it finds in settings, at Datadog and in Redis, and that only what loses events is a problem."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from undelivered import deployed, record

from bridge import redis_url
from bridge.check import Finding, _of_redis, findings
from bridge.dora import Deployment, Failure
from bridge.embedded_redis import PrivateRedis
from bridge.envelope import Envelope, identity
from bridge.ledger import Entry, Ledger
from bridge.settings import read

NOWHERE = "redis://127.0.0.1:1/0"
GOOD = {"DORA_BRIDGE_SECRETS__GITHUB": "hidden", "DD_API_KEY": "hidden", "DD_APP_KEY": "hidden"}


class Datadog(httpx.AsyncBaseTransport):
    """Answers questions about keys with these statuses, or not at all."""

    def __init__(self, api: int = 200, app: int = 200) -> None:
        self.statuses = {"/api/v1/validate": api, "/api/v2/validate_keys": app}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses[request.url.path.removeprefix("/dd")]
        if not status:
            raise httpx.ConnectError("hidden")
        return httpx.Response(status)


async def found(datadog: Datadog | None = None, **environ: str) -> list[Finding]:
    environ = {"DORA_BRIDGE_REDIS_URL": NOWHERE, **environ}
    return await findings(read(environ), environ, datadog or Datadog())


def told(some: list[Finding], what: str) -> list[tuple[str, str]]:
    return [(one.level, one.detail) for one in some if one.what == what]


async def test_endpoints(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {mobile: {kind: github}, argocd: {}}")
    some = await found(
        DORA_BRIDGE_CONFIG=str(tmp_path / "bridge.yaml"),
        DORA_BRIDGE_SECRETS__GITHUB="one",
        DORA_BRIDGE_SECRETS__MOBILE='["one", "two"]',
    )
    assert told(some, "endpoint") == [
        ("ok", "/webhooks/github accepts 1 secret"),
        ("problem", "argocd is configured but has no secret, so no route (set DORA_BRIDGE_SECRETS__ARGOCD)"),
        ("ok", "/webhooks/mobile accepts 2 secrets"),
    ]


async def test_incident_management_needs_the_application_key(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {pagerduty: {send_as: incident}}")
    environ = {
        "DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml"),
        "DORA_BRIDGE_SECRETS__PAGERDUTY": "one",
    }
    detail = "pagerduty sends to Incident Management, which needs an application key (set DD_APP_KEY)"
    assert ("problem", detail) in told(await found(**environ), "endpoint")
    assert ("problem", detail) not in told(await found(**environ, DD_APP_KEY="hidden"), "endpoint")


async def test_without_any_secret() -> None:
    assert told(await found(), "endpoint") == [
        ("problem", "no endpoint has a secret (set DORA_BRIDGE_SECRETS__<ENDPOINT>)")
    ]


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("DORA_BRIDGE_REDISURL", "; did you mean DORA_BRIDGE_REDIS_URL?"),
        ("DORA_BRIDGE_CONCURENCY", "; did you mean DORA_BRIDGE_CONCURRENCY?"),
        # only secrets are read from files: with this one, Redis would silently be the default one
        ("DORA_BRIDGE_REDIS_URL_FILE", "; did you mean DORA_BRIDGE_REDIS_URL?"),
        ("DORA_BRIDGE_WWWWWWWWWWWWWWWWWWWWWWWWWW", ""),
    ],
)
async def test_variable_that_is_no_setting(variable: str, hint: str) -> None:
    assert told(await found(**GOOD, **{variable: "x"}), "settings") == [("warning", f"{variable} is no setting{hint}")]


async def test_variables_that_are_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    some = await found(
        **GOOD,
        DORA_BRIDGE_ADMIN_TOKEN_FILE=str(tmp_path / "token"),
        DORA_BRIDGE_GITHUB_TOKEN_FILE=str(tmp_path / "token"),
        DORA_BRIDGE_PAGERDUTY_TOKEN="x",
        DORA_BRIDGE_SECRETS__ARGOCD_FILE=str(tmp_path / "token"),
        DORA_BRIDGE_LISTEN="127.0.0.1:1",
        DD_ENV="what other programs of Datadog read",
    )
    assert not told(some, "settings")


# -- hooks of GitHub


@pytest.mark.parametrize(
    ("token", "status", "expected"),
    [
        ("", 0, ("warning", "not asked for again without a token (DORA_BRIDGE_GITHUB_TOKEN)")),
        ("hidden", 200, ("ok", "failed deliveries of orgs/acme/hooks/4 are asked for again")),
        ("hidden", 404, ("warning", "GitHub answers 404 when asked for deliveries of orgs/acme/hooks/4 (hooks, DORA")),
        ("hidden", 0, ("warning", "GitHub is not reachable: ConnectError when asked for deliveries of orgs/acme")),
    ],
)
async def test_hooks(tmp_path: Path, token: str, status: int, expected: tuple[str, str]) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {github: {hooks: [orgs/acme/hooks/4]}}")
    datadog = Datadog()
    datadog.statuses["/orgs/acme/hooks/4/deliveries"] = status
    environ = {"DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml"), "DORA_BRIDGE_GITHUB_TOKEN": token}
    [(level, detail)] = told(await found(datadog, **GOOD, **environ), "github")
    assert level == expected[0]
    assert expected[1] in detail
    assert "hidden" not in detail


# -- Datadog


@pytest.mark.parametrize(
    ("environ", "datadog", "expected"),
    [
        ({}, Datadog(), [("problem", "no API key: nothing can be delivered (set DD_API_KEY)"), "no app key"]),
        (
            {"DD_API_KEY": "k"},
            Datadog(app=0),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                "no app key",
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a", "DORA_BRIDGE_DATADOG_URL": "http://proxy:8126/"},
            Datadog(),
            [
                ("ok", "events go to http://proxy:8126"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("ok", "Datadog takes the application key (DD_APP_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a"},
            Datadog(api=403),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                ("problem", "Datadog refuses the API key (DD_API_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a"},
            Datadog(app=401),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("problem", "Datadog refuses the application key (DD_APP_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a"},
            Datadog(app=404),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("warning", "Datadog answers 404 when asked about the application key (DD_APP_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a", "DD_SITE": "datadoghq.eu"},
            Datadog(api=0),
            [
                ("ok", "events go to https://api.datadoghq.eu"),
                (
                    "problem",
                    "https://api.datadoghq.eu is not reachable: ConnectError (DD_SITE, DORA_BRIDGE_DATADOG_URL)",
                ),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a", "DD_SITE": "ddog-gov.com"},
            Datadog(),
            [
                ("ok", "events go to https://api.ddog-gov.com"),
                ("warning", "the site ddog-gov.com does not offer DORA metrics (DD_SITE)"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("ok", "Datadog takes the application key (DD_APP_KEY)"),
            ],
        ),
    ],
)
async def test_datadog(environ: dict[str, str], datadog: Datadog, expected: list[Any]) -> None:
    no_app_key = "no application key: change failures, withdrawals and read-back are off (DD_APP_KEY)"
    expected = [("warning", no_app_key) if one == "no app key" else one for one in expected]
    assert told(await found(datadog, **environ), "datadog") == expected


async def test_questions_to_datadog_carry_the_keys() -> None:
    datadog = Datadog()
    await found(datadog, DD_API_KEY="schlüssel", DD_APP_KEY="app", DORA_BRIDGE_DATADOG_URL="http://proxy:1/dd")
    assert [str(request.url) for request in datadog.requests] == [
        "http://proxy:1/dd/api/v1/validate",
        "http://proxy:1/dd/api/v2/validate_keys",
    ]
    assert b"".join(value for name, value in datadog.requests[1].headers.raw if name == b"DD-API-KEY").decode() == (
        "schlüssel"
    )
    assert datadog.requests[1].headers["dd-application-key"] == "app"


# -- Redis


async def test_redis_that_is_not_reachable() -> None:
    assert told(await found(**GOOD), "redis") == [("problem", "not reachable: ConnectionError (DORA_BRIDGE_REDIS_URL)")]


async def test_redis_that_is_as_it_should_be(redis_server: PrivateRedis) -> None:
    some = await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url)
    ((level, detail),) = told(some, "redis")
    assert (level, detail[:19]) == ("ok", "reachable, version ")
    assert not told(some, "clock")
    assert not [one for one in some if one.level == "problem"]


async def test_workers(redis_server: PrivateRedis) -> None:
    redis = redis_url.impatient(redis_server.url)
    try:
        ledger = Ledger(redis)
        await redis.delete("dora:workers")
        none = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "worker")
        await ledger.sign_of_life("one")
        one = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "worker")
        await ledger.sign_of_life("two")
        two = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "worker")
        await redis.delete("dora:workers")
    finally:
        await redis.aclose()
    assert none == [("warning", "no worker process is alive: events wait (dora-bridge worker)")]
    assert one == [("ok", "1 worker process alive")]
    assert two == [("ok", "2 worker processes alive")]


async def test_what_names_no_env(redis_server: PrivateRedis) -> None:
    redis = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        assert not told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url), "env")
        await record(Ledger(redis), deployed(1, env=None), deployed(2, env=None), deployed(3))
        some = await found(**GOOD, DORA_BRIDGE_REDIS_URL=redis_server.url)
        await redis.flushdb()
    finally:
        await redis.aclose()
    ((level, detail),) = told(some, "env")
    assert level == "warning"
    assert detail.startswith("2 deployments without env in the last 7 days: map them with a rule (set: {env: …})")


class FakeRedis:
    def __init__(self, ahead_s: float = 0, **info: Any) -> None:
        self._info = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction", **info}
        self._ahead_s = ahead_s

    async def info(self) -> dict[str, Any]:
        return self._info

    async def time(self) -> tuple[int, int]:
        now = time.time() + self._ahead_s
        return int(now), int(now % 1 * 1e6)


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        (FakeRedis(), ("ok", "reachable, version 7.2.4")),
        (FakeRedis(redis_version="6.2.0"), ("ok", "reachable, version 6.2.0")),
        (FakeRedis(redis_version="10.0"), ("ok", "reachable, version 10.0")),
        (FakeRedis(redis_version="6.0.16"), ("problem", "version 6.0.16 is too old: 6.2 or newer is needed")),
        (FakeRedis(redis_version="5.0.7"), ("problem", "version 5.0.7 is too old: 6.2 or newer is needed")),
        (
            FakeRedis(aof_enabled=0),
            ("problem", "no append-only file: a restart loses every event (appendonly yes)"),
        ),
        (
            FakeRedis(maxmemory_policy="allkeys-lru"),
            ("problem", "maxmemory-policy allkeys-lru throws events away (noeviction)"),
        ),
        (FakeRedis(role="slave"), ("problem", "this is a replica: it takes no writes (DORA_BRIDGE_REDIS_URL)")),
        (FakeRedis(ahead_s=60), ("warning", "the clocks of this machine and Redis differ by 60 s")),
        (FakeRedis(ahead_s=-60), ("warning", "the clocks of this machine and Redis differ by 60 s")),
    ],
)
async def test_redis_that_would_lose_events(redis: Any, expected: tuple[str, str]) -> None:
    some = [(one.level, one.detail) for one in await _of_redis(redis)]
    assert expected in some
    assert [level for level, _ in some if level != "ok"] == [expected[0]] * (expected[0] != "ok")


# -- rules, and the services that they name


async def test_rules_that_can_never_match(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(
        "rules:\n"
        "  - {name: shop, match: {repository: acme/*}, set: {service: shop}}\n"
        "  - {match: {repository: acme/shop, environment: prod}, set: {service: other}}\n"
        "  - {match: {endpoint: github, application: x}, drop: y}\n"
        "  - {match: {application: x}, drop: y}\n"
    )
    some = await found(**GOOD, DORA_BRIDGE_CONFIG=str(tmp_path / "bridge.yaml"))
    why = "match.application: events of github (deployment_status) have none"
    assert told(some, "rules") == [
        ("warning", "rule 2 can never match: shop comes first and matches all of it (rules)"),
        ("warning", f"rule 3 can never match: {why} (rules)"),
    ]


async def test_services_that_never_got_an_event(redis_server: PrivateRedis, tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(
        "endpoints:\n"
        "  pagerduty: {services: {P1: [checkout, paymnets]}}\n"
        "  jsm: {services: {i-1: [search]}, integrations: {n-1: {service: basket}, n-2: {team: web}}}\n"
        "rules:\n"
        "  - {match: {repository: a/b}, set: {service: shop}}\n"
        "  - {name: both, match: {repository: a/c}, set: {services: [shop, stock]}}\n"
        "  - {match: {application: '*'}, set: {service: 'app-$1'}}\n"
        "  - {match: {environment: x}, drop: y}\n"
    )
    environ = {"DORA_BRIDGE_REDIS_URL": redis_server.url, "DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml")}
    redis = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        assert told(await found(**GOOD, **environ), "services") == [], "where nothing came, nothing is amiss"
        ledger = Ledger(redis)
        values: dict[str, Any] = {"started_at": time.time_ns(), "finished_at": time.time_ns()}
        facts = [
            Deployment(id="gh-dep-0000000001-000000000001", service="shop", **values),
            Failure(id="pagerduty-incident-Q1", services=("checkout", "basket"), started_at=time.time_ns()),
        ]
        for fact in facts:
            envelope = Envelope(endpoint="e", source="github", received_at=time.time_ns(), **identity(fact))
            await ledger.record([Entry(envelope)])
        assert told(await found(**GOOD, **environ), "services") == [
            ("warning", f"no event of service {service} came in the last 180 days ({where})")
            for service, where in (
                ("stock", "both"),
                ("paymnets", "endpoints.pagerduty.services.P1"),
                ("search", "endpoints.jsm.services.i-1"),
            )
        ]
    finally:
        await redis.flushdb()
        await redis.aclose()


# -- the command


def command(*arguments: str, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_exit_code_and_lines(redis_server: PrivateRedis) -> None:
    good = {
        "DORA_BRIDGE_SECRETS__GITHUB": "hidden",
        "DD_API_KEY": "hidden",
        "DORA_BRIDGE_DATADOG_URL": "http://127.0.0.1:1",
        "DORA_BRIDGE_REDIS_URL": redis_server.url,
    }
    code, out, err = command(**good)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert "ok       endpoint     /webhooks/github accepts 1 secret" in lines
    assert lines[3].startswith("problem  datadog      http://127.0.0.1:1 is not reachable: ConnectError")
    assert "hidden" not in out
    code, out, err = command("--json", **good, DORA_BRIDGE_LISTN="x")
    assert (code, err) == (1, "")
    told = json.loads(out)
    assert {"level": "ok", "what": "endpoint", "detail": "/webhooks/github accepts 1 secret"} in told
    assert [one["what"] for one in told if one["level"] == "problem"] == ["datadog"]


def test_exit_code_0_without_a_problem(redis_server: PrivateRedis, sandbox_address: str) -> None:
    code, out, err = command(
        DORA_BRIDGE_SECRETS__GITHUB="hidden",
        DD_API_KEY="hidden",
        DORA_BRIDGE_DATADOG_URL=sandbox_address,
        DORA_BRIDGE_REDIS_URL=redis_server.url,
    )
    assert (code, err) == (0, ""), out
    assert "ok       datadog      Datadog takes the API key (DD_API_KEY)" in out
    assert "problem" not in out


@pytest.fixture
def sandbox_address() -> Any:
    """Of `dora-bridge sandbox`, which answers what `check` asks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "sandbox", "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"{address}/sandbox/requests", timeout=1)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the sandbox does not answer"
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(20)
