"""How long each command takes from its start: to its end, to `/livez`, or to its first sign of life.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.start_up [--rounds 5] [--json FILE]`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from redis import Redis

from bench.alone import alone
from bench.deliveries import signed
from bench.processes import cpu_s, end, free_port, running, until
from bench.product import answers, environ, has_workers
from bench.table import Result
from bridge.embedded_redis import PrivateRedis

KIND = "deployment_status"


def measure(folder: Path, *, rounds: int) -> Result:
    """Each command once in each round."""
    took: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    body = folder / "body.json"
    body.write_bytes(next(iter(signed(1)))[1])
    with PrivateRedis(folder / "redis") as redis, _sandbox(redis, folder) as datadog:
        settings = environ(redis, datadog)
        for _ in range(rounds):
            for name, arguments, codes in (
                ("--version", ["--version"], {0}),
                ("translate FILE", ["translate", "github", str(body), "--kind", KIND], {0}),
                ("check", ["check"], {0, 1}),
            ):
                seconds, used = _to_its_end(arguments, settings, codes)
                took[name].append(seconds)
                cpu[name].append(used)
            port, internal = free_port(), free_port()
            listening = {
                "DORA_BRIDGE_LISTEN": f"127.0.0.1:{port}",
                "DORA_BRIDGE_INTERNAL_LISTEN": f"127.0.0.1:{internal}",
            }
            _forget_workers(redis)
            for name, has_started in (
                ("serve, until /livez", partial(answers, f"http://127.0.0.1:{port}/livez")),
                ("worker, until its first sign of life", partial(has_workers, redis)),
            ):
                command = [name.partition(",")[0]]
                seconds, used = _until(command, {**settings, **listening}, has_started, folder)
                took[name].append(seconds)
                cpu[name].append(used)
    rows = [
        [f"dora-bridge {name}", statistics.median(times), statistics.median(cpu[name])] for name, times in took.items()
    ]
    return Result(
        "Start-up",
        ["command", "seconds", "of CPU"],
        rows,
        [f"Medians of {rounds} rounds; `check` with a Redis and a sandbox Datadog, and no web process or worker."],
        data={"seconds": took, "cpu_s": cpu},
    )


@contextlib.contextmanager
def _sandbox(redis: PrivateRedis, folder: Path) -> Iterator[str]:
    port = free_port()
    arguments = ["-m", "bridge", "sandbox", "--listen", f"127.0.0.1:{port}"]
    with running(arguments, log=folder / "sandbox.log"):
        until(lambda: answers(f"http://127.0.0.1:{port}/sandbox/requests"), 30, "the sandbox does not answer")
        yield f"http://127.0.0.1:{port}"


def _to_its_end(arguments: Sequence[str], settings: dict[str, str], codes: set[int]) -> tuple[float, float]:
    """Seconds until its end, and CPU seconds that it used."""
    started, before = time.perf_counter(), os.times()
    ended = subprocess.run([sys.executable, "-m", "bridge", *arguments], env=settings, capture_output=True)
    took, after = time.perf_counter() - started, os.times()
    if ended.returncode not in codes:
        raise RuntimeError(f"dora-bridge {arguments[0]}: {ended.stderr.decode(errors='replace')}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return took, used


def _until(
    command: Sequence[str], settings: dict[str, str], has_started: Callable[[], bool], folder: Path
) -> tuple[float, float]:
    """Seconds until then, and CPU seconds that the process used in them."""
    started = time.perf_counter()
    with running(["-m", "bridge", *command], environ=settings, log=folder / "started.log") as process:
        until(has_started, 60, f"dora-bridge {command[0]} did not start; see {folder}", every_s=0.005)
        took, used = time.perf_counter() - started, cpu_s(process.pid)
        end(process)
    return took, used


def _forget_workers(redis: PrivateRedis) -> None:
    """One that is ended as soon as it gave its sign of life may not get to say farewell."""
    with contextlib.closing(Redis.from_url(redis.url)) as client:
        client.delete("dora:workers")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.start_up", description="Measure how long starting takes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    return alone(partial(measure, rounds=given.rounds), given.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
