"""Units go the way of webhooks: `intake.receive`, the rules, the ledger; or, in a dry run, only up to the ledger."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from bridge import occurrences
from bridge.backfill.outlook import outlook
from bridge.backfill.pace import Pace
from bridge.backfill.progress import Progress
from bridge.backfill.unit import Unit
from bridge.envelope import OPENED_TOO_LATE, Envelope
from bridge.errors import SenderUnreadable
from bridge.intake import Delivery, receive
from bridge.ledger import Entry, Ledger, entries_of
from bridge.redrive import Ring
from bridge.settings import Settings
from bridge.source import Endpoint

_WORDS = {"accepted": "new", "duplicate": "known"}


@dataclass(frozen=True, slots=True)
class Filled:
    """What one statement came to, or would."""

    outcome: str
    """`new`, `known`, `redriven` (it was a dead letter), `superseded`, `ignored` or `dead_lettered`."""
    envelope: Envelope

    @property
    def reason(self) -> str:
        """Why it does not go out; empty if it does."""
        envelope = self.envelope
        if envelope.state == "waiting" and self.outcome in ("ignored", "dead_lettered"):
            return envelope.needs_opening.partition(": ")[2] or OPENED_TOO_LATE
        return envelope.reason

    @property
    def at(self) -> int | None:
        """When it happened: nanoseconds since the epoch, UTC."""
        attributes = self.envelope.attributes
        at = attributes.get("finished_at") or attributes.get("started_at")
        return int(at) if at else None


@dataclass(frozen=True, slots=True)
class Unread:
    """A unit could not be read."""

    why: str


class Fill:
    """One backfill of one endpoint."""

    def __init__(
        self,
        settings: Settings,
        endpoint: Endpoint,
        ledger: Ledger,
        *,
        pace: Pace,
        progress: Progress,
        ring: Ring,
        apply: bool,
        env: str = "",
    ) -> None:
        """Without `apply` nothing is recorded; `env` stands for the `?env=` of the address that the sender posts to."""
        # whoever names a time means it, however old that is
        self._endpoint = replace(endpoint, options=endpoint.options.model_copy(update={"ignore_older_than_hours": 0}))
        self._settings = settings
        self._ledger = ledger
        self._pace = pace
        self._progress = progress
        self._ring = ring
        self._apply = apply
        self._env = env
        self._assumed: dict[str, str] = {}

    async def run(self, units: Iterable[Unit]) -> AsyncIterator[Sequence[Filled] | Unread | None]:
        """What the statements of each unit came to, oldest first; None where an interrupted run recorded them."""
        done = await self._progress.done() if self._apply else set()
        complete = True
        for unit in sorted(units, key=lambda one: one.at):
            if unit.key in done:
                yield None
                continue
            try:
                deliveries = await unit.read()
            except SenderUnreadable as error:
                complete = False
                yield Unread(error.detail)
                continue
            filled = [one for delivery in deliveries for one in await self._fill(delivery)]
            # of nothing, and of what is only noted, something may still become
            if self._apply and filled and all(one.envelope.state == "waiting" for one in filled):
                await self._progress.mark(unit.key)
            yield filled
        if self._apply and complete:
            await self._progress.finish()

    async def _fill(self, delivery: Delivery) -> list[Filled]:
        if self._env:
            delivery = replace(delivery, query={**delivery.query, "env": self._env})
        receipt = receive(
            self._endpoint,
            delivery,
            secret=0,
            now=time.time_ns(),
            rules=self._settings.configuration.rules,
            application_key=self._settings.application_key,
        )
        receipt = await occurrences.placed(receipt, self._ledger)
        entries = await self._as_reported(
            [one for one in entries_of(receipt, delivery) if not _is_missed(one.envelope)]
        )
        words = await self._foresee(entries)
        if self._apply and entries:
            recorded = await self._record(entries)
            # of a note that is kept already, the ledger says the same as of a new one
            notes = [entry.envelope.state != "waiting" for entry in entries]
            words = [word if note else other for word, other, note in zip(words, recorded, notes, strict=True)]
        return [Filled(_WORDS.get(word, word), entry.envelope) for word, entry in zip(words, entries, strict=True)]

    async def _record(self, entries: Sequence[Entry]) -> list[str]:
        await self._pace.turn()
        words, ring = await self._ledger.record(entries)
        if ring:
            await self._ring()
        return words

    async def _as_reported(self, entries: Sequence[Entry]) -> list[Entry]:
        envelopes = await self._ledger.as_reported([entry.envelope for entry in entries])
        return [replace(entry, envelope=envelope) for entry, envelope in zip(entries, envelopes, strict=True)]

    async def _foresee(self, entries: Sequence[Entry]) -> list[str]:
        envelopes = [entry.envelope for entry in entries]
        standings = await self._ledger.standings(envelopes)
        return [outlook(one, its, self._assumed) for one, its in zip(envelopes, standings, strict=True)]


def _is_missed(envelope: Envelope) -> bool:
    """Whether it is about an earlier entry of the sender's history, which has a unit of its own."""
    return envelope.history is not None and envelope.history.role == "missed"
