"""`make bench`: every measurement in one run, tables as they come, then what of the numbers to reach was reached."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import backlog, delivery, intake, latency, rate_limit, start_up
from bench.chart import chart, thinned
from bench.drained import NotDrained
from bench.load import LoadFailed, has_wrk
from bench.machine import Others, described
from bench.peers import datadog_ci, queues, webhook
from bench.processes import ROOT
from bench.table import Result, targets

Measure = Callable[[Path], Result]

FULL: dict[str, Measure] = {
    "intake": partial(intake.measure, rounds=5, seconds=2),
    "latency": partial(latency.measure, seconds=2),
    "delivery": partial(delivery.measure, rounds=3, seconds=3),
    "rate_limit": partial(rate_limit.measure, events=2000, rounds=2),
    "start_up": partial(start_up.measure, rounds=5),
    "peers.webhook": partial(webhook.measure, rounds=5, seconds=2),
    "peers.datadog_ci": datadog_ci.measure,
    "peers.queues": partial(queues.measure, rounds=3, seconds=3),
    "backlog": partial(backlog.measure, long=100_000),
}
QUICK: dict[str, Measure] = {
    "intake": partial(intake.measure, rounds=2, seconds=1, routes=("bare", "hmac", "translated", "durable")),
    "latency": partial(latency.measure, seconds=1, rates=(100, 500, 1000)),
    "delivery": partial(delivery.measure, rounds=1, seconds=2, cells=delivery.QUICK_CELLS),
    "rate_limit": partial(rate_limit.measure, events=500),
    "backlog": partial(backlog.measure, long=5_000, rounds=1, counted=2_000),
    "start_up": partial(start_up.measure, rounds=1),
}
_MORE_THAN_QUIET = 0.1
_NOT_QUIET = (
    "**So rates and times are worse than they are, and ratios of what needs much CPU suffer most; CPU tells more.**"
)


def main(arguments: list[str]) -> int:
    """Exit code: 0 whatever was measured, the tables tell; 1 if a part could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the bridge against limits and peers.")
    parser.add_argument("--quick", action="store_true", help="in short, and without peers")
    parser.add_argument("--only", action="append", metavar="PART", help=f"one of {', '.join(FULL)}; may be repeated")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/bench.json", help="[default: %(default)s]")
    parser.add_argument("--publish", action="store_true", help="write deploy/figures.md and deploy/figures/ too")
    given = parser.parse_args(arguments)
    parts = QUICK if given.quick else FULL
    if unknown := set(given.only or ()) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    if not Path("/proc/stat").exists():
        parser.error("CPU times are read from /proc: only Linux has it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no process of a measurement is left behind
    given.json.parent.mkdir(parents=True, exist_ok=True)
    if not has_wrk():
        print("wrk is missing, our own slower generator takes its place; Debian: apt install wrk", file=sys.stderr)

    others, started = Others(), time.monotonic()
    machine = described()
    results: dict[str, Result] = {}
    for name in given.only or parts:
        try:
            with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
                results[name] = parts[name](Path(folder))
        except (LoadFailed, NotDrained, TimeoutError) as error:
            print(f"{name} could not be measured: {error}\n", file=sys.stderr)
            continue
        print(results[name].text(), flush=True)
        # after each part: what was measured is kept, whatever becomes of the rest
        given.json.write_text(json.dumps(_json(machine, others, results), indent=1) + "\n")
        charts = _charts(results)
        write(given.json.parent, charts)
        reached = targets(list(results.values()))
        conditions = f"{machine}; other work took {others.cores():.1f} of them meanwhile."
        if others.cores() > _MORE_THAN_QUIET:
            conditions += f" {_NOT_QUIET}"
        if given.publish:
            write(ROOT / "deploy/figures", charts)
            page = _page(conditions, [reached, *results.values()], list(charts), quick=given.quick)
            (ROOT / "deploy/figures.md").write_text(page)
    if not results:
        return 1
    print(reached.text())
    print(f"{conditions} {time.monotonic() - started:.0f} s.")
    print(f"Numbers in {given.json}, charts beside them: {', '.join(charts) or 'none'}.")
    return int(len(results) < len(given.only or parts))


def write(folder: Path, charts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in charts.items():
        (folder / name).write_text(svg)


def _json(machine: str, others: Others, results: dict[str, Result]) -> dict[str, Any]:
    return {
        "machine": machine,
        "cores_taken_by_other_work": round(others.cores(), 2),
        "parts": {name: result.json() for name, result in results.items()},
    }


def _charts(results: dict[str, Result]) -> dict[str, str]:
    """File name -> SVG, of what was measured."""
    charts = {}
    if limited := results.get("rate_limit"):
        moments = sorted(limited.data["delivered_at_s"])
        delivered = [(at, float(number)) for number, at in enumerate(moments, start=1)]
        best = [(number // rate_limit.LIMIT * 1.0, number + 1.0) for number in range(len(moments))]
        lines = {"delivered": thinned(delivered), "at best": thinned(best)}
        charts["rate-limit.svg"] = chart(
            f"Delivered against a limit of {rate_limit.LIMIT} requests a second", "seconds", "events", lines
        )
    if loaded := results.get("latency"):
        lines = {}
        for name, points in loaded.data.items():
            lines[f"{name}, p99"] = [(rate, p99) for rate, _, p99 in points]
            lines[f"{name}, p50"] = [(rate, p50) for rate, p50, _ in points]
        if any(lines.values()):
            charts["latency.svg"] = chart("Time of the ack against load", "webhooks a second", "ms", lines, lowest=0.1)
    return charts


def _page(conditions: str, results: list[Result], charts: list[str], *, quick: bool) -> str:
    command = f"make bench{'-quick' if quick else ''} ARGS=--publish"
    texts = [
        "# Figures",
        f"What `{command}` measured and wrote, charts included. {conditions}",
        "Ratios within one run are what to look at: everything, the load generator and the stand-in Datadog included, "
        "shares the cores, so rates are lower than on machines of their own. Each comparison alternates, and the "
        "numbers are medians.",
        *(result.text().strip() for result in results),
        *(f"![{name.removesuffix('.svg')}](figures/{name})" for name in charts),
    ]
    return "\n\n".join(texts) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
