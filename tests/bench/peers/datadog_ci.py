"""One event through datadog-ci and through the bridge, while Datadog is well and while it is not.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.peers.datadog_ci`.

datadog-ci runs once for each deployment, as a step of a pipeline does. All situations run at the same time, each with
a stand-in Datadog of its own, since its retries take half a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import product
from bench.peers.installed import NotThere, datadog_ci
from bench.processes import clean_environ, until
from bench.table import Cell, Result
from bench.upstream import Got, Upstream, upstream
from bench.waiting import fill, waiting
from bridge.embedded_redis import PrivateRedis

SITUATIONS: dict[str, dict[str, int]] = {
    "200": {},
    "202": {"status": 202},
    "429 twice, then 200 (reset in 3 s)": {"status": 429, "fails": 2, "reset_s": 3},
    "429 for long": {"status": 429, "reset_s": 3},
    "503 for long": {"status": 503},
    "the first request read, its reply lost": {"cuts": 1},
}
AWAY_S = 40.0
"""How long a Datadog that is away is so for the bridge; and then it is back."""
BACK_S = 180.0
"""How long the bridge is given from then on: its tries are minutes apart at most."""
EVENTS = 20
"""For the rate."""


@dataclass(frozen=True, slots=True)
class Came:
    got: Got
    exit_code: int | None
    seconds: float


def measure(folder: Path) -> Result:
    """Where datadog-ci cannot be had the result says so."""
    head = ["Datadog answers", "who", "requests", "exit code", "seconds", "what became of the event"]
    try:
        command = datadog_ci()
    except NotThere as error:
        return Result("Peers: datadog-ci", head, [], [f"Skipped. {error}"])
    rows: list[list[Cell]] = []
    with ThreadPoolExecutor(len(SITUATIONS) * 2) as pool:
        theirs = {name: pool.submit(_by_datadog_ci, command, orders, folder) for name, orders in SITUATIONS.items()}
        ours = {name: pool.submit(_by_the_bridge, orders, folder) for name, orders in SITUATIONS.items()}
        for name in SITUATIONS:
            came = theirs[name].result()
            rows.append([name, "datadog-ci", *_cells(came), _became(came)])
            came, late_s = ours[name].result()
            rows.append([name, "the bridge", *_cells(came), _became(came, late_s)])
    rate, cpu_s = _rate(command, folder)
    return Result(
        "Peers: datadog-ci",
        head,
        rows,
        [
            "datadog-ci 5.25.0, `dora deployment --skip-git`, here without TLS. It sends no id, so Datadog cannot tell "
            "a repeated event from a second one; the bridge repeats with the same id, which Datadog knows as the same.",
            f"Its rate, two at a time: {rate:.1f} events/s, and {cpu_s * 1000:.0f} CPU seconds for 1,000 events; the "
            "bridge's are under Delivery. It is given the event by the pipeline and needs no web process or Redis.",
            "The bridge is no command of a pipeline, so it has no exit code. For long: for datadog-ci until it gives "
            f"up, for the bridge {AWAY_S:.0f} s; requests are those until then. Seconds are with the start of the "
            "process, and with all of these going on at the same time. After a 429 the bridge waits as long as Datadog "
            "asks for, here 3 s each time, datadog-ci for less: so it is done earlier, if it is done.",
        ],
        data={"per_second": rate, "cpu_s_per_1000": cpu_s * 1000},
    )


def _cells(came: Came) -> list[Cell]:
    return [len(came.got.delivered) + came.got.refused + came.got.cut, came.exit_code, came.seconds]


def _became(came: Came, late_s: float | None = None) -> str:
    taken = len(came.got.delivered) + came.got.cut
    if taken > 1:
        same = len(set(came.got.ids)) == 1 and came.got.ids[0]
        return "sent twice under one id: one event" if same else "**doubled**: two events without an id"
    if taken == 1:
        return "delivered"
    if late_s is not None:
        return f"delivered {late_s:.0f} s after Datadog was back"
    return "**lost**, and the pipeline is green" if came.exit_code == 0 else "lost unless the pipeline runs again"


def _by_datadog_ci(command: Sequence[str], orders: dict[str, int], folder: Path) -> Came:
    with tempfile.TemporaryDirectory(dir=folder) as own, upstream(Path(own)) as datadog:
        datadog.follow(**orders)
        started = time.monotonic()
        code, _ = _run(command, datadog, 1, Path(own))
        return Came(datadog.got(ids=True), code, time.monotonic() - started)


def _by_the_bridge(orders: dict[str, int], folder: Path) -> tuple[Came, float | None]:
    """What came of it while Datadog did this, and how many seconds after that it was delivered, if not before."""
    with tempfile.TemporaryDirectory(dir=folder) as own, PrivateRedis(Path(own) / "redis") as redis:
        fill(redis, 1)
        with upstream(Path(own)) as datadog:
            datadog.follow(**orders)
            started = time.monotonic()
            with product.workers(1, redis, datadog.url, Path(own)):
                while waiting(redis) and time.monotonic() - started < AWAY_S:
                    time.sleep(0.1)
                came = Came(datadog.got(ids=True), None, time.monotonic() - started)
                if not waiting(redis):
                    return came, None
                datadog.follow()
                started = time.monotonic()
                until(
                    lambda: not waiting(redis), BACK_S, "an event was not delivered when Datadog was back", every_s=0.1
                )
                return came, time.monotonic() - started


def _run(command: Sequence[str], datadog: Upstream, number: int, folder: Path) -> tuple[int, float]:
    """Exit code and CPU seconds of datadog-ci for one deployment."""
    now = int(time.time())
    arguments = ["dora", "deployment", "--service", f"service-{number:03d}", "--env", "production", "--skip-git"]
    arguments += ["--started-at", str(now - 60), "--finished-at", str(now), "--version", f"v2.14.{number}"]
    settings = clean_environ(
        DD_API_KEY="key",
        BENCH_PORT=str(datadog.port),
        NODE_OPTIONS=f"--require={Path(__file__).with_name('without_tls.cjs')}",
    )
    with (folder / f"datadog-ci-{number}.log").open("wb") as log:
        process = subprocess.Popen([*command, *arguments], env=settings, stdout=log, stderr=log, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


def _rate(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Events a second, and CPU seconds of each."""
    with upstream(folder) as datadog, ThreadPoolExecutor(2) as pool:
        datadog.follow()
        started = time.monotonic()
        runs = list(pool.map(lambda number: _run(command, datadog, number, folder), range(EVENTS)))
        took = time.monotonic() - started
        if any(code for code, _ in runs) or datadog.count() != EVENTS:
            raise RuntimeError(f"datadog-ci did not send all of it; see {folder}")
    return EVENTS / took, sum(used for _, used in runs) / EVENTS


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
        print(measure(Path(folder)).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
