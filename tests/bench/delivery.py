"""Delivered events a second, and the CPU time of each, against an aiohttp loop with as many connections.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.delivery [--rounds 3] [--quick] [--json FILE]`.

All events wait in the ledger before the workers start; the rate is that between the first and the last tenth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import product
from bench.alone import alone
from bench.drained import Drained, drained
from bench.medians import medians, ratio_of_rounds
from bench.processes import running
from bench.table import Cell, Result, Target
from bench.upstream import Upstream, upstream
from bench.waiting import calls, fill
from bridge.embedded_redis import PrivateRedis

CONNECTIONS = 50
"""Of each worker process; its default."""
PATH = "/api/v2/dora/deployment"
CELLS = [(delay_ms, processes) for delay_ms in (0, 50, 200) for processes in (1, 2, 4)]
"""Milliseconds that the stand-in takes for an answer, and worker processes."""
QUICK_CELLS = [(0, 1), (50, 1)]
_EXPECTED = {0: 1000, 50: 900, 200: 240}
"""Events a second of one process, roughly: for how many events there have to be."""


def events_of(delay_ms: int, processes: int, seconds: float) -> int:
    """So many that it takes about so many seconds on two cores."""
    return int(seconds * min(_EXPECTED[delay_ms] * processes, 1800))


def measure(
    folder: Path, *, rounds: int, seconds: float, cells: Sequence[tuple[int, int]] = CELLS, limit: bool = True
) -> Result:
    """The rounds of about so many seconds for each cell; without `limit` there is no aiohttp to compare with."""
    most = max(events_of(*cell, seconds) for cell in cells)
    bodies = calls(folder / "calls.jsonl", most if limit else 1).read_bytes().splitlines(keepends=True)
    ours: dict[tuple[int, int], list[Drained]] = defaultdict(list)
    limits: dict[tuple[int, int], list[Drained]] = defaultdict(list)
    with upstream(folder) as datadog:
        for _ in range(rounds):
            for cell in cells:
                delay_ms, processes = cell
                count = events_of(delay_ms, processes, seconds)
                datadog.follow(delay_ms=delay_ms)
                if limit:
                    limits[cell].append(_aiohttp(datadog, bodies[:count], CONNECTIONS * processes, folder))
                ours[cell].append(bridge(datadog, count, processes, folder, delay_ms=delay_ms))
    return _result(ours, limits, f"{rounds} rounds of {seconds:g} s")


def bridge(
    datadog: Upstream, count: int, processes: int, folder: Path, *, timeout_s: float = 180, **orders: int
) -> Drained:
    """So many events from a Redis of their own, by so many worker processes; `orders` are for the stand-in."""
    with tempfile.TemporaryDirectory(dir=folder) as own, PrivateRedis(Path(own) / "redis") as redis:
        fill(redis, count)
        datadog.follow(**orders)
        with product.workers(processes, redis, datadog.url, folder, concurrency=CONNECTIONS) as pid:
            return drained(datadog, count, pid, redis.pid, timeout_s=timeout_s)


def _aiohttp(datadog: Upstream, bodies: Sequence[bytes], connections: int, folder: Path) -> Drained:
    file = folder / "some.jsonl"
    file.write_bytes(b"".join(bodies))
    arguments: list[str | Path] = ["-m", "bench.aiohttp_loop", file, datadog.url + PATH, str(connections)]
    with running(arguments, log=folder / "aiohttp.log") as process:
        return drained(datadog, len(bodies), process.pid)


def _result(
    ours: dict[tuple[int, int], list[Drained]], limits: dict[tuple[int, int], list[Drained]], rounds: str
) -> Result:
    rows: list[list[Cell]] = []
    targets = []
    data = {}
    for cell, turns in ours.items():
        delay_ms, processes = cell
        own, other = _numbers(turns), _numbers(limits[cell])
        row = medians(own)
        limit = medians(other)
        ratio = (
            ratio_of_rounds([one["per_second"] for one in own], [one["per_second"] for one in other]) if other else None
        )
        rows.append(
            [
                f"{delay_ms} ms",
                processes,
                CONNECTIONS * processes,
                limit.get("per_second"),
                row["per_second"],
                ratio,
                limit.get("cpu_s_per_1000"),
                row["cpu_s_per_1000"],
                row["redis_cpu_s_per_1000"],
            ]
        )
        data[f"{delay_ms} ms, {processes} processes"] = {"bridge": own, "aiohttp": other}
        if cell == (50, 1) and ratio is not None:
            targets.append(
                Target("delivered/s of one worker at 50 ms ÷ aiohttp, as many connections", ratio, 0.9, "at least")
            )
    notes = [
        f"{rounds}; every event is another deployment, of 300 services in turn. The bridge sends those of one service "
        "one after the other, and puts down each outcome; the aiohttp loop does neither.",
        "The stand-in Datadog is a process of its own on the same cores; that it is not what limits the bridge is seen "
        "from what the aiohttp loop gets out of it at 0 ms.",
    ]
    head = ["upstream", "processes", "connections", "aiohttp/s", "bridge/s", "ratio"]
    head += ["aiohttp CPU s/1,000", "bridge CPU s/1,000", "its Redis CPU s/1,000"]
    return Result("Delivery", head, rows, notes, targets, data)


def _numbers(turns: Sequence[Drained]) -> list[dict[str, float]]:
    names = ("per_second", "cpu_s_per_1000", "redis_cpu_s_per_1000")
    return [{name: getattr(one, name) for name in names} for one in turns]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.delivery", description="Measure the delivery.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    cells = QUICK_CELLS if given.quick else CELLS
    return alone(partial(measure, rounds=given.rounds, seconds=given.seconds, cells=cells), given.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
