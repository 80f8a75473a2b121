"""A Datadog that takes 100 requests a second: how many of ours it refuses, and how close to its pace we are.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.rate_limit [--events 2000] [--json FILE]`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

from bench.alone import alone
from bench.delivery import bridge
from bench.drained import Drained
from bench.table import Result, Target
from bench.upstream import upstream

LIMIT = 100
PROCESSES = 4


def measure(folder: Path, *, events: int, rounds: int = 1) -> Result:
    """So many events wait when the workers start."""
    with upstream(folder) as datadog:
        turns = [bridge(datadog, events, PROCESSES, folder, limit=LIMIT) for _ in range(rounds)]
    refused = statistics.median(one.got.refused / events for one in turns)
    seconds = statistics.median(map(_seconds, turns))
    slowness = seconds / best_s(events)
    last = turns[-1].got.delivered
    return Result(
        "Rate limit",
        ["events", "processes", "429 for each delivered", "seconds", "at best", "time ÷ ideal"],
        [[events, PROCESSES, refused, seconds, best_s(events), slowness]],
        [
            f"The stand-in takes {LIMIT} requests in each second of the clock, says so in `X-RateLimit-…`, and answers "
            "the others with 429. At best they take so many seconds as there are hundreds after the first."
        ],
        [
            Target(f"refused (429) for each delivered, at {LIMIT}/s, {PROCESSES} processes", refused, 0.01, "at most"),
            Target(f"time ÷ ideal, at {LIMIT}/s, {PROCESSES} processes", slowness, 1.05, "at most"),
        ],
        {"rounds": [_numbers(one) for one in turns], "delivered_at_s": [one - min(last) for one in last]},
    )


def best_s(events: int) -> float:
    """Seconds from the first to the last delivery, if each second begins with all that it allows."""
    return float(math.ceil(events / LIMIT) - 1)


def _numbers(one: Drained) -> dict[str, Any]:
    return {"refused": one.got.refused, "seconds": _seconds(one)}


def _seconds(one: Drained) -> float:
    return max(one.got.delivered) - min(one.got.delivered)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rate_limit", description="Measure against a rate limit.")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    return alone(partial(measure, events=given.events), given.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
