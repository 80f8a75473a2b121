"""One call that reads from Datadog: how long it is waited for, and what is told when it is in vain."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from bridge.datadog_calls import LONGEST_WAIT_S, TRIES, WAITS, DatadogCalls, request
from bridge.errors import DatadogUnreadable

OK = httpx.Response(200, json={})


class Told:
    """What a handler was asked, and the waits in between."""

    def __init__(self, *answers: httpx.Response | Exception, then: httpx.Response | Exception = OK) -> None:
        self.answers, self.then = list(answers), then
        self.calls: list[httpx.Request] = []
        self.waits: list[float] = []

    def handler(self, asked: httpx.Request) -> httpx.Response:
        self.calls.append(asked)
        answer = self.answers.pop(0) if self.answers else self.then
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def answer(self) -> httpx.Response:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.handler))
        asked = request("GET", "/api/v2/x%3Ay", base_url="http://datadog", api_key="the-api-key", app_key="the-app-key")
        return await DatadogCalls(client, sleep=self.sleep).answer(asked, what="its x", permission="x_read")


def limited(reset: str) -> httpx.Response:
    return httpx.Response(429, headers={"X-RateLimit-Reset": reset})


async def test_it_is_asked_once_with_both_keys() -> None:
    told = Told()
    assert (await told.answer()).status_code == 200
    [asked] = told.calls
    assert asked.url.raw_path == b"/api/v2/x%3Ay"
    assert [asked.headers[name] for name in ("dd-api-key", "dd-application-key")] == ["the-api-key", "the-app-key"]
    assert "content-type" not in asked.headers
    assert told.waits == []


@pytest.mark.parametrize(
    ("reset", "expected"), [("7", 7), ("0", 1), ("", 1), ("soon", 1), ("999999999", LONGEST_WAIT_S)]
)
async def test_the_limit_is_waited_for_with_a_little_jitter(reset: str, expected: float) -> None:
    told = Told(limited(reset))
    await told.answer()
    [wait] = told.waits
    assert expected <= wait <= expected * 1.1


async def test_what_fails_is_asked_again_after_longer_and_longer() -> None:
    told = Told(httpx.ConnectError("x"), httpx.Response(500), httpx.Response(408), httpx.Response(503))
    assert (await told.answer()).status_code == 200
    assert told.waits == sorted(told.waits)
    assert len(told.calls) == TRIES


@pytest.mark.parametrize("status", [200, 202, 302, 400, 404, 422])
async def test_other_answers_are_the_callers_to_judge(status: int) -> None:
    told = Told(then=httpx.Response(status))
    assert (await told.answer()).status_code == status
    assert len(told.calls) == 1


@pytest.mark.parametrize(
    ("then", "calls", "words"),
    [
        (lambda: httpx.Response(500), TRIES, "Datadog answers 500 when asked for its x"),
        (lambda: limited("1"), WAITS + TRIES, "Datadog answers 429 when asked for its x"),
        (lambda: httpx.ConnectTimeout("x"), TRIES, "not reachable: ConnectTimeout .*DD_SITE"),
        (lambda: httpx.Response(401), 1, "Datadog refuses to give its x: 401 .*DD_APP_KEY.* x_read"),
        (lambda: httpx.Response(403), 1, "403"),
    ],
)
async def test_what_is_in_vain_is_told(then: Callable[[], httpx.Response | Exception], calls: int, words: str) -> None:
    told = Told(then=then())
    with pytest.raises(DatadogUnreadable, match=words) as caught:
        await told.answer()
    assert len(told.calls) == calls
    assert "the-ap" not in str(caught.value)
