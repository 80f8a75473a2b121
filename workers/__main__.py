"""`python -m workers [NUMBER]`: settings, then one worker process. NUMBER tells it from others of one supervisor."""

from __future__ import annotations

import os
import sys

from prometheus_client import values

from bridge import logs, tracing
from bridge.errors import ConfigurationError
from bridge.settings import read


def main(arguments: list[str]) -> int:
    """Exit code: 0 after SIGTERM or SIGINT, 2 for settings that cannot work."""
    logs.set_up()
    if arguments and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        # files of this number, not of the process id: whoever takes its place goes on counting in them. Before the
        # first metric is made, which importing the rest does
        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: arguments[0])
    from workers.process import run

    stop_tracing = tracing.start(os.environ, "worker")
    try:
        run(read(os.environ))
    except ConfigurationError as error:
        sys.stderr.write(f"dora-bridge worker: {error}\n")
        return 2
    finally:
        stop_tracing()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
