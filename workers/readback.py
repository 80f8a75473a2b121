"""Were the events that Datadog answered with 202 really kept?

202 means accepted, with processing delayed by an incident of Datadog's. Such an event is delivered and is never
sent again; but with an application key it is looked for in Datadog's lists until it is found (*verified*), or until
GRACE_S is over (*missing*), which a person sees. Lists and not single reads, since what Datadog answers for an id
it does not know is not documented; source: API reference, "Get a list of deployment events".
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import httpx

from bridge import __version__, metrics
from bridge.envelope import Envelope
from bridge.ledger import Ledger
from bridge.logs import log
from bridge.times import SECOND, to_rfc3339
from workers.courier import Courier

FIRST_LOOK_S = 60.0
GRACE_S = 24 * 3600.0
EACH_ROUND = 20
"""Lists asked for in one round: reading back must not use up what Datadog allows."""
_AROUND = 60 * SECOND
_MOST_BYTES = 16 * 1024 * 1024
_MOST = 1000  # what Datadog's lists return at most

_LISTS = {"deployment": ("deployments", "dora_deployments_list_request")}
_FAILURES = ("failures", "dora_failures_list_request")


def next_look_s(age_s: float) -> float:
    """Seconds until an event that was not found is looked for again; `age_s` is the time since its 202."""
    return max(FIRST_LOOK_S, age_s / 2)


def list_request(envelope: Envelope, *, base_url: str, api_key: str, app_key: str) -> httpx.Request:
    """The list in which the event has to be: of the minutes around its times."""
    attributes = envelope.attributes
    times = [attributes[name] for name in ("started_at", "finished_at") if name in attributes]
    path, kind = _LISTS.get(envelope.path.rpartition("/")[2], _FAILURES)
    window = {
        "from": to_rfc3339(min(times) - _AROUND),
        "to": to_rfc3339(max(times) + _AROUND),
        "limit": _MOST,
    }
    headers = {
        "DD-API-KEY": api_key,
        "DD-APPLICATION-KEY": app_key,
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"dora-bridge/{__version__}",
    }
    body = json.dumps({"data": {"type": kind, "attributes": window}}).encode()
    return httpx.Request("POST", f"{base_url}/api/v2/dora/{path}", headers=headers, content=body)


def is_listed(identifier: str, answer: httpx.Response) -> bool | None:
    """Whether the list has the event; None if the answer does not tell (refused, odd, or cut at its limit)."""
    if answer.status_code != 200:
        return None
    try:
        rows = answer.json()["data"]
        ids = {row["id"] for row in rows} | {row.get("attributes", {}).get("id") for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return True if identifier in ids else None if len(rows) >= _MOST else False


class ReadBack:
    """Looks for delayed events, round by round. Errors of redis-py pass through."""

    def __init__(self, ledger: Ledger, courier: Courier, *, base_url: str, api_key: str, app_key: str) -> None:
        self._ledger = ledger
        self._courier = courier
        self._keys = {"base_url": base_url, "api_key": api_key, "app_key": app_key}

    async def round(self) -> None:
        """Looks for those that are due. One process at a time does, and not more often than every FIRST_LOOK_S."""
        for identifier in await self._ledger.delayed(most=EACH_ROUND, lock_s=FIRST_LOOK_S / 2):
            record = await self._ledger.find(identifier)
            if record is None:
                await self._ledger.read_back(identifier, None)
                continue
            delivered: Mapping[str, Any] = next(
                (line for line in reversed(record.story) if line.get("verdict") == "delivered"), {}
            )
            await self._look_for(record.envelope, delivered)

    async def _look_for(self, envelope: Envelope, delivered: Mapping[str, Any]) -> None:
        answer = await self._courier.send(list_request(envelope, **self._keys), most_bytes=_MOST_BYTES)
        found = is_listed(envelope.datadog_id, answer) if isinstance(answer, httpx.Response) else None
        age_s = time.time() - delivered.get("at", 0) / 1000
        if not found and (found is None or age_s < GRACE_S):
            if found is None:
                status = answer.status_code if isinstance(answer, httpx.Response) else 0
                log("readback.unclear", logging.WARNING, id=envelope.id, status=status)
            await self._ledger.look_again(envelope.id, int(next_look_s(age_s) * 1000))
            return
        word = "verified" if found else "missing"
        log(f"readback.{word}", logging.INFO if found else logging.WARNING, id=envelope.id)
        metrics.READ_BACK.labels(word).inc()
        await self._ledger.read_back(envelope.id, word)
