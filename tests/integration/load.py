"""A load of webhooks on a system, and the strict account of what reached Datadog.

"Nothing missing" is not enough: two bugs that sent an older event after a newer one passed that check in a
prototype. So the account looks at all requests, not only the first of each event.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from system import System, deployment, unique

SERVICES = 40
INCIDENTS = 20


@dataclass(frozen=True)
class Account:
    """What one run came to."""

    accepted: int
    """Statements that got a 202."""
    delivered: int
    lost: int
    """Accepted statements that no request with a 200 or 202 stated."""
    twice: int
    """Requests that repeat a statement which had got a 200 or 202."""
    changed: int
    """Statements that were requested with two different bodies."""
    disorder: int
    """Requests for an older statement of a key after a newer one."""
    pause_s: float
    """Longest time between two deliveries, from the fault on."""

    @property
    def is_sound(self) -> bool:
        return self.accepted > 0 and not (self.lost or self.changed or self.disorder)


class Load:
    """Posts deployments of many services and incidents that open and close, repeating each until it gets a 202."""

    def __init__(self, system: System, *, per_second: float = 150) -> None:
        self._system = system
        self._per_second = per_second
        self._number = itertools.count(unique())
        self._finished = itertools.count(int(time.time()) - 2_000_000)
        self.accepted: set[str] = set()
        """`<id>` of deployments, `<id>~open` and `<id>~closed` of failures"""
        self.refused: Counter[int] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Posts until `stop`, then waits for the answers. Statements of one key are posted in their order."""
        async with httpx.AsyncClient(timeout=5, limits=httpx.Limits(max_connections=10)) as client:
            senders = [self._deploy(client, f"service-{one}", stop) for one in range(SERVICES)]
            senders += [self._page(client, stop) for _ in range(INCIDENTS)]
            await asyncio.gather(*senders)

    async def _deploy(self, client: httpx.AsyncClient, service: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            body = deployment(next(self._number), service=service, at=next(self._finished))
            await self._post(client, "github", body, "deployment_status")
            await asyncio.sleep((SERVICES + INCIDENTS) / self._per_second)

    async def _page(self, client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number, at = next(self._number), next(self._finished)
            for kind, status in (("incident.triggered", "triggered"), ("incident.resolved", "resolved")):
                await self._post(client, "pagerduty", incident(number, kind, status, at), None)
                await asyncio.sleep((SERVICES + INCIDENTS) / self._per_second)

    async def _post(self, client: httpx.AsyncClient, endpoint: str, body: bytes, kind: str | None) -> None:
        while True:
            try:
                answer = await self._system.post(client, endpoint, body, kind)
            except httpx.TransportError:
                self.refused[0] += 1
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 202:
                for event in answer.json()["events"]:
                    self.accepted.add(event["id"] + _word(endpoint, body))
                return
            self.refused[answer.status_code] += 1
            await asyncio.sleep(0.1)


def incident(number: int, kind: str, status: str, at: int) -> bytes:
    """A PagerDuty event of the incident with this number, which began `at` (seconds since the epoch)."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at + 600))
    event = {
        "id": f"{kind}-{number}",
        "event_type": kind,
        "occurred_at": when if status == "triggered" else later,
        "agent": None,
        "data": {
            "id": f"P{number}",
            "number": number,
            "status": status,
            "created_at": when,
            "title": "Something is slow",
            "service": {"id": "PSVC", "summary": f"service-{number % SERVICES}"},
            "urgency": "high",
        },
    }
    return json.dumps({"event": event}).encode()


def _word(endpoint: str, body: bytes) -> str:
    if endpoint != "pagerduty":
        return ""
    return "~open" if b"incident.triggered" in body else "~closed"


def account(accepted: set[str], requests: list[Mapping[str, Any]], *, fault_at: float = 0.0) -> Account:
    """The account of all requests the sandbox got, newest last; `fault_at` in seconds since the epoch."""
    stated: Counter[str] = Counter()
    bodies: defaultdict[str, set[str]] = defaultdict(set)
    newest: dict[str, tuple[int, int]] = {}
    twice = disorder = 0
    moments = [fault_at]
    for request in requests:
        attributes = request["body"]["data"]["attributes"]
        identifier, key, position = _place(attributes)
        bodies[identifier].add(json.dumps(attributes, sort_keys=True))
        if position < newest.get(key, position):
            disorder += 1
        newest[key] = max(position, newest.get(key, position))
        if stated[identifier]:
            twice += 1
        if request["status"] in (200, 202):
            stated[identifier] += 1
            moments.append(_seconds(request["time"]))
    after = [moment for moment in moments if moment >= fault_at]
    return Account(
        accepted=len(accepted),
        delivered=len(stated & Counter(dict.fromkeys(accepted, 1))),
        lost=sum(not stated[one] for one in accepted),
        twice=twice,
        changed=sum(len(several) > 1 for several in bodies.values()),
        disorder=disorder,
        pause_s=max((b - a for a, b in itertools.pairwise(after)), default=0.0) if fault_at else 0.0,
    )


def _place(attributes: Mapping[str, Any]) -> tuple[str, str, tuple[int, int]]:
    """The statement, its key, and its position within the key."""
    if "service" in attributes:
        key = f"{attributes['service']}/{attributes.get('env')}"
        return attributes["id"], key, (attributes["finished_at"], 0)
    phase = int("finished_at" in attributes)
    return attributes["id"] + ("~closed" if phase else "~open"), attributes["id"], (phase, 0)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
