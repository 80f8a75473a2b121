"""One request of a vendor, and how it gets to the bridge."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.times import SECOND, to_rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One request of a vendor."""

    at: float
    """When it arrives, in seconds since the epoch."""
    endpoint: str
    body: bytes
    kind: str | None = None
    """GitHub's name of the event."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides those of every request of the sender."""


@dataclass
class Post:
    """How long things take, and what becomes of them in an outage."""

    dice: random.Random
    outages: Sequence[tuple[int, int]]

    def some(self, least: float, most: float) -> float:
        return self.dice.uniform(least, most)

    def chance(self, of: float) -> bool:
        return self.dice.random() < of

    def up_again(self, at: float) -> float | None:
        """When the bridge is there again; None if it is."""
        return next((float(end) for begin, end in self.outages if begin <= at < end), None)


def at_second(seconds: float) -> str:
    """As vendors write whole seconds."""
    return to_rfc3339(int(seconds) * SECOND)


def at_millisecond(nanoseconds: int) -> str:
    """As vendors write milliseconds."""
    return to_rfc3339(nanoseconds // 1_000_000 * 1_000_000)
