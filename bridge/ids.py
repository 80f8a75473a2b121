"""Ids that Datadog sees: the same fact always gets the same one.

Datadog allows 16 to 128 of `[A-Za-z0-9_.:-]` (API reference, DORA `id`); we keep to `A-Za-z0-9_-`, which also needs
no escaping in paths. Never made from receive time, delivery id or body hash.
"""

from __future__ import annotations

import hashlib
import re

_ALLOWED = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)


def fact_id(prefix: str, *parts: str, instance: str = "") -> str:
    """`<prefix>[-<instance>]-<part>-…`; if that is no legal id, `<prefix>[-<instance>]-<40 hex of its SHA-256>`."""
    start = f"{prefix}-{instance}" if instance else prefix
    readable = "-".join((start, *parts))
    if _ALLOWED.fullmatch(readable):
        return readable
    return f"{start}-{hashlib.sha256(readable.encode()).hexdigest()[:40]}"


def one_of_several(identifier: str, service: str) -> str:
    """The id of one service's record, where one fact concerns several services."""
    suffix = hashlib.sha256(service.encode()).hexdigest()[:8]
    if len(identifier) + 9 > 128:
        identifier = f"{identifier[:40]}-{hashlib.sha256(identifier.encode()).hexdigest()[:40]}"
    return f"{identifier}-{suffix}"
