"""A worker's listener: alive while it beats, metrics of one process, nothing else."""

from __future__ import annotations

import re
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from bridge.worker_listener import BEAT, BEAT_S, DRAINS, WorkerListener, beats

NOW = 1_800_000_000.0


def beaten(at: float | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = Gauge(BEAT, "When it beat last", ["thread"], registry=registry)
    if at is not None:
        gauge.labels(DRAINS).set(at)
    return registry


@pytest.mark.parametrize(
    ("beat", "alive"),
    [
        (NOW, True),
        (NOW - 3 * BEAT_S + 0.1, True),
        (NOW - 3 * BEAT_S, False),
        (NOW + 60, True),  # a clock that was put back says nothing of this process
        (None, False),  # it has not begun
    ],
)
def test_alive_is_whoever_beat_within_three_intervals(beat: float | None, alive: bool) -> None:
    assert (not beats(beaten(beat), NOW).failed) is alive


def test_it_answers_probes_and_scrapes_and_nothing_else() -> None:
    registry = beaten(4_000_000_000)
    with WorkerListener("127.0.0.1:0", registry) as listener:
        base = f"http://127.0.0.1:{listener.port}"
        assert httpx.get(f"{base}/livez").json() == {"status": "alive"}
        verbose = httpx.get(f"{base}/livez?verbose")
        assert (verbose.status_code, verbose.text) == (200, "[+]loop ok\nlivez check passed\n")
        assert verbose.headers["content-type"].startswith("text/plain")
        metrics = httpx.get(f"{base}/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert f'{BEAT}{{thread="drains"}} 4e+09' in metrics.text
        assert "server" not in metrics.headers
        for path in ("/", "/admin/", "/webhooks/github", "/readyz"):
            assert httpx.get(base + path).status_code == 404
        for method in ("POST", "PUT", "DELETE"):
            refused = httpx.request(method, f"{base}/livez")
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
            assert refused.json()["error"]["reason"] == "method_not_allowed"
        head = httpx.head(f"{base}/livez")
        assert (head.status_code, head.content) == (200, b"")
        registry._names_to_collectors[BEAT].labels(DRAINS).set(0)  # type: ignore[attr-defined]
        stuck = httpx.get(f"{base}/livez")
        assert (stuck.status_code, stuck.json()) == (503, {"status": "stuck"})
        assert httpx.head(f"{base}/livez").status_code == 503
        told = httpx.get(f"{base}/livez?verbose").text
        assert re.fullmatch(r"\[-\]loop failed: stands still for \d+ s\nlivez check failed\n", told)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/livez")


@pytest.mark.parametrize("path", ["/livez", "/livez?verbose", "/metrics", "/admin/"])
def test_head_is_get_without_a_body(path: str) -> None:
    with WorkerListener("127.0.0.1:0", beaten(4_000_000_000)) as listener:
        url = f"http://127.0.0.1:{listener.port}{path}"
        got, head = httpx.get(url), httpx.head(url)
        assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
        assert int(head.headers["content-length"]) == len(got.content) > 0
        with socket.create_connection(("127.0.0.1", listener.port)) as raw:  # clients drop what must not be there
            raw.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(4096), b""))
        assert answer.endswith(b"\r\n\r\n")


def test_who_connects_and_says_nothing_keeps_nobody_out() -> None:
    with (
        WorkerListener("127.0.0.1:0", beaten(4_000_000_000)) as listener,
        socket.create_connection(("127.0.0.1", listener.port)),
    ):
        assert httpx.get(f"http://127.0.0.1:{listener.port}/livez").status_code == 200


def test_an_address_in_use_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        WorkerListener(f"127.0.0.1:{taken.getsockname()[1]}", CollectorRegistry())
