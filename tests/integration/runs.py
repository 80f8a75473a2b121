"""One run: a system under load, a fault in the middle, and the account when all is drained."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faults import Fault, disk_full
from load import Account, Load, account
from system import System

from bridge.embedded_redis import PrivateRedis


class NotPossibleHere(Exception):
    """This fault needs rights that this user does not have."""


@contextlib.contextmanager
def small_disk(folder: str) -> Iterator[None]:
    """A disk of 64 MB at this folder. Raises: NotPossibleHere for anyone but root."""
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        raise NotPossibleHere(f"a small disk needs root: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def run(
    fault: Fault, *, before_s: float = 2, lasts_s: float = 4, after_s: float = 3, drain_s: float = 90
) -> Account:
    """The account of a run with two workers and 60 keys of 150 webhooks a second. Times in seconds."""
    with (
        tempfile.TemporaryDirectory(prefix="dora-bridge-run-") as folder,
        small_disk(folder) if fault is disk_full else contextlib.nullcontext(),
        PrivateRedis(Path(folder) / "redis") as redis,
    ):
        system = System(redis, Path(folder))
        try:
            system.start_sandbox()
            system.script({"delay_ms": 50, "times": "forever"})  # so that some calls are always under way
            system.start_web()
            for name in ("worker-1", "worker-2"):
                system.start_worker(name)
            load = Load(system)
            stop = asyncio.Event()
            posting = asyncio.create_task(load.run(stop))
            await asyncio.sleep(before_s)
            fault_at = time.time()
            await fault(system, lasts_s)
            await asyncio.sleep(after_s)
            stop.set()
            await posting
            await system.until_drained(drain_s)
            return account(load.accepted, system.requests(), fault_at=fault_at)
        finally:
            system.stop()
