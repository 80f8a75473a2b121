"""Both listeners of the web process, and a worker's, under requests that nobody should send.

What the admin's OpenAPI description allows and what it does not, by hypothesis; and bytes that are hardly HTTP. An
answer is always one that is described, never an error of ours, and the processes live on. `make fuzz` tries more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fuzz import payloads
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from system import ENDPOINTS, SECRET, System, free_port, until

from bridge.embedded_redis import PrivateRedis
from bridge.ledger import Settlement
from bridge.openapi import document
from bridge.samples import samples

pytestmark = pytest.mark.integration

EXAMPLES = int(os.environ.get("ODD_REQUESTS", "60"))
"""For each of the tests below."""
bounded = settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate, Phase.target],  # the requests before count, so there is nothing to shrink
    suppress_health_check=list(HealthCheck),
)
TOKEN = {"authorization": "Bearer admin-token"}
DOCUMENT = document()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


# -- what runs


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Web and worker listeners over a ledger that has something of everything; nothing is delivered."""
    folder = tmp_path_factory.mktemp("odd")
    with PrivateRedis(folder / "redis") as redis:
        running = System(redis, folder)
        running.worker = f"127.0.0.1:{free_port()}"  # type: ignore[attr-defined]
        running.environ["DORA_BRIDGE_WORKER_LISTEN"] = running.worker  # type: ignore[attr-defined]
        running.environ["DORA_BRIDGE_DATADOG_URL"] = "http://127.0.0.1:9"  # nobody
        try:
            running.start_web()
            asyncio.run(_something_of_everything(running))
            running.start_worker()
            running.until_answers(f"http://{running.worker}/livez")  # type: ignore[attr-defined]
            yield running
        finally:
            running.stop()


