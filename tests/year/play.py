"""Plays the webhooks of a company against a system of real processes, in their order, its outages included."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import yaml
from system import SECRET, System

from bridge import configuration
from bridge.senders import signed
from year.company import Company
from year.vendors.post import Webhook


@dataclass
class Reception:
    """What the bridge answered."""

    answers: Counter[str] = field(default_factory=Counter)
    """By its word: accepted, ignored, duplicate, …; `refused` while it was down."""
    wrongs: list[str] = field(default_factory=list)
    """Answers that no sender should get."""


def configure(system: System, content: Mapping[str, Any]) -> None:
    """Writes the `bridge.yaml` and a secret for each of its endpoints, for processes that start after it."""
    file = system.folder / "bridge.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    system.environ["DORA_BRIDGE_CONFIG"] = str(file)
    for name in content["endpoints"]:
        system.environ[f"DORA_BRIDGE_SECRETS__{name.upper().replace('-', '_')}"] = SECRET.decode()


PAUSES = 30
PAUSE_S = 1.0
"""In life there are hours between webhooks, and the bridge concludes what it can: now and then it gets the time."""


async def play(system: System, company: Company, told: Sequence[Webhook], content: Mapping[str, Any]) -> Reception:
    """Posts one after the other; kills the web process when an outage begins, and starts it when it ends."""
    endpoints = configuration.parse(dict(content), "bridge.yaml")[1]
    reception, is_up = Reception(), True
    async with httpx.AsyncClient(timeout=10) as client:
        for number, webhook in enumerate(told, start=1):
            if number % (len(told) // PAUSES + 1) == 0:
                await asyncio.sleep(PAUSE_S)
            is_down_now = any(begin <= webhook.at < end for begin, end in company.outages)
            if is_down_now and is_up:
                await asyncio.to_thread(system.kill, "web")
            elif not is_down_now and not is_up:
                await asyncio.to_thread(system.start_web)
            is_up = not is_down_now
            headers = signed(endpoints[webhook.endpoint], webhook.body, kind=webhook.kind, secret=SECRET)
            url = f"http://{system.public}/webhooks/{webhook.endpoint}"
            try:
                answer = await client.post(url, content=webhook.body, headers={**headers, **webhook.headers})
            except httpx.TransportError as error:
                reception.answers["refused"] += 1
                if is_up:
                    reception.wrongs.append(f"{webhook.endpoint}: {type(error).__name__}")
                continue
            said = answer.json()
            word = said.get("status", str(answer.status_code))
            reception.answers[word] += 1
            if answer.status_code != 202 or word not in ("accepted", "ignored", "duplicate", "superseded"):
                reception.wrongs.append(f"{webhook.endpoint} {webhook.kind or ''}: {json.dumps(said)[:300]}")
    return reception
