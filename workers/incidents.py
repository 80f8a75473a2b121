"""Creating an incident in Incident Management exactly once.

Datadog takes no id of ours for it, and would make a second incident of a repetition. So before each try the ledger
notes that an incident may be there; and when it says that there was a try before, Datadog's list is looked through for
our mark before anything is sent. The list and not the search, whose index lags behind (recorded). That leaves what
Datadog creates only after the list was read, from a call that it did not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import httpx

from bridge.incident_list import Rows, pages_since
from bridge.incident_management import is_marked
from bridge.ledger import Head, Ledger
from workers.courier import Courier
from workers.datadog import Outcome, Reason, Verdict, judge, judge_creation

MOST_PAGES = 60
"""So many are read at most: an end of the list that keeps moving away must not keep a drain busy."""
_CLOCKS_MS = 24 * 3600 * 1000
"""What was created so long before the first try is not looked through: clocks may be wrong, but not by more."""
_MOST_BYTES = 16 * 1024 * 1024
_REFUSED = (Reason.AUTH, Reason.REDIRECTED, Reason.RATE_LIMITED, Reason.INVALID)
"""Outcomes that say for sure that nothing was created."""


class Incidents:
    """Creates incidents. `build` makes the call of a head, `page` the call for the list from an offset on."""

    def __init__(
        self,
        ledger: Ledger,
        courier: Courier,
        build: Callable[[Head], httpx.Request],
        page: Callable[[int], httpx.Request],
    ) -> None:
        self._ledger = ledger
        self._courier = courier
        self._build = build
        self._page = page

    async def create(self, head: Head, may_send: Callable[[], bool]) -> Outcome:
        """Creates the incident, or finds it where an earlier try did. Raises: NoLongerOurs, errors of redis-py."""
        if head.uuid:
            return Outcome(Verdict.DELIVERED, Reason.FOUND, uuid=head.uuid)
        fact = head.envelope.fact
        tried_at = await self._ledger.about_to_create(fact)
        if tried_at is not None:
            found = await self._found(head.envelope.datadog_id, tried_at - _CLOCKS_MS, may_send)
            if isinstance(found, Outcome):
                return found
            if found:
                return Outcome(Verdict.DELIVERED, Reason.FOUND, 200, uuid=found)
        outcome = judge_creation(await self._courier.send(self._build(head), may_send, repeatable=False))
        if tried_at is None and outcome.reason in _REFUSED:
            await self._ledger.not_created(fact)
        return outcome

    async def _found(self, datadog_id: str, since_ms: int, may_send: Callable[[], bool]) -> str | Outcome:
        """The UUID of the incident with our mark, empty if there is none; or what came instead of the list."""
        search = looked_through(datadog_id, since_ms)
        try:
            offset = next(search)
            for _ in range(MOST_PAGES):
                answer = await self._courier.send(self._page(offset), may_send, most_bytes=_MOST_BYTES)
                outcome = judge("GET", answer)
                if outcome.verdict is not Verdict.DELIVERED or not isinstance(answer, httpx.Response):
                    return outcome
                rows = rows_of(answer)
                if rows is None:
                    return Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, outcome.status, "a list without data")
                offset = search.send(rows)
        except StopIteration as end:
            uuid: str = end.value
            return uuid
        return Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, 200, f"no end of the list after {MOST_PAGES} pages")


def rows_of(answer: httpx.Response) -> Rows | None:
    """The incidents of a page; None if the answer has another shape, or was cut."""
    try:
        rows = answer.json()["data"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None


def looked_through(datadog_id: str, since_ms: int) -> Generator[int, Rows, str]:
    """Asks for offsets of the list, is sent their rows, and gives back the UUID of the marked incident, or nothing.

    What was created before `since_ms` (since the epoch) need not be looked at.
    """
    found = ""

    def is_found(rows: Rows) -> bool:
        nonlocal found
        found = _marked(rows, datadog_id)
        return bool(found)

    yield from pages_since(since_ms, is_found)
    return found


def _marked(rows: Rows, datadog_id: str) -> str:
    return next((str(row["id"]) for row in rows if row.get("id") and is_marked(row, datadog_id)), "")
