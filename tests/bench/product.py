"""The product as processes: a Redis with an append-only file, web with one of the routes, workers."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

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


@contextlib.contextmanager
def web(route: str, redis: PrivateRedis, folder: Path, datadog_url: str = "http://127.0.0.1:9") -> Iterator[int]:
    """The port of a web process with this route (see `web.py`), which answers."""
    port, internal = free_port(), free_port()
    settings = environ(
        redis,
        datadog_url,
        DORA_BRIDGE_LISTEN=f"127.0.0.1:{port}",
        DORA_BRIDGE_INTERNAL_LISTEN=f"127.0.0.1:{internal}",
    )
    with running(["-m", "bench.web", route], environ=settings, log=folder / f"web-{route}.log"):
        until(lambda: _is_ready(port), 30, f"the web process does not answer; see {folder}")
        yield port


@contextlib.contextmanager
def workers(count: int, redis: PrivateRedis, datadog_url: str, folder: Path, *, concurrency: int = 50) -> Iterator[int]:
    """The process id of so many worker processes' parent, or of the one there is."""
    settings = environ(redis, datadog_url, DORA_BRIDGE_CONCURRENCY=str(concurrency))
    arguments = ["-m", "bridge", "worker", "--processes", str(count)]
    with running(arguments, environ=settings, log=folder / "workers.log") as process:
        yield process.pid


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
        return int(answer.status) == 200
    return False
