"""One part of the benchmark run by itself: `python -m bench.<part> [--json FILE]`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.table import Result


def alone(measure: Callable[[Path], Result], to: Path | None) -> int:
    """Prints what it measures in a folder of its own, and writes it as JSON if asked to; the exit code."""
    with tempfile.TemporaryDirectory(prefix="dora-bridge-bench-") as folder:
        result = measure(Path(folder))
    print(result.text())
    if to:
        to.write_text(json.dumps(result.json(), indent=1) + "\n")
    return 0
