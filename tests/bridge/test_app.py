"""The public listener, called in process: every situation and its answer, and what must never leave it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from starlette.applications import Starlette

from bridge.app import answer_for, create_app
from bridge.commit import GroupCommit
from bridge.envelope import Envelope
from bridge.errors import LedgerUnavailable
from bridge.ledger import Entry
from bridge.logs import JsonLines
from bridge.metrics import REGISTRY
from bridge.samples import samples
from bridge.senders import signed
from bridge.settings import Settings, read

SECRETS = {
    "github": "secret-of-github",
    "argocd": "secret-of-argocd",
    "pagerduty": "secret-of-pagerduty",
    "opsgenie": "secret-of-opsgenie",
}
OLD_SECRET = "old-secret-of-github"
FORM = "application/x-www-form-urlencoded"
ALL = tuple(SECRETS)


def settings_of(config: str = "", folder: Path | None = None, **environ: str) -> Settings:
    given = {f"DORA_BRIDGE_SECRETS__{name.upper()}": secret for name, secret in SECRETS.items()} | environ
    if config:
        assert folder is not None
        (folder / "bridge.yaml").write_text(config)
        given["DORA_BRIDGE_CONFIG"] = str(folder / "bridge.yaml")
    return read(given)


class Ledger:
    """Keeps entries; says of each what `says` says, by default that it is new."""

    def __init__(self, says: Callable[[Entry], str] | Exception | None = None) -> None:
        self.entries: list[Entry] = []
        self._says = says

    async def record(self, wanted: Sequence[Entry]) -> list[str]:
        if isinstance(self._says, Exception):
            raise self._says
        self.entries += wanted
        says = self._says or (lambda entry: "accepted" if entry.envelope.state == "waiting" else entry.envelope.state)
        return [says(entry) for entry in wanted]


def client_of(app: Starlette) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://bridge")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def client(ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(settings_of(), ledger.record)) as one:
        yield one


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The log lines so far, as they are written."""
    with caplog.at_level(logging.INFO, logger="dora-bridge"):
        yield lambda: [
            json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "dora-bridge"
        ]


def sample(name: str) -> bytes:
    return samples()[name][1]


def headers_of(name: str, body: bytes, secret: str | None = None, kind: str | None = None) -> dict[str, str]:
    return signed(settings_of().endpoints[name], body, kind=kind, secret=(secret or SECRETS[name]).encode())


def count(outcome: str, reason: str = "", source: str = "github") -> float:
    """How many webhooks ended like this, of any kind."""
    labels = {"source": source, "outcome": outcome, "reason": reason}
    return sum(
        found.value
        for metric in REGISTRY.collect()
        for found in metric.samples
        if found.name == "dora_bridge_webhooks_total" and labels.items() <= found.labels.items()
    )


# -- 202


@pytest.mark.parametrize(
    ("name", "path", "service", "ending"),
    [
        ("github", "/api/v2/dora/deployment", "checkout", ""),
        ("argocd", "/api/v2/dora/deployment", "payments", ""),
        ("pagerduty", "/api/v2/dora/failure", "checkout", "~open"),
        ("opsgenie", "/api/v2/dora/failure", "payments", "~open"),
    ],
)
async def test_accepted(
    client: httpx.AsyncClient, ledger: Ledger, name: str, path: str, service: str, ending: str
) -> None:
    before = count("accepted", source=name)
    body = sample(name)
    answer = await client.post(f"/webhooks/{name}", content=body, headers=headers_of(name, body))
    (entry,) = ledger.entries
    env = None if name == "pagerduty" else "production"
    event = {"id": entry.envelope.datadog_id, "path": path, "service": service, "env": env}
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"status": "accepted", "events": [event]}
    assert entry.envelope.id == entry.envelope.datadog_id + ending
    about, _, kept = entry.raw.partition(b"\n")
    assert kept == body
    assert not {"authorization", "x-hub-signature-256", "x-pagerduty-signature"} & set(json.loads(about)["headers"])
    assert SECRETS[name].encode() not in entry.raw
    assert count("accepted", source=name) == before + 1


