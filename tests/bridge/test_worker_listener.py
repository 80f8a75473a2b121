"""A worker's listener: alive while it beats, metrics of one process, nothing else."""

from __future__ import annotations

import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from bridge.worker_listener import BEAT, BEAT_S, DRAINS, WorkerListener, is_alive

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
    assert is_alive(beaten(beat), NOW) is alive


def test_it_answers_probes_and_scrapes_and_nothing_else() -> None:
    registry = beaten(4_000_000_000)
    with WorkerListener("127.0.0.1:0", registry) as listener:
        base = f"http://127.0.0.1:{listener.port}"
        assert httpx.get(f"{base}/livez?verbose").json() == {"status": "alive"}
        metrics = httpx.get(f"{base}/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert f'{BEAT}{{thread="drains"}} 4e+09' in metrics.text
        assert "server" not in metrics.headers
        for path in ("/", "/admin/", "/webhooks/github", "/readyz"):
            assert httpx.get(base + path).status_code == 404
        assert httpx.post(f"{base}/livez").status_code == 501
        registry._names_to_collectors[BEAT].labels(DRAINS).set(0)  # type: ignore[attr-defined]
        stuck = httpx.get(f"{base}/livez")
        assert (stuck.status_code, stuck.json()) == (503, {"status": "stuck"})
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/livez")


def test_who_connects_and_says_nothing_keeps_nobody_out() -> None:
    with (
        WorkerListener("127.0.0.1:0", beaten(4_000_000_000)) as listener,
        socket.create_connection(("127.0.0.1", listener.port)),
    ):
        assert httpx.get(f"http://127.0.0.1:{listener.port}/livez").status_code == 200


def test_an_address_in_use_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        WorkerListener(f"127.0.0.1:{taken.getsockname()[1]}", CollectorRegistry())
