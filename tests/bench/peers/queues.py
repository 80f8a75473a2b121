"""Delivery by task queues, a task for each event, against the bridge: the same bodies, stand-in, Redis, connections.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.peers.queues [--rounds 3] [QUEUE …]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.delivery import CONNECTIONS, PATH, bridge, events_of
from bench.drained import Drained, NotDrained, drained
from bench.medians import ratio_of_rounds
from bench.peers.installed import NotThere, python
from bench.processes import clean_environ, running
from bench.rate_limit import LIMIT
from bench.table import Cell, Result
from bench.upstream import Upstream, upstream
from bench.waiting import calls
from bridge.embedded_redis import PrivateRedis


@dataclass(frozen=True, slots=True)
class Queue:
    """How it is run: with as many calls in flight as one worker process of the bridge has."""

    module: str
    worker: Sequence[str]
    shape: str
    less: str
    is_slow: bool = False
    """One round with a third of the events is enough of it."""


QUEUES = {
    "Dramatiq": Queue(
        "bench.peers.dramatiq_tasks",
        ["-m", "dramatiq", "bench.peers.dramatiq_tasks", "-p", "1", "-t", str(CONNECTIONS)],
        f"1 process, {CONNECTIONS} threads",
        "no order, no duplicates found",
    ),
    "Celery": Queue(
        "bench.peers.celery_tasks",
        ["-m", "celery", "-A", "bench.peers.celery_tasks", "worker", "-P", "threads", "-c", str(CONNECTIONS)],
        f"1 process, {CONNECTIONS} threads",
        "no order, no duplicates found",
    ),
    "RQ, a job for each event": Queue(
        "bench.peers.rq_tasks",
        ["-m", "rq.cli", "worker-pool", "-q", "-n", str(CONNECTIONS), "-w", "rq.SimpleWorker", "-u", "{redis}"],
        f"{CONNECTIONS} processes",
        "no order, no duplicates found",
        is_slow=True,
    ),
}
_WHY_NOT = (
    "Where the bridge ÷ it is below 1, the queue does less for each event: the bridge asks before each call whether "
    "order and limit allow it, and writes down each outcome."
)
CASES = {"0 ms": {"delay_ms": 0}, "50 ms": {"delay_ms": 50}, f"50 ms, {LIMIT}/s": {"delay_ms": 50, "limit": LIMIT}}


def measure(folder: Path, *, rounds: int, seconds: float, queues: Sequence[str] = tuple(QUEUES)) -> Result:
    """The rounds of about so many seconds for each. Where the queues cannot be had the result says so."""
    head = ["upstream", "who", "in flight", "events/s", "the bridge ÷ it", "429 for each", "CPU s/1,000", "does less"]
    try:
        program = python()
    except NotThere as error:
        return Result("Peers: delivery", head, [], [f"Skipped. {error}"])
    turns: dict[tuple[str, str], list[Drained | None]] = defaultdict(list)
    with upstream(folder) as datadog:
        for number in range(rounds):
            for case, orders in CASES.items():
                limited = "limit" in orders
                if limited and number:
                    continue  # once is enough of what takes so long
                count = 5 * LIMIT if limited else events_of(orders["delay_ms"], 1, seconds)
                turns[case, "the bridge"].append(bridge(datadog, count, 1, folder, **orders))
                for name in queues:
                    queue = QUEUES[name]
                    if queue.is_slow and number:
                        continue
                    some = count // 3 if queue.is_slow else count
                    turns[case, name].append(_turn(program, queue, datadog, some, folder, orders))
    rows: list[list[Cell]] = []
    for (case, name), several in turns.items():
        done = [one for one in several if one is not None]
        shape = QUEUES[name].shape if name in QUEUES else f"1 process, {CONNECTIONS} connections"
        less = QUEUES[name].less if name in QUEUES else "–"
        if not done:
            rows.append([case, name, shape, "not done in 3 minutes", None, None, None, less])
            continue
        rates = [_rate(one, case) for one in done]
        ours = [_rate(one, case) for one in turns[case, "the bridge"] if one is not None][: len(rates)]
        cpu = sum(one.cpu_s_per_1000 for one in done) / len(done)
        refused = sum(one.got.refused for one in done) / sum(len(one.got.delivered) for one in done)
        rows.append(
            [case, name, shape, sorted(rates)[len(rates) // 2], ratio_of_rounds(ours, rates), refused, cpu, less]
        )
    return Result(
        "Peers: delivery",
        head,
        rows,
        [
            "Equal: the bodies, the stand-in Datadog, a Redis with appendonly everysec, acknowledgement after the "
            f"call, {CONNECTIONS} calls in flight, the HTTP library. Not equal: the bridge keeps the order of each "
            "service, finds duplicates, and puts down what became of each event; a queue forgets it.",
            f"{rounds} rounds of {seconds:g} s, alternating; RQ in the first of them only. With a limit of {LIMIT}/s: "
            f"once, {5 * LIMIT} events, the rate from the first to the last; the queues retry with exponential "
            "back-off from one second on.",
            *([_WHY_NOT] if any(isinstance(row[4], float) and row[4] < 1 for row in rows) else []),
        ],
        data={
            f"{case}, {name}": [None if one is None else _rate(one, case) for one in several]
            for (case, name), several in turns.items()
        },
    )


def _rate(one: Drained, case: str) -> float:
    moments = one.got.delivered
    return len(moments) / (max(moments) - min(moments)) if str(LIMIT) in case else one.per_second


def _turn(
    program: Path, queue: Queue, datadog: Upstream, count: int, folder: Path, orders: dict[str, int]
) -> Drained | None:
    """None: it took longer than three minutes."""
    with tempfile.TemporaryDirectory(dir=folder) as own, PrivateRedis(Path(own) / "redis") as redis:
        settings = clean_environ(BENCH_REDIS=redis.url, BENCH_URL=datadog.url + PATH)
        bodies = calls(Path(own) / "calls.jsonl", count)
        subprocess.run([program, "-m", queue.module, bodies], env=settings, check=True, capture_output=True)
        datadog.follow(**orders)
        arguments = [part.format(redis=redis.url) for part in queue.worker]
        log = folder / f"{queue.module}.log"
        with running(arguments, environ=settings, log=log, program=program) as process:
            try:
                return drained(datadog, count, process.pid, redis.pid, timeout_s=180)
            except NotDrained:
                return None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.queues", description="Measure task queues.")
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help=f"only these: {', '.join(QUEUES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
        options = {"rounds": given.rounds, "seconds": given.seconds, "queues": given.queues or tuple(QUEUES)}
        print(measure(Path(folder), **options).text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
