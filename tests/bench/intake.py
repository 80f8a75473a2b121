"""Accepted webhooks a second, and how long the ack takes, of the product and of what it is measured against.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.intake [--rounds 7] [--seconds 2] [--json FILE] [ROUTE …]`.

Each route (`web.py`) is a process of its own, which idles while it is not its turn. They take turns in each round, all
over the same bytes: 10 KB deliveries of GitHub, signed, no two alike. Before each turn Redis is emptied, so that
nothing is a duplicate. Ratios are medians of the ratios within each round: what else the machine does is in both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from redis import Redis

from bench import load, product
from bench.deliveries import BODY_BYTES, Deliveries, write
from bench.medians import ratio_of_rounds
from bench.processes import clean_environ, cpu_s, free_port, listens, running, until
from bench.table import Result, Target
from bench.upstream import Upstream, upstream
from bench.web import ROUTES
from bridge.embedded_redis import PrivateRedis

RATE = 500
"""Webhooks a second at which the time of the ack is compared."""
_MOST_PER_S = 10_000
"""Above what any route that reads the ids of the deliveries answers: none of them is posted twice in a turn."""
_TITLES = {
    "bare": "(a) bare Starlette route",
    "hmac": "(b) HMAC check alone",
    "hmac-asgi": "(b') the same as a bare ASGI function",
    "kept": "(b'') and the body kept in Redis",
    "parsed": "(b''') and parsed",
    "translated": "(c) the bridge without the write",
    "durable": "(d) the bridge",
    "delivering": "(d) while a worker delivers",
}


def measure(
    folder: Path, *, rounds: int, seconds: int, routes: Sequence[str] = ROUTES, steady_s: float | None = None
) -> Result:
    """The rounds: turns of so many seconds for each route; `steady_s` for turns at the fixed rate, 0 for none."""
    steady_s = seconds * 2 if steady_s is None else steady_s
    needed = max(_MOST_PER_S * seconds, RATE * (rounds + 1) * (steady_s + 1))
    deliveries = write(folder / "deliveries", int(needed))
    fast: dict[str, list[load.Came]] = defaultdict(list)
    steady: dict[str, list[load.Came]] = defaultdict(list)
    cpu_us: dict[str, list[float]] = defaultdict(list)
    ceiling: list[load.Came] = []
    delivered: list[float] = []
    with contextlib.ExitStack() as until_the_end:
        enter = until_the_end.enter_context
        redis = enter(PrivateRedis(folder / "redis"))
        webs = {route: enter(product.web(route, redis, folder)) for route in routes}
        counter = enter(_responder(deliveries, folder))
        delivering = enter(_delivering(folder)) if steady_s else None
        for web in webs.values():
            load.highest_rate(deliveries, web.port, 1)  # warms up
        for number in range(rounds):
            ceiling.append(load.highest_rate(deliveries, counter, seconds))
            for route, web in webs.items():
                _empty(redis)
                before_s = cpu_s(web.pid)
                came = load.highest_rate(deliveries, web.port, seconds)
                if route == "durable":
                    _check(came, deliveries, redis)
                fast[route].append(came)
                cpu_us[route].append((cpu_s(web.pid) - before_s) / came.requests * 1e6)
            if not delivering:
                continue
            first = int(RATE * (steady_s + 1) * number)  # none twice: Redis behind the worker is not emptied
            for route in [one for one in ("hmac", "hmac-asgi", "durable") if one in webs]:
                _empty(redis)
                steady[route].append(load.fixed_rate(deliveries, webs[route].port, RATE, steady_s, first=first))
            port, datadog, redis_of_worker = delivering
            _rewrite(redis_of_worker)
            before = datadog.count()
            steady["delivering"].append(load.fixed_rate(deliveries, port, RATE, steady_s, first=first))
            meanwhile = datadog.count() - before
            if not meanwhile:
                raise load.LoadFailed("the worker delivered nothing meanwhile")
            delivered.append(meanwhile / steady_s)
            until(partial(_has, datadog, before + int(RATE * steady_s)), 60, "not all of it was delivered")
    return _result(fast, cpu_us, steady, ceiling, delivered, f"{rounds} rounds of {seconds:g} s")


def _has(datadog: Upstream, count: int) -> bool:
    return datadog.count() == count


@contextlib.contextmanager
def _delivering(folder: Path) -> Iterator[tuple[int, Upstream, PrivateRedis]]:
    """The port of a second system of its own, with a worker; the stand-in that takes 50 ms for an answer; its Redis."""
    with PrivateRedis(folder / "redis-of-worker") as redis, upstream(folder) as datadog:
        datadog.follow(delay_ms=50)
        with product.web("durable", redis, folder, datadog.url) as web, product.workers(1, redis, datadog.url, folder):
            until(partial(product.has_workers, redis), 60, f"the worker gave no sign of life; see {folder}")
            yield web.port, datadog, redis


@contextlib.contextmanager
def _responder(deliveries: Deliveries, folder: Path) -> Iterator[int]:
    """The port of a server that only counts bytes."""
    port = free_port()
    arguments = ["-m", "bench.responder", str(port), str(deliveries.length)]
    with running(arguments, environ=clean_environ(), log=folder / "responder.log"):
        until(lambda: listens(port), 20, "the responder does not answer")
        yield port


def _result(
    fast: dict[str, list[load.Came]],
    cpu_us: dict[str, list[float]],
    steady: dict[str, list[load.Came]],
    ceiling: list[load.Came],
    delivered: list[float],
    rounds: str,
) -> Result:
    def median(turns: list[load.Came], name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in turns))

    def rates(route: str) -> list[float]:
        return [one.per_second for one in fast[route]]

    def p99s(route: str) -> list[float]:
        return [one.p99_ms for one in steady[route]]

    rows = []
    for route in dict.fromkeys([*fast, *steady]):
        turns, calm = fast.get(route, []), steady.get(route, [])
        rows.append(
            [
                _TITLES[route],
                int(median(turns, "per_second")) if turns else None,
                ratio_of_rounds(rates(route), rates("hmac")) if turns and "hmac" in fast else None,
                median(turns, "p50_ms") if turns else None,
                median(turns, "p99_ms") if turns else None,
                statistics.median(cpu_us[route]) if turns else None,
                median(turns, "cpu_share") if turns else None,
                median(calm, "p50_ms") if calm else None,
                median(calm, "p99_ms") if calm else None,
                ratio_of_rounds(p99s(route), p99s("hmac")) if calm and "hmac" in steady else None,
            ]
        )
    most = median(ceiling, "per_second")
    notes = [
        f"Generator: {load.generator()}, {load.CONNECTIONS} connections; against a responder that only counts bytes it "
        f"posts {most:,.0f}/s with {median(ceiling, 'cpu_share'):.2f} of a core.",
        f"Bodies of {BODY_BYTES:,} bytes, `X-Hub-Signature-256`, each with its own delivery and deployment. Redis with "
        f"appendonly, everysec. {rounds}.",
        "All routes run in the same web process of the product: the same command, event loop and uvicorn options. CPU "
        "µs each: of that one process for each request, which other work on the machine changes least.",
        "(b'') and (b''') build on (b'): nothing less is durable, and nothing less could say what a webhook came to.",
    ]
    if steady:
        late = max(one.late_p99_ms for turns in steady.values() for one in turns)
        notes.append(
            f"At {RATE}/s: open loop, a request goes out when it is its turn; the generator's own lateness (p99) was "
            f"at most {late:.2f} ms, and is not in the figures. The worker delivered {statistics.median(delivered):.0f}"
            "/s meanwhile, at 50 ms upstream; to the other routes belongs no worker."
        )
    targets = []
    if {"hmac", "durable"} <= fast.keys():
        accepted = ratio_of_rounds(rates("durable"), rates("hmac"))
        targets.append(Target("accepted webhooks/s, durable ÷ HMAC check alone", accepted, 0.5, "at least"))
    for route, bound in (("durable", 3), ("delivering", 5)):
        if {"hmac", route} <= steady.keys():
            what = f"p99 of the ack at {RATE}/s ÷ HMAC check alone, worker {'idle' if bound == 3 else 'delivering'}"
            targets.append(Target(what, ratio_of_rounds(p99s(route), p99s("hmac")), bound, "at most"))
    return Result(
        "Intake",
        [
            *("route", "req/s", "÷ (b)", "p50 ms", "p99 ms", "CPU µs each", "generator CPU"),
            *(f"p50 at {RATE}/s", f"p99 at {RATE}/s", "p99 ÷ (b)"),
        ],
        rows,
        notes,
        targets,
        {
            "cpu_us_each": dict(cpu_us),
            "highest_rate": {route: [asdict(one) for one in turns] for route, turns in fast.items()},
            f"at_{RATE}_per_s": {route: [asdict(one) for one in turns] for route, turns in steady.items()},
            "generator": [asdict(one) for one in ceiling],
        },
    )


def _check(came: load.Came, deliveries: Deliveries, redis: PrivateRedis) -> None:
    """Raises: load.LoadFailed unless all that was acknowledged is in the ledger, each as an event of its own."""
    if came.requests + load.CONNECTIONS > deliveries.count:
        raise load.LoadFailed(f"{came.requests} requests, but only {deliveries.count} deliveries: some were repeated")
    with contextlib.closing(Redis.from_url(redis.url)) as client:
        kept = int(client.zcard("dora:waiting"))
    if kept < came.requests:
        raise load.LoadFailed(f"{came.requests} deliveries were acknowledged, and {kept} events are in the ledger")


def _empty(redis: PrivateRedis) -> None:
    """Of its append-only file too."""
    with contextlib.closing(Redis.from_url(redis.url)) as client:
        client.flushall()
    _rewrite(redis)


def _rewrite(redis: PrivateRedis) -> None:
    """Rewrites the append-only file: what an earlier turn wrote must not make Redis do that during the next one."""
    with contextlib.closing(Redis.from_url(redis.url)) as client:

        def is_done(rewritten: int) -> bool:
            told = client.info("persistence")
            return told["aof_rewrites"] >= rewritten and not told["aof_rewrite_in_progress"]

        before = client.info("persistence")["aof_rewrites"]
        until(partial(is_done, before), 60, "Redis rewrites its file for ever")
        client.bgrewriteaof()
        until(partial(is_done, before + 1), 60, "Redis does not rewrite its file")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.intake", description="Measure the intake.")
    parser.add_argument("routes", nargs="*", metavar="ROUTE", help=f"only these: {', '.join(ROUTES)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if unknown := set(given.routes) - set(ROUTES):
        parser.error(f"no such route: {', '.join(unknown)}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
        result = measure(Path(folder), rounds=given.rounds, seconds=given.seconds, routes=given.routes or ROUTES)
    print(result.text())
    for target in result.targets:
        print(f"{target.what}: {target.measured:.2f} ({target.side} {target.bound:g})")
    print(f"({time.monotonic() - started:.0f} s)")
    if given.json:
        given.json.write_text(json.dumps(result.json(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