async def test_ignored(client: httpx.AsyncClient, ledger: Ledger) -> None:
    body = b'{"zen":"Half measures are as bad as nothing at all."}'
    answer = await client.post("/webhooks/github", content=body, headers=headers_of("github", body))
    assert answer.status_code == 202
    assert answer.json() == {"status": "ignored", "reason": "this kind of event is not reported"}
    (entry,) = ledger.entries
    assert (entry.envelope.state, entry.envelope.kind, entry.raw) == ("ignored", "ping", b"")


async def test_dead_lettered(client: httpx.AsyncClient, ledger: Ledger) -> None:
    body = b"not JSON"
    answer = await client.post("/webhooks/pagerduty", content=body, headers=headers_of("pagerduty", body))
    (entry,) = ledger.entries
    reason = "event.event_type is missing, or the body is not JSON"
    assert answer.status_code == 202
    assert answer.json() == {"status": "dead_lettered", "id": entry.envelope.id, "reason": reason}
    assert entry.raw.endswith(b"\nnot JSON")


@pytest.mark.parametrize(
    ("word", "status", "outcome"),
    [
        ("accepted", "accepted", "accepted"),
        ("redriven", "accepted", "accepted"),
        ("duplicate", "duplicate", "duplicate"),
    ],
)
async def test_what_the_ledger_says_is_answered(word: str, status: str, outcome: str) -> None:
    before, body = count(outcome), sample("github")
    async with client_of(create_app(settings_of(), Ledger(lambda entry: word).record)) as client:
        answer = await client.post("/webhooks/github", content=body, headers=headers_of("github", body))
    assert answer.status_code == 202
    assert answer.json()["status"] == status
    assert [event["service"] for event in answer.json()["events"]] == ["checkout"]
    assert count(outcome) == before + 1


EVENT = {"id": "d", "path": "/p", "service": "s", "env": None}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["accepted"], {"status": "accepted", "events": [EVENT]}),
        (["accepted", "accepted"], {"status": "accepted", "events": [EVENT, EVENT]}),
        (["accepted", "ignored"], {"status": "accepted", "events": [EVENT]}),
        (["duplicate", "accepted"], {"status": "accepted", "events": [EVENT, EVENT]}),
        (["duplicate", "duplicate"], {"status": "duplicate", "events": [EVENT, EVENT]}),
        (["duplicate", "superseded"], {"status": "duplicate", "events": [EVENT]}),
        (["redriven", "ignored"], {"status": "accepted", "events": [EVENT]}),
        (["superseded"], {"status": "ignored", "reason": "a later statement about it came first"}),
        (["ignored"], {"status": "ignored", "reason": "never opened"}),
        (["dead_lettered"], {"status": "dead_lettered", "id": "i0", "reason": "never opened"}),
    ],
)
def test_answer_for(words: list[str], expected: dict[str, Any]) -> None:
    envelopes = [
        Envelope(
            id=f"i{number}",
            endpoint="e",
            source="s",
            received_at=1,
            datadog_id="d",
            method="POST",
            path="/p",
            body={"data": {"attributes": {"service": "s"}}},
            needs_opening="ignored: never opened",
        )
        for number in range(len(words))
    ]
    outcome, answer = answer_for(envelopes, words)
    assert answer == expected
    assert outcome == expected["status"]


async def test_several_secrets_are_accepted_and_counted_by_position(ledger: Ledger) -> None:
    config = settings_of(DORA_BRIDGE_SECRETS__GITHUB=json.dumps([SECRETS["github"], OLD_SECRET]))
    body = sample("github")
    async with client_of(create_app(config, ledger.record)) as client:
        for secret in (SECRETS["github"], OLD_SECRET):
            headers = headers_of("github", body, secret)
            assert (await client.post("/webhooks/github", content=body, headers=headers)).status_code == 202
    assert [entry.envelope.secret for entry in ledger.entries] == [1, 2]
    assert 'dora_bridge_signature_matches_total{secret="2",source="github"}' in generate_latest(REGISTRY).decode()


