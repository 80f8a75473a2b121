"""From `DORA_BRIDGE_REDIS_URL` to clients of redis-py, Sentinel included.

`redis+sentinel://[user:password@]host:26379[,host:port…]/service[/database]` (`rediss+sentinel://` with TLS).

What stands behind the `?` of the URL are options of redis-py: `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` (paths),
`ssl_check_hostname`; with Sentinel also `sentinel_username` and `sentinel_password`, for sentinels that ask for one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

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


def trusting(url: str, ca: Path) -> str:
    """The URL of a server whose certificate has to be signed by one of this file."""
    parts = urlsplit(url)
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{query}ssl_ca_certs={quote(str(ca))}").geturl()


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
    shared, login = _sentinel_query(parts.query)
    options |= shared
    # user and password are those of Redis; sentinels have their own, if any
    asking = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "ssl", *shared)} | login
    if password:
        options |= {"username": unquote(name) or None, "password": unquote(password)}
    return sentinels, service or "mymaster", {**options, "sentinel_kwargs": asking}


def _sentinel_query(query: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Options of TLS, for Redis and its sentinels alike; and how the sentinels are logged in to."""
    shared: dict[str, Any] = {}
    login = {}
    for name, value in parse_qsl(query):
        if name in ("sentinel_username", "sentinel_password"):
            login[name.removeprefix("sentinel_")] = value
        elif name == "ssl_check_hostname":
            shared[name] = value.lower() not in ("0", "false", "no", "off")
        elif name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
            shared[name] = value
        else:
            raise ValueError("an unknown option")
    return shared, login
