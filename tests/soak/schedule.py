"""Which harm is done to which part, when and for how long: drawn from a seed, the same each time. Pure.

Harms to different parts overlap as they happen to; one part has one at a time. Times are seconds since the start.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WORKERS = ("worker-1", "worker-2")
EVERYTHING = "everything"
"""Web and workers, one after the other, as in a roll-out."""
FIRST_S = 3.0
"""Until then everything works, so that there is something to lose."""
LONGEST_GAP_S, SHORTEST_GAP_S = 20.0, 4.0
ROLL_OUT_S = 15.0
"""So long around a roll-out nothing else is done to web and workers."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What can be done to a part, and how many seconds it lasts, at least and at most."""

    name: str
    least_s: float
    most_s: float


_PROCESS = (
    Harm("killed", 0.1, 3),
    Harm("asked to end", 0.1, 3),
    Harm("frozen", 7, 7),
)
HARMS: Mapping[str, Sequence[Harm]] = {
    "web": _PROCESS,
    **dict.fromkeys(WORKERS, _PROCESS),
    "redis": (
        Harm("killed", 0.5, 5),
        Harm("asked to end", 0.5, 5),
        Harm("frozen", 7, 7),
        Harm("paused", 1, 7),
        Harm("refuses writes", 2, 8),
    ),
    "datadog": (
        Harm("429", 3, 10),
        Harm("503", 3, 12),
        Harm("500", 3, 12),
        Harm("202", 3, 12),
        Harm("401", 2, 6),
        Harm("422", 2, 5),
        Harm("cuts before it hears", 1, 5),
        Harm("cuts before it answers", 1, 5),
        Harm("cuts within the answer", 1, 5),
        Harm("slow", 4, 12),
        Harm("hangs", 3, 6),
        Harm("refuses connections", 2, 8),
        Harm("cuts before it answers about incidents", 3, 10),
        Harm("slow about incidents", 6, 12),
    ),
    EVERYTHING: (Harm("rolled out", 0, 0),),
}


@dataclass(frozen=True, slots=True)
class Planned:
    at_s: float
    part: str
    harm: str
    lasts_s: float

    def __str__(self) -> str:
        lasts = f" {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at_s:.1f} {self.part} {self.harm}{lasts}"


def schedule(seed: int, seconds: float) -> list[Planned]:
    """What is done within so many seconds, in order of time. All of it is over by then."""
    gap_s = min(LONGEST_GAP_S, max(SHORTEST_GAP_S, seconds / 6))
    roll_outs = list(_of_one(seed, EVERYTHING, seconds, 6 * gap_s))
    planned = list(roll_outs)
    for part in HARMS:
        if part == EVERYTHING:
            continue
        mine = _of_one(seed, part, seconds, gap_s)
        is_replaced = part == "web" or part in WORKERS
        planned += [one for one in mine if not (is_replaced and any(_is_around(one, other) for other in roll_outs))]
    return sorted(planned, key=lambda one: one.at_s)


def _of_one(seed: int, part: str, seconds: float, gap_s: float) -> Iterator[Planned]:
    """A part meets all of its harms, in an order of chance, before it meets one again."""
    dice = random.Random(f"{seed}/{part}")  # noqa: S311 - a choice, no secret
    bag: list[Harm] = []
    at_s = FIRST_S
    while True:
        at_s += dice.uniform(0.2, 1.8) * gap_s
        if not bag:
            bag = list(HARMS[part])
            dice.shuffle(bag)
        harm = bag.pop()
        lasts_s = round(dice.uniform(harm.least_s, harm.most_s), 1)
        if at_s + lasts_s > seconds:
            return
        yield Planned(round(at_s, 1), part, harm.name, lasts_s)
        at_s += lasts_s


def _is_around(one: Planned, roll_out: Planned) -> bool:
    return one.at_s < roll_out.at_s + ROLL_OUT_S and roll_out.at_s < one.at_s + one.lasts_s
