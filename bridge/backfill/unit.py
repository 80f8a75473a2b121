"""Unit: one thing to read from a vendor, which comes to some deliveries. And how those are made."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.intake import Delivery

COMPOSED = "dora-bridge-backfill"
"""The user agent of deliveries that no vendor ever posted: it is kept, so explanations tell them apart."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing to read."""

    key: str
    """Names it among all units of a sender, the same in each run."""
    at: int
    """Nanoseconds since the epoch, UTC: units are read in this order, so that older facts are recorded first."""
    read: Callable[[], Awaitable[Sequence[Delivery]]]
    """What it comes to; nothing if it is nothing to report. Raises: SenderUnreadable."""


def composed(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Delivery:
    """A delivery with a body that we put together from what the vendor's API told."""
    kept = {"content-type": "application/json", "user-agent": COMPOSED, **(headers or {})}
    return Delivery(kept, {}, json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


def ready(key: str, at: int, *deliveries: Delivery) -> Unit:
    """A unit whose deliveries need no further call."""

    async def read() -> Sequence[Delivery]:
        return deliveries

    return Unit(key, at, read)
