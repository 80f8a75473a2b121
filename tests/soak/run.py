"""One soak: a system of real processes under traffic and harm, until all is mended and drained; then the account."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from faults import redis_of
from redis.exceptions import RedisError
from system import System, free_port
from year.play import configure

from bridge.call import call_of
from bridge.embedded_redis import PrivateRedis
from bridge.ledger import Ledger, Place
from soak.account import Account, account
from soak.drained import PAGE, is_drained
from soak.evidence import Kept
from soak.harm import Harmer
from soak.naming import name_of
from soak.schedule import WORKERS, Planned, schedule
from soak.scripts import USUALLY
from soak.senders import Senders
from soak.traffic import traffic
from soak.wire import Wire

PATIENCE_S = 90.0
"""How long senders go on repeating when the traffic and all harm is over: Argo CD's three waits of 20 s, and more."""
DRAINED_WITHIN_S = 400.0
"""Longer than any hold (30 s), a park (30 s, 60 s when its probe was refused), the waits of an event that failed alone
(1, 2, 5, 10, 30, 60 s) and that of a PATCH which found it not there for the third time (132 s), one after the other."""
LOOKS_AFTER_S = 6.0
"""Longer than a lease: what a worker would send again when nothing waits any more belongs to the account."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line of progress."""

    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    seconds: float
    planned: Sequence[Planned]
    done: Sequence[str]
    """What harm was done, as it happened."""
    skipped: int
    """Harm that was left out, since the part was not mended yet."""
    account: Account
    tries: Mapping[str, int]
    """Posts of the senders, by status."""
    drained_s: float | None
    """How long it took to drain when the last sender was done; None: it did not within `DRAINED_WITHIN_S`."""
    ended: Mapping[str, int]
    """Processes that ended though nobody asked them to, and were started again."""
    late: Sequence[str]
    """Processes that did not end in time, or not well, when asked to."""

    @property
    def is_sound(self) -> bool:
        return self.account.is_even and self.drained_s is not None and not self.late and not self.ended


async def soak(
    seed: int, seconds: float, per_second: float, folder: Path, tell: Callable[[Told], None] = lambda told: None
) -> Result:
    """Runs it, with all logs in `folder`. `tell` hears every second how it goes."""
    with PrivateRedis(folder / "redis") as redis:
        system = System(redis, folder)
        wire = Wire(f"127.0.0.1:{free_port()}", system.datadog)
        try:
            return await _run(system, wire, seed, seconds, per_second, tell)
        finally:
            await wire.cut()
            await asyncio.to_thread(system.stop)


async def _run(
    system: System, wire: Wire, seed: int, seconds: float, per_second: float, tell: Callable[[Told], None]
) -> Result:
    now = int(time.time())
    story = traffic(seed, int(seconds * per_second) + 1, now - now % 3600)
    configure(system, story.content)
    system.environ["DORA_BRIDGE_DATADOG_URL"] = f"http://{wire.address}"
    await wire.connect()
    await asyncio.to_thread(system.start_sandbox)
    await asyncio.to_thread(system.script, USUALLY)
    await asyncio.to_thread(system.start_web)
    for name in WORKERS:
        system.start_worker(name)
    planned = schedule(seed, seconds)
    senders, harmer = Senders(system, story, seed), Harmer(system, wire, time.time())
    progress = asyncio.create_task(_progress(system, senders, harmer, tell))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(senders.post(per_second, seconds, PATIENCE_S))
            group.create_task(harmer.follow(planned))
        drained_s = await _drained_s(system)
        await harmer.restart_ended()
        await asyncio.sleep(LOOKS_AFTER_S)
    finally:
        progress.cancel()
        await asyncio.gather(progress, return_exceptions=True)
    requests = [
        one | {"at": datetime.fromisoformat(one["time"]).timestamp()}
        for one in await asyncio.to_thread(system.requests)
    ]
    async with system.ledger() as ledger:
        kept = [one async for one in _kept(ledger)]
    listed = await asyncio.to_thread(system.incidents)
    _write(system.folder / "sent.jsonl", (json.dumps(asdict(one)) for one in senders.sent))
    _write(system.folder / "kept.jsonl", (json.dumps(asdict(one)) for one in kept))
    _write(system.folder / "requests.jsonl", (json.dumps(one) for one in requests))
    _write(system.folder / "listed.jsonl", (json.dumps(one) for one in listed))
    _write(system.folder / "harm.txt", harmer.done)
    return Result(
        seed,
        seconds,
        planned,
        harmer.done,
        harmer.skipped,
        account(senders.sent, kept, requests, harmer.disturbances, listed=listed, now=time.time()),
        senders.tries,
        drained_s,
        harmer.ended,
        harmer.late,
    )


def _write(file: Path, lines: Sequence[str] | Iterator[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


async def _drained_s(system: System) -> float | None:
    begin = time.monotonic()
    async with system.ledger() as ledger, redis_of(system) as redis:
        while time.monotonic() < begin + DRAINED_WITHIN_S:
            if await is_drained(redis, ledger):
                return time.monotonic() - begin
            await asyncio.sleep(0.2)
    return None


async def _kept(ledger: Ledger) -> AsyncIterator[Kept]:
    """All statements of the ledger, whatever their state."""
    after: Place | None = None
    while places := await ledger.places(["waiting", "settled"], after=after, count=PAGE):
        ids = [id_ for _, id_ in places]
        records, stories = await ledger.briefly(ids), await ledger.stories(ids)
        facts = await ledger.facts([record.envelope.fact if record else "" for record in records])
        for id_, record, story, fact in zip(ids, records, stories, facts, strict=True):
            if record is None:
                yield Kept(id_, "unreadable")
                continue
            envelope = record.envelope
            call = asdict(call_of(envelope, opening=fact.opening, uuid=fact.uuid))
            yield Kept(
                id_,
                record.state,
                name_of(call) or "" if envelope.method else "",
                envelope.key,
                envelope.order,
                envelope.rank,
                envelope.received_at / 10**9,
                envelope.after,
                was_dead=any(line["state"] == "dead_lettered" for line in story),
            )
        after = places[-1]


async def _progress(system: System, senders: Senders, harmer: Harmer, tell: Callable[[Told], None]) -> None:
    async with system.ledger() as ledger:
        while True:
            await asyncio.sleep(1)
            try:
                async with asyncio.timeout(0.9):
                    waiting = str((await ledger.counts())["waiting"])
            except (RedisError, OSError, TimeoutError):
                waiting = "?"
            acknowledged = sum(one.acknowledged_at is not None for one in senders.sent)
            harm = ", ".join(harmer.now) or "no harm"
            told = f"{len(senders.sent)} webhooks told, {acknowledged} acknowledged, {waiting} statements wait; {harm}"
            tell(Told(time.time() - harmer.begin, told))
