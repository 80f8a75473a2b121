"""Datadog's lists of deployments and failures, read whole: one window of time after the other.

A list gives at most 1000 records and has no cursor. So a window whose list is full is halved until each part fits.
Datadog does not document whether a window includes its ends: neighbours share theirs, and what both list is given
once. Within one second there is nothing to halve: such a second is put down in `crowded`.

Source: API reference, "Get a list of deployment events".
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from bridge.datadog_calls import DatadogCalls, Keys, request
from bridge.datadog_records import DatadogRecord, Kind, record_of
from bridge.errors import DatadogUnreadable
from bridge.times import SECOND, to_rfc3339

MOST = 1000
"""Records that a list gives at most."""

_PATHS: dict[Kind, str] = {"deployment": "deployments", "failure": "failures"}


def list_request(
    kind: Kind,
    since: int,
    until: int,
    *,
    base_url: str,
    api_key: str,
    app_key: str,
    query: str = "",
    limit: int = MOST,
    sort: str = "",
) -> httpx.Request:
    """The call for the newest records between two times (ns), which are widened to whole seconds."""
    attributes: dict[str, Any] = {
        "from": to_rfc3339(since // SECOND * SECOND),
        "to": to_rfc3339(-(-until // SECOND) * SECOND),
        "limit": limit,
    }
    attributes |= {name: value for name, value in (("query", query), ("sort", sort)) if value}
    body = {"data": {"type": f"dora_{_PATHS[kind]}_list_request", "attributes": attributes}}
    path = f"/api/v2/dora/{_PATHS[kind]}"
    return request("POST", path, base_url=base_url, api_key=api_key, app_key=app_key, body=body)


def records_of(answer: httpx.Response, kind: Kind) -> list[DatadogRecord]:
    """The records of a list that Datadog answered with 200. Raises: ValueError if it has another shape."""
    try:
        return [record_of(row, kind) for row in answer.json()["data"]]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("a list without data") from error


class DatadogLists:
    """Reads lists with both keys. `client` makes the calls; `sleep` waits for Datadog's rate limit."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        base_url: str,
        api_key: str,
        app_key: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._calls = DatadogCalls(client, sleep=sleep)
        self._keys: Keys = {"base_url": base_url, "api_key": api_key, "app_key": app_key}
        self.crowded: set[tuple[Kind, int]] = set()
        """Seconds (since the epoch) of which a kind has more records than a list gives: some were not seen."""

    async def between(
        self,
        kind: Kind,
        since: int,
        until: int,
        *,
        query: str = "",
        told: Callable[[int], None] = lambda _: None,
    ) -> AsyncIterator[DatadogRecord]:
        """All records of a kind between two times (ns). `query`: in event search syntax, e.g. `service:checkout`.

        `told` is called with the nanoseconds that were read through. A record that Datadog has twice comes twice.
        Raises: DatadogUnreadable.
        """
        windows = [(since // SECOND, -(-until // SECOND))]
        seen: Counter[int] = Counter()
        while windows:
            first, last = windows.pop()
            records = await self._list(kind, first * SECOND, last * SECOND, query)
            if len(records) >= MOST and last - first > 1:
                middle = (first + last) // 2
                windows += [(middle, last), (first, middle)]
                continue
            if len(records) >= MOST:
                self.crowded |= {(kind, second) for second in (first, last)}
            here: Counter[int] = Counter()
            for record in records:
                key = hash((record.id, json.dumps(record.attributes, sort_keys=True)))
                here[key] += 1
                if here[key] > seen[key]:
                    yield record
            seen |= here
            told((last - first) * SECOND)

    async def _list(self, kind: Kind, since: int, until: int, query: str) -> list[DatadogRecord]:
        asked = list_request(kind, since, until, query=query, **self._keys)
        what = f"its list of {_PATHS[kind]}"
        answer = await self._calls.answer(asked, what=what, permission="dora_metrics_read")
        if answer.status_code != 200:
            raise DatadogUnreadable(f"Datadog answers {answer.status_code} when asked for {what}")
        try:
            return records_of(answer, kind)
        except ValueError:
            raise DatadogUnreadable(f"Datadog's list of {_PATHS[kind]} has an unknown shape") from None
