"""Installs what the bridge is compared with, into build/bench/peers and nowhere else; what is there already stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.processes import ROOT

FOLDER = ROOT / "build/bench/peers"
DATADOG_CI = "@datadog/datadog-ci@5.25.0"
_LOCK = Path(__file__).with_name("requirements.lock")


class NotThere(Exception):
    """It cannot be had here; the message says in one line why."""


def python() -> Path:
    """The interpreter of an environment with Dramatiq, Celery and RQ. Raises: NotThere."""
    folder = FOLDER / "venv"
    program, stamp = folder / "bin/python", folder / "installed.lock"
    if not stamp.exists() or stamp.read_bytes() != _LOCK.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", folder], "Dramatiq, Celery, RQ")
        pip = [program, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
        _run([*pip, "--require-hashes", "-r", _LOCK], "Dramatiq, Celery, RQ")
        stamp.write_bytes(_LOCK.read_bytes())
    return program


def datadog_ci() -> list[str]:
    """The command of datadog-ci. Raises: NotThere."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotThere(f"datadog-ci: {program} is missing; Debian: apt install nodejs npm")
    folder = FOLDER / "npm"
    package = folder / "node_modules/@datadog/datadog-ci"
    version = DATADOG_CI.rpartition("@")[2]
    if not package.exists() or json.loads((package / "package.json").read_text())["version"] != version:
        folder.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", folder, DATADOG_CI], "datadog-ci")
    return ["node", str(package / "dist/bundle.js")]


def webhook() -> Path:
    """The program of Debian's package webhook, unpacked without being installed. Raises: NotThere."""
    if found := shutil.which("webhook"):
        return Path(found)
    folder = FOLDER / "webhook"
    program = folder / "usr/bin/webhook"
    if not program.exists():
        for tool in ("apt-get", "dpkg"):
            if shutil.which(tool) is None:
                raise NotThere(f"webhook: {tool} is missing; put a program `webhook` on the PATH")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["apt-get", "-qq", "download", "webhook"], "webhook", folder)
        _run(["dpkg", "-x", next(folder.glob("webhook_*.deb")), folder], "webhook")
    return program


def _run(command: Sequence[str | Path], what: str, folder: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        raise NotThere(f"{what}: {Path(command[0]).name} failed: {said[-1]}") from error
