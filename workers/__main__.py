"""`python -m workers`: settings, then one worker process."""

from __future__ import annotations

import os
import sys

from bridge import logs
from bridge.errors import ConfigurationError
from bridge.settings import read
from workers.process import run


def main() -> int:
    """Exit code: 0 after SIGTERM or SIGINT, 2 for settings that cannot work."""
    logs.set_up()
    try:
        run(read(os.environ))
    except ConfigurationError as error:
        sys.stderr.write(f"dora-bridge worker: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
