"""A Docker engine, and bases for images that come from no registry: what the tests of image and Compose file need.

An engine that runs on this machine is used; without one a private one is started, and ended by its process id. The
base is debootstrap's Debian with Python, of the suite and version that the Dockerfile's own base has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
START_S = 60.0

RESTRICTED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp:size=16m,mode=1777",
)
"""As the chart and the Compose file run it; the user is the image's own."""


def lacking() -> str:
    """Why there can be no engine or no base here; empty if there can."""
    needed = ("docker", "debootstrap", *(() if _answers({}) else ("dockerd",)))
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if os.getuid() != 0:
        return "needs root, for debootstrap and a private Docker engine"
    return f"needs {', '.join(missing)} (Debian: apt install docker.io debootstrap tini iptables)" if missing else ""


def compose_command() -> list[str] | None:
    """Compose version 2, as a plugin of docker or a program of its own."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with contextlib.suppress(OSError):
            told = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            if told.returncode == 0 and re.match(r"v?[2-9]", told.stdout):
                return command
    return None


def _answers(environ: Mapping[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "info"], capture_output=True, env={**os.environ, **environ}, check=False)
    return asked.returncode == 0


class Engine:
    """How to reach the engine: `docker(…)` runs its client."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = {**os.environ, **environ, "DOCKER_BUILDKIT": "0"}

    def docker(self, *arguments: str | Path, stdin: bytes | None = None) -> str:
        """What the client printed, standard error included, as that is where logs of containers are."""
        done = subprocess.run(
            ["docker", *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environ,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}: {said}"
        return said

    def inspect(self, name: str) -> dict[str, Any]:
        (found,) = json.loads(self.docker("inspect", name))
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Images:
    """Tags that only this run knows."""

    engine: Engine
    base: str
    bridge: str
    redis: str


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """The engine of this machine, or a private one. Only one of those at a time: they share firewall rules."""
    if _answers({}):
        yield Engine({})
        return
    with (
        (Path(tempfile.gettempdir()) / "dora-bridge-tests-engine.lock").open("w") as lock,
        tempfile.TemporaryDirectory(prefix="dora-bridge-engine-", dir="/tmp", ignore_cleanup_errors=True) as name,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(name)
        environ = {"DOCKER_HOST": f"unix://{folder}/socket"}
        with (folder / "log").open("wb") as log:
            flags = ("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid")
            daemon = subprocess.Popen(
                ["dockerd", *flags, "--host", environ["DOCKER_HOST"], "--bridge", "none"], stdout=log, stderr=log
            )
            try:
                deadline = time.monotonic() + START_S
                while not _answers(environ):
                    assert daemon.poll() is None, (folder / "log").read_text()[-2000:]
                    assert time.monotonic() < deadline, "dockerd does not answer"
                    time.sleep(0.2)
                yield Engine(environ)
            finally:
                daemon.terminate()
                daemon.wait(60)
                for mount in Path("/proc/mounts").read_text().splitlines():  # it leaves a network namespace behind
                    if (path := mount.split()[1]).startswith(name):
                        _run(["umount", path])


def python_base(engine: Engine, tag: str, folder: Path) -> None:
    """Makes an image like the one the Dockerfile starts from: Python in /usr/local with pip and without bytecode.

    It holds a Valkey too, so that the Redis of the Compose file can be made of it.
    """
    named = r"docker\.io/library/python:([\d.]+)-slim-(\w+)(?:@sha256:[0-9a-f]{64})?"
    match = re.search(rf"^ARG PYTHON_IMAGE={named}$", DOCKERFILE, re.MULTILINE)
    assert match is not None
    version, suite = match.groups()
    root = folder / "root"
    packages = "ca-certificates,python3,python3-venv,valkey-server,valkey-tools"
    _run(["debootstrap", "--variant=minbase", f"--include={packages}", suite, root])
    _run(["chroot", root, "python3", "-m", "venv", "/usr/local"])
    for bytecode in (root / "usr/lib").glob("python3*/**/__pycache__"):
        shutil.rmtree(bytecode)
    shutil.rmtree(root / "var/cache/apt")
    data = root / "data"
    data.mkdir()
    os.chown(data, 999, 999)
    # of the machine, which may reach its package index by way of a proxy with a certificate of its own
    for path in (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf")):
        if path.exists():
            shutil.copy(path, root / path.relative_to("/"))
    archive = folder / "root.tar"
    _run(["tar", "-C", root, "-cf", archive, "."])
    shutil.rmtree(root)
    engine.docker("import", archive, tag)
    archive.unlink()
    told = engine.docker("run", "--rm", "--network=none", tag, "python", "--version")
    assert told.startswith(f"Python {version}."), told


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout.decode(errors='replace')[-2000:]}"
