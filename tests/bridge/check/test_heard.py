"""Sources that fell silent, and secrets that can go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from checking import GOOD, found, told

from bridge import redis_url
from bridge.check.heard import rotation
from bridge.embedded_redis import PrivateRedis
from bridge.last_heard import fingerprint

NOW = 1_900_000_000.0
DAY = 86_400


def ago(seconds: float) -> int:
    return int((NOW - seconds) * 1000)


@pytest.mark.parametrize(
    ("matched", "said"),
    [
        ([ago(120)], None),
        (
            [ago(120), ago(3 * DAY)],
            "secret 1 matched 2 min ago for the last time, secret 2 matched 3 d ago for the last time: secret 2 can go",
        ),
        (
            [ago(4 * DAY), ago(120)],
            "secret 1 matched 4 d ago for the last time, secret 2 matched 2 min ago for the last time: secret 1 can go",
        ),
        (
            [ago(120), ago(3 * DAY), ago(9 * DAY)],
            "secret 1 matched 2 min ago for the last time, secret 2 matched 3 d ago for the last time,"
            " secret 3 matched 9 d ago for the last time: secret 2 and secret 3 can go",
        ),
        (
            [ago(120), ago(3600)],
            "secret 1 matched 2 min ago for the last time, secret 2 matched 1 h ago for the last time: all are in use",
        ),
        (  # nothing came since: that neither matched for long says nothing
            [ago(3 * DAY), ago(3 * DAY + 3600)],
            "secret 1 matched 3 d ago for the last time, secret 2 matched 3 d ago for the last time: all are in use",
        ),
        (  # it may be the new one
            [None, ago(120)],
            "secret 1 never matched, secret 2 matched 2 min ago for the last time:"
            " no sender uses secret 1 yet, or none does any more",
        ),
        ([None, None], "secret 1 never matched, secret 2 never matched: change the sender to secret 1"),
    ],
)
def test_which_secret_can_go(matched: list[int | None], said: str | None) -> None:
    told_ = [(one.level, one.what, one.detail) for one in rotation("github", matched, NOW)]
    assert told_ == ([("ok", "rotation", f"github: {said}")] if said else [])


async def test_sources_and_their_traffic(redis_server: PrivateRedis, tmp_path: Path) -> None:
    environ = {
        **GOOD,
        "DORA_BRIDGE_SECRETS__GITHUB": '["new", "old"]',
        "DORA_BRIDGE_SECRETS__PAGERDUTY": "p",
        "DORA_BRIDGE_SECRETS__OPSGENIE": "o",
        "DORA_BRIDGE_SECRETS__JSM": "j",
        "DORA_BRIDGE_SECRETS__ARGOCD": "a",
        "DORA_BRIDGE_REDIS_URL": redis_server.url,
    }
    now = int(time.time() * 1000)
    minutes, days = 60_000, 86_400_000
    redis: Any = redis_url.impatient(redis_server.url)
    try:
        await redis.flushdb()
        before = {
            "github": {fingerprint("github", b"old"): now - 2 * days, fingerprint("github", b"new"): now - 2 * minutes}
            | {"accepted": now - 3 * minutes},
            "pagerduty": {fingerprint("pagerduty", b"one of before"): now - 9 * days, "accepted": now - 9 * days},
            "opsgenie": {fingerprint("opsgenie", b"o"): now - 5 * minutes},
            "jsm": {fingerprint("jsm", b"j"): now - 5 * minutes, "accepted": now - 8 * days},
        }
        for name, fields in before.items():
            await redis.hset(f"dora:heard:{name}", mapping=fields)
        some = await found(**environ)
    finally:
        await redis.flushdb()
        await redis.aclose()
    assert told(some, "traffic") == [
        ("ok", "github: the last authentic webhook came 2 min ago, the last that became an event 3 min ago"),
        ("warning", "argocd: no authentic webhook was noted yet (is it registered with the sender?)"),
        ("warning", "pagerduty: no authentic webhook for 9 d (does the sender still post to it?)"),
        (
            "warning",
            "opsgenie: the last authentic webhook came 5 min ago, but none became an event (dora-bridge events list)",
        ),
        ("warning", "jsm: the last authentic webhook came 5 min ago, but none became an event for 8 d"),
    ]
    [(level, detail)] = told(some, "rotation")
    assert level == "ok"
    assert detail.endswith("secret 2 can go")
