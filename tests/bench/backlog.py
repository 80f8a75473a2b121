"""A backlog: whether a long one drains more slowly than a short one, and the memory that each waiting event takes.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.backlog [--long 100000] [--json FILE]`.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from redis import Redis

from bench.alone import alone
from bench.delivery import bridge
from bench.medians import steady_rate
from bench.table import Result, Target
from bench.upstream import Upstream, upstream
from bench.waiting import fill
from bridge.embedded_redis import PrivateRedis

SHORT = 1_000
DELAY_MS = 50
_WARM_UP = 500
"""So many more wait in front of each backlog: a process that has just started takes longer for its first events."""


def measure(folder: Path, *, long: int, rounds: int = 3, counted: int = 10_000) -> Result:
    """Short backlogs before and after the long one, so that what else the machine does is in both."""
    with upstream(folder) as datadog:
        short = [_drain(datadog, SHORT, folder) for _ in range(rounds)]
        whole = _drain(datadog, long, folder)
        short += [_drain(datadog, SHORT, folder) for _ in range(rounds)]
    rate = statistics.median(short)
    bare, with_body = (memory(folder, counted, raw=raw) for raw in (False, True))
    ratio = whole / rate
    return Result(
        "Backlog",
        ["waiting", "drained/s", "ratio", "bytes each, without body", "with its 10 KB body"],
        [[SHORT, rate, 1.0, None, None], [long, whole, ratio, int(bare), int(with_body)]],
        [
            f"One worker process, {DELAY_MS} ms upstream, after its first {_WARM_UP} events; the short one is the "
            f"median of {2 * rounds}, before and after the long one. Bytes are what `used_memory` of Redis grew by, "
            f"for each of {counted:,} events."
        ],
        [
            Target("bytes in Redis for each waiting event, without its raw body", bare, 1536, "at most"),
            Target(f"drain rate with {long:,} waiting, off from that with {SHORT:,}", abs(1 - ratio), 0.1, "at most"),
        ],
        {
            "short_per_second": short,
            "long_per_second": whole,
            "bytes_without_body": bare,
            "bytes_with_body": with_body,
        },
    )


def _drain(datadog: Upstream, count: int, folder: Path) -> float:
    """Events a second of the last `count`, between their first and last tenth."""
    done = bridge(datadog, _WARM_UP + count, 1, folder, delay_ms=DELAY_MS, timeout_s=60 + count / 50)
    return steady_rate(sorted(done.got.delivered)[_WARM_UP:])


def memory(folder: Path, count: int, *, raw: bool) -> float:
    """Bytes by which Redis grows for each waiting event."""
    with tempfile.TemporaryDirectory(dir=folder) as own, PrivateRedis(Path(own) / "redis") as redis:
        fill(redis, 64, first=10_000_000, raw=raw)  # scripts and tables that are there once
        before = _used(redis)
        fill(redis, count, raw=raw)
        return (_used(redis) - before) / count


def _used(redis: PrivateRedis) -> int:
    with contextlib.closing(Redis.from_url(redis.url)) as client:
        return int(client.info("memory")["used_memory"])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description="Measure backlogs.")
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    return alone(partial(measure, long=given.long), given.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
