"""A stand-in Datadog that is much faster than what it measures: `python -m bench.upstream FD`.

It checks nothing but notes when it answered what: a request is counted as delivered when its 200 or 202 is written. The
sandbox of the product is for validating; this one is for measuring. FD is that of a socket which listens; `upstream`
starts one, and `Upstream` tells it what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import math
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

from bench.processes import running

_BODY = b'{"data":{"id":"0d9a2f64-1c1f-4f0b-9a51-6a1f4f0b9a51","type":"dora_deployment"}}'
_CONTROL = b"/bench"


@dataclass(frozen=True, slots=True)
class Orders:
    """What it is to do with requests."""

    delay_ms: int = 0
    limit: int = 0
    """Requests in each second of the clock; above that 429, with the headers that Datadog sends. 0: no limit."""
    status: int = 200
    """What requests within the limit get."""
    cuts: int = 0
    """So many requests are read, and their connection is closed instead of an answer."""
    reset_s: int = 0
    """With status 429: in so many seconds, says the answer, there are requests again."""
    fails: int = -1
    """How many requests get `status`, and those after them 200; -1: all of them."""


@dataclass(frozen=True, slots=True)
class Got:
    """What came in since the last orders. Times are in seconds since the epoch."""

    delivered: list[float]
    """When each request was answered with 200 or 202."""
    refused: int
    """Answered with another status."""
    cut: int
    ids: list[str]
    """The id in the body of each delivered or cut request, empty where there is none; only if asked for."""


class _State:
    def __init__(self) -> None:
        self.follow(Orders())

    def follow(self, orders: Orders) -> None:
        self.orders = orders
        self.delivered: list[float] = []
        self.bodies: list[bytes] = []
        self.refused = self.cut = self.answered = 0
        self._window, self._used = -1, 0

    def next(self, now: float) -> tuple[int, bytes]:
        """Status of a request at this time, and headers about the limit. 0: cut."""
        orders = self.orders
        if self.cut < orders.cuts:
            return 0, b""
        headers, allowed = b"", True
        if orders.limit:
            if int(now) != self._window:
                self._window, self._used = int(now), 0
            allowed = self._used < orders.limit
            self._used += allowed
            reset = max(1, math.ceil(self._window + 1 - now))
            headers = (
                f"X-RateLimit-Limit: {orders.limit}\r\nX-RateLimit-Period: 1\r\n"
                f"X-RateLimit-Remaining: {orders.limit - self._used}\r\nX-RateLimit-Reset: {reset}\r\n"
            ).encode()
        if not allowed:
            return 429, headers
        self.answered += 1
        if 0 <= orders.fails < self.answered:
            return 200, headers
        if orders.reset_s:
            headers += f"X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: {orders.reset_s}\r\n".encode()
        return orders.status, headers


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._url = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        body, self._parts = b"".join(self._parts), []
        if self._url.startswith(_CONTROL):
            self._control(body)
        elif self._state.orders.delay_ms:
            asyncio.get_running_loop().call_later(self._state.orders.delay_ms / 1000, self._answer, body)
        else:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        now = time.time()
        status, headers = self._state.next(now)
        state = self._state
        if status == 0:
            state.cut += 1
            state.bodies.append(body)
            self._transport.close()
            return
        if status in (200, 202):
            state.delivered.append(now)
            state.bodies.append(body)
        else:
            state.refused += 1
        self._write(status, headers, _BODY)

    def _control(self, body: bytes) -> None:
        state = self._state
        if body:
            state.follow(Orders(**json.loads(body)))
        answer: dict[str, Any] = {"count": len(state.delivered) + state.cut}
        if not self._url.endswith(b"count"):  # `count` is asked for often, so it must not copy all that there is
            ids = [_id(one) for one in state.bodies] if self._url.endswith(b"ids") else []
            answer = asdict(Got(state.delivered, state.refused, state.cut, ids))
        self._write(200, b"", json.dumps(answer).encode())

    def _write(self, status: int, headers: bytes, body: bytes) -> None:
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
            self._transport.write(head % (status, headers, len(body)) + body)


def _id(body: bytes) -> str:
    try:
        return str(json.loads(body)["data"]["attributes"]["id"])
    except (ValueError, LookupError, TypeError):
        return ""


class Upstream:
    """One that runs, seen from the benchmark."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}"

    def follow(self, **orders: int) -> None:
        """From now on, with nothing counted yet."""
        self._ask("/bench", json.dumps(asdict(Orders(**orders))))

    def count(self) -> int:
        """Delivered requests."""
        return int(self._ask("/bench/count")["count"])

    def got(self, *, ids: bool = False) -> Got:
        return Got(**self._ask("/bench/ids" if ids else "/bench"))

    def _ask(self, path: str, body: str | None = None) -> dict[str, Any]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", path, body)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """One, for as long as the context lasts."""
    # it gets a socket that listens already: no other process can take the port meanwhile, and nobody has to wait for it
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        arguments = ["-m", "bench.upstream", str(listener.fileno())]
        with running(arguments, log=folder / "upstream.log", sockets=[listener]) as process:
            yield Upstream(listener.getsockname()[1], process.pid)


async def _serve(listener: socket.socket) -> None:
    state = _State()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(state), sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
