"""Redriving: dead letters go out again as they were, edited, or translated again with today's rules and code.

What Datadog has is never sent again, and never an opening after its closing: the scripts of `dead_letters.py` see to
that. A redrive starts the patience anew, since its line in the story counts no tries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge import occurrences, search
from bridge.dead_letters import DeadLetters, Return
from bridge.edits import changes, edited
from bridge.envelope import Envelope
from bridge.errors import Invalid, NotNow, Unknown
from bridge.intake import Delivery, Receipt, receive
from bridge.ledger import Entry, Ledger, Record, is_failure_key
from bridge.search import Filter
from bridge.settings import Settings

MODES = ("as_sent", "retranslate")
CHUNK = 100
BUSY = 1_000
"""With so many events waiting, redriving many pauses: what comes in live would have to wait behind them."""
_STILL_S = 0.5
"""If nothing was delivered for so long, there is nobody to yield to."""
_MAYBE_KNOWN = ("server_error", "timeout", "network")
"""Reasons after which Datadog may have taken an event all the same."""

Ring = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one dead letter."""

    id: str
    status: str
    """`redriven`, `superseded`, `ignored`, or `dead_lettered` if it still is one."""
    reason: str = ""
    events: Sequence[str] = field(default_factory=tuple)
    """Ids of the ledger that are on their way now."""

    def json(self) -> dict[str, Any]:
        return {"id": self.id, "status": self.status, "reason": self.reason, "events": list(self.events)}


@dataclass(slots=True)
class Progress:
    """How far redriving many has come."""

    matched: int = 0
    redriven: int = 0
    otherwise: dict[str, int] = field(default_factory=dict)
    """status -> how many did not go out."""
    next_cursor: str | None = None
    """Where to go on; None: all were seen."""

    def count(self, status: str) -> None:
        if status == "redriven":
            self.redriven += 1
        else:
            self.otherwise[status] = self.otherwise.get(status, 0) + 1

    def json(self) -> dict[str, Any]:
        return {
            "matched": self.matched,
            "redriven": self.redriven,
            "otherwise": self.otherwise,
            "complete": self.next_cursor is None,
            "next_cursor": self.next_cursor,
        }


