"""Since when a statement waits: not while it waits on purpose, and not since before it was put back."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.waiting_since import asked_ms, waiting_since_ms


@pytest.mark.parametrize(
    ("last", "since"),
    [
        ({}, 100),
        ({"at": 200, "n": 1, "reason": "server_error", "due": 900}, 100),  # it fails: that is late
        ({"at": 200, "n": 1, "reason": "deployment_pending", "due": 900}, None),
        ({"at": 200, "n": 1, "reason": "incident_pending", "due": 501}, None),
        ({"at": 200, "n": 1, "reason": "deployment_pending", "due": 500}, 500),
        ({"at": 300, "state": "waiting", "by": "someone"}, 300),
        ({"at": 400, "n": 1, "reason": "server_error", "due": 900, "put_back": 300}, 300),
        ({"at": 400, "n": 1, "reason": "deployment_pending", "due": 450, "put_back": 300}, 450),
    ],
)
def test_since_when(last: dict[str, Any], since: int | None) -> None:
    assert waiting_since_ms(100, last, now_ms=500) == since


def test_a_wait_on_purpose_is_part_of_the_way_to_delivery() -> None:
    assert asked_ms(100, {"at": 200, "n": 1, "reason": "deployment_pending", "due": 900}) == 100
