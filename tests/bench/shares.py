"""Where the web process spends its time, from a profile of it: a table for `deploy/where-the-time-goes.md`.

    PYTHONPATH=tests .venv/bin/python -m bench.intake --rounds 3 --seconds 6 durable &
    py-spy record --native --rate 400 --duration 20 --format raw --output RAW --pid PID   # of `bench.web durable`
    PYTHONPATH=tests .venv/bin/python -m bench.shares RAW

py-spy is not among the dependencies (`pip install py-spy`); it stops the process at each look, so rates are lower
meanwhile.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.table import table

# the first that is in a stack says what it was for; the route with the HMAC check alone has what is starred too
PARTS: Mapping[str, str] = {
    "verify (bridge/intake": "* the HMAC",
    "_read (bridge/app": "* reading headers and body",
    "log (bridge/logs": "the log line",
    "_answer (bridge/app": "* the answer, mostly the write to the socket",
    "validate_json": "parsing",
    "translate (bridge/sources": "translation",
    "receive (bridge/intake": "envelopes, and the rest of intake",
    "entries_of (bridge/ledger": "what is recorded of it",
    "record (bridge/commit": "waiting for the write",
    "_write (bridge/commit": "the write: arguments, Redis protocol, replies",
    "Webhooks.": "metrics, and the rest of the endpoint",
    "starlette/": "* Starlette",
    "uvicorn/": "* uvicorn",
}
_REST = "* the event loop: reading, parsing HTTP, waking tasks"
_IDLE = "epoll"


def shares(lines: Iterable[str]) -> list[tuple[str, float]]:
    """Part and its share (0 to 1) of the time in which the process was busy, the largest first."""
    counted: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if not stack.rpartition(";")[2].startswith(_IDLE):
            counted[next((part for name, part in PARTS.items() if name in stack), _REST)] += int(count)
    return [(part, count / counted.total()) for part, count in counted.most_common()]


def main(raw: str) -> None:
    """Prints the table."""
    found = shares(Path(raw).read_text().splitlines())
    print("\n".join(table(["part", "share"], [[part, f"{share:.1%}"] for part, share in found])))
    starred = sum(share for part, share in found if part[0] == "*")
    print(f"\nThe route with the HMAC check alone has what is starred too: {starred:.0%}.")


if __name__ == "__main__":
    main(sys.argv[1])
