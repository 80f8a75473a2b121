"""How long the ack takes at rates from quiet to too many, of the HMAC check alone and of the bridge.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.latency [--seconds 2]`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from bench import load, product
from bench.deliveries import write
from bench.table import Cell, Result
from bridge.embedded_redis import PrivateRedis

RATES = (100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 4000)
_TOO_LATE_MS = 250.0
"""A rate with a p99 above this is more than the server can take."""
_ROUTES = {"hmac": "HMAC alone", "durable": "the bridge"}


def measure(folder: Path, *, seconds: float, rates: Sequence[int] = RATES) -> Result:
    """Each rate for so many seconds, the routes in turns; a route ends at the first rate that it cannot take."""
    deliveries = write(folder / "deliveries", int(max(rates) * (seconds + 0.5)))
    lines: dict[str, list[tuple[int, float, float]]] = {route: [] for route in _ROUTES}
    with contextlib.ExitStack() as until_the_end:
        redis = until_the_end.enter_context(PrivateRedis(folder / "redis"))
        ports = {one: until_the_end.enter_context(product.web(one, redis, folder)).port for one in _ROUTES}
        for port in ports.values():
            load.fixed_rate(deliveries, port, rates[0], 1)
        for rate in rates:
            for route in [one for one in _ROUTES if len(lines[one]) == rates.index(rate)]:
                with contextlib.closing(Redis.from_url(redis.url)) as client:
                    client.flushall()
                try:
                    came = load.fixed_rate(deliveries, ports[route], rate, seconds)
                except load.LoadFailed:
                    continue
                if came.p99_ms <= _TOO_LATE_MS and came.per_second > rate * 0.9:
                    lines[route].append((rate, came.p50_ms, came.p99_ms))
    rows: list[list[Cell]] = []
    for at, rate in enumerate(rates):
        row: list[Cell] = [rate]
        for line in lines.values():
            row += line[at][1:] if at < len(line) else (None, None)
        if any(cell is not None for cell in row[1:]):
            rows.append(row)
    head = ["webhooks/s"] + [f"{name}, {what} ms" for name in _ROUTES.values() for what in ("p50", "p99")]
    notes = [f"Open loop, {seconds:g} s for each; no figure: more than it can take (p99 above {_TOO_LATE_MS:.0f} ms)."]
    return Result("Time of the ack against load", head, rows, notes, data={_ROUTES[one]: lines[one] for one in lines})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description="Measure the ack against load.")
    parser.add_argument("--seconds", type=float, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
        print(measure(Path(folder), seconds=given.seconds).text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
