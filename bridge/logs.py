"""Logs: JSON lines on standard error, an event name and fields instead of prose.

Every name is listed here. Fields come from closed sets or are ids and numbers of ours: never headers, secrets or
values of a payload.

    webhook.accepted  webhook.ignored  webhook.duplicate  webhook.dead_lettered  webhook.refused  webhook.unavailable
    webhook.failed
    delivery.attempted  delivery.dead_lettered  delivery.failed
    dead_letters.expiring  dead_letters.expired
    admin.logged_in  admin.refused  admin.acted  admin.failed
    destination.held  destination.parked  destination.open
    process.started  process.stopping  process.stopped  process.without_endpoints
    keys.changed  secrets.empty
    drain.lane_lost  redis.unavailable  process.round_failed
    readback.verified  readback.missing  readback.unclear
    redelivery.gap  redelivery.asked  redelivery.failed
    linking.concluded
    tracing.on  tracing.off
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from bridge.compact import compact

logger = logging.getLogger("dora-bridge")


def log(event: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """Writes one line; empty fields are left out."""
    if logger.isEnabledFor(level):
        told = {name: value for name, value in fields.items() if value not in (None, "")}
        # `logger.log` would look for the caller, whom no line tells
        logger.handle(
            logging.makeLogRecord(
                {
                    "name": logger.name,
                    "levelno": level,
                    "levelname": logging.getLevelName(level),
                    "msg": event,
                    "fields": told,
                }
            )
        )


class JsonLines(logging.Formatter):
    """One JSON object a line: `at` (RFC 3339, UTC), `level`, `event`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            # of libraries, the first line: asyncio puts the text of an exception below it
            "event": record.getMessage().partition("\n")[0],
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # the type and place; an exception's text may repeat what it choked on
            line["exception"] = record.exc_info[0].__name__
            frames = record.exc_info[2]
            while frames is not None and frames.tb_next is not None:
                frames = frames.tb_next
            if frames is not None:
                line["where"] = f"{frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}"
        text = compact(line)
        # other scripts as escapes, since standard error may have any encoding, and some of their signs end a line
        return text if text.isascii() else json.dumps(line, separators=(",", ":"))


def set_up(level: int = logging.INFO) -> None:
    """Sends everything of this process, libraries' warnings included, to standard error as JSON lines."""
    # what no line tells is not looked up (Python's Logging HOWTO, "Optimization")
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(level)