async def test_rotated_file_is_noticed_without_a_restart(tmp_path: Path, ledger: Ledger) -> None:
    file, body = tmp_path / "secret", sample("argocd")
    file.write_text("before\n")
    config = read({"DORA_BRIDGE_SECRETS__ARGOCD_FILE": str(file)})
    config.secrets["argocd"]._clock = itertools.count(10**12, 10).__next__  # type: ignore[attr-defined]
    async with client_of(create_app(config, ledger.record)) as client:

        async def status(secret: str) -> int:
            headers = headers_of("argocd", body, secret)
            return (await client.post("/webhooks/argocd", content=body, headers=headers)).status_code

        assert [await status("before"), await status("after")] == [202, 401]
        file.write_text("after\nbefore\n")
        assert [await status("before"), await status("after")] == [202, 202]
        file.write_text("after\n")
        assert [await status("before"), await status("after")] == [401, 202]


async def test_form_of_github(client: httpx.AsyncClient, ledger: Ledger) -> None:
    body = str(httpx.QueryParams({"payload": sample("github").decode()})).encode()
    headers = headers_of("github", body, kind="deployment_status") | {"content-type": FORM}
    answer = await client.post("/webhooks/github", content=body, headers=headers)
    assert answer.json()["status"] == "accepted"
    assert ledger.entries[0].raw.endswith(b"\n" + body)


async def test_query_and_header_tell_the_environment(client: httpx.AsyncClient, ledger: Ledger) -> None:
    body = sample("pagerduty")
    headers = headers_of("pagerduty", body)
    for url, more, env in [
        ("/webhooks/pagerduty?env=staging", {}, "staging"),
        ("/webhooks/pagerduty?env=st%C3%A4ging&env=last", {}, "last"),
        ("/webhooks/pagerduty?env=staging", {"dd_env": "of-header"}, "of-header"),
        ("/webhooks/pagerduty?env=&x", {}, None),
        ("/webhooks/pagerduty?%FF=%FF&&=", {}, None),
    ]:
        answer = await client.post(url, content=body, headers=headers | more)
        assert (answer.status_code, answer.json()["events"][0]["env"]) == (202, env)


# -- 401 and PagerDuty's 503


@pytest.mark.parametrize(
    ("name", "headers", "status", "reason"),
    [
        ("github", {}, 401, "signature_missing"),
        ("github", {"x-hub-signature-256": "sha256="}, 401, "signature_missing"),
        ("github", {"x-hub-signature-256": "sha1=" + "0" * 40}, 401, "signature_missing"),
        ("github", {"x-hub-signature": "sha1=" + "0" * 40}, 401, "signature_missing"),
        ("github", {"authorization": "Bearer secret-of-github"}, 401, "signature_missing"),
        ("github", {"x-hub-signature-256": "sha256=" + "0" * 64}, 401, "signature_mismatch"),
        ("pagerduty", {}, 401, "signature_missing"),
        ("pagerduty", {"x-pagerduty-signature": "v2=" + "0" * 64}, 401, "signature_missing"),
        ("pagerduty", {"x-pagerduty-signature": "v1=" + "0" * 64}, 503, "signature_mismatch"),
        ("argocd", {}, 401, "signature_missing"),
        ("argocd", {"authorization": "Basic ***"}, 401, "signature_missing"),
        ("argocd", {"authorization": "Bearer secret-of-opsgenie"}, 401, "signature_mismatch"),
        ("opsgenie", {"authorization": "secret-of-opsgenie"}, 401, "signature_missing"),
        ("opsgenie", {"authorization": "Bearer no"}, 401, "signature_mismatch"),
    ],
)
async def test_refused(
    client: httpx.AsyncClient, ledger: Ledger, name: str, headers: dict[str, str], status: int, reason: str
) -> None:
    before = count("refused", reason, name)
    answer = await client.post(f"/webhooks/{name}", content=sample(name), headers=headers)
    assert answer.status_code == status
    assert answer.json() == {"error": {"reason": reason, "detail": answer.json()["error"]["detail"]}}
    assert answer.headers.get("retry-after") == ("20" if status == 503 else None)
    assert not ledger.entries
    assert count("refused", reason, name) == before + 1