async def _something_of_everything(running: System) -> None:
    async with httpx.AsyncClient() as client, running.ledger() as ledger:
        for name, (kind, body) in samples(1_780_000_000 * 10**9).items():
            if name in ENDPOINTS:
                await running.post(client, name, body, kind=kind)
                await running.post(client, name, body[: len(body) // 2], kind=kind)
        lanes, _ = await ledger.take("test", 1)
        _, heads, _ = await ledger.fetch("test", lanes, wanted=100, each=100)
        line = {"at": 1_780_000_000_000, "state": "dead_lettered", "verdict": "rejected", "status": 400, "n": 1}
        line |= {"reason": "invalid", "answer": "[" * 2_048}
        assert heads
        for head in heads:
            await ledger.settle("test", [Settlement(head.lane, head.key, head.envelope.id, "dead_lettered", line)])
        await ledger.release("test", lanes)


@pytest.fixture(scope="module")
def known(system: System) -> Mapping[str, list[str]]:
    """Ids and cursors that there are."""
    with httpx.Client(base_url=f"http://{system.internal}", headers=TOKEN) as client:
        dead = client.get("/admin/dead-letters?limit=1").json()
        rows = client.get("/admin/dead-letters").json()["dead_letters"]
    assert len(rows) > 3
    return {"ids": [row["id"] for row in rows], "cursors": [dead["next_cursor"]]}


def lives_on(system: System) -> None:
    """All processes run, answer, and have logged no error of theirs."""
    for name, process in system.processes.items():
        assert process.poll() is None, f"{name} ended"
    for address in (system.public, system.internal, system.worker):  # type: ignore[attr-defined]
        assert httpx.get(f"http://{address}/livez", timeout=10).status_code == 200
    for path in Path(system.folder).glob("w*.log"):
        text = path.read_text("utf-8", "replace")
        assert "Traceback" not in text, text[text.index("Traceback") :][:3_000]
        assert not re.search(r'"(webhook|admin)\.failed"', text)


# -- what is described, and what is not


def _validator(schema: Mapping[str, Any]) -> Any:
    contents = {"components": DOCUMENT["components"], "schema": schema}
    text = json.dumps(contents).replace('"#/components', '"urn:admin#/components')
    resource: Any = Resource(contents=json.loads(text), specification=DRAFT202012)
    return OAS31Validator({"$ref": "urn:admin#/schema"}, registry=Registry().with_resource("urn:admin", resource))


def is_as_described(path: str, method: str, answer: httpx.Response) -> None:
    """Status, media type and body are among those of the description."""
    described = DOCUMENT["paths"][path][method]["responses"]
    assert str(answer.status_code) in described, (answer.status_code, answer.text[:300])
    content = described[str(answer.status_code)]["content"]
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in content
    if media_type == "application/json":
        _validator(content[media_type]["schema"]).validate(answer.json())
    else:
        for line in answer.text.splitlines():
            _validator({"$ref": "#/components/schemas/DeadLetter"}).validate(json.loads(line))


odd_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", " ", "0", "-1", "500", "9" * 30, "9" * 5_000, "1e5", "²", "٣", "null", "true", "%", "..", "a/b", "\0"]
    ),
    st.sampled_from(["2h", "999999w", "2025-03-04", "0001-01-01T00:00:00+14:00", "9999-12-31", "1741079560207"]),
    st.sampled_from(["MTox", "LTk5OTk5OTk5OTk5OTk5OTk5OTk5Ong", "1741079560207-0", "5-", "-", "9" * 19 + "-0"]),
)
BODIES = (
    {},
    {"mode": "as_sent"},
    {"mode": "retranslate", "attributes": {"service": "x", "env": None, "custom_tags": ["a:b"], "version": "1"}},
    {"attributes": {"finished_at": "2025-03-04T09:12:40Z", "started_at": 1741079560, "services": ["a"], "id": "x"}},
    {"attributes": {"git": {"commit_sha": "a" * 40, "repository_url": "https://example.com/a"}, "severity": "SEV-1"}},
    {"filter": {}, "dry_run": True},
    {"filter": {"source": "github", "since": "2h", "q": "x"}, "dry_run": False, "cursor": "", "mode": "as_sent"},
    {"filter": {"service": "nobody"}, "attributes": {"service": "x"}},
    {"filter": {"reason": "invalid", "without_env": "1"}, "mode": "retranslate"},
)


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[f"{method} {path}" for path, method in OPERATIONS])
@settings(bounded, max_examples=max(12, EXAMPLES // 5))
@given(data=st.data())
def test_the_admin_answers_as_described(
    system: System, known: Mapping[str, list[str]], path: str, method: str, data: st.DataObject
) -> None:
    operation = DOCUMENT["paths"][path][method]
    address = path
    query: dict[str, str] = {}
    for parameter in operation["parameters"]:
        values = st.sampled_from(known["cursors" if parameter["name"] == "cursor" else "ids"]) | odd_texts
        if parameter["in"] == "path":
            text = data.draw(values)
            # what a segment of a path cannot hold is another path
            segment = quote(text, safe="") if text.strip("./") and "/" not in text else "x"
            address = address.replace(f"{{{parameter['name']}}}", segment)
        elif data.draw(st.integers(0, 3)) == 0:
            query[parameter["name"]] = data.draw(st.sampled_from(parameter["schema"].get("enum", [""])) | values)
    content = b""
    if "requestBody" in operation:
        body = data.draw(st.sampled_from(BODIES))
        content = payloads.spoiled(body, lambda several: data.draw(st.sampled_from(several)))
        if data.draw(st.integers(0, 2)) == 0:
            content = json.dumps(body).encode()
    headers = data.draw(st.sampled_from([TOKEN] * 8 + [{}, {"authorization": "Bearer wrong"}]))
    answer = httpx.request(
        method, f"http://{system.internal}{address}", params=query, content=content, headers=headers, timeout=60
    )
    assert answer.status_code < 500, answer.text[:300]
    is_as_described(path, method, answer)


@bounded
@given(data=st.data())
def test_every_address_answers_everybody(system: System, known: Mapping[str, list[str]], data: st.DataObject) -> None:
    """Any method, credentials and wishes, of pages too: no error of ours, and errors in the one shape."""
    path = data.draw(
        st.sampled_from([path for path, _ in OPERATIONS])
        | st.sampled_from(["/admin", "/admin/", "/admin/login", "/admin/logout", "/metrics", "/livez", "/webhooks/x"])
        | st.sampled_from(["/admin/static/page.css", "/admin/static/..", "//admin/status", "/admin//", "/admin/links/"])
        | st.sampled_from(["/admin/dead-letters/{id}/discard", "/admin/events/{id}/", "/", "/readyz", "/favicon.ico"])
    )
    name = data.draw(st.sampled_from(known["ids"]) | odd_texts)
    path = path.replace("{id}", quote(name, safe="")).replace("{incident}", quote(name, safe=""))
    method = data.draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]))
    headers = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "authorization": st.sampled_from(["Bearer admin-token", "Bearer", "Bearer \xff", "Basic x", "bearer"]),
                "accept": st.sampled_from(["text/html", "application/json", "*/*", "", "\xff"]),
                "cookie": st.sampled_from(["dora_bridge_session=1.2.3", "dora_bridge_session=\xb2.x", "=;=", "\xff"]),
                "content-type": st.sampled_from(["application/json", "application/x-www-form-urlencoded", "\xff", ""]),
            },
        )
    )
    headers.setdefault("accept", "*/*")
    content = data.draw(st.sampled_from([b"", b"token=admin-token", b"token=%ff&token", b"{}", b"[", b"\xff" * 100]))
    listener = data.draw(st.sampled_from([system.public, system.internal, system.internal]))
    # the first wrong tokens of a minute are answered, those after them have to wait
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = httpx.request(method, f"http://{listener}{path}", headers=raw, content=content, timeout=60)
    assert answer.status_code < 500, (method, path, answer.text[:300])
    media_type = answer.headers.get("content-type", "")
    if answer.status_code >= 400 and method != "HEAD" and "html" not in media_type:
        # what is no HTTP at all is refused before it comes to us
        assert (answer.status_code, media_type[:10]) == (400, "text/plain") or answer.json()["error"]["reason"]


