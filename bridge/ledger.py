"""The ledger: what was received, what waits in which lane, what became of it.

With `dead_letters.py`, which has what people do to the ledger, the only file that knows its Redis keys.

The idea: every statement (an `Envelope`) waits in the queue of its *key* (an incident, or one service in one
environment). A *lane* is a shard of keys, with the time at which the next statement of each may go. A worker
leases lanes, takes due keys *in hand*, sends the first statement of each, and puts down its outcome; only then the
next of that key can be taken. So order per key, waiting, and recovery from a killed worker are all in the data.

    dora:event:{id}    string   the envelope, as JSON; no expiry while it waits
    dora:story:{id}    list     what happened to it, one JSON object a line; the last one's `state` is its state.
                                None yet: its state is the envelope's (`waiting`, or a note's)
    dora:twin:{id}     string   the id under which the deployment is here that later rules call so; see twins.py
    dora:raw:{place}   string   kept headers, origins and the body as received; the place is the id of the event, or
                                the one of a note if the webhook became several events
    dora:fact:{fact}   hash     `rank` of the latest statement about it, `opening` of a failure as first reported,
                                the id of each statement about a failure as `said:{rank}`, what was `adjusted`,
                                since when Datadog has it (`delivered`, ms; `delayed` if after a 202), and Datadog's
                                own id of what it made of it (`uuid`), and since when an incident may have been
                                created without our knowing it (`creating`, ms); `service` of a deployment
    dora:reopened:{fact} zset   ids of the failures that an incident was when it was opened again, by when (ms)
    dora:homeless:{fact} hash   id -> what linking remembers of it, of statements about a failure that became dead
                                letters for want of its opening
    dora:history:{name} string  number of the latest deployment of a sender's own history that was reported
    dora:deployments:{service} hash   id -> when, how long, what and where, for linking; see timeline.py
    dora:incidents:{service} zset     ids of incidents, by when they began (ms)
    dora:incident:{id} hash     `first` and `last` statement about it, `withdrawn`, `label` (set or off) and
                                `labelled_at` (ms), and the `override` of a person
    dora:verdict:{id}  string   what Datadog was last told, or is being told, of a deployment: failed or not, or deleted
    dora:decision:{id} hash     service -> which deployment the incident belongs to, and why; of links.py
    dora:decisions     zset     ids of incidents with a decision, by when they began (ms); of links.py
    dora:suggested     zset     incident and service of each decision that waits for a person, by when it was made (ms)
    dora:late:{service} hash   id -> of a deployment that Datadog got after a later one: the second of the latest it
                                had, and when it got this one (ms)
    dora:linking       zset     services whose links have to be looked at again, by how often that was said
    dora:envless:{fact} zset   ids of accepted deployments or failures that name no env, by when that was said (ms)
    dora:seconds:{key} zset     deployments of one service and env, by the second they were given
    dora:line:{key}    zset     commits and versions that Datadog was told of, by the latest second
    dora:queue:{key}   zset     ids of one key, by order
    dora:lane:{n}      zset     keys, by the time (ms) at which their first statement is due
    dora:hand:{n}      zset     keys in the hands of the lane's holder
    dora:lease:{n}     string   who holds the lane, for LEASE_MS
    dora:free          zset     lanes with work that nobody holds, by since when (ms)
    dora:ring          string   a drain has been asked for and did not start yet, for 5 s
    dora:waiting       zset     ids of all that waits, by time of receipt (ms)
    dora:settled       zset     ids of all that came to an end, by time of receipt (ms)
    dora:lookups       zset     ids of delivered events to be looked for in Datadog, by when (ms): all that were
                                answered with 202, and a sample of the others
    dora:missing       zset     ids of those that were not found in time, by when that was said (ms)
    dora:dead          zset     ids of dead letters, by the time they became so (ms)
    dora:workers       zset     worker processes, by the time of their last sign of life (ms)
    dora:destination:{family}   hash, of `workers/destination.py`: `state`, `until` (ms) and `reason` are read here
    dora:backfill:{name} set    units that an interrupted backfill recorded; of backfill/progress.py
    dora:redelivery*   string   who asks GitHub again, since when, for what; of workers/redelivery.py
    dora:original:{id} string   the envelope before a person edited it; of dead_letters.py
    dora:audit         stream   what people did, when and who; of dead_letters.py
    dora:heard:{endpoint} hash when each secret matched last, by its fingerprint, and when an event was accepted (ms);
                                of last_heard.py
    dora:pruned        string   the indexes have been pruned lately; of dead_letters.py

Invariants: an id is in `waiting` exactly as long as it is in a queue; a key with a queue is in its lane or in a
hand; nothing in a queue expires. Every script is all-or-nothing, and repeating it changes nothing.
"""

