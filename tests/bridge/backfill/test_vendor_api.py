"""Waits that vendors ask for, and what is said when an API cannot be read."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from stand_ins.github import GitHub
from stand_ins.serving import serving

from bridge.backfill.pace import Pace
from bridge.backfill.vendor_api import ARGOCD, GITHUB, PAGERDUTY, Vendor, VendorApi, pause_s
from bridge.errors import SenderUnreadable

NOW = 1_900_000_000


class Asker:
    """An API without real waits."""

    def __init__(self, client: httpx.AsyncClient, url: str, token: bytes = b"ghs_token") -> None:
        self.slept: list[float] = []
        self.clock = 0.0
        self.told: list[str] = []
        self.tokens = [token]
        self.api = VendorApi(
            GITHUB,
            client,
            base_url=url,
            token=lambda: tuple(self.tokens),
            pace=Pace(1e6, sleep=self._sleep, clock=lambda: self.clock),
            longest_wait_s=3700,
            told=self.told.append,
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock += seconds
        self.slept += [round(seconds)] if seconds > 0.5 else []


@pytest.fixture
async def github() -> AsyncIterator[tuple[GitHub, Asker]]:
    stand_in = GitHub()
    with serving(stand_in.app) as url:
        async with httpx.AsyncClient() as client:
            yield stand_in, Asker(client, url)


@pytest.mark.parametrize(
    ("vendor", "status", "headers", "tries", "expected"),
    [
        (GITHUB, 404, {}, 1, None),
        (GITHUB, 401, {}, 1, None),
        (GITHUB, 403, {}, 1, None),  # a right that is missing
        (GITHUB, 403, {"x-ratelimit-remaining": "12"}, 1, None),
        (GITHUB, 403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 90)}, 1, 91),
        (GITHUB, 403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW - 5)}, 1, 1),
        (GITHUB, 429, {"retry-after": "7"}, 1, 8),
        (GITHUB, 403, {"retry-after": "60"}, 3, 61),
        (GITHUB, 429, {}, 1, 60),  # a secondary limit without a word: at least a minute, then longer
        (GITHUB, 429, {}, 3, 240),
        (GITHUB, 502, {}, 1, 1),
        (GITHUB, 503, {"retry-after": "9"}, 1, 9),
        (GITHUB, 500, {}, 20, 60),
        (GITHUB, 408, {}, 2, 2),
        (PAGERDUTY, 429, {"ratelimit-remaining": "0", "ratelimit-reset": "42"}, 1, 43),
        (PAGERDUTY, 429, {"ratelimit-reset": "odd"}, 1, 60),
        (PAGERDUTY, 403, {"ratelimit-remaining": "900"}, 1, None),
        (ARGOCD, 429, {}, 1, 60),
        (ARGOCD, 403, {}, 1, None),
    ],
)
def test_pauses(vendor: Vendor, status: int, headers: Mapping[str, str], tries: int, expected: float | None) -> None:
    answer = httpx.Response(status, headers=headers, json={"message": "no"})
    assert pause_s(vendor, answer, tries=tries, now_s=NOW) == expected


def test_a_secondary_limit_may_be_told_by_its_text_alone() -> None:
    answer = httpx.Response(403, json={"message": "You have exceeded a secondary rate limit."})
    assert pause_s(GITHUB, answer, tries=1, now_s=NOW) == 60


async def test_all_pages_are_read_from_the_configured_address_alone(github: tuple[GitHub, Asker]) -> None:
    stand_in, asker = github
    stand_in.most_per_page = 2
    for number in range(1, 6):
        stand_in.deploy(number)
    pages = [page async for page in asker.api.pages("repos/acme/shop/deployments")]
    assert [[row["id"] for row in page] for page in pages] == [[5, 4], [3, 2], [1]]
    assert [dict(call.params).get("page") for call in stand_in.gate.calls] == [None, "2", "3"]


async def test_a_limit_is_waited_for(github: tuple[GitHub, Asker]) -> None:
    stand_in, asker = github
    reset = int(time.time()) + 600
    stand_in.gate.refuse(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)})
    stand_in.gate.refuse(503)
    assert (await asker.api.get("repos/acme/shop"))["id"] == 4242
    assert asker.slept[0] in range(595, 603)
    assert asker.slept[1] == 2
    assert "answered 403: waiting" in asker.told[0]
    assert len(stand_in.gate.calls) == 3


async def test_an_answer_that_was_the_last_one_allowed_counts(github: tuple[GitHub, Asker]) -> None:
    stand_in, asker = github
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 600)}
    stand_in.gate.refuse(200, headers, {"id": 1})
    assert await asker.api.get("repos/acme/shop") == {"id": 1}
    assert asker.slept == []
    await asker.api.get("repos/acme/shop")
    assert asker.slept[0] in range(595, 603), "the next call waits"


async def test_too_long_a_wait_is_said(github: tuple[GitHub, Asker]) -> None:
    stand_in, asker = github
    stand_in.gate.refuse(429, {"retry-after": "86400"})
    with pytest.raises(SenderUnreadable, match="wants 86401 s of silence"):
        await asker.api.get("repos/acme/shop")
    assert asker.slept == []


async def test_tries_end(github: tuple[GitHub, Asker]) -> None:
    stand_in, asker = github
    for _ in range(9):
        stand_in.gate.refuse(500)
    with pytest.raises(SenderUnreadable, match="answered 500, 6 times"):
        await asker.api.get("repos/acme/shop")
    assert len(stand_in.gate.calls) == 6


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "is DORA_BRIDGE_GITHUB_TOKEN set to a token that is valid"),
        (403, "may the token of DORA_BRIDGE_GITHUB_TOKEN read it"),
        (404, "does it exist"),
        (301, "it has moved"),
        (422, "answered 422"),
    ],
)
async def test_what_helps_is_said(github: tuple[GitHub, Asker], status: int, words: str) -> None:
    stand_in, asker = github
    stand_in.gate.refuse(status)
    with pytest.raises(SenderUnreadable, match=words) as caught:
        await asker.api.get("repos/acme/shop")
    assert caught.value.status == status
    assert "ghs_token" not in caught.value.detail


async def test_a_token_that_was_rotated_is_used_at_once(github: tuple[GitHub, Asker]) -> None:
    stand_in, asker = github
    stand_in.gate.authorization = "Bearer new"
    asker.tokens = [b"new"]
    assert await asker.api.get("repos/acme/shop")


async def test_no_connection_and_no_json(github: tuple[GitHub, Asker]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/page":
            return httpx.Response(200, text="<html>")
        raise httpx.ConnectError("refused")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        asker: Any = Asker(client, "http://nowhere")
        with pytest.raises(SenderUnreadable, match="not JSON"):
            await asker.api.get("page")
        with pytest.raises(SenderUnreadable, match="ConnectError, 6 times"):
            await asker.api.get("other")
