"""How the sandbox is told to misbehave: a list of steps, used up by the requests that follow.

The first step that fits a request is applied to it, and is gone once it was applied `times` times. Requests
that no step fits are answered as usual. Posting a script replaces the one before, its rate limit included.
A step has:

`status`
    200 to 299: the request is checked and stored as usual, only the status differs (202: "delayed"). 300 to
    599: nothing is stored.
`headers`, `body`
    Of the answer, with a `status`. Without `body` it is Datadog's shape for that status. A text is sent as
    text/plain, all else as JSON.
`delay_ms`
    The request is processed at once, its answer comes so many milliseconds later: a client that gave up was
    heard.
`drop`
    The connection is cut. `before_processing`: nothing is stored. `before_reply`: processed and stored, no
    answer. `mid_reply`: after the headers and half of the body.
`lose`
    true: the answer is as usual but nothing is stored, like an event that was acknowledged and then lost.
`times`
    How many requests; 1 if absent. 0 or `"forever"`: until the script is replaced or deleted.
`match`
    `{"method", "path", "contains"}`, each optional: only requests of that method, at or below that path (in
    whole segments: `/api/v2/dora/deployment` is not `/api/v2/dora/deployments`), with that text in their
    body.
`rate_limit`
    Alone in its step: `{"limit": 100, "period_s": 1}`. From the first request on that reaches the step, so
    many requests per calendar-aligned window, 429 above, the X-RateLimit headers on every answer. null ends
    it. A request that the limit refuses uses up no step.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeGuard

DROPS = ("before_processing", "before_reply", "mid_reply")
_STEP_KEYS = ("status", "headers", "body", "delay_ms", "drop", "lose", "times", "match", "rate_limit")
_MATCH_KEYS = ("method", "path", "contains")
_FOREVER = math.inf
# What uvicorn would refuse to send; better to refuse the script than to answer 500 later.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)


@dataclass(slots=True)
class RateLimit:
    """A fixed, calendar-aligned window, as Datadog documents it.

    Source: https://docs.datadoghq.com/api/latest/rate-limits/
    """

    limit: int
    period_s: int
    _window: int = -1
    _used: int = 0

    def take(self, now: float) -> tuple[bool, dict[str, str]]:
        """Whether a request at `now` (seconds since the epoch) may pass, and the headers of its answer."""
        window = int(now // self.period_s)
        if window != self._window:
            self._window, self._used = window, 0
        allowed = self._used < self.limit
        self._used += allowed
        # Rounded up: who waits that long finds a new window. Datadog's own rounding is not documented.
        reset = max(1, math.ceil((window + 1) * self.period_s - now))
        return allowed, {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Period": str(self.period_s),
            "X-RateLimit-Remaining": str(self.limit - self._used),
            "X-RateLimit-Reset": str(reset),
            "X-RateLimit-Name": "dora_bridge_sandbox",
        }


@dataclass(slots=True)
class Step:
    """One step of a script; `raw` is what was posted, `left` how often it still applies."""

    raw: dict[str, Any]
    left: float = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: str | None = None
    lose: bool = False
    match: dict[str, str] = field(default_factory=dict)

    def fits(self, method: str, path: str, body: bytes) -> bool:
        """Whether the step is meant for such a request."""
        return (
            self.match.get("method", method) == method
            and ("path" not in self.match or is_under(path, self.match["path"]))
            and self.match.get("contains", "").encode() in body
        )

    def describe(self) -> str:
        """The step in one line, for the record of a request it was applied to."""
        said = {key: value for key, value in self.raw.items() if key in ("status", "delay_ms", "drop", "lose")}
        return "script: " + ", ".join(f"{key} {value}" for key, value in said.items())


class Script:
    """The steps that are left, and the rate limit that is on."""

    def __init__(self, steps: object = None) -> None:
        """Raises: ValueError naming the step and its bad key."""
        self._steps = [] if steps is None else _parse(steps)
        self.rate_limit: RateLimit | None = None
        while self._steps and "rate_limit" in self._steps[0].raw:
            self._limit(self._steps.pop(0))

    def reach(self, method: str, path: str, body: bytes) -> Step | None:
        """The step for this request, if there is one; a rate limit on the way to it is now on."""
        if not self._steps:
            return None
        for step in tuple(self._steps):
            if "rate_limit" in step.raw:
                self._steps.remove(step)
                self._limit(step)
            elif step.fits(method, path, body):
                return step
        return None

    def use(self, step: Step) -> None:
        """Counts one application of the step."""
        step.left -= 1
        if step.left <= 0:
            self._steps.remove(step)

    def left(self) -> dict[str, Any]:
        """What is still to come, in the words it was posted in, and the rate limit that is on."""
        limit = self.rate_limit
        return {
            "steps": [
                step.raw
                if "rate_limit" in step.raw
                else step.raw | {"times": "forever" if step.left == _FOREVER else int(step.left)}
                for step in self._steps
            ],
            "rate_limit": None if limit is None else {"limit": limit.limit, "period_s": limit.period_s},
        }

    def _limit(self, step: Step) -> None:
        asked = step.raw["rate_limit"]
        self.rate_limit = None if asked is None else RateLimit(asked["limit"], asked["period_s"])


def is_under(path: str, prefix: str) -> bool:
    """Whether `path` is `prefix` or below it, in whole segments."""
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def _parse(steps: object) -> list[Step]:
    if not isinstance(steps, list):
        raise ValueError("a script is a JSON list of steps")
    parsed = []
    for number, raw in enumerate(steps, start=1):
        try:
            parsed.append(_parse_step(raw))
        except ValueError as error:
            raise ValueError(f"step {number}: {error}") from None
    return parsed


def _parse_step(raw: object) -> Step:
    if not isinstance(raw, dict):
        raise ValueError("must be an object")
    for key in raw:
        if key not in _STEP_KEYS:
            raise ValueError(f'unknown key "{key}"; known are {", ".join(_STEP_KEYS)}')
    if "rate_limit" in raw:
        _check_rate_limit(raw)
        return Step(raw)
    if not any(key in raw for key in ("status", "delay_ms", "drop", "lose")):
        raise ValueError("does nothing: give status, delay_ms, drop, lose or rate_limit")
    status = raw.get("status")
    if "status" in raw and not (_is_int(status) and 200 <= status <= 599):
        raise ValueError('"status" must be an integer from 200 to 599')
    for key in ("headers", "body"):
        if key in raw and "status" not in raw:
            raise ValueError(f'"{key}" needs a "status"')
    delay_ms = raw.get("delay_ms", 0)
    if not _is_int(delay_ms) or delay_ms < 0:
        raise ValueError('"delay_ms" must be an integer, 0 or more')
    if "drop" in raw and raw["drop"] not in DROPS:
        raise ValueError(f'"drop" must be one of {", ".join(DROPS)}')
    if not isinstance(raw.get("lose", False), bool):
        raise ValueError('"lose" must be true or false')
    return Step(
        raw,
        left=_times(raw.get("times", 1)),
        status=status,
        headers=_headers(raw.get("headers", {})),
        delay_s=delay_ms / 1000,
        drop=raw.get("drop"),
        lose=raw.get("lose", False),
        match=_match(raw.get("match", {})),
    )


def _check_rate_limit(raw: dict[str, Any]) -> None:
    if len(raw) > 1:
        others = ", ".join(f'"{key}"' for key in raw if key != "rate_limit")
        raise ValueError(f'"rate_limit" stands alone in its step, without {others}')
    limit = raw["rate_limit"]
    if limit is None:
        return
    if not isinstance(limit, dict) or set(limit) != {"limit", "period_s"}:
        raise ValueError('"rate_limit" must be null or an object of "limit" and "period_s"')
    for key in ("limit", "period_s"):
        if not _is_int(limit[key]) or limit[key] < 1:
            raise ValueError(f'"rate_limit.{key}" must be an integer of 1 or more')


def _times(value: object) -> float:
    if value == "forever" or (_is_int(value) and value == 0):
        return _FOREVER
    if _is_int(value) and value > 0:
        return value
    raise ValueError('"times" must be a positive integer, or 0 or "forever" for no end')


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError('"headers" must be an object')
    for name, text in value.items():
        if (
            not _HEADER_NAME.fullmatch(name)
            or not isinstance(text, str | int)
            or not _HEADER_VALUE.fullmatch(str(text))
        ):
            raise ValueError(f'"headers" cannot carry "{name}" with that value')
        if name.lower() in ("content-length", "transfer-encoding"):
            raise ValueError(f'"headers" cannot set "{name}"; cut an answer short with "drop"')
    return {name: str(text) for name, text in value.items()}


def _match(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError('"match" must be an object')
    for key, text in value.items():
        if key not in _MATCH_KEYS:
            raise ValueError(f'unknown key "match.{key}"; known are {", ".join(_MATCH_KEYS)}')
        if not isinstance(text, str) or not text:
            raise ValueError(f'"match.{key}" must be a non-empty string')
    return {key: text.upper() if key == "method" else text for key, text in value.items()}


def _is_int(value: object) -> TypeGuard[int]:
    return type(value) is int