@bounded
@given(data=st.data())
def test_webhooks_answer_as_the_contract_says(system: System, data: st.DataObject) -> None:
    """Signed or not, of every source: 202, 401, 404 or 413, and 503 only where PagerDuty is to keep the event."""
    name = data.draw(st.sampled_from([*ENDPOINTS, "nobody", "git%68ub", "%00", "%ff"]))
    source = ENDPOINTS[name].source if name in ENDPOINTS else ENDPOINTS["github"].source
    headers, body = data.draw(st.sampled_from(payloads.bodies(source.name)))
    content = payloads.spoiled(body, lambda several: data.draw(st.sampled_from(several)))
    if data.draw(st.integers(0, 9)) == 0:
        content = gzip.compress(b"\0" * 10_000_000)
        headers = {**headers, "content-encoding": "gzip"}
    all_headers = {**headers, **source.scheme.sign(content, SECRET)}
    if data.draw(st.integers(0, 3)) == 0:
        all_headers[source.scheme.header] = data.draw(
            st.sampled_from(["", "v1=", "v1=" + "0" * 64, "sha256=" + "0" * 64, "Bearer x", "Basic \xb2", "\xff"])
        )
    query = data.draw(st.sampled_from(["", "?env=%ff", "?env=a&env=b", "?=", "?%", "?env=%00", "?" + "&" * 500]))
    answer = httpx.post(
        f"http://{system.public}/webhooks/{name}{query}",
        content=content,
        headers={name: value.encode("latin-1", "replace") for name, value in all_headers.items()},
        timeout=60,
    )
    said = answer.json()
    if answer.status_code == 202:
        assert said["status"] in ("accepted", "ignored", "duplicate", "dead_lettered")
        return
    reasons = {401: {"signature_missing", "signature_mismatch"}, 404: {"unknown_endpoint", "not_found"}}
    reasons[503] = {"signature_mismatch"} if name == "pagerduty" else set()
    assert said["error"]["reason"] in reasons[answer.status_code], answer.text


