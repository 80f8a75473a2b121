"""Links in Redis: what linking has to look at, what it decided, and what people said to it.

The keys are listed in `ledger.py`. `lua/record.lua` writes down what happened, in the transaction that records it;
here it is read, and the decisions are kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from bridge.compact import compact
from bridge.configuration import Retention
from bridge.linking import Decision, Place
from bridge.timeline import Deployed, Incident

MOST_DEPLOYMENTS = 500
MOST_INCIDENTS = 200
"""Newest ones of a service that are looked at; older ones are forgotten."""
_CHUNK = 100
_DAY_S = 86_400

_DONE = "if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end"


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is known of one service: deployments, incidents, and to which deployment each belonged before."""

    deployments: Sequence[Deployed]
    incidents: Sequence[Incident]
    linked: Mapping[str, str]
    late: Mapping[str, Place]
    """Where Datadog got those deployments that came after a later one."""
    horizon: int
    """From when on (ms) everything is known; what is older has been forgotten in part, and is not decided anew."""


class Links:
    """Links over one Redis. Errors of redis-py pass through."""

    def __init__(self, redis: Redis, retention: Retention | None = None) -> None:
        self._redis: Any = redis
        self._memory_s = int((retention or Retention()).memory_days * _DAY_S)

    # -- deciding

    async def due(self, *, most: int) -> list[tuple[str, str]]:
        """Services of which something was learnt, each with a mark for `done`."""
        rows = await self._redis.zrange("dora:linking", 0, most - 1, withscores=True)
        return [(service.decode(), f"{count:.17g}") for service, count in rows]

    async def done(self, service: str, mark: str) -> None:
        """The service was looked at; it stays due if something was learnt of it meanwhile."""
        await self._redis.eval(_DONE, 1, "dora:linking", service, mark)

    async def lock(self, *, lasts_s: float) -> bool:
        """Whether this process may look at links now; one at a time does."""
        return bool(await self._redis.set("dora:linker", "1", nx=True, px=int(lasts_s * 1000)))

    async def unlock(self) -> None:
        await self._redis.delete("dora:linker")

    async def scene(self, service: str) -> Scene:
        texts: dict[bytes, bytes] = await self._redis.hgetall(f"dora:deployments:{service}")
        deployments = [Deployed.from_text(id_.decode(), service, text.decode()) for id_, text in texts.items()]
        deployments.sort(key=lambda one: one.finished_at)
        late = await self._late(service, {one.id for one in deployments})
        ids = [one.decode() for one in await self._redis.zrevrange(f"dora:incidents:{service}", 0, MOST_INCIDENTS - 1)]
        await self._redis.zremrangebyrank(f"dora:incidents:{service}", 0, -2 * MOST_INCIDENTS)
        incidents: list[Incident] = []
        linked: dict[str, str] = {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.hgetall(f"dora:incident:{id_}")
                pipe.hget(f"dora:decision:{id_}", service)
            answers = await pipe.execute()
        for id_, fields, decision in zip(ids, answers[::2], answers[1::2], strict=True):
            if b"first" in fields:
                incidents.append(
                    Incident.from_fields(id_, {name.decode(): value.decode() for name, value in fields.items()})
                )
            if decision and (deployment := json.loads(decision)["deployment"]):
                linked[id_] = deployment
        # what an incident belongs to is not forgotten: without it the incident would seem to belong to nothing
        needed = set(linked.values())
        old = [one for one in deployments[:-MOST_DEPLOYMENTS] if one.id not in needed]
        if len(old) > MOST_DEPLOYMENTS:
            await self._redis.hdel(f"dora:deployments:{service}", *(one.id for one in old))
        forgotten = {one.id for one in old}
        horizon = deployments[-MOST_DEPLOYMENTS].finished_at if len(deployments) >= MOST_DEPLOYMENTS else 0
        if len(ids) >= MOST_INCIDENTS:
            horizon = max(horizon, min((one.started_at for one in incidents if one.started_at), default=0))
        return Scene([one for one in deployments if one.id not in forgotten], incidents, linked, late, horizon)

    async def _late(self, service: str, known: Collection[str]) -> dict[str, Place]:
        """The places of late deployments; those of deployments that are forgotten are forgotten too."""
        rows: dict[bytes, bytes] = await self._redis.hgetall(f"dora:late:{service}")
        texts = {id_.decode(): text.decode().split("|") for id_, text in rows.items()}
        if unknown := texts.keys() - known:
            await self._redis.hdel(f"dora:late:{service}", *unknown)
        return {id_: Place(int(behind) * 1000, int(at)) for id_, (behind, at) in texts.items() if id_ in known}

    async def verdicts(self, deployments: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What Datadog was last told of each of these deployments, of those of which it was told something."""
        if not deployments:
            return {}
        texts = await self._redis.mget([f"dora:verdict:{one}" for one in deployments])
        return {one: json.loads(text) for one, text in zip(deployments, texts, strict=True) if text}

    async def keep(self, decisions: Sequence[Decision], at: Mapping[str, int]) -> None:
        """Keeps what was decided; `at` says when each incident began (ms)."""
        if not decisions:
            return
        now = time.time_ns() // 1_000_000
        async with self._redis.pipeline(transaction=True) as pipe:
            for one in decisions:
                key = f"dora:decision:{one.incident}"
                pipe.hset(key, one.service, compact(one.json()))
                pipe.expire(key, self._memory_s)
                pipe.zadd("dora:decisions", {one.incident: at.get(one.incident, 0)})
                if one.status == "suggested":
                    pipe.zadd("dora:suggested", {f"{one.incident} {one.service}": now})
                else:
                    pipe.zrem("dora:suggested", f"{one.incident} {one.service}")
            pipe.zremrangebyrank("dora:decisions", 0, -10_001)
            pipe.zremrangebyscore("dora:suggested", "-inf", now - self._memory_s * 1000)
            await pipe.execute()

    # -- looking, and people

    async def is_known(self, incident: str) -> bool:
        """Whether there was such an incident, or such a failure that a webhook told of itself."""
        return bool(await self._redis.hexists(f"dora:incident:{incident}", "first"))

    async def suggestions(self) -> int:
        """How many decisions wait for a person."""
        return int(await self._redis.zcard("dora:suggested"))

    async def decisions(self, incidents: Sequence[str]) -> list[Mapping[str, Any]]:
        """What was decided about incidents, one for each service of each.

        Beside the decision `at` says when the incident began (ms), 0 if that is not known, and `override` what a
        person said to it, empty if nobody did.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            for incident in incidents:
                pipe.hgetall(f"dora:decision:{incident}")
                pipe.hget(f"dora:incident:{incident}", "override")
                pipe.zscore("dora:decisions", incident)
            answers = await pipe.execute()
        return [
            {**json.loads(fields[service]), "at": int(at or 0), "override": (override or b"").decode()}
            for fields, override, at in zip(answers[::3], answers[1::3], answers[2::3], strict=True)
            for service in sorted(fields)
        ]

    async def blaming(self, deployment: str, services: Sequence[str]) -> list[Mapping[str, Any]]:
        """The decisions that name this deployment of these services, of the newest incidents first."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for service in services:
                pipe.zrevrange(f"dora:incidents:{service}", 0, MOST_INCIDENTS - 1)
            found = [id_.decode() for ids in await pipe.execute() for id_ in ids]
        return [one for one in await self.decisions(list(dict.fromkeys(found))) if one["deployment"] == deployment]

    async def listed(
        self, *, status: str = "", limit: int, before: tuple[int, str] | None = None
    ) -> tuple[list[Mapping[str, Any]], tuple[int, str] | None]:
        """Decisions, of the newest incidents first, and where to go on; None at the end."""
        found: list[Mapping[str, Any]] = []
        high: Any = "+inf" if before is None else before[0]
        offset = 0
        while True:
            rows = await self._redis.zrevrangebyscore("dora:decisions", high, "-inf", offset, _CHUNK, True)
            offset += len(rows)
            places = [(int(score), id_.decode()) for id_, score in rows]
            places = [place for place in places if before is None or place < before]
            decided: dict[str, list[Mapping[str, Any]]] = {}
            for one in await self.decisions([id_ for _, id_ in places]):
                if not status or one["status"] == status:
                    decided.setdefault(one["incident"], []).append(one)
            for place in places:
                found += decided.get(place[1], ())
                if len(found) >= limit:
                    return found, place
            if len(rows) < _CHUNK:
                return found, None

    async def override(self, incident: str, what: Literal["apply", "reject"], *, by: str) -> bool:
        """What a person decides about an incident; False if it is not known."""
        key = f"dora:incident:{incident}"
        first = await self._redis.hget(key, "first")
        if first is None:
            return False
        audit = {"who": by, "what": f"{what} link", "id": incident}
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, "override", what)
            pipe.xadd("dora:audit", {"line": json.dumps(audit)}, maxlen=10_000, approximate=True)
            for service in json.loads(first)["services"]:
                pipe.zincrby("dora:linking", 1, service)
            await pipe.execute()
        return True
