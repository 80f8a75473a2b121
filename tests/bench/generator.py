"""Posts prepared requests over raw sockets, one process: `python -m bench.generator FILE LENGTH PORT …`.

With `--rate` at a fixed rate, whatever the server does (open loop): a request goes out when it is its turn, over an
idle connection or a new one. Without, over so many connections as fast as answers come (closed loop), which is the
fallback where wrk is missing. Prints JSON: counts, and the latencies from the writing of each request to the last byte
of its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import uvloop

from bench.medians import percentile

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """One request at a time; `done` is called with the status and the seconds that its answer took."""

    def __init__(self, done: Callable[[Connection, int, float], None]) -> None:
        self._done = done
        self._rest = b""
        self._sent_at = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def post(self, request: bytes) -> None:
        self._sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, end, body = self._rest.partition(_END)
        if not end:
            return
        length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        if len(body) >= int(length or b"0"):
            self._rest = b""
            self._done(self, int(head[9:12]), time.perf_counter() - self._sent_at)


class Load:
    """What came of the requests."""

    def __init__(self, requests: Iterator[bytes], port: int) -> None:
        self._requests = requests
        self._port = port
        self.took_s: list[float] = []
        self.late_s: list[float] = []
        """How much later than its turn each request went out: the generator's own doing."""
        self.refused = 0
        self.opened = 0
        self._idle: list[Connection] = []
        self._again = False
        self._missing = 0
        self._complete = asyncio.Event()

    async def as_fast_as_answered(self, connections: int, seconds: float) -> float:
        """Seconds that it took."""
        self._again = True
        started = time.perf_counter()
        for _ in range(connections):
            (await self._connection()).post(next(self._requests))
        await asyncio.sleep(seconds)
        self._again = False
        return time.perf_counter() - started

    async def at_rate(self, rate: float, seconds: float) -> float:
        self._idle = [await self._connection() for _ in range(8)]
        started = time.perf_counter()
        count = int(rate * seconds)
        for number in range(count):
            turn = started + number / rate
            if (wait := turn - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.late_s.append(time.perf_counter() - turn)
            self._post_now()
        self._missing = count - len(self.took_s) - self.refused
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5 if self._missing else 0):
                await self._complete.wait()
        return time.perf_counter() - started

    def _post_now(self) -> None:
        request = next(self._requests)
        # the server closes what idles for long
        self._idle = [one for one in self._idle if not one.transport.is_closing()]
        if self._idle:
            self._idle.pop().post(request)
        else:
            asyncio.get_running_loop().create_task(self._post_over_new(request))

    async def _post_over_new(self, request: bytes) -> None:
        connection = await self._connection()
        connection.post(request)

    async def _connection(self) -> Connection:
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._answered), "127.0.0.1", self._port)
        return connection

    def _answered(self, connection: Connection, status: int, took_s: float) -> None:
        if 200 <= status < 300:
            self.took_s.append(took_s)
        else:
            self.refused += 1
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()
        if self._again:
            connection.post(next(self._requests))
        else:
            self._idle.append(connection)


def read(arguments: argparse.Namespace) -> list[bytes]:
    """The requests to post; at a fixed rate it is known how many."""
    with Path(arguments.file).open("rb") as file:
        file.seek(arguments.first * arguments.length)
        wanted = int(arguments.rate * arguments.seconds) if arguments.rate else arguments.count - arguments.first
        data = file.read(wanted * arguments.length)
    return [data[at : at + arguments.length] for at in range(0, len(data), arguments.length)]


async def main(arguments: argparse.Namespace, requests: list[bytes]) -> dict[str, float]:
    """What came of them."""
    load = Load(itertools.cycle(requests), arguments.port)
    if arguments.rate:
        seconds = await load.at_rate(arguments.rate, arguments.seconds)
    else:
        seconds = await load.as_fast_as_answered(arguments.connections, arguments.seconds)
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "requests": len(load.took_s) + load.refused,
        "seconds": seconds,
        "refused": load.refused,
        "broken": max(0, int(arguments.rate * arguments.seconds) - len(load.took_s) - load.refused),
        "connections": load.opened,
        "cpu_s": used.ru_utime + used.ru_stime,
        "p50_ms": percentile(load.took_s, 50) * 1000,
        "p99_ms": percentile(load.took_s, 99) * 1000,
    }
    if load.late_s:
        result["late_p99_ms"] = percentile(load.late_s, 99) * 1000
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("length", type=int)
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, required=True, help="requests in the file")
    parser.add_argument("--first", type=int, default=0, help="position of the first one to post")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: as fast as answered")
    given = parser.parse_args()
    print(json.dumps(uvloop.run(main(given, read(given)))))
