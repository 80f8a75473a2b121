"""What can go wrong, one function a fault. Each does its harm to a running system under load, and mends it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import httpx
from redis.asyncio import Redis
from system import System, until

Fault = Callable[[System, float], Awaitable[None]]
"""Takes the system and how long (seconds) a lasting harm lasts. Two workers run, `worker-1` and `worker-2`."""

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))


async def none(system: System, lasts_s: float) -> None:
    await asyncio.sleep(lasts_s)


async def web_killed(system: System, lasts_s: float) -> None:
    system.kill("web")
    await asyncio.to_thread(system.start_web)


async def one_worker_killed(system: System, lasts_s: float) -> None:
    system.kill("worker-1")


async def all_workers_killed(system: System, lasts_s: float) -> None:
    for name in ("worker-1", "worker-2"):
        system.kill(name)
    system.start_worker("worker-1")


async def redis_killed(system: System, lasts_s: float) -> None:
    """It comes back from its append-only file after two seconds."""
    await restarted(system, system.redis.kill, 2)


async def redis_gone_for_long(system: System, lasts_s: float) -> None:
    await restarted(system, system.redis.kill, lasts_s)


async def everything_killed(system: System, lasts_s: float) -> None:
    for name in ("worker-1", "worker-2", "web"):
        system.kill(name)
    system.redis.kill()
    await asyncio.to_thread(system.redis.start)
    await asyncio.to_thread(system.start_web)
    system.start_worker("worker-1")


async def restarted(system: System, end: Callable[[], None], after_s: float) -> None:
    """Ends Redis one way or the other, and starts it again after so many seconds, from its append-only file."""
    await asyncio.to_thread(end)
    await asyncio.sleep(after_s)
    await asyncio.to_thread(system.redis.start)


async def frozen(pid: int, lasts_s: float = 7) -> None:
    """Stops a process, for longer than a lease if nothing else is said."""
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(lasts_s)
    os.kill(pid, signal.SIGCONT)


async def worker_frozen(system: System, lasts_s: float) -> None:
    await frozen(system.processes["worker-1"].pid)


async def web_frozen(system: System, lasts_s: float) -> None:
    await frozen(system.processes["web"].pid)


async def redis_frozen(system: System, lasts_s: float) -> None:
    await frozen(system.redis.pid)


async def rolled_out(system: System, lasts_s: float) -> None:
    """Every process is asked to end, and replaced, as in a roll-out."""
    for name in ("worker-1", "worker-2"):
        # before, the signal ends it as it ends any program
        await asyncio.to_thread(until, partial(system.has_started, name), 60, f"{name} does not start")
        assert await asyncio.to_thread(system.kill, name, signal.SIGTERM) == 0
        system.start_worker(name)
    assert await asyncio.to_thread(system.kill, "web", signal.SIGTERM) == 0
    await asyncio.to_thread(system.start_web)


async def disk_full(system: System, lasts_s: float) -> None:
    """Something else fills the disk that Redis writes its append-only file to. See `runs.small_disk`."""
    filler = system.folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    await asyncio.sleep(lasts_s)
    filler.unlink()


async def redis_refuses_writes(system: System, lasts_s: float) -> None:
    async with redis_of(system) as redis:
        await redis.config_set("min-replicas-to-write", 1)
        await asyncio.sleep(lasts_s)
        await redis.config_set("min-replicas-to-write", 0)


async def memory_full(system: System, lasts_s: float) -> None:
    async with redis_of(system) as redis:
        await redis.config_set("maxmemory", 1)
        await asyncio.sleep(lasts_s)
        await redis.config_set("maxmemory", 0)


async def worker_clock_an_hour_ahead(system: System, lasts_s: float) -> None:
    await _with_clock(system, "3600", lasts_s)


async def worker_clock_an_hour_behind(system: System, lasts_s: float) -> None:
    await _with_clock(system, "-3600", lasts_s)


async def _with_clock(system: System, seconds: str, lasts_s: float) -> None:
    system.kill("worker-1")
    system.start("worker-1", _LAUNCHER, "--clock", seconds, "workers")
    await asyncio.sleep(lasts_s)


async def newer_web_than_workers(system: System, lasts_s: float) -> None:
    """A roll-out whose web process writes a version that the workers cannot read yet, then newer workers."""
    await asyncio.to_thread(system.kill, "web", signal.SIGTERM)
    system.start("web", _LAUNCHER, "--envelope-version", "2", "bridge", "serve")
    await asyncio.to_thread(system.until_answers, f"http://{system.public}/readyz")
    await asyncio.sleep(lasts_s)
    for name in ("worker-1", "worker-2"):
        await asyncio.to_thread(system.kill, name, signal.SIGTERM)
        system.start(name, _LAUNCHER, "--envelope-version", "2", "workers")


async def datadog_503(system: System, lasts_s: float) -> None:
    await _scripted(system, lasts_s, {"status": 503, "times": "forever"})


async def datadog_429(system: System, lasts_s: float) -> None:
    await _scripted(system, lasts_s, {"rate_limit": {"limit": 50, "period_s": 1}})


async def datadog_429_without_headers(system: System, lasts_s: float) -> None:
    await _scripted(system, lasts_s, {"status": 429, "times": "forever"})


async def datadog_403(system: System, lasts_s: float) -> None:
    await _scripted(system, lasts_s, {"status": 403, "times": "forever"})


async def datadog_202(system: System, lasts_s: float) -> None:
    await _scripted(system, lasts_s, {"status": 202, "times": "forever"})


async def datadog_cuts_before_the_reply(system: System, lasts_s: float) -> None:
    await _scripted(system, 1, {"drop": "before_reply", "times": 100})


async def datadog_cuts_before_processing(system: System, lasts_s: float) -> None:
    await _scripted(system, 1, {"drop": "before_processing", "times": 100})


async def datadog_hangs(system: System, lasts_s: float) -> None:
    """Every call hangs for longer than its time-out."""
    await _scripted(system, 3, {"delay_ms": 15_000, "times": 20})


async def datadog_gone(system: System, lasts_s: float) -> None:
    os.kill(system.processes["sandbox"].pid, signal.SIGSTOP)
    await asyncio.sleep(lasts_s)
    os.kill(system.processes["sandbox"].pid, signal.SIGCONT)


async def _scripted(system: System, lasts_s: float, step: Mapping[str, object]) -> None:
    await asyncio.to_thread(system.script, step)
    await asyncio.sleep(lasts_s)
    async with httpx.AsyncClient() as client:
        await client.delete(f"http://{system.datadog}/sandbox/script")


@contextlib.asynccontextmanager
async def redis_of(system: System) -> AsyncIterator[Redis]:
    """A client of the system's Redis."""
    redis = Redis.from_url(system.redis.url)
    try:
        yield redis
    finally:
        await redis.aclose()


FAULTS: Mapping[str, Fault] = {
    function.__name__.replace("_", " "): function
    for function in (
        none,
        web_killed,
        one_worker_killed,
        all_workers_killed,
        redis_killed,
        everything_killed,
        redis_gone_for_long,
        worker_frozen,
        web_frozen,
        redis_frozen,
        rolled_out,
        disk_full,
        redis_refuses_writes,
        memory_full,
        worker_clock_an_hour_ahead,
        worker_clock_an_hour_behind,
        newer_web_than_workers,
        datadog_503,
        datadog_429,
        datadog_429_without_headers,
        datadog_403,
        datadog_202,
        datadog_cuts_before_the_reply,
        datadog_cuts_before_processing,
        datadog_hangs,
        datadog_gone,
    )
}