async def test_a_changed_body_is_refused(client: httpx.AsyncClient) -> None:
    body = sample("github")
    answer = await client.post("/webhooks/github", content=body + b" ", headers=headers_of("github", body))
    assert answer.status_code == 401


async def test_signature_of_another_endpoint_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    config = settings_of(
        "endpoints: {github-mobile: {kind: github}}", tmp_path, DORA_BRIDGE_SECRETS__GITHUB_MOBILE="of-mobile"
    )
    body = sample("github")
    async with client_of(create_app(config, ledger.record)) as client:
        for path, secret, status in [
            ("github-mobile", "of-mobile", 202),
            ("github-mobile", SECRETS["github"], 401),
            ("github", "of-mobile", 401),
        ]:
            answer = await client.post(f"/webhooks/{path}", content=body, headers=headers_of("github", body, secret))
            assert answer.status_code == status, path
    assert [entry.envelope.endpoint for entry in ledger.entries] == ["github-mobile"]


async def test_duplicated_headers(client: httpx.AsyncClient) -> None:
    """Two signatures of GitHub are malformed; PagerDuty's are a list, which may be spread over two lines."""
    body = sample("github")
    (good,) = (value for name, value in headers_of("github", body).items() if name == "x-hub-signature-256")
    rest = [("x-github-event", "deployment_status")]
    for values in ([good, good], ["sha256=" + "0" * 64, good]):
        headers = [*rest, *(("x-hub-signature-256", value) for value in values)]
        answer = await client.post("/webhooks/github", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "signature_missing")
    body = sample("pagerduty")
    good = headers_of("pagerduty", body)["x-pagerduty-signature"]
    headers = [("x-pagerduty-signature", "v1=" + "0" * 64), ("x-pagerduty-signature", good)]
    assert (await client.post("/webhooks/pagerduty", content=body, headers=headers)).status_code == 202
    body = sample("argocd")
    headers = [("authorization", "Bearer secret-of-argocd")] * 2
    assert (await client.post("/webhooks/argocd", content=body, headers=headers)).status_code == 401


async def test_headers_that_are_no_ascii(client: httpx.AsyncClient) -> None:
    for name, header in [("github", "x-hub-signature-256"), ("argocd", "authorization")]:
        headers = [(header.encode(), b"sha256=\xff\xfe"), (header.encode(), b"Bearer \xc3\xa9"), (b"x-odd", b"\x80")]
        answer = await client.post(f"/webhooks/{name}", content=b"{}", headers=headers)
        assert answer.status_code == 401


# -- 413


@pytest.fixture
async def small(tmp_path: Path, ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    config = settings_of("endpoints: {github: {max_body_bytes: 100}}", tmp_path)
    async with client_of(create_app(config, ledger.record)) as one:
        yield one


@pytest.mark.parametrize(("size", "status"), [(100, 202), (101, 413), (10_000, 413)])
async def test_body_over_the_limit(small: httpx.AsyncClient, ledger: Ledger, size: int, status: int) -> None:
    body = b"x" * size
    answer = await small.post("/webhooks/github", content=body, headers=headers_of("github", body))
    assert answer.status_code == status
    assert len(ledger.entries) == (status == 202)
    if status == 413:
        assert answer.json()["error"]["reason"] == "too_large"
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("length", [None, "5", "-1", "x", "²", "5,5", ""])
async def test_body_over_the_limit_whatever_its_length_says(length: str | None) -> None:
    """And no more of it is read than that."""
    app = create_app(read({"DORA_BRIDGE_SECRETS__GITHUB": "x"}), Ledger().record)
    headers = [] if length is None else [(b"content-length", length.encode("latin-1", "replace"))]
    parts, read_ = iter(range(10_000)), []

    async def receive() -> dict[str, Any]:
        read_.append(next(parts))
        return {"type": "http.request", "body": b"x" * 1024 * 1024, "more_body": True}

    sent = await asgi(app, "/webhooks/github", receive, headers)
    assert sent[0]["status"] == 413
    assert len(read_) == 26, "25 MiB is the limit"


async def test_declared_length_over_the_limit_is_refused_unread() -> None:
    app = create_app(read({"DORA_BRIDGE_SECRETS__GITHUB": "x"}), Ledger().record)

    async def receive() -> dict[str, Any]:
        raise AssertionError("read")

    sent = await asgi(app, "/webhooks/github", receive, [(b"content-length", b"26214401")])
    assert sent[0]["status"] == 413


async def test_body_in_chunks(client: httpx.AsyncClient, ledger: Ledger) -> None:
    body = sample("github")

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100):
            yield body[at : at + 100]
            yield b""

    answer = await client.post("/webhooks/github", content=chunks(), headers=headers_of("github", body))
    assert answer.json()["status"] == "accepted"
    assert ledger.entries[0].raw.endswith(b"\n" + body)