from __future__ import annotations

import importlib.resources
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from redis.asyncio import Redis

from bridge.compact import compact
from bridge.configuration import Retention
from bridge.env_guard import WithoutEnv
from bridge.envelope import OPENED_TOO_LATE, Envelope
from bridge.intake import Delivery, Receipt
from bridge.timeline import traces_of
from bridge.twins import retold
from bridge.waiting_since import waiting_since_ms

FAMILIES = ("deployment", "failure", "change", "incident")
"""What a key starts with. Datadog limits and refuses each family of calls by itself, so none shares a lane."""
LANES_EACH = 16
LANES = LANES_EACH * len(FAMILIES)
LEASE_MS = 5_000
OVERDUE_MS = 1_000
"""A lane with work that was left free for longer is taken beyond a process's fair share: its owner may be dead."""
PUT_OFF_MS = 30_000
"""How long an envelope that this code cannot read waits, during a roll-out, for a process that can."""
ALIVE_MS = 5_000
"""A worker that gave no sign of life for longer is not counted."""
LOOKED_AT = 100
"""How many of those that wait are looked at for the oldest: its cost must not grow with their number."""

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Entry:
    """One envelope to record, and the note that it makes obsolete.

    Of several from one webhook the first has the body: it is kept as soon as one of them is not known already.
    """

    envelope: Envelope
    raw: bytes = b""
    cures: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The first statement of a key in hand."""

    lane: int
    key: str
    envelope: Envelope
    last: Mapping[str, Any]
    """The last line of its story, empty if it was never tried."""
    opening: Mapping[str, Any]
    """A failure's attributes as first reported, empty for anything else."""
    adjustment: Mapping[str, Any]
    """What has to be done to a deployment that is late or shares a second; empty mostly. See lua/head.lua."""
    uuid: str = ""
    """The id that Datadog gave it, of an incident in Incident Management that is there."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one statement in hand: the line for its story, and when it is due if it still waits."""

    lane: int
    key: str
    id: str
    state: str
    line: Mapping[str, Any]
    wait_ms: int = 0
    told: tuple[str, int] | None = None
    """Commit or version and second (since the epoch) of a deployment that Datadog was told of, or may have been."""
    uuid: str = ""
    """The id that Datadog gave it, where Datadog gives one."""


@dataclass(frozen=True, slots=True)
class Record:
    """All that the ledger knows of one statement."""

    envelope: Envelope
    story: Sequence[Mapping[str, Any]] = ()
    raw: tuple[Mapping[str, Any], bytes] | None = None
    """Kept headers, query and origins; and the body. None when expired, or never kept."""
    siblings: Sequence[str] = field(default_factory=tuple)
    """Other statements about the same fact."""

    @property
    def state(self) -> str:
        return str(self.story[-1]["state"]) if self.story else self.envelope.state

    @property
    def reason(self) -> str:
        return str(self.story[-1].get("reason", "")) if self.story else self.envelope.reason


