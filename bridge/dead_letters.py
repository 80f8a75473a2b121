"""Dead letters: what people do to the ledger, and who did it.

With `ledger.py` the only file that knows its Redis keys; they are listed there. What changes anything is one script:
it happens as a whole, together with its line in the story and in the audit trail, and only to what is a dead letter at
that moment. So whatever is repeated, or done by two people at once, is done once.
"""

from __future__ import annotations

import importlib.resources
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bridge import metrics
from bridge.compact import compact
from bridge.configuration import Retention
from bridge.envelope import Envelope
from bridge.ledger import lane_of
from bridge.logs import log
from bridge.timeline import traces_of

_DAY_S = 86_400
_DAY_MS = _DAY_S * 1000
_COUNTED = 10_000
"""Dead letters whose reasons are counted one by one; older ones are `uncounted`."""
_COUNTED_AT_ONCE = 1_000  # 3 ms of Redis' time
_PRUNE_EVERY_S = 300
_PRUNE_AT_ONCE = 1_000
WARN_BEFORE_DAYS = 7.0
"""So long before a dead letter expires, or a quarter of the retention if that is less, log, metrics and page say so."""
FULL = 0.9
"""They also do when there are so many of `dead_letters_max`."""


@dataclass(frozen=True, slots=True)
class Return:
    """One dead letter to put back, and what its story says about it."""

    envelope: Envelope
    line: Mapping[str, Any]
    before: Envelope | None = None
    """The envelope as it was, if this one is edited or translated again."""
    opening: Mapping[str, Any] | None = None
    """What later statements about this failure have to repeat, if that changes."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What will be lost if nobody looks at it."""

    soon: int
    """Dead letters whose time is over within the days of `WARN_BEFORE_DAYS`."""
    soonest_ms: int | None
    """When the oldest one expires."""
    count: int
    most: int

    @property
    def is_near(self) -> bool:
        return self.soon > 0 or self.count >= FULL * self.most


