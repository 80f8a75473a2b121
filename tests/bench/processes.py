"""Processes of a benchmark: started, their CPU time read, and ended by process id."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def clean_environ(**more: str) -> dict[str, str]:
    """This process's environment without settings of the product, with `tests` to import from."""
    ours = ("DD_", "DATADOG_", "DORA_BRIDGE_", "OTEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **more}


@contextlib.contextmanager
def running(
    arguments: Sequence[str | Path],
    *,
    environ: Mapping[str, str] | None = None,
    log: Path,
    program: str | Path = sys.executable,
    sockets: Sequence[socket.socket] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the context lasts; what it says is added to the file `log`, and it gets the sockets."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program, *arguments],
            env=clean_environ() if environ is None else environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[one.fileno() for one in sockets],
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    """SIGTERM, and SIGKILL to one that takes too long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            for one in tree(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, 9)
            process.wait()


def until(condition: Callable[[], bool], timeout_s: float, otherwise: str, *, every_s: float = 0.02) -> None:
    """Raises: TimeoutError, saying `otherwise`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(every_s)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all its descendants that are there now, ended children of each included."""
    return sum(map(_cpu_s_of_one, tree(pid)))


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def _cpu_s_of_one(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime: fields 14 to 17 of proc(5)
