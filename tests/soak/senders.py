"""The senders: each posts in its own way, and repeats as it is documented to, or not at all.

    GitHub       waits 10 s; repeats nothing. Half of what failed somebody asks for again, until it is taken
    Argo CD      waits for ever; four tries, after 1, 2 and 4 s, or after as long as `Retry-After` says
    PagerDuty    waits 5 s; repeats time-outs and 5xx, and keeps the order of each incident meanwhile
    Opsgenie     nothing is documented: waits 10 s, repeats nothing

Source: what each sender documents, as README ("Register it with the senders") and `deploy/` of each tell it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter

import httpx
from system import SECRET, System

from soak.evidence import NO_ANSWER, Sent
from soak.traffic import Posting, Traffic, headers_of, statements

ARGOCD_WAITS_S = (1.0, 2.0, 4.0)
PAGERDUTY_WAIT_S = (0.5, 4.0)
ASKED_AGAIN_S = (3.0, 15.0)
MOST_AT_ONCE = 400
"""Posts of all senders that wait for an answer; what would come on top waits at the sender."""
_TIMEOUTS = {"github": 10.0, "argocd": None, "pagerduty": 5.0, "opsgenie": 10.0}


class Senders:
    """Post the traffic at a steady rate, whatever becomes of it, and write down what they were told."""

    def __init__(self, system: System, traffic: Traffic, seed: int) -> None:
        self._system = system
        self._traffic = traffic
        self._configuration, self._endpoints = traffic.parsed()
        self._dice = random.Random(f"senders/{seed}")  # noqa: S311 - a choice, no secret
        self._clients = {
            vendor: httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=MOST_AT_ONCE))
            for vendor, timeout in _TIMEOUTS.items()
        }
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._queues: dict[str, asyncio.Task[None]] = {}
        """PagerDuty's incident -> the last event about it"""
        self._giving_up = asyncio.Event()
        self.sent: list[Sent] = []
        self.tries: Counter[str] = Counter()
        """Of all senders, by status; `no answer` for none."""

    async def post(self, per_second: float, seconds: float, patience_s: float) -> None:
        """Posts until the time is over, then waits until the senders are done, for as long as their patience goes."""
        tasks: set[asyncio.Task[None]] = set()
        begin = time.monotonic()
        for number, posting in enumerate(self._traffic.postings):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
            if time.monotonic() >= begin + seconds:
                break
            queue = _incident(posting)
            task = asyncio.create_task(self._send(posting, self._queues.get(queue) if queue else None))
            if queue:
                self._queues[queue] = task
            tasks.add(task)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience_s)
            self._giving_up.set()
            await asyncio.gather(*late)
        for task in tasks:
            task.result()
        for client in self._clients.values():
            await client.aclose()

    async def _send(self, posting: Posting, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        endpoint = self._endpoints[posting.webhook.endpoint]
        headers = headers_of(posting, endpoint, SECRET)
        states, may_state = statements(posting, endpoint, self._configuration, headers, time.time_ns())
        asks_again = self._dice.random() < 0.5
        said, acknowledged_at, number = NO_ANSWER, None, 0
        while True:
            number += 1
            status, said, retry_after_s = await self._try(posting, endpoint.source.name, headers)
            self.tries[str(status or NO_ANSWER)] += 1
            if status == 202:
                acknowledged_at = time.time()
                break
            wait_s = self._wait_s(endpoint.source.name, status, number, retry_after_s, asks_again)
            if wait_s is None or posting.is_forged or self._giving_up.is_set():
                break
            await asyncio.sleep(wait_s)
        self.sent.append(
            Sent(posting.webhook.endpoint, states, may_state, said, acknowledged_at, is_forged=posting.is_forged)
        )

    async def _try(self, posting: Posting, vendor: str, headers: dict[str, str]) -> tuple[int, str, float | None]:
        """Status (0 for none), the word of the answer, and what `Retry-After` says, in seconds."""
        url = f"http://{self._system.public}/webhooks/{posting.webhook.endpoint}"
        try:
            async with self._room:
                answer = await self._clients[vendor].post(url, content=posting.webhook.body, headers=headers)
        except httpx.TransportError:
            return 0, NO_ANSWER, None
        after = answer.headers.get("retry-after")
        word = answer.json()["status"] if answer.status_code == 202 else str(answer.status_code)
        return answer.status_code, word, float(after) if after else None

    def _wait_s(
        self, vendor: str, status: int, tries: int, retry_after_s: float | None, asks_again: bool
    ) -> float | None:
        """How long this sender waits before it tries again; None if it does not."""
        if 400 <= status < 500:
            return None
        if vendor == "argocd":
            if tries > len(ARGOCD_WAITS_S):
                return None
            return retry_after_s if retry_after_s is not None else ARGOCD_WAITS_S[tries - 1]
        if vendor == "pagerduty":
            return self._dice.uniform(*PAGERDUTY_WAIT_S)
        if vendor == "github" and asks_again:
            return self._dice.uniform(*ASKED_AGAIN_S)
        return None


def _incident(posting: Posting) -> str:
    """What PagerDuty keeps in order; empty for what is posted by others, or is bad."""
    if posting.bad or not posting.webhook.endpoint.startswith("pagerduty"):
        return ""
    data = json.loads(posting.webhook.body)["event"]["data"]
    return str(data.get("incident", data).get("id", ""))
