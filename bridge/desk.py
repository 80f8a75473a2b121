"""What the commands `events` and `dead-letters` do: the same as the admin, directly over Redis, for a terminal."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO, Any

import click

from bridge import explain, redis_url, search
from bridge.dead_letters import DeadLetters
from bridge.errors import AdminError, Unknown
from bridge.ledger import Ledger
from bridge.links import Links
from bridge.redrive import Progress, Redrive
from bridge.search import Filter
from bridge.settings import Settings
from bridge.wakeup import Doorbell


@contextlib.asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """A desk for as long as the context lasts."""
    redis = redis_url.impatient(settings.environment.redis_url)
    try:
        ledger = Ledger(redis, settings.configuration.retention)
        dead_letters = DeadLetters(redis, settings.configuration.retention)
        links = Links(redis, settings.configuration.retention)
        yield Desk(ledger, dead_letters, links, Redrive(settings, ledger, dead_letters, Doorbell(redis).ring))
    finally:
        await redis.aclose()


_FAILED = ("dead_lettered", "impossible", "invalid", "no_opening")


class Desk:
    """Prints what is asked for. Errors of `bridge.errors` pass through, for the command line to put into words."""

    def __init__(self, ledger: Ledger, dead_letters: DeadLetters, links: Links, redrive: Redrive) -> None:
        self._ledger = ledger
        self._dead = dead_letters
        self._links = links
        self._redrive = redrive
        self._by = at_terminal()

    async def show(self, name: str, given: Mapping[str, str | None], limit: int, as_json: bool) -> None:
        """The newest events or dead letters that match; looks through all of them, if need be."""
        indexes = search.DEAD_LETTERS if name == "dead_letters" else search.EVENTS
        asked = _parsed(given)
        rows: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None and len(rows) < limit:
            page = await search.page(
                self._ledger, indexes, asked, limit=min(limit - len(rows), search.MOST_ROWS), cursor=cursor
            )
            rows += explain.listing(name, page)[name]
            cursor = page.next_cursor
        if as_json:
            click.echo(json.dumps({name: rows, "next_cursor": cursor}))
            return
        for row in rows:
            click.echo(explain.row(row))
        if not rows:
            click.echo("none", err=True)

    async def explain(self, identifier: str, as_json: bool, *, dead: bool = False) -> None:
        """One event, or one dead letter with its body. Raises: Unknown, NotNow."""
        found = (await self._redrive.find(identifier)).envelope.id if dead else identifier
        whole = await explain.explained(self._ledger, self._dead, found, self._links)
        record = await self._ledger.find(found) if dead else None
        if whole is None:
            raise Unknown(f"the ledger knows no event {identifier}")
        body = explain.body_of(record) if record is not None else {}
        if as_json:
            click.echo(json.dumps({**whole, **body}))
            return
        click.echo(explain.story(whole))
        if body.get("body"):
            click.echo(f"  body       {body['body_bytes']} bytes as received\n{body['body']}")

    async def redrive_each(
        self, identifiers: Sequence[str], mode: str, edits: Mapping[str, Any], dry_run: bool, as_json: bool
    ) -> int:
        """Redrives some by their ids; 1 if one could not be."""
        failed, results = 0, []
        for identifier in identifiers:
            try:
                if dry_run:
                    record = await self._redrive.find(identifier)
                    results.append({"id": record.envelope.id, "status": "dead_lettered", "reason": "", "events": []})
                    continue
                result = await self._redrive.one(identifier, by=self._by, mode=mode, edits=edits)
            except AdminError as error:
                click.echo(f"dora-bridge: {error.detail}", err=True)
                failed = 1
                continue
            failed = max(failed, int(result.status == "dead_lettered"))
            results.append(result.json())
            if not as_json:
                click.echo(f"{result.id}: {result.status}{f' ({result.reason})' if result.reason else ''}")
        if as_json:
            click.echo(json.dumps({"dead_letters": results}))
        elif dry_run:
            click.echo(f"{len(results)} would be redriven")
        return failed

    async def redrive_matching(
        self, given: Mapping[str, str], mode: str, edits: Mapping[str, Any], dry_run: bool, as_json: bool
    ) -> int:
        """Redrives what matches; 1 if something did that could not be redriven."""
        asked = _parsed(given)
        matching = await self._redrive.matching(asked)
        if dry_run:
            click.echo(json.dumps({"matched": matching, "redriven": 0}) if as_json else f"{matching} would be redriven")
            return 0
        with progress_bar(matching) as bar:
            seen = 0

            def told(progress: Progress) -> None:
                nonlocal seen
                bar.update(progress.matched - seen)
                seen = progress.matched

            progress = await self._redrive.many(asked, by=self._by, mode=mode, edits=edits, told=told)
        if as_json:
            click.echo(json.dumps(progress.json()))
        else:
            others = "".join(f", {number} {status}" for status, number in progress.otherwise.items())
            click.echo(f"{progress.matched} matched, {progress.redriven} redriven{others}")
        return int(
            any(status in progress.otherwise for status in ("dead_lettered", "impossible", "invalid", "no_opening"))
        )

    async def discard(self, identifiers: Sequence[str], as_json: bool) -> int:
        """Discards some; 1 if one is no dead letter."""
        failed = 0
        for identifier in identifiers:
            try:
                await self._redrive.discard(identifier, by=self._by)
            except AdminError as error:
                click.echo(f"dora-bridge: {error.detail}", err=True)
                failed = 1
                continue
            click.echo(json.dumps({"id": identifier, "status": "discarded"}) if as_json else f"{identifier}: discarded")
        return failed

    async def export(self, given: Mapping[str, str | None], output: IO[str]) -> None:
        """Writes what matches, one JSON object a line."""
        asked = _parsed(given)
        with progress_bar(await self._redrive.matching(asked) if sys.stderr.isatty() else 0) as bar:
            async for line in explain.exported(self._ledger, self._dead, asked):
                output.write(line)
                bar.update(1)


def _parsed(given: Mapping[str, str | None]) -> Filter:
    return search.parse(given, time.time_ns())


def progress_bar(length: int) -> Any:
    """A progress bar at a terminal, nothing elsewhere."""
    hidden = not sys.stderr.isatty() or not length
    return click.progressbar(length=length, file=sys.stderr, hidden=hidden, show_pos=True)


def at_terminal() -> str:
    """Who acts, for stories and the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli:unknown"
