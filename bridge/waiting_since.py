"""Since when a statement waits for no reason of its own. Pure.

What waits on purpose is not late: a change failure for its deployment, ten minutes after a 202 of it, and what ends an
incident for that incident. Nor is a dead letter that was put back as old as its receipt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PENDING = ("deployment_pending", "incident_pending")
"""Reasons of a wait on purpose."""


def asked_ms(received_ms: int, last: Mapping[str, Any]) -> int:
    """When its delivery was asked for (ms since the epoch): its receipt, or when it was last put back.

    `last` is the last line of its story, empty if there is none.
    """
    return max(received_ms, put_back_ms(last))


def put_back_ms(last: Mapping[str, Any]) -> int:
    """When it was last a dead letter that was put back (ms since the epoch); 0 if it never was one."""
    if last and "n" not in last:  # no line of a try
        return int(last.get("at", 0))
    return int(last.get("put_back", 0))


def waiting_since_ms(received_ms: int, last: Mapping[str, Any], now_ms: int) -> int | None:
    """Since when it waits (ms since the epoch); None while it waits on purpose."""
    if last.get("reason") not in PENDING:
        return asked_ms(received_ms, last)
    due_ms = int(last.get("due", 0))
    return None if due_ms > now_ms else max(asked_ms(received_ms, last), due_ms)
