"""The command: lines, exit codes, `--json`, and that it only reads."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from redis import Redis

from bridge.embedded_redis import PrivateRedis


def command(*arguments: str, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def nothing_waits(redis_server: PrivateRedis) -> None:
    """Other tests leave events there."""
    with Redis.from_url(redis_server.url) as redis:
        redis.flushdb()


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


@pytest.mark.parametrize("url", ["bridge.example.com", "ftp://bridge.example.com", "https://", "https://u:hidden@b"])
def test_public_url_that_is_none(url: str) -> None:
    code, out, err = command("--public-url", url)
    assert (code, out) == (2, "")
    assert "Invalid value for --public-url: not an http or https URL without credentials" in err
    assert "hidden" not in err


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
