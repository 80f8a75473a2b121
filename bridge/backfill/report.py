"""What a backfill says: a line for each event that the ledger lacks, then how many of each kind there were."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from bridge.backfill.fill import Filled, Unread
from bridge.times import to_rfc3339


def tell(message: str) -> None:
    """One line on standard error."""
    click.echo(f"dora-bridge: {message}", err=True)


@dataclass(slots=True)
class Report:
    """Collects and prints it. Times are nanoseconds since the epoch, UTC."""

    apply: bool
    as_json: bool
    since: int
    until: int
    _counts: Counter[str] = field(default_factory=Counter, init=False)
    _ignored: Counter[str] = field(default_factory=Counter, init=False)
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False)
    _unreadable: list[str] = field(default_factory=list, init=False)

    def unreadable(self, why: str) -> None:
        """Something could not be read."""
        self._unreadable.append(why)
        tell(why)

    def add(self, became: Sequence[Filled] | Unread | None) -> None:
        """What one unit came to; None if an interrupted run recorded it."""
        if became is None:
            self._counts["recorded before"] += 1
            return
        if isinstance(became, Unread):
            self.unreadable(became.why)
            return
        for filled in became:
            self._counts[filled.outcome] += 1
            if filled.outcome == "ignored":
                self._ignored[filled.reason] += 1
            elif filled.outcome != "known":
                self._rows.append(_row(filled))
                # not between the steps of a bar at a terminal
                if not self.as_json and not sys.stderr.isatty():
                    click.echo(_text(self._rows[-1]))

    @property
    def lacked(self) -> int:
        """How many statements go out that would not have."""
        return self._counts["new"] + self._counts["redriven"]

    def finish(self) -> int:
        """The exit code: 1 if something could not be read."""
        if self.as_json:
            document = {
                "applied": self.apply,
                "since": to_rfc3339(self.since),
                "until": to_rfc3339(self.until),
                "events": self._rows,
                "counts": dict(self._counts),
                "ignored": dict(self._ignored),
                "unreadable": self._unreadable,
            }
            click.echo(json.dumps(document))
            return int(bool(self._unreadable))
        if sys.stderr.isatty():
            for row in self._rows:
                click.echo(_text(row))
        titles = {
            "new": "added" if self.apply else "lacking",
            "redriven": "dead letters put back" if self.apply else "dead letters to put back",
            "recorded before": "recorded before",
            "known": "known",
            "ignored": "ignored",
            "superseded": "superseded",
            "dead_lettered": "dead letters",
        }
        words = [
            f"{self._counts[name]} {title}" for name, title in titles.items() if self._counts[name] or name == "new"
        ]
        words += [f"{len(self._unreadable)} unreadable"] if self._unreadable else []
        click.echo(", ".join(words))
        for reason, count in self._ignored.most_common():
            click.echo(f"  {count} ignored: {reason}")
        if not self.apply and self._rows:
            click.echo("nothing was recorded: --apply does it")
        return int(bool(self._unreadable))


def _row(filled: Filled) -> dict[str, Any]:
    envelope = filled.envelope
    return {
        "outcome": filled.outcome,
        "id": envelope.id,
        "kind": envelope.kind,
        "services": list(envelope.services),
        "env": envelope.attributes.get("env"),
        "at": to_rfc3339(filled.at) if filled.at is not None else None,
        "rule": envelope.rule,
        "reason": filled.reason,
    }


def _text(row: Mapping[str, Any]) -> str:
    parts = [row["at"] or "-", row["id"], row["kind"], ",".join(row["services"]), row["env"] or "", row["reason"]]
    return f"{row['outcome']:13} {' '.join(filter(None, parts))}"
