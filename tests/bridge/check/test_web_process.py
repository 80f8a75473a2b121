"""Whether a web process answers, at the public URL or on this machine."""

from __future__ import annotations

import httpx
import pytest

from bridge.check.finding import Finding
from bridge.check.web_process import web_process
from bridge.settings import read


async def look(public_url: str, listen: str, status: int) -> tuple[list[Finding], list[str]]:
    """What is found, and what was asked; no answer with status 0."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if not status:
            raise httpx.ConnectError("hidden")
        return httpx.Response(status)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await web_process(read({"DORA_BRIDGE_LISTEN": listen}), client, public_url), asked


@pytest.mark.parametrize(
    ("status", "level", "detail"),
    [
        (200, "ok", "a web process answers at https://b.example.com/dora"),
        (0, "problem", "no web process answers at https://b.example.com/dora: ConnectError ("),
        (503, "problem", "no web process answers at https://b.example.com/dora: status 503 ("),
        (404, "warning", "https://b.example.com/dora answers 404 to GET /livez: something else may"),
    ],
)
async def test_at_the_public_url(status: int, level: str, detail: str) -> None:
    [finding], asked = await look("https://b.example.com/dora/", "0.0.0.0:8080", status)
    assert asked == ["https://b.example.com/dora/livez"]
    assert (finding.level, finding.what) == (level, "web")
    assert finding.detail.startswith(detail)


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"])
async def test_on_this_machine(listen: str) -> None:
    [finding], asked = await look("", listen, 200)
    assert (finding.level, asked) == ("ok", [f"http://{listen}/livez"])
    for status in (0, 404, 503):
        [finding], _ = await look("", listen, status)
        assert finding.level == "warning"


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "bridge:8080"])
async def test_nobody_is_asked_at_an_address_that_says_nothing(listen: str) -> None:
    assert await look("", listen, 0) == ([], [])