# -- hardly HTTP

STARTS = (
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",  # no host
    b"GET /livez HTTP/1.0\r\n\r\n",
    b"GET /livez\r\n\r\n",
    b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
    b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://example.com/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://example.com HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff%zz%00?%zz=\xff#x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /admin/events/%e2%28%a1?q=%ff HTTP/1.1\r\nHost: \xff\r\nAuthorization: Bearer admin-token\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: \r\n\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nhello",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\nhello",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\nhello",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nhello",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nh\r\n0\r\nT: x\r\n\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}",  # and no more
    b"POST /admin/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 7\r\n\r\ntoken=\xff",
    b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 2_000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n: z\r\nno colon\r\n\r\n",
    b"GET /livez HTTP/1.1\nHost: x\n\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"\x00" * 1_000,
    b"\r\n\r\n\r\n",
)
_BITS = (b"\r\n", b"\n", b"\0", b"\xff", b" ", b":", b"/", b"%", b"chunked", b"0\r\n\r\n", b"HTTP/1.1", b"-", b"99999")


def spoken(address: str, raw: bytes) -> bytes:
    """What comes back until the other side closes, or says no more."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        said = b""
        with contextlib.suppress(OSError):  # it may have closed before it read all
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                said += part
        return said


def is_no_error_of_ours(said: bytes) -> None:
    """No answer at all, or answers that blame the request."""
    statuses = [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", said, re.MULTILINE)]
    assert not [status for status in statuses if status >= 500], said[:300]


@pytest.mark.parametrize("listener", ["public", "internal", "worker"])
def test_what_is_hardly_http(system: System, listener: str) -> None:
    for raw in STARTS:
        is_no_error_of_ours(spoken(getattr(system, listener), raw))
    lives_on(system)


@pytest.mark.parametrize("listener", ["public", "internal", "worker"])
@settings(bounded, max_examples=max(40, EXAMPLES // 2))
@given(data=st.data())
def test_what_is_even_less_http(system: System, listener: str, data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from([start for start in STARTS if len(start) < 1_000]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        to = min(len(raw), at + data.draw(st.integers(0, 8)))
        raw = raw[:at] + data.draw(st.sampled_from(_BITS) | st.binary(max_size=4)) + raw[to:]
    is_no_error_of_ours(spoken(getattr(system, listener), raw))


def test_connections_that_break_off_leave_nothing_behind(system: System) -> None:
    for address in (system.public, system.internal, system.worker):  # type: ignore[attr-defined]
        host, _, port = address.rpartition(":")
        for start in STARTS[:40]:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(start[: len(start) // 2][:10_000])
                # closed with a reset, as by a machine that goes down
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    lives_on(system)


def test_after_all_of_that_everything_works(system: System) -> None:
    """Lists, audit trail and pages of what was left behind are still shown."""
    lives_on(system)
    with httpx.Client(base_url=f"http://{system.internal}", headers=TOKEN, timeout=60) as client:
        for path in ("/admin/status", "/admin/events?limit=500", "/admin/dead-letters?limit=500", "/admin/audit"):
            answer = client.get(path, params={"limit": "500"} if "status" not in path else None)
            assert answer.status_code == 200, (path, answer.text[:300])
            is_as_described(path.partition("?")[0], "get", answer)
        for row in client.get("/admin/events?limit=500").json()["events"]:
            answer = client.get(f"/admin/events/{quote(row['id'], safe='')}")
            assert answer.status_code == 200, (row, answer.text[:300])
    until(lambda: httpx.get(f"http://{system.public}/readyz").status_code == 200, 10, "it is not ready")
