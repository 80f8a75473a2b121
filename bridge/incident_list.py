"""The list of incidents in Datadog's Incident Management, read from its new end. Pure.

It has what was created just before, which a search has not (recorded); but neither an order to choose, nor a time or
anything else to select by, nor a count. Source: Datadog API reference, "Get a list of incidents".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from bridge.times import from_rfc3339

PATH = "/api/v2/incidents"
PAGE = 100
"""What a page holds at most (API reference)."""

Rows = Sequence[Mapping[str, Any]]


def pages_since(since_ms: int, is_enough: Callable[[Rows], bool]) -> Generator[int, Rows, None]:
    """Asks for offsets and is sent their rows, until `is_enough` says so of a page, or all since then (epoch) was seen.

    Recorded it was oldest first: then the last page is found by doubling the offset and halving the gap, and pages are
    read from there back. Were it newest first, they are read from the start.
    """
    rows = yield 0
    if is_enough(rows) or len(rows) < PAGE:
        return
    if created_ms(rows[0]) > created_ms(rows[-1]):
        page = 1
        while rows and created_ms(rows[-1]) >= since_ms:
            rows = yield page * PAGE
            if is_enough(rows):
                return
            page += 1
        return
    last, beyond = 0, 1
    while rows := (yield beyond * PAGE):
        if is_enough(rows):
            return
        last, beyond = beyond, 2 * beyond
    while beyond - last > 1:
        middle = (last + beyond) // 2
        if rows := (yield middle * PAGE):
            last = middle
        else:
            beyond = middle
    while last > 0:
        rows = yield last * PAGE
        if is_enough(rows) or (rows and created_ms(rows[0]) < since_ms):
            return
        last -= 1


def created_ms(incident: Mapping[str, Any]) -> int:
    """When it was created; if that cannot be read, as if it were just now."""
    try:
        return from_rfc3339(incident["attributes"]["created"]) // 1_000_000
    except (LookupError, TypeError, ValueError):
        return 2**53
