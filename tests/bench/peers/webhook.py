"""Intake by Debian's `webhook`: it checks the same signature and runs a command for each hook, which appends to a file.

Alone: `PYTHONPATH=tests .venv/bin/python -m bench.peers.webhook [--rounds 5] [--seconds 2]`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from redis import Redis

from bench import load, product
from bench.deliveries import PATH, SECRET, write
from bench.medians import ratio_of_rounds
from bench.peers.installed import NotThere, webhook
from bench.processes import cpu_s, free_port, listens, running, until
from bench.table import Cell, Result
from bridge.embedded_redis import PrivateRedis

_APPEND = "#!/bin/sh\nprintf '%s\\n' \"$1\" >> {file}\n"
_LESS = {
    "the bridge": "–",
    "webhook, answers after its command": "translates nothing, finds no duplicates, delivers nothing",
    "webhook, answers at once": "the same, and the answer comes before the event is kept",
}


def measure(folder: Path, *, rounds: int, seconds: int) -> Result:
    """The rounds, in turns. Where webhook cannot be had the result says so."""
    head = ["who", "req/s", "the bridge ÷ it", "p50 ms", "p99 ms", "CPU µs each", "does less"]
    try:
        program = webhook()
    except NotThere as error:
        return Result("Peers: intake", head, [], [f"Skipped. {error}"])
    deliveries = write(folder / "deliveries", 10_000 * seconds)
    turns: dict[str, list[load.Came]] = defaultdict(list)
    cpu_us: dict[str, list[float]] = defaultdict(list)
    bridge, after, at_once = _LESS
    with contextlib.ExitStack() as until_the_end:
        enter = until_the_end.enter_context
        redis = enter(PrivateRedis(folder / "redis"))
        servers = {
            bridge: enter(product.web("durable", redis, folder)),
            after: enter(_webhook(program, folder, waits=True)),
            at_once: enter(_webhook(program, folder, waits=False)),
        }
        for _ in range(rounds):
            for name, server in servers.items():
                with contextlib.closing(Redis.from_url(redis.url)) as client:
                    client.flushall()
                before_s = cpu_s(server.pid)
                came = load.highest_rate(deliveries, server.port, seconds)
                turns[name].append(came)
                cpu_us[name].append((cpu_s(server.pid) - before_s) / came.requests * 1e6)
    ours = [one.per_second for one in turns[bridge]]
    rows: list[list[Cell]] = []
    for name, several in turns.items():
        rates = [one.per_second for one in several]
        times = [statistics.median(getattr(one, what) for one in several) for what in ("p50_ms", "p99_ms")]
        rate, ratio = statistics.median(rates), ratio_of_rounds(ours, rates)
        rows.append([name, int(rate), ratio, *times, statistics.median(cpu_us[name]), _LESS[name]])
    return Result(
        "Peers: intake",
        head,
        rows,
        [
            f"Equal: the 10 KB deliveries of GitHub, their signature, {load.CONNECTIONS} connections, the generator "
            f"({load.generator()}), {rounds} rounds of {seconds} s, in turns. webhook 2.8 appends each payload to a "
            "file, which like Redis with everysec survives a killed process and not a power cut.",
            "CPU of webhook: with the commands that it ran. It uses all cores, the bridge's one web process one.",
        ],
        data={name: [one.per_second for one in several] for name, several in turns.items()},
    )


@contextlib.contextmanager
def _webhook(program: Path, folder: Path, *, waits: bool) -> Iterator[product.Web]:
    """One that listens; with `waits` it answers when its command has ended."""
    own = folder / f"webhook-{waits}"
    own.mkdir()
    command = own / "append.sh"
    command.write_text(_APPEND.format(file=own / "got.jsonl"))
    command.chmod(0o755)
    signature = {"source": "header", "name": "X-Hub-Signature-256"}
    hook = {
        "id": PATH.rpartition("/")[2],
        "execute-command": str(command),
        "include-command-output-in-response": waits,
        "pass-arguments-to-command": [{"source": "entire-payload"}],
        "trigger-rule": {"match": {"type": "payload-hmac-sha256", "secret": SECRET, "parameter": signature}},
    }
    hooks = own / "hooks.json"
    hooks.write_text(json.dumps([hook]))
    port = free_port()
    arguments = ["-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(port)]
    arguments += ["-urlprefix", PATH.strip("/").partition("/")[0]]
    with running(arguments, log=own / "webhook.log", program=program) as process:
        until(lambda: listens(port), 20, f"webhook does not answer; see {own}")
        yield product.Web(port, process.pid)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.webhook", description="Measure Debian's webhook.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
        print(measure(Path(folder), rounds=given.rounds, seconds=given.seconds).text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
