"""Secrets and keys that are changed while everything runs: nothing is restarted, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from stand_ins.serving import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from system import ENDPOINTS, System, deployment, unique, until

from bridge.embedded_redis import PrivateRedis
from bridge.last_heard import fingerprint
from bridge.senders import signed

pytestmark = pytest.mark.integration


class Datadog:
    """Takes calls with one key, and refuses all others."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.taken: list[str] = []
        self.refused = threading.Event()
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        given = request.headers.get("dd-api-key", "")
        if given != self.key:
            self.refused.set()
            return JSONResponse({"errors": ["Forbidden"]}, 403)
        if request.url.path == "/api/v2/dora/deployment":
            self.taken.append(given)
        return JSONResponse({"data": {"id": "x", "type": "dora_deployment"}}, 200)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with PrivateRedis(tmp_path / "redis") as redis:
        system = System(redis, tmp_path)
        try:
            yield system
        finally:
            system.stop()


def replaced(path: Path, text: str) -> None:
    """Written beside it and renamed over it, as a mounted secret is."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


async def post(system: System, secret: bytes) -> int:
    body = deployment(unique())
    headers = signed(ENDPOINTS["github"], body, kind="deployment_status", secret=secret)
    async with httpx.AsyncClient() as client:
        return (await client.post(f"http://{system.public}/webhooks/github", content=body, headers=headers)).status_code


async def test_key_of_datadog(system: System, tmp_path: Path) -> None:
    """The worker is parked by a key that is refused, for half a minute at first; a new one is tried at once."""
    datadog, keys = Datadog("new"), tmp_path / "key"
    keys.write_text("old\n")
    del system.environ["DD_API_KEY"], system.environ["DD_APP_KEY"]
    with serving(datadog.app) as address, Redis.from_url(system.redis.url) as redis:
        system.environ |= {"DD_API_KEY_FILE": str(keys), "DORA_BRIDGE_DATADOG_URL": address}
        system.start_web()
        system.start_worker()
        assert await post(system, b"a secret of the tests") == 202
        assert datadog.refused.wait(20)
        until(lambda: redis.hget("dora:destination:deployment", "state") == b"parked", 10, "it is not parked")
        # as after many refusals: without the change nothing would be tried before the test is over
        redis.hset("dora:destination:deployment", "until", int(time.time() * 1000) + 3_600_000)
        replaced(keys, "new\nold\n")
        until(lambda: bool(datadog.taken), 20, f"it is not delivered; see {tmp_path}")
        until(lambda: redis.hget("dora:destination:deployment", "state") == b"open", 10, "it is not open")
        assert redis.zcard("dora:dead") == 0
    log = (tmp_path / "worker.log").read_text()
    assert '"keys.changed"' in log
    assert '"old"' not in log


def checked(system: System) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bridge", "check", "--json"]
    done = subprocess.run(command, env=system.environ, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


async def test_secret_of_an_endpoint(system: System, tmp_path: Path) -> None:
    secrets, variable = tmp_path / "github", "DORA_BRIDGE_SECRETS__GITHUB"
    secrets.write_text("old\n")
    del system.environ[variable]
    system.environ[f"{variable}_FILE"] = str(secrets)
    system.start_web()

    async def until_answered(secret: bytes, status: int) -> None:
        deadline = time.monotonic() + 20
        while await post(system, secret) != status:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    def rotation() -> str:
        [one] = [one["detail"] for one in checked(system) if one["what"] == "rotation"]
        return str(one)

    await until_answered(b"old", 202)
    await until_answered(b"new", 401)
    replaced(secrets, "new\nold\n")
    await until_answered(b"new", 202)
    assert await post(system, b"old") == 202
    with Redis.from_url(system.redis.url) as redis:
        until(lambda: redis.hlen("dora:heard:github") == 3, 10, "not both secrets are noted")
        assert rotation().endswith(": all are in use")
        redis.hincrby("dora:heard:github", fingerprint("github", b"old"), -3 * 86_400_000)
        assert rotation().endswith("secret 2 matched 3 d ago for the last time: secret 2 can go")
    replaced(secrets, "new\n")
    await until_answered(b"old", 401)
    assert await post(system, b"new") == 202
