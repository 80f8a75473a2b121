"""Puts events into the ledger as the web process would, so that they wait there for workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.deliveries import signed
from bridge import configuration, redis_url
from bridge.call import call_of
from bridge.commit import MOST_ENTRIES
from bridge.embedded_redis import PrivateRedis
from bridge.intake import Delivery, receive
from bridge.ledger import Entry, Ledger, entries_of


def fill(redis: PrivateRedis, count: int, *, first: int = 1, raw: bool = True) -> None:
    """`count` deployments of 300 services, in their order; without `raw` the bodies as received are not kept."""
    asyncio.run(_fill(redis, count, first, raw))


def calls(path: Path, count: int) -> Path:
    """A file with the body of each call that Datadog gets for the same events, one a line, as the bridge sends it."""
    with path.open("w") as file:
        for entry in _entries(count, 1):
            called = call_of(entry.envelope, opening={}, adjustment={}, uuid="")
            file.write(json.dumps(called.body, separators=(",", ":")) + "\n")
    return path


async def _fill(redis: PrivateRedis, count: int, first: int, raw: bool) -> None:
    async with contextlib.aclosing(redis_url.patient(redis.url)) as client:
        ledger = Ledger(client)
        batch: list[Entry] = []
        for entry in _entries(count, first):
            batch.append(entry if raw else replace(entry, raw=b""))
            if len(batch) == MOST_ENTRIES:
                await ledger.record(batch)
                batch = []
        if batch:
            await ledger.record(batch)


def _entries(count: int, first: int) -> Iterator[Entry]:
    endpoint = configuration.parse({}, "bridge.yaml")[1]["github"]
    for headers, body in signed(count, first=first):
        delivery = Delivery({name.lower(): value for name, value in headers.items()}, {}, body)
        entries = entries_of(receive(endpoint, delivery, secret=1, now=time.time_ns()), delivery)
        if [one.envelope.state for one in entries] != ["waiting"]:
            raise AssertionError("a delivery of the benchmark is to become one deployment")
        yield from entries


def waiting(redis: PrivateRedis) -> int:
    """How many events wait in the ledger."""
    return asyncio.run(_waiting(redis))


async def _waiting(redis: PrivateRedis) -> int:
    async with contextlib.aclosing(redis_url.patient(redis.url)) as client:
        return int((await Ledger(client).counts())["waiting"])
