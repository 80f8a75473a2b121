"""Datadog is reached by the proxy of the environment, by the workers as by the commands."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from system import System, deployment, unique

pytestmark = pytest.mark.integration


class Proxy(ThreadingHTTPServer):
    """Forwards whatever is asked of `datadog.example` to the sandbox, and notes it."""

    daemon_threads = True

    def __init__(self, sandbox: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sandbox = sandbox
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        url = httpx.URL(self.path)
        self.server.asked.append(f"{self.command} {url.host}{url.path}")
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name: self.headers[name] for name in ("dd-api-key", "content-type") if name in self.headers}
        forwarded = f"http://{self.server.sandbox}{url.raw_path.decode()}"
        answer = httpx.request(self.command, forwarded, content=body, headers=headers, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """No news."""


@pytest.fixture
def proxy(system: System) -> Iterator[Proxy]:
    one = Proxy(system.datadog)
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    system.environ |= {
        "HTTP_PROXY": f"http://127.0.0.1:{one.server_port}",
        "NO_PROXY": "",
        "DORA_BRIDGE_DATADOG_URL": "http://datadog.example",
    }
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


async def test_workers_and_check_reach_datadog_by_a_proxy(system: System, proxy: Proxy) -> None:
    system.start_web()
    system.start_worker()
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        answer = await system.post(client, "github", deployment(unique()))
    await system.until_drained()
    assert answer.json()["events"][0]["id"] in system.sent_ids()
    assert "POST datadog.example/api/v2/dora/deployment" in proxy.asked
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bridge", "check"],
        env={**os.environ, **system.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "GET datadog.example/api/v1/validate" in proxy.asked
    assert f"a web process answers at http://{system.public}" in done.stdout, "asked directly"
    assert not [one for one in proxy.asked if "datadog.example" not in one]
