"""Doing to a running system what the schedule says, and mending it again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from faults import frozen, redis_of, restarted
from system import System

from soak.evidence import Disturbance
from soak.schedule import EVERYTHING, HARMS, WORKERS, Planned
from soak.scripts import SCRIPTS, UNHEARD, USUALLY
from soak.wire import Wire

END_S = 60.0
"""What a process gets to end in, as in Kubernetes with the values of the chart."""
WATCH_S = 0.5
LATE_S = 5.0
"""Harm that is later than that, since the part was not mended yet, is left out: on a slow machine, where a process
takes long to start, it would never work otherwise."""


@dataclass
class Harmer:
    """Does harm to a system of a web process and two workers, and puts down what it did."""

    system: System
    wire: Wire
    begin: float
    """Seconds since the epoch."""
    done: list[str] = field(default_factory=list)
    skipped: int = 0
    """How much came too late to be done."""
    disturbances: list[Disturbance] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """Processes that ended though nobody asked them to."""
    late: list[str] = field(default_factory=list)
    """Processes that did not end in time, or not well, when they were asked to."""
    now: Counter[str] = field(default_factory=Counter)
    """What is being done."""
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: {part: asyncio.Lock() for part in HARMS})

    async def follow(self, planned: Sequence[Planned]) -> None:
        """Does all of it at its time. What was started late ends late; at the end everything works again."""
        watch = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                for one in planned:
                    group.create_task(self._one(one))
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await self.restart_ended()

    async def _one(self, planned: Planned) -> None:
        await asyncio.sleep(max(0.0, self.begin + planned.at_s - time.time()))
        parts = ("web", *WORKERS) if planned.part == EVERYTHING else (planned.part,)
        name = f"{planned.part} {planned.harm}"
        for part in parts:
            await self._locks[part].acquire()
        began = time.time()
        try:
            if began > self.begin + planned.at_s + LATE_S:
                self.skipped += 1
                return
            self.now[name] += 1
            await self._do(planned)
            over = time.time()
            if _leaves_doubt(planned):
                self.disturbances.append(Disturbance(began, over))
            self.done.append(f"{began - self.begin:.1f}–{over - self.begin:.1f} {name}")
        finally:
            self.now -= Counter([name])
            for part in parts:
                self._locks[part].release()

    async def _do(self, planned: Planned) -> None:
        system, part, lasts_s = self.system, planned.part, planned.lasts_s
        if part == EVERYTHING:
            for name in (*WORKERS, "web"):
                await self._replace(name, 0, signal.SIGTERM)
        elif part == "redis":
            await self._redis(planned)
        elif planned.harm == "refuses connections":
            await self.wire.cut()
            await asyncio.sleep(lasts_s)
            await self.wire.connect()
        elif part == "datadog":
            await asyncio.to_thread(system.script, *SCRIPTS[planned.harm])
            await asyncio.sleep(lasts_s)
            await asyncio.to_thread(system.script, USUALLY)
        elif planned.harm == "frozen":
            await frozen(system.processes[part].pid, lasts_s)
        else:
            await self._replace(part, lasts_s, signal.SIGKILL if planned.harm == "killed" else signal.SIGTERM)

    async def _redis(self, planned: Planned) -> None:
        redis, lasts_s = self.system.redis, planned.lasts_s
        if planned.harm == "killed":
            await restarted(self.system, redis.kill, lasts_s)
        elif planned.harm == "asked to end":
            await restarted(self.system, redis.stop, lasts_s)
        elif planned.harm == "frozen":
            await frozen(redis.pid, lasts_s)
        elif planned.harm == "paused":
            async with redis_of(self.system) as client:
                await client.client_pause(int(lasts_s * 1000), all=True)
            await asyncio.sleep(lasts_s)
        else:
            async with redis_of(self.system) as client:
                await client.config_set("min-replicas-to-write", 1)
                await asyncio.sleep(lasts_s)
                await client.config_set("min-replicas-to-write", 0)

    async def _replace(self, name: str, lasts_s: float, number: int) -> None:
        """Ends a process, and starts it again after so many seconds."""
        process = self.system.processes.pop(name, None)
        if process is not None:
            process.send_signal(number)
            try:
                code = await asyncio.to_thread(process.wait, END_S)
            except subprocess.TimeoutExpired:
                self.late.append(f"{time.time() - self.begin:.1f} {name} did not end within {END_S:.0f} s")
                process.kill()
                process.wait()
            else:
                # before it started, the signal ends it as it ends any program
                if number == signal.SIGTERM and code != 0 and self.system.has_started(name):
                    self.late.append(f"{time.time() - self.begin:.1f} {name} ended with {code}")
        await asyncio.sleep(lasts_s)
        await self._start(name)

    async def _start(self, name: str) -> None:
        if name == "web":
            await asyncio.to_thread(self.system.start_web)
        else:
            self.system.start_worker(name)

    async def _watch(self) -> None:
        """Starts again what ended by itself, as whatever runs it would."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self.restart_ended()

    async def restart_ended(self) -> None:
        for name in ("web", *WORKERS):
            async with self._locks[name]:
                process = self.system.processes.get(name)
                if process is not None and process.poll() is not None:
                    self.ended[f"{name} with {process.poll()}"] += 1
                    now = time.time()
                    self.disturbances.append(Disturbance(now - WATCH_S, now))
                    del self.system.processes[name]
                    await self._start(name)


def _leaves_doubt(planned: Planned) -> bool:
    """Whether what Datadog answered meanwhile may not be known: only then may it be asked again."""
    if planned.part == "datadog":
        return planned.harm in UNHEARD
    # a worker that is asked to end puts down what it did
    return planned.part == "redis" or (planned.part in WORKERS and planned.harm != "asked to end")
