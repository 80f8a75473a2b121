"""Child processes of a command: started together, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Self

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from bridge.processes import ProcessesCollector
from bridge.worker_listener import WorkerListener

STOP_TIMEOUT_S = 30.0
"""Above the longest that a worker needs to finish what is in flight."""


class Children:
    """Processes of this Python; leaving the `with` ends them by process id, the last started first."""

    def __init__(self, environ: Mapping[str, str] | None = None, *, output: IO[bytes] | int | None = None) -> None:
        self._environ = {**os.environ, **(environ or {})}
        self._output = output
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts `python <arguments>` in a session of its own: a Ctrl-C is for the parent to pass on."""
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )
        self._running.append((name, child))
        return child

    def ended(self) -> tuple[str, int] | None:
        """Name and exit code of a child that has ended, or None while all run."""
        for name, child in self._running:
            if (code := child.poll()) is not None:
                return name, code
        return None

    def signal(self, number: int) -> None:
        """Passes a signal on to all that run."""
        for _, child in self._running:
            if child.poll() is None:
                child.send_signal(number)

    def stop(self) -> None:
        """SIGTERM to all, and SIGKILL to those that take too long."""
        for _, child in reversed(self._running):
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for _, child in self._running:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._running.clear()


def supervise(arguments: Sequence[str], count: int, listen: str | None = None) -> int:
    """Runs `count` equal children until SIGTERM or SIGINT; starts one that dies again. The worst exit code of a
    child that ends by itself at once, which is a matter of settings; else 0.

    Each gets its number as the last argument. With `listen`, HOST:PORT, the supervisor is the listener for all: each
    child counts into files named after its number, so that one that is started again goes on counting.
    """
    stopping = False
    running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    def pids() -> dict[str, int]:
        """Of the supervisor, and of each child by its number."""
        return {"supervisor": os.getpid()} | {str(number): child.pid for number, (child, _) in list(running.items())}

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, stop)
    with contextlib.ExitStack() as until_the_end:
        environ = {}
        if listen is not None:
            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="dora-bridge-"))
            environ = {"PROMETHEUS_MULTIPROC_DIR": folder, "DORA_BRIDGE_WORKER_LISTEN": ""}
            all_of_them = CollectorRegistry()
            MultiProcessCollector(all_of_them, path=folder)
            all_of_them.register(ProcessesCollector(pids))
            until_the_end.enter_context(WorkerListener(listen, all_of_them))
        children = until_the_end.enter_context(Children(environ))

        def started(number: int) -> tuple[subprocess.Popen[bytes], float]:
            return children.start(f"worker {number}", [*arguments, str(number)]), time.monotonic()

        running |= {number: started(number) for number in range(count)}
        while not stopping:
            for number, (child, since) in list(running.items()):
                code = child.poll()
                if code is None:
                    continue
                if code == 2 and time.monotonic() - since < 10:
                    return code
                running[number] = started(number)
            time.sleep(0.2)
    return 0
