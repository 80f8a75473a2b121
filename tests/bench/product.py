"""The product as processes: a Redis with an append-only file, web with one of the routes, workers."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from bench.deliveries import SECRET
from bench.processes import clean_environ, free_port, running, until
from bridge.embedded_redis import PrivateRedis


def environ(redis: PrivateRedis, datadog_url: str, **more: str) -> dict[str, str]:
    """The settings of every process of one system."""
    return clean_environ(
        DD_API_KEY="key",
        DORA_BRIDGE_DATADOG_URL=datadog_url,
        DORA_BRIDGE_REDIS_URL=redis.url,
        DORA_BRIDGE_SECRETS__GITHUB=SECRET,
        **more,
    )


@dataclass(frozen=True, slots=True)
class Web:
    port: int
    pid: int


@contextlib.contextmanager
def web(route: str, redis: PrivateRedis, folder: Path, datadog_url: str = "http://127.0.0.1:9") -> Iterator[Web]:
    """A web process with this route (see `web.py`), which answers."""
    port, internal = free_port(), free_port()
    settings = environ(
        redis,
        datadog_url,
        DORA_BRIDGE_LISTEN=f"127.0.0.1:{port}",
        DORA_BRIDGE_INTERNAL_LISTEN=f"127.0.0.1:{internal}",
    )
    with running(["-m", "bench.web", route], environ=settings, log=folder / f"web-{route}.log") as process:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60, f"the web process does not answer; see {folder}")
        yield Web(port, process.pid)


@contextlib.contextmanager
def workers(count: int, redis: PrivateRedis, datadog_url: str, folder: Path, *, concurrency: int = 50) -> Iterator[int]:
    """The process id of so many worker processes' parent, or of the one there is."""
    settings = environ(redis, datadog_url, DORA_BRIDGE_CONCURRENCY=str(concurrency))
    arguments = ["-m", "bridge", "worker", "--processes", str(count)]
    with running(arguments, environ=settings, log=folder / "workers.log") as process:
        yield process.pid


def has_workers(redis: PrivateRedis) -> bool:
    """Whether a worker process gave a sign of life."""
    with contextlib.closing(Redis.from_url(redis.url)) as client:
        return int(client.zcard("dora:workers")) > 0


def answers(url: str) -> bool:
    """Whether it answers with 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own
        return int(answer.status) == 200
    return False
