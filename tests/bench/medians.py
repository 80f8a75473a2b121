"""What is made of the numbers of several rounds. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank).

    Raises: ValueError without values, or for a percentage that is none.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    if not 0 < percent <= 100:
        raise ValueError("a percentage is above 0, up to 100")
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each number over the rounds that have it."""
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: statistics.median(one[name] for one in rounds if name in one) for name in names}


def ratio_of_rounds(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios within each round: what slows down a whole round is in both of its numbers."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def steady_rate(moments: Sequence[float], *, outer: float = 0.1) -> float:
    """Events a second between the first and the last tenth of them: without what starting and ending costs.

    Raises: ValueError for fewer than ten moments.
    """
    if len(moments) < 10:
        raise ValueError("too few moments for a rate")
    ordered = sorted(moments)
    first, last = int(len(ordered) * outer), int(len(ordered) * (1 - outer)) - 1
    return (last - first) / max(ordered[last] - ordered[first], 1e-9)
