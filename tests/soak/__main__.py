"""`make soak`: minutes of traffic and harm, and the account. Exit code 1 if it does not come out even."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from soak.report import as_json, as_text
from soak.run import Told, soak

EACH_S = 10.0
"""How often there is a line of progress where it is not overwritten."""


def main() -> int:
    given = _arguments()
    seed = random.randrange(10**6) if given.seed is None else given.seed  # noqa: S311 - a choice, no secret
    seconds = given.minutes * 60
    print(f"seed {seed}: {seconds:.0f} s of {given.rate:g} webhooks a second", file=sys.stderr, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="dora-bridge-soak-"))
    is_sound = False
    try:
        result = asyncio.run(soak(seed, seconds, given.rate, folder, _teller()))
        is_sound = result.is_sound
        if sys.stderr.isatty():
            print(_CLEAR, end="", file=sys.stderr, flush=True)
        print(json.dumps(as_json(result), indent=2) if given.json else as_text(result))
    finally:
        if is_sound:
            shutil.rmtree(folder)
        else:
            again = f"make soak MINUTES={given.minutes:g} SEED={seed}"
            again += f' ARGS="--rate {given.rate:g}"' if given.rate != _RATE else ""
            print(f"logs, requests and what the senders were told: {folder}\nagain: {again}", file=sys.stderr)
    return 0 if is_sound else 1


_RATE = 40.0
_CLEAR = "\r\x1b[K"
"""Clears the line of a terminal."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long traffic and harm last (5)")
    parser.add_argument("--seed", type=int, help="of the traffic and the harm; by default one of chance")
    parser.add_argument("--rate", type=float, default=_RATE, help=f"webhooks a second ({_RATE:g})")
    parser.add_argument("--json", action="store_true", help="the account as JSON")
    given = parser.parse_args()
    if given.minutes <= 0 or given.rate <= 0:
        parser.error("--minutes and --rate are above 0")
    return given


def _teller() -> Callable[[Told], None]:
    """Writes progress to stderr: one line that is overwritten each second at a terminal, else one each 10 s."""
    is_terminal, last_s = sys.stderr.isatty(), -EACH_S

    def tell(told: Told) -> None:
        nonlocal last_s
        line = f"{told.seconds:5.0f} s: {told.text}"
        if is_terminal:
            width = shutil.get_terminal_size().columns
            print(_CLEAR + line[: width - 1], end="", file=sys.stderr, flush=True)
        elif told.seconds >= last_s + EACH_S:
            last_s = told.seconds
            print(line, file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
