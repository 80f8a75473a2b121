"""Runs a load generator against a port: wrk where it is installed, else our own, which says what to install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.deliveries import Deliveries
from bench.processes import clean_environ

CONNECTIONS = 32
_LUA = Path(__file__).with_name("wrk.lua")


class LoadFailed(Exception):
    """The generator ended with an error, or not all its requests were taken."""


@dataclass(frozen=True, slots=True)
class Came:
    """What came of one load."""

    per_second: float
    p50_ms: float
    p99_ms: float
    requests: int
    cpu_share: float
    """CPU seconds of the generator in a second: near 1.0 it may have been what was measured."""
    late_p99_ms: float = 0.0


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def generator() -> str:
    """Which one is used for the highest rate."""
    if has_wrk():
        return "wrk, one thread"
    return "our own generator, two processes (install wrk for a faster one; Debian: apt install wrk)"


def highest_rate(deliveries: Deliveries, port: int, seconds: int, connections: int = CONNECTIONS) -> Came:
    """As many requests as are answered, over so many connections; wrk knows whole seconds. Raises: LoadFailed."""
    if has_wrk():
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "8s"]
        command += ["-s", str(_LUA), f"http://127.0.0.1:{port}", "--", str(deliveries.path), str(deliveries.length)]
        output, cpu_s = _output(command)
        return _came(json.loads(output.strip().splitlines()[-1]), cpu_s)
    half = deliveries.count // 2
    each = ["--seconds", f"{seconds}", "--connections", f"{connections // 2}"]
    processes = [
        _started(_own(deliveries, port, *each, "--first", f"{first}", count=first + half)) for first in (0, half)
    ]
    answers = [json.loads(process.communicate()[0] or b"{}") for process in processes]
    if any(process.returncode for process in processes):
        raise LoadFailed("a generator ended with an error")
    several = {name: sum(one[name] for one in answers) for name in ("requests", "refused", "broken")}
    worst = {name: max(one[name] for one in answers) for name in ("seconds", "p50_ms", "p99_ms")}
    return _came(several | worst, max(one["cpu_s"] for one in answers))


def fixed_rate(deliveries: Deliveries, port: int, rate: float, seconds: float, *, first: int = 0) -> Came:
    """So many requests a second, whatever the server does, from the delivery at `first` on. Raises: LoadFailed."""
    options = ["--rate", f"{rate}", "--seconds", f"{seconds}", "--first", f"{first}"]
    command = _own(deliveries, port, *options, count=deliveries.count)
    output, cpu_s = _output(command)
    return _came(json.loads(output), cpu_s)


def _own(deliveries: Deliveries, port: int, *options: str, count: int) -> list[str]:
    place = [str(deliveries.path), str(deliveries.length), str(port)]
    return [sys.executable, "-m", "bench.generator", *place, "--count", str(count), *options]


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environ())


def _output(command: Sequence[str]) -> tuple[str, float]:
    """What it printed, and its CPU seconds."""
    process = _started(command)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise LoadFailed(f"{command[0]} ended with exit code {process.returncode}: {output[-300:]}")
    return output, used.ru_utime + used.ru_stime


def _came(answer: dict[str, float], cpu_s: float) -> Came:
    if answer["refused"] or answer["broken"]:
        raise LoadFailed(f"{answer['refused']:.0f} requests were refused, {answer['broken']:.0f} came to nothing")
    seconds = answer["seconds"]
    return Came(
        per_second=answer["requests"] / seconds,
        p50_ms=answer["p50_ms"],
        p99_ms=answer["p99_ms"],
        requests=int(answer["requests"]),
        cpu_share=cpu_s / seconds,
        late_p99_ms=answer.get("late_p99_ms", 0.0),
    )