@dataclass(frozen=True, slots=True)
class Fact:
    """What is remembered of a fact, apart from the statements about it."""

    said: Mapping[str, str]
    """rank -> id of the statement, of facts that can have several."""
    opening: Mapping[str, Any]
    adjusted: Mapping[str, Any]
    uuid: str = ""
    """The id that Datadog gave it, of an incident in Incident Management that is there."""

    @property
    def latest_first(self) -> list[str]:
        """The ids of `said`."""
        return [self.said[rank] for rank in sorted(self.said, reverse=True)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a statement before it is recorded."""

    rank: str
    """Of the latest statement about its fact; empty if there was none."""
    is_kept: bool
    is_dead: bool


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many keys of each family are in a hand, are due, and are due later; and how many lanes have overdue work
    that nobody holds."""

    in_hand: Mapping[str, int]
    due: Mapping[str, int]
    later: Mapping[str, int]
    overdue: int


Place = tuple[int, str]
"""Where an id stands in an index: its time in milliseconds, and the id."""


def entries_of(receipt: Receipt, delivery: Delivery) -> list[Entry]:
    """What has to be recorded of a receipt; the body goes with its first envelope.

    Of what is ignored only that of a rule's doing has one: it shows what another rule would make of it.
    """
    entries: list[Entry] = []
    for envelope in receipt.envelopes:
        raw = b""
        if (envelope.state != "ignored" or envelope.rule) and not any(entry.raw for entry in entries):
            about = {
                "headers": delivery.kept_headers,
                "query": dict(delivery.query),
                "origins": {one.id: dict(one.origins) for one in receipt.envelopes if one.origins},
            }
            raw = compact(about).encode() + b"\n" + delivery.body
        cures = envelope.cures or ("" if envelope.id == receipt.note_id else receipt.note_id)
        entries.append(Entry(envelope, raw, cures))
    return entries


def family_of(lane: int) -> str:
    return FAMILIES[lane // LANES_EACH]


def family_of_key(key: str) -> str:
    """`deployment`, `failure`, `change` or `incident`."""
    return key.partition(":")[0]


def is_failure_key(key: str) -> bool:
    """Whether statements about a failure go by it, however they are sent."""
    return family_of_key(key) in ("failure", "incident")


def lane_of(key: str) -> int:
    return FAMILIES.index(family_of_key(key)) * LANES_EACH + zlib.crc32(key.encode()) % LANES_EACH


class Ledger:
    """The ledger over one Redis. Errors of redis-py pass through; callers know what they mean for them."""

    def __init__(self, redis: Redis, retention: Retention | None = None, *, can_patch: bool = False) -> None:
        """`can_patch`: a deployment that comes late goes as it is, since linking can say by PATCH what it is not."""
        # redis-py's own annotations allow for text as well; ours is a client without `decode_responses`
        self._redis: Any = redis
        self._retention = retention or Retention()
        self._can_patch = int(can_patch)
        scripts = importlib.resources.files("bridge") / "lua"
        # register_script loads a script again when Redis lost it in a restart
        self._record, self._take, self._fetch, self._settle, self._release, self._sweep, self._alive = (
            redis.register_script("".join((scripts / f"{part}.lua").read_text("utf-8") for part in parts.split("+")))
            for parts in (
                "clock+record",
                "clock+take",
                "clock+head+fetch",
                "clock+head+settle",
                "release",
                "clock+sweep",
                "clock+alive",
            )
        )

    # -- receiving

    async def record(self, entries: Sequence[Entry]) -> tuple[list[str], bool]:
        """What became of each entry, and whether a drain has to be asked for.

        One of `accepted`, `duplicate`, `redriven` (it was a dead letter), `superseded`, `ignored`, `dead_lettered`;
        `known` for what may have been missed and was not. What is about a deployment that was reported under another
        id is recorded under that.
        """
        _, answers, ring = await self._as_reported(entries)
        return [answer.decode() for answer in answers], ring

    async def as_reported(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """These, as they would be recorded: about deployments under the ids that they were reported by."""
        entries, _, _ = await self._as_reported([Entry(one) for one in envelopes], only_look=True)
        return [entry.envelope for entry in entries]

    async def _as_reported(
        self, entries: Sequence[Entry], *, only_look: bool = False
    ) -> tuple[Sequence[Entry], list[bytes], bool]:
        """The entries as they are recorded, what became of them, and whether a drain has to be asked for."""
        while True:
            # nothing is recorded as long as something was reported under another id than an entry names
            otherwise, answers, ring = await self._record(args=self._arguments(entries, only_look))
            if not otherwise:
                return entries, answers, bool(ring)
            entries = _retold(entries, otherwise)

    def _arguments(self, entries: Sequence[Entry], only_look: bool) -> list[Any]:
        """What lua/record.lua takes."""
        keep = self._retention
        arguments: list[Any] = [
            int(keep.raw_days * _DAY_S),
            int(keep.events_days * _DAY_S),
            int(keep.dead_letters_days * _DAY_S),
            int(keep.memory_days * _DAY_S),
            int(only_look),
            OPENED_TOO_LATE,
        ]
        for entry in entries:
            envelope = entry.envelope
            # one argument for all that is short: redis-py takes as long for each as for a kilobyte
            read = [
                envelope.id,
                envelope.fact,
                envelope.rank,
                envelope.state,
                str(lane_of(envelope.key) if envelope.key else -1),
                envelope.key,
                str(envelope.order),
                _opening(envelope),
                envelope.needs_opening,
                envelope.raw or envelope.id,
                str(envelope.received_at // 1_000_000),
                *_traces(envelope),
                _pairs(envelope.twins),
                _pairs({own: name for name, own in envelope.called.items()}),
                *_history(envelope),
                entry.cures,
            ]
            arguments += (compact(read), envelope.to_json(), entry.raw)
        return arguments

    # -- draining

    async def take(self, owner: str, alive: int) -> tuple[list[int], int]:
        """Lanes newly leased to `owner`, who is one of `alive` worker processes, and its fair share of lanes."""
        taken, share = await self._take(args=[owner, LEASE_MS, LANES, alive, OVERDUE_MS])
        return taken, share

    async def fetch(
        self, owner: str, lanes: Sequence[int], *, wanted: int, each: int
    ) -> tuple[set[int], list[Head], int | None]:
        """Lost lanes, up to `wanted` heads (`each` of a lane), and in how many ms the next one is due, if any is."""
        lost, heads, soonest = await self._fetch(args=[owner, LEASE_MS, wanted, each, self._can_patch, *lanes])
        return set(lost), await self._read(owner, heads), soonest if soonest >= 0 else None

    async def settle(self, owner: str, settlements: Sequence[Settlement]) -> tuple[set[int], list[Head]]:
        """Lost lanes, and the next head of each settled key that has one."""
        arguments: list[Any] = [owner, LEASE_MS, self._can_patch]
        for one in settlements:
            keep = self._retention
            days = keep.dead_letters_days if one.state == "dead_lettered" else keep.events_days
            arguments += (
                one.lane,
                one.key,
                one.id,
                one.state,
                compact(one.line),
                one.wait_ms,
                int(days * _DAY_S),
                *(one.told or ("", "")),
                one.uuid,
            )
        lost, heads = await self._settle(args=arguments)
        return set(lost), await self._read(owner, heads)

    async def _read(self, owner: str, heads: Sequence[Sequence[Any]]) -> list[Head]:
        """The heads. Those that a newer version of the code wrote are put off, for a process that can read them."""
        readable, put_off = [], []
        for fields in heads:
            try:
                readable.append(_head(fields))
            except ValueError as error:
                lane, key, identifier = int(fields[0]), fields[1].decode(), fields[2].decode()
                line = {"at": _now_ms(), "state": "waiting", "reason": "unreadable", "answer": str(error)}
                put_off.append(Settlement(lane, key, identifier, "waiting", line, PUT_OFF_MS))
        if put_off:
            await self.settle(owner, put_off)
        return readable

    async def release(self, owner: str, lanes: Sequence[int]) -> None:
        """Gives lanes back; what was in hand and not settled is due again."""
        if lanes:
            await self._release(args=[owner, *lanes])

    async def sweep(self) -> bool:
        """Whether a drain has to be asked for, because a lane has work and nobody holds it."""
        return bool(await self._sweep(args=[LANES]))

    async def hush(self) -> None:
        """A drain has started: the next one that is needed may be asked for."""
        await self._redis.delete("dora:ring")

    async def sign_of_life(self, worker: str) -> int:
        """Notes that this worker process lives; how many do."""
        return int(await self._alive(args=[worker, ALIVE_MS]))

    async def farewell(self, worker: str) -> None:
        """This worker process ends."""
        await self._redis.zrem("dora:workers", worker)

    # -- incidents, of which Datadog would make a second one if it was told twice

    async def about_to_create(self, fact: str) -> int | None:
        """Since when (ms) an incident may have been created for it without our knowing; None if this is the first try.

        Asked before every try, it leaves the trace that a worker leaves which is killed before the answer comes.
        """
        key = f"dora:fact:{fact}"
        if await self._redis.hsetnx(key, "creating", _now_ms()):
            return None
        return int(await self._redis.hget(key, "creating") or 0)

    async def not_created(self, fact: str) -> None:
        """Datadog refused to create it: there is no incident that we do not know of."""
        await self._redis.hdel(f"dora:fact:{fact}", "creating")

    # -- reading back

    async def to_look_up(self, *, most: int, lock_s: float) -> list[str]:
        """Ids of events to be looked for in Datadog now; none while another process has the lock."""
        if not await self._redis.set("dora:readback", "1", nx=True, px=int(lock_s * 1000)):
            return []
        due = await self._redis.zrangebyscore("dora:lookups", "-inf", _now_ms(), start=0, num=most)
        return [identifier.decode() for identifier in due]

    async def look_again(self, identifier: str, wait_ms: int) -> None:
        """It was not found yet."""
        await self._redis.zadd("dora:lookups", {identifier: _now_ms() + wait_ms}, xx=True)

    async def read_back(self, identifier: str, word: str | None) -> None:
        """It is `verified` or `missing`; None: nothing is known of it any more."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem("dora:lookups", identifier)
            if word is not None:
                line = {"at": _now_ms(), "state": "delivered", "reason": word, "by": "read-back"}
                pipe.rpush(f"dora:story:{identifier}", compact(line))
            if word == "missing":
                pipe.zadd("dora:missing", {identifier: _now_ms()})
            pipe.zremrangebyscore("dora:missing", 0, _now_ms() - int(self._retention.events_days * _DAY_S * 1000))
            await pipe.execute()

    async def missing(self) -> int:
        """How many events Datadog took and does not have, of those that were looked for and are kept."""
        return int(await self._redis.zcard("dora:missing"))

    # -- incidents that were opened again

    async def reopened(self, first: str) -> dict[str, int]:
        """Id -> when it began (ms), of each time the incident of this first failure was opened again."""
        rows = await self._redis.zrange(f"dora:reopened:{first}", 0, -1, withscores=True)
        return {id_.decode(): int(at) for id_, at in rows}

    async def homeless(self, fact: str) -> list[Envelope]:
        """The dead letters about this fact that became so for want of its opening."""
        ids = await self._redis.hkeys(f"dora:homeless:{fact}")
        async with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.zscore("dora:dead", id_)
                pipe.get(b"dora:event:" + id_)
            answers = await pipe.execute() if ids else []
        kept = zip(answers[::2], answers[1::2], strict=True)
        return [Envelope.from_json(json_) for dead, json_ in kept if dead is not None and json_]

    async def ended(self, failure: str) -> int | None:
        """When this failure ended (ms); None if the ledger does not know."""
        last = await self._redis.hget(f"dora:incident:{failure}", "last")
        return json.loads(last).get("end") if last else None

    # -- looking

    async def delivered_at(self, facts: Sequence[str]) -> list[tuple[int | None, bool]]:
        """Since when (ms since the epoch) Datadog has each fact, None if it has not; and whether it was a 202."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for fact in facts:
                pipe.hmget(f"dora:fact:{fact}", "delivered", "delayed")
            answers = await pipe.execute()
        return [(int(at) if at else None, delayed is not None) for at, delayed in answers]

    async def without_env(self) -> WithoutEnv:
        """How many deployments and failures that are kept as events name no environment."""
        days = self._retention.events_days
        oldest = _now_ms() - int(days * _DAY_S * 1000)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcount("dora:envless:deployment", oldest, "+inf")
            pipe.zcount("dora:envless:failure", oldest, "+inf")
            deployments, failures = await pipe.execute()
        return WithoutEnv(int(deployments), int(failures), days)

    async def workers(self) -> int:
        return int(await self._redis.zcount("dora:workers", _now_ms() - ALIVE_MS, "+inf"))

    async def counts(self) -> dict[str, int]:
        """How many statements wait, and how many are dead letters."""
        waiting, dead = await self._redis.zcard("dora:waiting"), await self._redis.zcard("dora:dead")
        return {"waiting": int(waiting), "dead_letters": int(dead)}

    async def oldest_age_s(self) -> float:
        """How long the oldest statement has been waiting that does not wait on purpose, in seconds; 0 if none does.

        See `waiting_since.py`. The first LOOKED_AT by receipt are looked at; if more wait and all of these do so on
        purpose, with what comes after them, the last of them counts: nothing is hidden behind them.
        """
        rows = await self._redis.zrange("dora:waiting", 0, LOOKED_AT - 1, withscores=True)
        records = await self.briefly([id_.decode() for id_, _ in rows])
        now, since, on_purpose = _now_ms(), [], set()
        for (_, received_ms), record in zip(rows, records, strict=True):
            last = record.story[-1] if record and record.story else {}
            waits_since = waiting_since_ms(int(received_ms), last, now)
            key = record.envelope.key if record else ""
            if waits_since is None:
                on_purpose.add(key)
            else:
                since.append((key, waits_since))
        oldest = min((at for key, at in since if key not in on_purpose), default=None)
        if oldest is None and len(rows) == LOOKED_AT:
            oldest = int(rows[-1][1])
        return 0.0 if oldest is None else max(0.0, (now - oldest) / 1000)

    async def find(self, identifier: str) -> Record | None:
        """The record of an id of the ledger, or the latest one of an id of Datadog's; None if there is none.

        It has another id if the deployment is here under another one; see twins.py.
        """
        found = await self._find(identifier)
        if found is not None:
            return found
        about = identifier.partition("~")[0]
        name = (await self.names([about]))[about]
        return await self._find(name + identifier[len(about) :]) if name != about else None

    async def _find(self, identifier: str) -> Record | None:
        fact = identifier.partition("~")[0]
        about, changes = await self.facts([fact, f"{fact}~change-failure"])
        known = [*about.latest_first, fact, *changes.latest_first, f"{fact}~change-failure", f"{fact}~remedied"]
        known = list(dict.fromkeys(known))
        for candidate in [identifier] if "~" in identifier else known:
            json_: bytes | None = await self._redis.get(f"dora:event:{candidate}")
            if json_ is not None:
                others = [one for one in known if one != candidate and await self._redis.exists(f"dora:event:{one}")]
                return await self._whole(candidate, json_, others)
        return None

    async def names(self, deployments: Sequence[str]) -> dict[str, str]:
        """Of each of these ids the one under which the ledger has the deployment: another one, or the same."""
        names = await self._redis.mget([f"dora:twin:{one}" for one in deployments]) if deployments else []
        return {one: name.decode() if name else one for one, name in zip(deployments, names, strict=True)}

    async def places(
        self,
        indexes: Sequence[str],
        *,
        after: Place | None = None,
        low: int | None = None,
        high: int | None = None,
        count: int,
        oldest_first: bool = False,
    ) -> list[Place]:
        """Up to `count` ids of `waiting`, `settled` and `dead`, newest first, that come after a place in that order.

        `low` and `high` bound the time. What is added or taken out meanwhile neither repeats nor hides another.
        """
        low_score, high_score = "-inf" if low is None else low, "+inf" if high is None else high
        if after is not None and oldest_first:
            low_score = after[0]
        elif after is not None:
            high_score = after[0]
        found: set[Place] = set()
        for index in indexes:
            wanted = count + 1
            while True:
                if oldest_first:
                    rows = await self._redis.zrangebyscore(f"dora:{index}", low_score, high_score, 0, wanted, True)
                else:
                    rows = await self._redis.zrevrangebyscore(f"dora:{index}", high_score, low_score, 0, wanted, True)
                places = [(int(score), id_.decode()) for id_, score in rows]
                fresh = [one for one in places if after is None or (one > after if oldest_first else one < after)]
                # those of the very same millisecond come again
                if len(fresh) >= count or len(rows) < wanted:
                    break
                wanted *= 2
            found.update(fresh)
        return sorted(found, reverse=not oldest_first)[:count]

    async def briefly(self, ids: Sequence[str]) -> list[Record | None]:
        """The records with no more of their stories than the last line; None for one that expired or is unreadable."""
        if not ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.get(f"dora:event:{id_}")
                pipe.lindex(f"dora:story:{id_}", -1)
            answers = await pipe.execute()
        return [_record(event, [last] if last else []) for event, last in zip(answers[::2], answers[1::2], strict=True)]

    async def bodies(self, places: Sequence[str]) -> list[tuple[Mapping[str, Any], bytes] | None]:
        """Kept headers, query and origins, and the body, of each place; None where it expired or never was kept."""
        if not places:
            return []
        return [_raw(one) for one in await self._redis.mget([f"dora:raw:{place}" for place in places])]

    async def stories(self, ids: Sequence[str]) -> list[list[Mapping[str, Any]]]:
        """The whole stories of these ids."""
        if not ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.lrange(f"dora:story:{id_}", 0, -1)
            return [[json.loads(line) for line in story] for story in await pipe.execute()]

    async def fact(self, fact: str) -> Fact:
        """What is remembered of a fact."""
        return (await self.facts([fact]))[0]

    async def facts(self, facts: Sequence[str]) -> list[Fact]:
        """What is remembered of each of these facts."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for fact in facts:
                pipe.hgetall(f"dora:fact:{fact}")
            return [_fact(fields) for fields in await pipe.execute()]

    async def remembered(self, facts: Sequence[str]) -> set[str]:
        """Those of these facts that were ever recorded, as far as the memory reaches."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for fact in facts:
                pipe.hexists(f"dora:fact:{fact}", "rank")
            return {fact for fact, known in zip(facts, await pipe.execute(), strict=True) if known}

    async def standings(self, envelopes: Sequence[Envelope]) -> list[Standing]:
        """What is known of each of these statements."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for one in envelopes:
                pipe.hget(f"dora:fact:{one.fact}", "rank")
                pipe.exists(f"dora:event:{one.id}")
                pipe.zscore("dora:dead", one.id)
            found = iter(await pipe.execute())
        return [
            Standing(rank.decode() if rank else "", bool(kept), dead is not None)
            for rank, kept, dead in zip(found, found, found, strict=True)
        ]

    async def heard_of(self, services: Sequence[str]) -> set[str]:
        """Those of these services that had an event within `retention.memory_days`."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for service in services:
                pipe.exists(f"dora:deployments:{service}", f"dora:incidents:{service}")
            return {service for service, known in zip(services, await pipe.execute(), strict=True) if known}

    async def is_empty(self) -> bool:
        """Whether nothing was received, or all of it expired."""
        return not await self._redis.exists("dora:waiting", "dora:settled")

    async def destinations(self) -> dict[str, Mapping[str, str]]:
        """family -> what is known of its destination: `state`, `until` (ms), `reason`, `since` (ms)."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for family in FAMILIES:
                pipe.hgetall(f"dora:destination:{family}")
            answers = await pipe.execute()
        return {
            family: {name.decode(): value.decode() for name, value in fields.items()}
            for family, fields in zip(FAMILIES, answers, strict=True)
        }

    async def lanes(self) -> Lanes:
        """Where the keys stand."""
        now = _now_ms()
        async with self._redis.pipeline(transaction=False) as pipe:
            for lane in range(LANES):
                pipe.zcard(f"dora:hand:{lane}")
                pipe.exists(f"dora:lease:{lane}")
                pipe.zcount(f"dora:lane:{lane}", "-inf", now - OVERDUE_MS)
                pipe.zcount(f"dora:lane:{lane}", "-inf", now)
                pipe.zcount(f"dora:lane:{lane}", f"({now}", "+inf")
            answers = await pipe.execute()
        hands, leases, overdue, due, later = (answers[part::5] for part in range(5))

        def by_family(keys: Sequence[int]) -> dict[str, int]:
            return {family: sum(keys[at * LANES_EACH : (at + 1) * LANES_EACH]) for at, family in enumerate(FAMILIES)}

        stuck = sum(not lease and bool(keys) for lease, keys in zip(leases, overdue, strict=True))
        return Lanes(by_family(hands), by_family(due), by_family(later), stuck)

    async def _whole(self, identifier: str, json_: bytes, siblings: Sequence[str]) -> Record:
        envelope = Envelope.from_json(json_)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrange(f"dora:story:{identifier}", 0, -1)
            pipe.get(f"dora:raw:{envelope.raw or identifier}")
            story, raw = await pipe.execute()
        return Record(envelope, [json.loads(line) for line in story], _raw(raw), siblings)


def _traces(envelope: Envelope) -> tuple[str, str, str]:
    """What linking remembers of it: text of a deployment, its service or that of a PATCH, and the rest as JSON.

    Of what is not sent, only what a person may decide to send after all.
    """
    traces = traces_of(envelope)
    if envelope.state != "waiting":
        traces = [one for one in traces if one.kind in ("incident", "label")] if envelope.concerns else []
    deployed = next((one for one in traces if one.kind == "deployment"), None)
    rest = [(one.kind, one.id, one.at, one.text, one.service) for one in traces if one is not deployed]
    text, service = (deployed.text, deployed.service) if deployed else ("", envelope.concerns.get("service", ""))
    return text, service, compact(rest) if rest else ""


def _pairs(ids: Mapping[str, str]) -> str:
    return " ".join(f"{one} {other}" for one, other in ids.items())


def _retold(entries: Sequence[Entry], otherwise: Sequence[bytes]) -> list[Entry]:
    """The entries with the ids that the script gave: position, id and the other id, one after the other."""
    names: dict[int, dict[str, str]] = {}
    for position, own, name in zip(otherwise[::3], otherwise[1::3], otherwise[2::3], strict=True):
        names.setdefault(int(position), {})[own.decode()] = name.decode()
    return [
        replace(entry, envelope=retold(entry.envelope, names[position])) if position in names else entry
        for position, entry in enumerate(entries)
    ]


def _history(envelope: Envelope) -> tuple[str, str, str]:
    history = envelope.history
    return ("", "0", "") if history is None else (history.name, str(history.number), history.role)


def _raw(raw: bytes | None) -> tuple[Mapping[str, Any], bytes] | None:
    if not raw:
        return None
    about, _, body = raw.partition(b"\n")
    return json.loads(about), body


def _opening(envelope: Envelope) -> str:
    """A failure's attributes but for its end, as the later statements about it have to repeat them."""
    if envelope.state != "waiting" or envelope.method != "POST" or not is_failure_key(envelope.key):
        return ""
    attributes = {name: value for name, value in envelope.attributes.items() if name != "finished_at"}
    return compact(attributes)


def _record(event: bytes | None, story: Sequence[bytes]) -> Record | None:
    if event is None:
        return None
    try:
        return Record(Envelope.from_json(event), [json.loads(line) for line in story])
    except ValueError:
        return None  # a newer version of the code wrote it


def _fact(fields: Mapping[bytes, bytes]) -> Fact:
    return Fact(
        {name.decode()[5:]: id_.decode() for name, id_ in fields.items() if name.startswith(b"said:")},
        json.loads(fields.get(b"opening") or b"{}"),
        json.loads(fields.get(b"adjusted") or b"{}"),
        fields.get(b"uuid", b"").decode(),
    )


def _head(fields: Sequence[Any]) -> Head:
    lane, key, _, json_, story, opening, adjustment, uuid = fields
    return Head(
        int(lane),
        key.decode(),
        Envelope.from_json(json_),
        json.loads(story) if story else {},
        json.loads(opening) if opening else {},
        json.loads(adjustment) if adjustment else {},
        uuid.decode(),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
