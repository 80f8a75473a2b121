"""What tests of `check` share: a Datadog that answers questions, and a way to find what was found."""

from __future__ import annotations

import time
from typing import Any

import httpx
from starlette.applications import Starlette

from bridge.check import findings
from bridge.check.finding import Finding
from bridge.dora import Deployment, Fact
from bridge.envelope import Envelope, identity
from bridge.ledger import Entry, Ledger
from bridge.settings import read

NOWHERE = "redis://127.0.0.1:1/0"
GOOD = {"DORA_BRIDGE_SECRETS__GITHUB": "hidden", "DD_API_KEY": "hidden", "DD_APP_KEY": "hidden"}


class Datadog(httpx.AsyncBaseTransport):
    """Answers questions about keys with these statuses, or not at all."""

    def __init__(self, api: int = 200, app: int = 200, lists: int = 200, incidents: int = 200) -> None:
        self.statuses = {
            "/api/v1/validate": api,
            "/api/v2/validate_keys": app,
            "/api/v2/dora/deployments": lists,
            "/api/v2/incidents": incidents,
        }
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/livez":
            return httpx.Response(200)  # the bridge itself
        self.requests.append(request)
        status = self.statuses[request.url.path.removeprefix("/dd")]
        if not status:
            raise httpx.ConnectError("hidden")
        return httpx.Response(status)


class Hosts(httpx.AsyncBaseTransport):
    """Stand-ins by their host; every other call goes to a Datadog that takes everything."""

    def __init__(self, **apps: Starlette) -> None:
        self._transports = {name: httpx.ASGITransport(app=app) for name, app in apps.items()}
        self._datadog = Datadog()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removeprefix("api.").removesuffix(".com")
        return await self._transports.get(name, self._datadog).handle_async_request(request)


async def found(datadog: httpx.AsyncBaseTransport | None = None, public_url: str = "", **environ: str) -> list[Finding]:
    environ = {"DORA_BRIDGE_REDIS_URL": NOWHERE, **environ}
    return await findings(read(environ), environ, datadog or Datadog(), public_url=public_url)


def told(some: list[Finding], what: str) -> list[tuple[str, str]]:
    return [(one.level, one.detail) for one in some if one.what == what]


async def recorded(ledger: Ledger, *facts: Fact) -> None:
    """As received by the web process just now."""
    for fact in facts:
        envelope = Envelope(endpoint="e", source="github", received_at=time.time_ns(), **identity(fact))
        await ledger.record([Entry(envelope)])


def deployed(number: int = 1, **fields: Any) -> Deployment:
    now = time.time_ns() // 10**9 * 10**9
    values = {"service": "checkout", "env": "production", "started_at": now, "finished_at": now + number * 10**9}
    return Deployment(id=f"gh-dep-0000000001-{number:012d}", **{**values, **fields})