class Redrive:
    """Redrives and discards, for whoever `by` names; `ring` asks for a drain."""

    def __init__(self, settings: Settings, ledger: Ledger, dead_letters: DeadLetters, ring: Ring) -> None:
        self._settings = settings
        self._ledger = ledger
        self._dead = dead_letters
        self._ring = ring

    async def find(self, identifier: str) -> Record:
        """The dead letter of an id of the ledger or of Datadog.

        Raises: Unknown, NotNow for an event that is no dead letter.
        """
        record = await self._ledger.find(identifier)
        if record is None:
            raise Unknown(f"the ledger knows no event {identifier}")
        for candidate in (record.envelope.id, *record.siblings):
            if await self._dead.is_dead(candidate) is not None:
                if candidate == record.envelope.id:
                    return record
                if "~" not in identifier and (sibling := await self._ledger.find(candidate)) is not None:
                    return sibling
        raise NotNow(f"{record.envelope.id} is no dead letter: it is {record.state}")

    async def one(
        self, identifier: str, *, by: str, mode: str = "", edits: Mapping[str, Any] | None = None
    ) -> Redriven:
        """Redrives one dead letter. Without a mode: as it was sent, or translated again if it never was.

        Raises: Unknown, NotNow, Invalid; then nothing has changed.
        """
        record = await self.find(identifier)
        return await self._redrive(record, by=by, mode=mode, edits=edits or {}, audited=True)

    async def discard(self, identifier: str, *, by: str) -> None:
        """Ends a dead letter for good. Raises: Unknown, NotNow."""
        record = await self.find(identifier)
        line = {"at": _now_ms(), "state": "discarded", "by": by}
        audit = {"who": by, "what": "discard", "id": record.envelope.id}
        alone = record.raw is not None and set(record.raw[0].get("origins", {})) <= {record.envelope.id}
        if not await self._dead.conclude(record.envelope.id, line, audit=audit, with_body=alone):
            raise NotNow(f"{record.envelope.id} is no dead letter any more")

    async def matching(self, asked: Filter) -> int:
        """How many dead letters a filter selects."""
        if asked == Filter():
            return await self._dead.count()
        return sum([1 async for _ in self._all(replace(asked, until=asked.until or _now_ms()), "")])

    async def many(
        self,
        asked: Filter,
        *,
        by: str,
        mode: str = "",
        edits: Mapping[str, Any] | None = None,
        cursor: str = "",
        for_s: float = float("inf"),
        told: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """Redrives what a filter selects, oldest first, for about so long; `told` hears of each step.

        Whatever was redriven has left the dead letters, so doing it again, after a crash say, goes on where it ended.
        What becomes a dead letter meanwhile is not touched. Raises: Invalid.
        """
        _check_mode(mode)
        started = time.monotonic()
        asked = replace(asked, until=asked.until or _now_ms())
        progress = Progress(next_cursor=cursor or search.cursor_of((0, "-")))
        traffic = _Traffic(self._ledger)
        audit = {"who": by, "what": "redrive many", "filter": _spelled(asked), "mode": mode, "edits": dict(edits or {})}
        await self._dead.note(audit | {"cursor": cursor} if cursor else audit)
        async for chunk in _in_chunks(self._all(asked, cursor), CHUNK):
            if time.monotonic() - started > for_s:
                break
            await traffic.let_pass()
            await self._several([one for _, one in chunk], by=by, mode=mode, edits=edits or {}, progress=progress)
            since, last = chunk[-1]
            progress.next_cursor = search.cursor_of((since, last.envelope.id))
            told(progress)
        else:
            progress.next_cursor = None
        await self._dead.note(
            {"who": by, "what": "redrove many", "matched": progress.matched, "redriven": progress.redriven}
        )
        return progress

    async def _all(self, asked: Filter, cursor: str) -> AsyncIterator[tuple[int, Record]]:
        """All dead letters that a filter selects, oldest first, each with the time since when it is one."""
        next_cursor: str | None = cursor
        while next_cursor is not None:
            page = await search.page(
                self._ledger,
                search.DEAD_LETTERS,
                asked,
                limit=search.MOST_ROWS,
                cursor=next_cursor,
                oldest_first=True,
                with_stories=False,
            )
            next_cursor = page.next_cursor
            for one in page.records:
                yield one

    async def _several(
        self, records: Sequence[Record], *, by: str, mode: str, edits: Mapping[str, Any], progress: Progress
    ) -> None:
        """Redrives some: those that go out as they are in one step, the others one by one."""
        progress.matched += len(records)
        plain = [one for one in records if one.envelope.method and mode != "retranslate" and not edits]
        if plain:
            words, ring = await self._dead.put_back([Return(one.envelope, _line(by, "as_sent")) for one in plain])
            for word in words:
                progress.count(word)
            if ring:
                await self._ring()
        for brief in records:
            if brief in plain:
                continue
            try:
                record = await self.find(brief.envelope.id)
                result = await self._redrive(record, by=by, mode=mode, edits=edits, audited=False)
                progress.count(result.status)
            except (Unknown, NotNow):
                progress.count("impossible")
            except Invalid:
                progress.count("invalid")

    async def _redrive(
        self, record: Record, *, by: str, mode: str, edits: Mapping[str, Any], audited: bool
    ) -> Redriven:
        _check_mode(mode)
        envelope = record.envelope
        mode = mode or ("as_sent" if envelope.method else "retranslate")
        audit: dict[str, Any] = {"who": by, "what": "redrive", "id": envelope.id, "mode": mode}
        if edits:
            audit["edits"] = dict(edits)
        if mode == "retranslate":
            return await self._retranslated(record, by=by, edits=edits, audit=audit if audited else None)
        if not envelope.method:
            raise NotNow("nothing could be made of this webhook, so there is no call to repeat; translate it again")
        before, opening = None, None
        line = _line(by, mode)
        if edits:
            before = envelope
            envelope, opening = await self._edited(envelope, edits)
            line["edits"] = changes(before, envelope)
        back = Return(envelope, line, before, opening)
        (word,), ring = await self._dead.put_back([back], audit if audited else None)
        return await self._answer(word, envelope, ring)

    async def _edited(self, envelope: Envelope, edits: Mapping[str, Any]) -> tuple[Envelope, Mapping[str, Any]]:
        fact = await self._ledger.fact(envelope.fact)
        openings = [id_ for rank, id_ in fact.said.items() if rank[:1] == "0" and id_ != envelope.id]
        stories = await self._ledger.stories(openings)
        known = any(not story or any(map(_may_be_known, story)) for story in stories)
        return edited(envelope, edits, now=time.time_ns(), opening=fact.opening, opening_is_known=known)

    async def _answer(self, word: str, envelope: Envelope, ring: bool) -> Redriven:
        if word == "gone":
            raise NotNow(f"{envelope.id} is no dead letter any more")
        if word == "no_opening":
            raise NotNow(f"{envelope.needs_opening.partition(': ')[2]}; give what is missing as an edit")
        if ring:
            await self._ring()
        if word == "superseded":
            return Redriven(envelope.id, word, "Datadog has, or may have, a later statement about it")
        return Redriven(envelope.id, word, events=[envelope.id])

    async def _retranslated(
        self, record: Record, *, by: str, edits: Mapping[str, Any], audit: Mapping[str, Any] | None
    ) -> Redriven:
        """Receives the kept body again, with today's code, options and rules, as of the time it came in."""
        old = record.envelope
        receipt, about, body = self._received_again(record)
        receipt = await occurrences.placed(receipt, self._ledger)
        place = old.raw or old.id
        said = await self._ledger.as_reported(receipt.envelopes)
        first = said[0]
        line = {**_line(by, "retranslate"), "reason": first.reason}
        if first.state in ("ignored", "dead_lettered"):
            line["state"] = first.state
            if not await self._dead.conclude(old.id, line, audit=audit):
                raise NotNow(f"{old.id} is no dead letter any more")
            return Redriven(old.id, first.state, first.reason)
        origins = {**about.get("origins", {}), **{one.id: dict(one.origins) for one in said}}
        envelopes = [replace(one, raw=place if one.id != place else "") for one in said]
        mine = next((one for one in envelopes if one.id == old.id), None)
        others = [one for one in envelopes if one.id != old.id]
        if edits and mine is None and len(others) != 1:
            raise Invalid("this becomes several events; translate it again without edits first")
        if edits and mine is None:
            others = [(await self._edited(others[0], edits))[0]]
        opening: Mapping[str, Any] = {}
        if mine is not None:
            # checked like an edit, so that it cannot contradict what Datadog has
            if edits:
                mine, opening = await self._edited(mine, edits)
            elif is_failure_key(mine.key) and mine.method == "POST" and mine.rank[:1] == "0":
                opening = {name: value for name, value in mine.attributes.items() if name != "finished_at"}
        await self._dead.keep_origins(place, {**about, "origins": origins}, body)
        others = await self._unsaid(others, list(about.get("origins", {})))
        sent: list[str] = []
        became: list[str] = []
        if others:
            became, ring = await self._ledger.record([Entry(one, cures=one.cures) for one in others])
            sent = [one.id for one, word in zip(others, became, strict=True) if word in ("accepted", "redriven")]
            if ring:
                await self._ring()
        if mine is None:
            told = ", ".join(sent) or "nothing that is not known already"
            await self._dead.conclude(
                old.id, {**line, "state": "superseded", "reason": f"translated again: {told}"}, audit=audit
            )
            status = "redriven" if sent else became[0] if became else "superseded"
            return Redriven(old.id, status if status != "duplicate" else "superseded", events=sent)
        again = {name: value for name, value in line.items() if name != "reason"} | {"edits": changes(old, mine)}
        (word,), ring = await self._dead.put_back([Return(mine, again, old, opening or None)], audit)
        answer = await self._answer(word, mine, ring)
        return replace(answer, events=[*answer.events, *sent])

    def _received_again(self, record: Record) -> tuple[Receipt, Mapping[str, Any], bytes]:
        envelope = record.envelope
        endpoint = self._settings.endpoints.get(envelope.endpoint)
        if endpoint is None:
            raise NotNow(f"the endpoint {envelope.endpoint} is not configured any more")
        if record.raw is None:
            raise NotNow("its body is not kept any more (retention.raw_days, retention.dead_letters_days)")
        about, body = record.raw
        receipt = receive(
            endpoint,
            Delivery(about.get("headers", {}), about.get("query", {}), body),
            secret=envelope.secret,
            now=envelope.received_at,
            rules=self._settings.configuration.rules,
            application_key=self._settings.application_key,
        )
        return receipt, about, body

    async def _unsaid(self, envelopes: Sequence[Envelope], siblings: Sequence[str]) -> list[Envelope]:
        """Those that the ledger does not know, neither by their id nor as what the same webhook has said before."""
        known = await self._ledger.briefly([one.id for one in envelopes])
        said = {
            (one.envelope.path, one.envelope.services, one.envelope.attributes.get("env"))
            for one in await self._ledger.briefly(siblings)
            if one is not None and one.state in ("delivered", "waiting") and one.envelope.method == "POST"
        }
        return [
            one
            for one, record in zip(envelopes, known, strict=True)
            if record is None and (one.path, one.services, one.attributes.get("env")) not in said
        ]


class _Traffic:
    """Lets live events pass while many are redriven."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stands_still = False

    async def let_pass(self) -> None:
        """Waits while many events wait and are being delivered."""
        least = await self._waiting()
        moved_at = time.monotonic()
        while least >= BUSY and not self._stands_still:
            await asyncio.sleep(0.05)
            waiting = await self._waiting()
            if waiting < least:
                moved_at = time.monotonic()
            self._stands_still = time.monotonic() - moved_at > _STILL_S
            least = min(least, waiting)

    async def _waiting(self) -> int:
        return (await self._ledger.counts())["waiting"]


async def _in_chunks(found: AsyncIterator[tuple[int, Record]], size: int) -> AsyncIterator[list[tuple[int, Record]]]:
    chunk: list[tuple[int, Record]] = []
    async for one in found:
        chunk.append(one)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _check_mode(mode: str) -> None:
    if mode and mode not in MODES:
        raise Invalid(f"mode: not one of {', '.join(MODES)}", "mode")


def _line(by: str, mode: str) -> dict[str, Any]:
    return {"at": _now_ms(), "state": "waiting", "by": by, "mode": mode}


def _spelled(asked: Filter) -> dict[str, Any]:
    return {name: value for name in Filter.__slots__ if (value := getattr(asked, name))}


def _may_be_known(line: Mapping[str, Any]) -> bool:
    return line.get("verdict") == "delivered" or line.get("reason") in _MAYBE_KNOWN


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