class DeadLetters:
    """The dead letters of one Redis."""

    def __init__(self, redis: Redis, retention: Retention | None = None) -> None:
        self._redis: Any = redis
        self._retention = retention or Retention()
        scripts = importlib.resources.files("bridge") / "lua"
        self._redrive, self._conclude, self._reasons, self._prune = (
            redis.register_script("".join((scripts / f"{part}.lua").read_text("utf-8") for part in parts.split("+")))
            for parts in ("clock+redrive", "conclude", "reasons", "prune")
        )

    # -- acts

    async def put_back(
        self, returns: Sequence[Return], audit: Mapping[str, Any] | None = None
    ) -> tuple[list[str], bool]:
        """What became of each, and whether a drain has to be asked for.

        One of `redriven`, `superseded` (Datadog has a later statement about it), `gone` (it is no dead letter), and
        `no_opening` (it ends an incident whose opening is not known).
        """
        keep = self._retention
        arguments: list[Any] = [int(keep.events_days * _DAY_S), int(keep.memory_days * _DAY_S), _text(audit)]
        for one in returns:
            envelope, before = one.envelope, one.before
            arguments += (
                envelope.id,
                envelope.fact,
                envelope.rank,
                lane_of(envelope.key),
                envelope.key,
                (before or envelope).key,
                envelope.order,
                envelope.received_at // 1_000_000,
                envelope.needs_opening,
                envelope.to_json() if before else "",
                compact(one.opening) if one.opening else "",
                before.to_json() if before else "",
                _text(one.line),
            )
        *words, ring = await self._redrive(args=arguments)
        for one, word in zip(returns, words, strict=True):
            if word == b"redriven" and one.before is not None:
                await self._learn_anew(one.before, one.envelope)
        return [word.decode() for word in words], ring == b"1"

    async def _learn_anew(self, before: Envelope, edited: Envelope) -> None:
        """Linking is to know what is sent, and not what it was before it was edited."""
        memory_s = int(self._retention.memory_days * _DAY_S)
        async with self._redis.pipeline(transaction=True) as pipe:
            for trace in traces_of(before):
                if trace.kind == "deployment":
                    pipe.hdel(f"dora:deployments:{trace.service}", trace.id)
                    pipe.zincrby("dora:linking", 1, trace.service)
            for trace in traces_of(edited):
                services = [trace.service]
                if trace.kind == "deployment":
                    pipe.hset(f"dora:deployments:{trace.service}", trace.id, trace.text)
                    pipe.hset(f"dora:fact:{trace.id}", "service", trace.service)
                    pipe.expire(f"dora:deployments:{trace.service}", memory_s)
                    if edited.attributes.get("env"):
                        pipe.zrem("dora:envless:deployment", trace.id)
                elif trace.kind == "incident":
                    services = json.loads(trace.text).get("services", [])
                    if edited.attributes.get("env"):
                        pipe.zrem("dora:envless:failure", trace.id)
                    pipe.hset(f"dora:incident:{trace.id}", mapping={"first": trace.text, "last": trace.text})
                    pipe.expire(f"dora:incident:{trace.id}", memory_s)
                    for service in services:
                        pipe.zadd(f"dora:incidents:{service}", {trace.id: trace.at})
                else:
                    continue
                for service in services:
                    pipe.zincrby("dora:linking", 1, service)
            await pipe.execute()

    async def conclude(
        self,
        identifier: str,
        line: Mapping[str, Any],
        *,
        audit: Mapping[str, Any] | None = None,
        with_body: bool = False,
    ) -> bool:
        """Ends a dead letter in the state of the line without sending it; whether it still was one.

        The state may be `dead_lettered`: then the line is added and nothing ends. `with_body`: the body it came from
        is not kept longer than this record either.
        """
        ttl = int(self._retention.events_days * _DAY_S)
        done = await self._conclude(args=[identifier, line["state"], _text(line), ttl, _text(audit), int(with_body)])
        return bool(done)

    async def keep_origins(self, place: str, about: Mapping[str, Any], body: bytes) -> None:
        """Replaces what is kept with a body, for as long as that is still kept."""
        raw = compact(about).encode() + b"\n" + body
        await self._redis.set(f"dora:raw:{place}", raw, xx=True, keepttl=True)

    async def original(self, identifier: str) -> Envelope | None:
        """The envelope as it was before somebody edited it; None if nobody did."""
        json_: bytes | None = await self._redis.get(f"dora:original:{identifier}")
        return Envelope.from_json(json_) if json_ else None

    # -- the audit trail

    async def note(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the audit trail: `who`, `what`, and about what."""
        await self._redis.xadd("dora:audit", {"line": _text(line)}, maxlen=10_000, approximate=True)

    async def audit(self, *, limit: int, cursor: str = "") -> tuple[list[Mapping[str, Any]], str | None]:
        """Lines of the audit trail, newest first, each with `at` (ms), and where to go on."""
        rows = await self._redis.xrevrange("dora:audit", max=f"({cursor}" if cursor else "+", count=limit + 1)
        lines: list[Mapping[str, Any]] = [
            {"at": int(id_.split(b"-")[0]), **json.loads(fields[b"line"])} for id_, fields in rows[:limit]
        ]
        next_cursor: str | None = rows[limit - 1][0].decode() if len(rows) > limit else None
        return lines, next_cursor

    # -- counts

    async def is_dead(self, identifier: str) -> int | None:
        """Since when (ms) it has been a dead letter; None if it is none."""
        since = await self._redis.zscore("dora:dead", identifier)
        return int(since) if since is not None else None

    async def count(self) -> int:
        return int(await self._redis.zcard("dora:dead"))

    async def by_reason(self) -> dict[str, int]:
        """reason -> how many; all of them together are all dead letters."""
        total = await self.count()
        counts: dict[str, int] = {}
        seen = 0
        while seen < min(total, _COUNTED):
            looked, *pairs = await self._reasons(args=[seen, seen + _COUNTED_AT_ONCE - 1])
            for reason, number in zip(pairs[::2], pairs[1::2], strict=True):
                counts[reason.decode()] = counts.get(reason.decode(), 0) + int(number)
            seen += int(looked)
            if int(looked) < _COUNTED_AT_ONCE:
                break
        if total > seen >= _COUNTED:
            counts["uncounted"] = total - seen
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    async def expiry(self) -> Expiry:
        """What expires soon, and how full it is."""
        keep_ms = int(self._retention.dead_letters_days * _DAY_MS)
        warn_ms = int(min(WARN_BEFORE_DAYS, self._retention.dead_letters_days / 4) * _DAY_MS)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcount("dora:dead", "-inf", _now_ms() - keep_ms + warn_ms)
            pipe.zrange("dora:dead", 0, 0, withscores=True)
            pipe.zcard("dora:dead")
            soon, first, count = await pipe.execute()
        soonest = int(first[0][1]) + keep_ms if first else None
        return Expiry(int(soon), soonest, int(count), self._retention.dead_letters_max)

    # -- retention

    async def prune(self) -> None:
        """Takes out of the indexes what has expired, and the oldest dead letters beyond `dead_letters_max`.

        Every worker process may call it as often as it likes: one of them does it every few minutes. It says in the
        log, before it happens, that dead letters are going to expire; and how many did.
        """
        if not await self._redis.set("dora:pruned", "1", nx=True, ex=_PRUNE_EVERY_S):
            return
        expiry = await self.expiry()
        if expiry.is_near:
            log(
                "dead_letters.expiring",
                logging.WARNING,
                count=expiry.soon,
                dead_letters=expiry.count,
                most=expiry.most,
                soonest_s=round((expiry.soonest_ms - _now_ms()) / 1000) if expiry.soonest_ms else None,
            )
        expired = await self._expire(_now_ms() - int(self._retention.dead_letters_days * _DAY_MS))
        expired += await self._prune_index("dead", "+inf")
        await self._prune_index("settled", str(_now_ms() - int(self._retention.events_days * _DAY_MS)))
        if expired:
            metrics.DEAD_LETTERS_EXPIRED.inc(expired)
            log("dead_letters.expired", logging.WARNING, count=expired)
            await self.note({"who": "retention", "what": "expire", "count": expired})

    async def _expire(self, too_old_ms: int) -> int:
        """Deletes dead letters that are too old, or too many; how many."""
        deleted = 0
        while True:
            too_many = await self.count() - self._retention.dead_letters_max
            ids = await self._redis.zrangebyscore("dora:dead", "-inf", too_old_ms, 0, _PRUNE_AT_ONCE)
            if not ids and too_many > 0:
                ids = await self._redis.zrange("dora:dead", 0, min(too_many, _PRUNE_AT_ONCE) - 1)
            if not ids:
                return deleted
            async with self._redis.pipeline(transaction=True) as pipe:
                for id_ in ids:
                    pipe.delete(b"dora:event:" + id_, b"dora:story:" + id_, b"dora:raw:" + id_, b"dora:original:" + id_)
                pipe.zrem("dora:dead", *ids)
                pipe.zrem("dora:settled", *ids)
                await pipe.execute()
            deleted += len(ids)

    async def _prune_index(self, index: str, up_to: str) -> int:
        skip = gone = 0
        while True:
            seen, removed = map(int, await self._prune(args=[index, up_to, skip, _PRUNE_AT_ONCE]))
            skip += seen - removed
            gone += removed
            if seen < _PRUNE_AT_ONCE:
                return gone


def _text(line: Mapping[str, Any] | None) -> str:
    return compact(line) if line else ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