async def asgi(
    app: Starlette, path: str, receive: Callable[[], Any], headers: Sequence[tuple[bytes, bytes]] = ()
) -> list[Any]:
    """What the application sends to this POST."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "scheme": "http",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return sent


async def test_sender_that_goes_away_while_it_sends(ledger: Ledger, lines: Callable[[], list[Any]]) -> None:
    app = create_app(settings_of(), ledger.record)
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    assert await asgi(app, "/webhooks/github", receive) == []
    assert not ledger.entries
    assert not lines()


# -- 404 and 405


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/jsm",  # configured by default, but without a secret
        "/webhooks/gitlab",
        "/webhooks/GitHub",
        "/webhooks/github%2F",
        "/webhooks/github%20",
        "/webhooks/git%2Fhub",
        "/webhooks/..%2Fgithub",
        "/webhooks/%C3%A9",
        "/webhooks/github/",
        "/webhooks/github/x",
        "/webhooks/",
        "/webhooks",
        "//webhooks/github",
        "/",
        "/metrics",
        "/admin/",
        "/admin/status",
        "/docs",
        "/livez/",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
async def test_not_found(client: httpx.AsyncClient, ledger: Ledger, path: str, method: str) -> None:
    body = sample("github")
    answer = await client.request(method, path, content=body, headers=headers_of("github", body))
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert not ledger.entries
    if method != "HEAD":
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"reason", "detail"}


async def test_percent_encoded_name_is_the_same_name(client: httpx.AsyncClient) -> None:
    body = sample("github")
    answer = await client.post("/webhooks/git%68ub", content=body, headers=headers_of("github", body))
    assert answer.status_code == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("name", ALL)
async def test_wrong_method(client: httpx.AsyncClient, name: str, method: str) -> None:
    answer = await client.request(method, f"/webhooks/{name}", headers=headers_of(name, b""))
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method == "HEAD":
        return
    error = answer.json()["error"]
    assert error["reason"] == "method_not_allowed"
    assert ("the notification template has no webhook section" in error["detail"]) == (name == "argocd")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.head(path)).status_code == 200
    answer = await client.post(path)
    assert answer.status_code == 405
    assert answer.json()["error"]["reason"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"]


async def test_not_ready_while_draining() -> None:
    draining = [False]
    app = create_app(settings_of(), Ledger().record, draining=lambda: draining[0])
    async with client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        draining[0] = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        body = sample("github")
        answer = await client.post("/webhooks/github", content=body, headers=headers_of("github", body))
        assert answer.status_code == 202, "what still comes is still taken"


async def test_verbose_probes() -> None:
    draining, redis = [False], [""]

    async def redis_failed() -> str:
        return redis[0]

    app = create_app(settings_of(), Ledger().record, draining=lambda: draining[0], redis_failed=redis_failed)
    async with client_of(app) as client:

        async def told(path: str) -> tuple[int, str]:
            answer = await client.get(path)
            assert answer.headers["content-type"].startswith("text/plain")
            return answer.status_code, answer.text

        assert await told("/livez?verbose") == (200, "[+]ping ok\nlivez check passed\n")
        assert await told("/readyz?verbose") == (200, "[+]shutdown ok\n[+]redis ok\nreadyz check passed\n")
        redis[0] = "ConnectionError"
        status, text = await told("/readyz?verbose=1")
        assert status == 200, "while Redis is away the 503 is ours to answer"
        assert "[-]redis failed: ConnectionError; not counted\n" in text
        draining[0] = True
        status, text = await told("/readyz?verbose")
        assert (status, text.splitlines()[0]) == (503, "[-]shutdown failed: draining")
        assert text.endswith("readyz check failed\n")


async def test_probes_ask_redis_only_where_it_is_told() -> None:
    async def redis_failed() -> str:
        raise AssertionError

    async with client_of(create_app(settings_of(), Ledger().record, redis_failed=redis_failed)) as client:
        for path in ("/livez", "/readyz", "/livez?verbose"):
            assert (await client.get(path)).status_code == 200


# -- 503 and 500


@pytest.mark.parametrize("name", ALL)
async def test_ledger_unavailable(name: str) -> None:
    before = count("unavailable", "ledger_unavailable", name)
    app = create_app(settings_of(), Ledger(LedgerUnavailable("Redis did not answer in time")).record)
    body = sample(name)
    async with client_of(app) as client:
        answer = await client.post(f"/webhooks/{name}", content=body, headers=headers_of(name, body))
        assert (await client.get("/readyz")).status_code == 200
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "20"
    assert answer.json() == {"error": {"reason": "ledger_unavailable", "detail": "Redis did not answer in time"}}
    assert count("unavailable", "ledger_unavailable", name) == before + 1


async def test_redis_that_hangs_is_answered_in_time() -> None:
    class Hanging:
        async def record(self, entries: Sequence[Entry]) -> tuple[list[str], bool]:
            await asyncio.Event().wait()
            raise AssertionError

    async def ring() -> None:
        raise AssertionError

    commit = GroupCommit(Hanging(), ring, timeout_s=0.05)  # type: ignore[arg-type]
    body = sample("github")
    async with client_of(create_app(settings_of(), commit.record)) as client, asyncio.timeout(2):
        answers = await asyncio.gather(
            *(client.post("/webhooks/github", content=body, headers=headers_of("github", body)) for _ in range(20))
        )
    assert {answer.status_code for answer in answers} == {503}


async def test_a_bug_is_a_500_that_tells_nothing(lines: Callable[[], list[dict[str, Any]]]) -> None:
    app = create_app(settings_of(), Ledger(KeyError("a value of the payload")).record)
    body = sample("github")
    async with client_of(app) as client:
        answer = await client.post("/webhooks/github", content=body, headers=headers_of("github", body))
    assert answer.status_code == 500
    assert set(answer.json()["error"]) == {"reason", "detail"}
    assert "a value of the payload" not in answer.text + json.dumps(lines())
    assert [line["event"] for line in lines()] == ["webhook.failed"]


# -- logs, metrics and errors


async def test_one_line_for_each_request(client: httpx.AsyncClient, lines: Callable[[], list[dict[str, Any]]]) -> None:
    body = sample("github")
    await client.post("/webhooks/github", content=body, headers=headers_of("github", body))
    await client.post("/webhooks/github", content=body)
    await client.get("/webhooks/argocd")
    await client.post("/webhooks/nowhere")
    await client.get("/livez")
    told = [{name: line[name] for name in line if name not in ("at", "duration_ms")} for line in lines()]
    assert told == [
        {
            "level": "info",
            "event": "webhook.accepted",
            "endpoint": "github",
            "kind": "deployment_status",
            "status": 202,
        },
        {
            "level": "warning",
            "event": "webhook.refused",
            "endpoint": "github",
            "reason": "signature_missing",
            "status": 401,
        },
        {"level": "warning", "event": "webhook.refused", "endpoint": "argocd", "reason": "method", "status": 405},
        {"level": "warning", "event": "webhook.refused", "reason": "unknown_endpoint", "status": 404},
    ]
    assert all(line["duration_ms"] >= 0 for line in lines())


MARK = "Mark-"
FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = sorted(path.parent for path in FIXTURES.glob("*/*/body.json"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(folder=st.sampled_from(FOLDERS), kept=st.sets(st.integers(0, 60)))
async def test_logs_metrics_and_errors_repeat_nothing_of_the_payload(
    caplog: pytest.LogCaptureFixture, folder: Path, kept: set[int]
) -> None:
    """Kinds included: they are what a sender writes there, a custom action of Opsgenie for one."""
    caplog.clear()
    name = folder.parent.name
    numbers = iter(range(10_000))

    def marked(text: re.Match[bytes]) -> bytes:
        number = next(numbers)
        return text[0] if number in kept else f': "{MARK}{number}"'.encode()

    body = re.sub(rb': "[^"\\]*"', marked, (folder / "body.json").read_bytes())
    headers = {
        **json.loads((folder / "headers.json").read_bytes()),
        **settings_of().endpoints[name].source.scheme.sign(body, SECRETS[name].encode()),
    }
    with caplog.at_level(logging.INFO, logger="dora-bridge"):
        async with client_of(create_app(settings_of(), Ledger().record)) as client:
            answer = await client.post(f"/webhooks/{name}", content=body, headers=headers)
            refused = await client.post(f"/webhooks/{name}", content=body)
    assert answer.status_code == 202
    assert MARK not in answer.json().get("reason", "")
    assert refused.status_code == 401
    assert MARK not in refused.text
    told = [JsonLines().format(record) for record in caplog.records if record.name == "dora-bridge"]
    assert len(told) == 2
    assert MARK not in "".join(told)
    assert MARK not in generate_latest(REGISTRY).decode()


async def test_kinds_that_are_not_read_share_one_name(
    client: httpx.AsyncClient, ledger: Ledger, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    for number in range(3):
        body = json.dumps({"action": f"{MARK}{number}", "alert": {"alertId": "x"}}).encode()
        await client.post("/webhooks/opsgenie", content=body, headers=headers_of("opsgenie", body))
    assert [line["kind"] for line in lines()] == ["other"] * 3
    assert [entry.envelope.kind for entry in ledger.entries] == [f"{MARK}{number}" for number in range(3)]


@pytest.mark.parametrize("name", ALL)
async def test_secrets_and_signatures_are_nowhere(
    client: httpx.AsyncClient, name: str, ledger: Ledger, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    told, hidden = "", {SECRETS[name], "wrong-secret"}
    for body in (sample(name), b"not JSON", b"{}"):
        for secret in (SECRETS[name], "wrong-secret"):
            headers = headers_of(name, body, secret)
            hidden.add(headers[settings_of().endpoints[name].source.scheme.header].partition("=")[2] or secret)
            for method, path in (("POST", name), ("GET", name), ("POST", "nowhere")):
                answer = await client.request(method, f"/webhooks/{path}", content=body, headers=headers)
                told += answer.text + str(answer.headers)
    assert len(lines()) == 18
    told += json.dumps(lines()) + generate_latest(REGISTRY).decode() + repr(settings_of())
    told += "".join(str(entry) for entry in ledger.entries)
    assert [one for one in hidden if one in told] == []


# -- who was heard from


async def test_authentic_webhooks_are_heard(ledger: Ledger) -> None:
    heard: list[tuple[str, bytes, bool]] = []
    config = settings_of(DORA_BRIDGE_SECRETS__GITHUB='["new", "old"]')
    app = create_app(config, ledger.record, hear=lambda *one: heard.append(one))
    kind, body = samples()["github"]
    async with client_of(app) as client:
        for secret, of_kind in ((b"old", kind), (b"new", "ping"), (b"other", kind)):
            headers = signed(config.endpoints["github"], body, kind=of_kind, secret=secret)
            await client.post("/webhooks/github", content=body, headers=headers)
    assert heard == [("github", b"old", True), ("github", b"new", False)]


async def test_what_redis_did_not_take_is_not_heard() -> None:
    heard: list[tuple[str, bytes, bool]] = []
    config = settings_of()
    ledger = Ledger(LedgerUnavailable("Redis did not answer in time"))
    app = create_app(config, ledger.record, hear=lambda *one: heard.append(one))
    kind, body = samples()["github"]
    async with client_of(app) as client:
        headers = signed(config.endpoints["github"], body, kind=kind, secret=SECRETS["github"].encode())
        assert (await client.post("/webhooks/github", content=body, headers=headers)).status_code == 503
    assert not heard
