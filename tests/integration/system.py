"""A whole system of real processes: Redis, sandbox Datadog, web and workers, each of which can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from bridge import configuration, redis_url
from bridge.embedded_redis import PrivateRedis
from bridge.ledger import Ledger
from bridge.samples import samples
from bridge.senders import signed

SECRET = b"a secret of the tests"
ENDPOINTS = configuration.parse({}, "bridge.yaml")[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def deployment(
    number: int, *, service: str = "checkout", environment: str = "production", at: int | None = None
) -> bytes:
    """The body of a successful GitHub deployment with this id, which finished `at` (seconds since the epoch)."""
    finished = int(time.time()) - 1000 + number % 1000 if at is None else at
    body = json.loads(samples(finished * 10**9)["github"][1])
    body["deployment"] |= {"id": number, "environment": environment, "payload": {"service": service}}
    return json.dumps(body).encode()


class System:
    """What runs, and how to reach it. Everything listens on free ports of 127.0.0.1."""

    def __init__(self, redis: PrivateRedis, folder: Path) -> None:
        self.redis = redis
        self.folder = folder
        self.public, self.internal, self.datadog = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DORA_BRIDGE_"))},
            "DD_API_KEY": "key",
            "DD_APP_KEY": "key",
            "DORA_BRIDGE_DATADOG_URL": f"http://{self.datadog}",
            "DORA_BRIDGE_REDIS_URL": redis.url,
            "DORA_BRIDGE_LISTEN": self.public,
            "DORA_BRIDGE_INTERNAL_LISTEN": self.internal,
            "DORA_BRIDGE_ADMIN_TOKEN": "admin-token",
            **{f"DORA_BRIDGE_SECRETS__{name.upper()}": SECRET.decode() for name in ENDPOINTS},
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logged: dict[str, int] = {}
        """How long the log of each process was when it was started."""

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._logged[name] = log.tell()
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes[name] = process
        return process

    def start_sandbox(self) -> None:
        self.start("sandbox", "-m", "bridge", "sandbox", "--listen", self.datadog)
        self.until_answers(f"http://{self.datadog}/sandbox/requests")

    def start_web(self, name: str = "web") -> None:
        self.start(name, "-m", "bridge", "serve")
        self.until_answers(f"http://{self.public}/readyz")

    def start_worker(self, name: str = "worker") -> None:
        self.start(name, "-m", "workers")

    def has_started(self, name: str) -> bool:
        """Whether the web or worker process that was started last under this name said that it did."""
        return b'"process.started"' in (self.folder / f"{name}.log").read_bytes()[self._logged[name] :]

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Signals a process and waits for its end; its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(40)

    def stop(self) -> None:
        for name in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                self.processes[name].send_signal(signal.SIGCONT)
                self.processes[name].terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def until_answers(self, url: str) -> None:
        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url, timeout=1).status_code == 200
            return False

        until(answers, 60, f"{url} does not answer; see {self.folder}")

    def requests(self) -> list[dict[str, Any]]:
        """What the sandbox got."""
        answer: list[dict[str, Any]] = httpx.get(f"http://{self.datadog}/sandbox/requests", timeout=20).json()
        return answer

    def incidents(self) -> list[dict[str, Any]]:
        """What there is in the sandbox's Incident Management, oldest first."""
        headers = {"DD-API-KEY": "key", "DD-APPLICATION-KEY": "key"}
        found: list[dict[str, Any]] = []
        while True:
            query = f"page[size]=100&page[offset]={len(found)}"
            answer = httpx.get(f"http://{self.datadog}/api/v2/incidents?{query}", headers=headers, timeout=60)
            page = answer.raise_for_status().json()["data"]
            if not page:
                return found
            found += page

    def script(self, *steps: Mapping[str, Any]) -> None:
        httpx.post(f"http://{self.datadog}/sandbox/script", json=list(steps), timeout=5).raise_for_status()

    def sent_ids(self) -> list[str]:
        """Ids of the events that the sandbox accepted, in order."""
        return [one["body"]["data"]["attributes"]["id"] for one in self.requests() if one["status"] in (200, 202)]

    async def post(
        self, client: httpx.AsyncClient, endpoint: str, body: bytes, kind: str | None = None, **headers: str
    ) -> httpx.Response:
        all_headers = {**signed(ENDPOINTS[endpoint], body, kind=kind, secret=SECRET), **headers}
        return await client.post(f"http://{self.public}/webhooks/{endpoint}", content=body, headers=all_headers)

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        redis = redis_url.patient(self.redis.url)
        try:
            yield Ledger(redis)
        finally:
            await redis.aclose()

    async def until_drained(self, timeout_s: float = 60) -> None:
        """Waits until nothing is waiting."""
        async with self.ledger() as ledger:
            deadline = time.monotonic() + timeout_s
            while (await ledger.counts())["waiting"]:
                assert time.monotonic() < deadline, f"still waiting; see {self.folder}"
                await asyncio.sleep(0.1)


def until(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def unique() -> int:
    """A number for ids that no other test uses."""
    return uuid.uuid4().int % 10**11
