"""Asking a vendor's REST API: with a token, at a pace, obeying its limits, and saying plainly what cannot be read.

Limits, and the headers that tell them:

    GitHub      x-ratelimit-remaining, x-ratelimit-reset (epoch seconds); retry-after; 403 or 429 when it is too much,
                and at least a minute of silence after a secondary limit, whose answers may lack both headers.
                https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    PagerDuty   ratelimit-remaining, ratelimit-reset (seconds from now); 429 when it is too much.
                https://support.pagerduty.com/main/docs/rest-api-rate-limits
    Argo CD     none
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from bridge import __version__
from bridge.backfill.pace import Pace
from bridge.errors import SenderUnreadable
from bridge.settings import Secrets

TIMEOUT_S = 30.0
PER_PAGE = 100
"""The most that GitHub and PagerDuty put on a page."""
_TRIES = 6
_SECONDARY_S = 60.0
_LONGEST_BACKOFF_S = 60.0

Params = Mapping[str, str | int | list[str]]


@dataclass(frozen=True, slots=True)
class Vendor:
    """What differs between the APIs."""

    name: str
    token_prefix: bytes
    token_setting: str
    """Names the variable in messages."""
    accept: str = "application/json"
    remaining: str = ""
    """The header with the number of calls that are left; empty if there is none."""
    reset: str = ""
    reset_is_moment: bool = False
    """Whether `reset` is seconds since the epoch; else seconds from now."""
    rights: str = ""
    """What the token needs, for messages."""


GITHUB = Vendor(
    "GitHub",
    b"Bearer ",
    "DORA_BRIDGE_GITHUB_TOKEN",
    accept="application/vnd.github+json",
    remaining="x-ratelimit-remaining",
    reset="x-ratelimit-reset",
    reset_is_moment=True,
    rights="read access to deployments, actions, contents and issues; write access to webhooks",
)
PAGERDUTY = Vendor(
    "PagerDuty",
    b"Token token=",
    "DORA_BRIDGE_PAGERDUTY_TOKEN",
    accept="application/vnd.pagerduty+json;version=2",
    remaining="ratelimit-remaining",
    reset="ratelimit-reset",
    rights="read access to incidents",
)
ARGOCD = Vendor("Argo CD", b"Bearer ", "DORA_BRIDGE_ARGOCD_TOKEN", rights="applications, get, on all projects")


def pause_s(vendor: Vendor, answer: httpx.Response, *, tries: int, now_s: float) -> float | None:
    """Seconds after which a call that was refused may be made again; None if that would not help.

    `tries` counts from 1 and includes this call; `now_s` is seconds since the epoch, UTC.
    """
    status = answer.status_code
    spent = bool(vendor.remaining) and answer.headers.get(vendor.remaining) == "0"
    asked = _number(answer.headers.get("retry-after"))
    too_much = status == 429 or (status == 403 and (spent or asked is not None or b"rate limit" in answer.content))
    if too_much:
        if asked is not None:
            return asked + 1
        return until_reset_s(vendor, answer, now_s=now_s) or _SECONDARY_S * 2 ** (tries - 1)
    if status >= 500 or status == 408:
        return asked if asked is not None else backoff_s(tries)
    return None


def until_reset_s(vendor: Vendor, answer: httpx.Response, *, now_s: float) -> float:
    """Seconds until more calls are allowed, if this answer used up the last one; else 0."""
    reset = _number(answer.headers.get(vendor.reset)) if vendor.reset else None
    if reset is None or answer.headers.get(vendor.remaining) != "0":
        return 0.0
    # a second more: both count in whole ones
    return max(0.0, reset - now_s if vendor.reset_is_moment else reset) + 1


def backoff_s(tries: int) -> float:
    return min(_LONGEST_BACKOFF_S, 2.0 ** (tries - 1))


def _number(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


def _nobody(message: str) -> None:
    """Waits need not be told to anybody."""


class VendorApi:
    """One API at one address. Calls are made one after the other."""

    def __init__(
        self,
        vendor: Vendor,
        client: httpx.AsyncClient,
        *,
        base_url: str,
        token: Secrets,
        pace: Pace,
        longest_wait_s: float,
        told: Callable[[str], None] = _nobody,
    ) -> None:
        """`longest_wait_s`: a vendor that wants us to wait for longer counts as unreadable; `told` hears of waits."""
        self.vendor = vendor
        self.base_url = base_url
        self._client = client
        self._token = token
        self._pace = pace
        self._longest_wait_s = longest_wait_s
        self._told = told
        self._silent_until = 0.0

    async def get(self, path: str, params: Params | None = None) -> Any:
        """The JSON that the vendor has there. Raises: SenderUnreadable."""
        return self._json(path, await self.call("GET", path, params))

    async def pages(self, path: str, params: Params | None = None) -> AsyncIterator[Any]:
        """The JSON of each page, as the `Link` headers lead on (RFC 8288). Raises: SenderUnreadable."""
        wanted: Params | None = {**(params or {}), "per_page": PER_PAGE}
        while wanted is not None:
            answer = await self.call("GET", path, wanted)
            yield self._json(path, answer)
            # only its query: the token goes to no other address than the configured one
            following = answer.links.get("next", {}).get("url")
            wanted = dict(parse_qsl(urlsplit(following).query)) if following else None

    async def call(self, method: str, path: str, params: Params | None = None) -> httpx.Response:
        """A successful answer, after waits and repetitions if need be. Raises: SenderUnreadable."""
        what = f"{self.vendor.name}: {method} {path}"
        await self._wait(self._silent_until - time.time(), f"{what}: the vendor's limit is used up")
        for tries in range(1, _TRIES + 1):
            await self._pace.turn()
            try:
                answer = await self._client.request(
                    method, f"{self.base_url}/{path}", params=dict(params or {}), headers=self._headers()
                )
            except httpx.TransportError as error:
                problem, wait_s = type(error).__name__, backoff_s(tries)
            else:
                if answer.is_success:
                    self._silent_until = time.time() + until_reset_s(self.vendor, answer, now_s=time.time())
                    return answer
                problem = f"answered {answer.status_code}"
                refused = pause_s(self.vendor, answer, tries=tries, now_s=time.time())
                if refused is None:
                    raise SenderUnreadable(f"{what}: {problem}{self._hint(answer.status_code)}", answer.status_code)
                wait_s = refused
            if tries < _TRIES:
                await self._wait(wait_s, f"{what}: {problem}")
        raise SenderUnreadable(f"{what}: {problem}, {_TRIES} times")

    async def _wait(self, seconds: float, why: str) -> None:
        if seconds <= 0:
            return
        if seconds > self._longest_wait_s:
            raise SenderUnreadable(f"{why}: wants {seconds:.0f} s of silence; try again then")
        self._told(f"{why}: waiting {seconds:.0f} s")
        await self._pace.pause(seconds)

    def _headers(self) -> dict[bytes, bytes]:
        tokens = self._token()
        authorization = {b"Authorization": self.vendor.token_prefix + tokens[0]} if tokens else {}
        agent = f"dora-bridge/{__version__}"
        return {**authorization, b"Accept": self.vendor.accept.encode(), b"User-Agent": agent.encode()}

    def _hint(self, status: int) -> str:
        setting, rights = self.vendor.token_setting, self.vendor.rights
        if status == 401:
            return f": is {setting} set to a token that is valid?"
        if status in (403, 404):
            return f": does it exist, and may the token of {setting} read it? ({rights})"
        if 300 <= status < 400:
            return ": it has moved; give its present name or address"
        return ""

    def _json(self, path: str, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise SenderUnreadable(f"{self.vendor.name}: GET {path}: the answer is not JSON") from error
