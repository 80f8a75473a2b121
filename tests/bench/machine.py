"""The machine as far as figures depend on it, and how busy it was with other things meanwhile."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

from bridge.embedded_redis import find_server

_TICKS = os.sysconf("SC_CLK_TCK")


def described() -> str:
    """What has to be said with every figure."""
    said = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True).stdout.split()
    version = next((word[2:] for word in said if word.startswith("v=")), "?")
    server = "Valkey" if "valkey" in find_server().name.lower() else "Redis"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores, {python}, {server} {version} with appendonly everysec, everything on one machine"


class Others:
    """How many cores other work took while the benchmark ran: the figures are only as good as this is near 0."""

    def __init__(self) -> None:
        self._started = (time.monotonic(), _busy_s(), _own_s())

    def cores(self) -> float:
        """On the average, since this was made. Processes of the benchmark that still run count as others."""
        at, busy, own = self._started
        return max(0.0, (_busy_s() - busy) - (_own_s() - own)) / max(time.monotonic() - at, 1e-9)


def _busy_s() -> float:
    """CPU seconds of all cores since the boot that were not idle; proc(5)."""
    fields = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _own_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
