"""Whether this Redis keeps what it is given: version, role, persistence, memory, clock.

All is read from INFO, and one thing from CONFIG. A managed service may refuse either or leave out fields: then it is
said what cannot be seen, since nobody else will look.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridge.check.finding import Finding

OLDEST_REDIS = (6, 2)
_CLOCK_S = 5.0
_FULL = 0.8
"""Part of maxmemory from which on somebody should look: at the whole of it, Redis refuses every webhook."""


async def redis_server(redis: Redis, url: str) -> list[Finding]:
    """What the server says of itself. Errors of redis-py pass through, but for refusals of INFO and CONFIG."""
    found = []
    info: Mapping[str, Any] = {}
    try:
        info = await redis.info()
    except ResponseError:
        found.append(_cannot_see("version, role, persistence and memory", "INFO is refused"))
    else:
        found += [*_version(info), *_kind(info), *_persistence(info), *_memory(info)]
    if int(info.get("aof_enabled", 1)):
        found.append(await _flushing(redis))
    found += _exposure(url)
    seconds, microseconds = await redis.time()
    skew_s = abs(time.time() - seconds - microseconds / 1e6)
    if skew_s > _CLOCK_S:
        found.append(Finding("warning", "clock", f"the clocks of this machine and Redis differ by {skew_s:.0f} s"))
    return found


def _version(info: Mapping[str, Any]) -> list[Finding]:
    if "redis_version" not in info:
        return [_cannot_see("the version", "INFO does not have it", "; 6.2 or newer is needed")]
    said = str(info["redis_version"])
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"version {said}"
    version = tuple(int(part) for part in said.split(".")[:2])
    if version < OLDEST_REDIS:
        return [Finding("problem", "redis", f"version {said} is too old: 6.2 or newer is needed")]
    return [Finding("ok", "redis", f"reachable, {name}")]


def _kind(info: Mapping[str, Any]) -> list[Finding]:
    found = []
    if str(info.get("role", "master")) != "master":
        found.append(Finding("problem", "redis", "this is a replica: it takes no writes (DORA_BRIDGE_REDIS_URL)"))
    if int(info.get("cluster_enabled", 0)):
        detail = "cluster mode: scripts use keys of several slots; take a Redis without it (DORA_BRIDGE_REDIS_URL)"
        found.append(Finding("problem", "redis", detail))
    return found


def _persistence(info: Mapping[str, Any]) -> list[Finding]:
    if "aof_enabled" not in info:
        return [_cannot_see("persistence", "INFO does not have it", "; see that an append-only file is on")]
    found = []
    if not int(info["aof_enabled"]):
        found.append(Finding("problem", "redis", "no append-only file: a restart loses every event (appendonly yes)"))
    elif info.get("aof_last_write_status", "ok") != "ok":
        found.append(Finding("problem", "redis", "the append-only file cannot be written: is the disk full?"))
    elif info.get("aof_last_bgrewrite_status", "ok") != "ok":
        found.append(Finding("warning", "redis", "the append-only file could not be rewritten: it grows (disk full?)"))
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        detail = "the last snapshot failed: Redis refuses writes while stop-writes-on-bgsave-error is on (disk full?)"
        found.append(Finding("problem", "redis", detail))
    return found


def _memory(info: Mapping[str, Any]) -> list[Finding]:
    found = []
    policy = info.get("maxmemory_policy")
    if policy is None:
        found.append(_cannot_see("the eviction policy", "INFO does not have it", "; see that it is noeviction"))
    elif policy != "noeviction":
        found.append(Finding("problem", "redis", f"maxmemory-policy {policy} throws events away (noeviction)"))
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if most and used >= _FULL * most:
        detail = f"{used / most:.0%} of maxmemory is used: at 100 % every webhook is answered with 503 (maxmemory)"
        found.append(Finding("warning", "redis", detail))
    return found


async def _flushing(redis: Redis) -> Finding:
    """When the append-only file reaches the disk, which is what a power failure can lose; INFO does not tell."""
    try:
        flushing = (await redis.config_get("appendfsync")).get("appendfsync")
    except ResponseError:
        flushing = None
    if flushing is None:
        return _cannot_see("appendfsync", "CONFIG is refused", "; see that it is everysec or always", level="ok")
    if flushing == "no":
        detail = "a power failure can lose half a minute of events (appendfsync everysec or always)"
        return Finding("warning", "redis", detail)
    loss = "nothing that was acknowledged" if flushing == "always" else "the last second"
    return Finding("ok", "redis", f"appendfsync {flushing}: a power failure can lose {loss}")


def _exposure(url: str) -> list[Finding]:
    """Whoever can write to it can forge events."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or parts.scheme.startswith("rediss") or parts.password or _is_here(parts.hostname or ""):
        return []
    detail = "neither a password nor TLS: who reaches it can forge and read events (DORA_BRIDGE_REDIS_URL)"
    return [Finding("warning", "redis", detail)]


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cannot_see(what: str, why: str, so: str = "", *, level: Any = "warning") -> Finding:
    return Finding(level, "redis", f"{what} cannot be seen: {why}{so}")
