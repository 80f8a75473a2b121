"""From `DORA_BRIDGE_REDIS_URL` to clients of redis-py, Sentinel included.

`redis+sentinel://[user:password@]host:26379[,host:port…]/service[/database]` (`rediss+sentinel://` with TLS).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel


def check(url: str) -> None:
    """Raises: ValueError for a URL of which no client can be made. Its message does not repeat the URL."""
    try:
        known = urlsplit(url).scheme in ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
        # only a client knows all that can be wrong with its URL; this one never connects
        impatient(url).connection_pool.make_connection()
    except (ValueError, TypeError):
        known = False
    if not known:
        problem = "not a redis://, rediss://, unix:// or redis+sentinel:// URL"
        raise ValueError(f"{problem}, or its password is not URL-encoded")


def impatient(url: str) -> redis.asyncio.Redis:
    """A client for request handling: it fails within a second instead of waiting for Redis to come back."""
    return _connect_async(url, timeout_s=1.0, retry=AsyncRetry(NoBackoff(), 1))


def patient(url: str) -> redis.asyncio.Redis:
    """A client for workers: it bridges a restart of Redis of a few seconds."""
    return _connect_async(url, timeout_s=5.0, retry=AsyncRetry(ExponentialBackoff(cap=0.3, base=0.05), 12))


def blocking(url: str) -> redis.Redis:
    """A blocking client, for RQ; as patient as `patient`, and without a limit on blocking pops."""
    options: dict[str, Any] = {
        "socket_timeout": 10.0,
        "socket_connect_timeout": 2.0,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 10),
    }
    if "+sentinel" not in urlsplit(url).scheme:
        return redis.Redis.from_url(url, **options)
    sentinels, service, options = _sentinel(url, options)
    master: redis.Redis = Sentinel(sentinels, **options).master_for(service)
    return master


def _connect_async(url: str, *, timeout_s: float, retry: AsyncRetry) -> redis.asyncio.Redis:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": retry,
        "health_check_interval": 0,
    }
    if "+sentinel" not in urlsplit(url).scheme:
        return redis.asyncio.Redis.from_url(url, **options)
    sentinels, service, options = _sentinel(url, options)
    master: redis.asyncio.Redis = AsyncSentinel(sentinels, **options).master_for(service)
    return master


def _sentinel(url: str, options: dict[str, Any]) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    sentinels = []
    for host in hosts.split(","):
        address, colon, port = host.rpartition(":")
        if not colon or port.endswith("]"):  # no port, or the middle of an IPv6 address
            address, port = host, "26379"
        sentinels.append((address.strip("[]"), int(port)))
    service, _, database = parts.path.strip("/").partition("/")
    options = dict(options, db=int(database or 0), ssl=parts.scheme.startswith("rediss"))
    if password:
        options |= {"username": unquote(name) or None, "password": unquote(password)}
    # user and password are those of Redis; sentinels are asked without
    asking = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "ssl")}
    return sentinels, service or "mymaster", {**options, "sentinel_kwargs": asking}
