"""Searching the ledger: what a person may ask for, whether a record is it, and one page of those that are."""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bridge.envelope import STATES, Envelope
from bridge.errors import Invalid
from bridge.ledger import Ledger, Place, Record
from bridge.times import from_epoch, from_rfc3339

MOST_ROWS = 500
DEFAULT_ROWS = 50
LOOK_THROUGH = 5_000
"""Records that one page looks through; a rare thing among very many is found with the cursor, in several pages."""
_CHUNK = 250

EVENTS = ("waiting", "settled")
DEAD_LETTERS = ("dead",)
"""Indexes of the ledger that a page can be of."""

_MS = 1_000_000
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])", re.ASCII)
_AUDIT_CURSOR = re.compile(r"\d{1,15}(-\d{1,15})?", re.ASCII)
_BEYOND_ANY = 2**53
"""No time of an index is as great: Redis would not keep it exactly, and refuses numbers that are far greater."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Filter:
    """Everything that is given must hold. Times are milliseconds since the epoch, of receipt, or of becoming a dead
    letter in a list of those."""

    source: str = ""
    """Name of a source or of an endpoint."""
    reason: str = ""
    """As lists show it; of a dead letter also its detail."""
    service: str = ""
    env: str = ""
    state: str = ""
    q: str = ""
    """A part of an id, name, version, commit, reason or of what Datadog said, in any case."""
    without_env: bool = False
    """Deployments and failures that name no environment."""
    since: int | None = None
    until: int | None = None

    @property
    def is_bare(self) -> bool:
        """Whether the time alone decides."""
        return self == Filter(since=self.since, until=self.until)

    def matches(self, record: Record) -> bool:
        """Whether a record is meant; of its story the last line is enough."""
        envelope = record.envelope
        return (
            (not self.source or self.source in (envelope.source, envelope.endpoint))
            and (not self.service or self.service in envelope.services)
            and (not self.env or self.env == envelope.attributes.get("env"))
            and (not self.state or self.state == record.state)
            and (not self.reason or self.reason in (reason_of(record), record.reason))
            and (not self.without_env or is_without_env(envelope))
            and (not self.q or self.q.casefold() in _text(record))
        )


def is_without_env(envelope: Envelope) -> bool:
    """Whether it says of a deployment or failure what happened, and not where. Of a closing the opening may say it."""
    reports = envelope.method == "POST" and envelope.state == "waiting"
    return reports and not envelope.attributes.get("env")


def reason_of(record: Record) -> str:
    """Why it is where it is. Of dead letters one of a closed set, which metrics and counts use as well."""
    if record.state != "dead_lettered":
        return record.reason
    last = record.story[-1] if record.story else {}
    if "verdict" in last:
        return str(last.get("reason") or "invalid")
    if not record.envelope.method or last.get("mode") == "retranslate":
        return "payload_invalid"
    return "opening_unknown"


def detail_of(record: Record) -> str:
    """The sentence behind the reason, or what Datadog said; empty if there is none."""
    last = record.story[-1] if record.story else {}
    if last.get("answer"):
        status = last.get("status")
        return f"{status}: {said(str(last['answer']))}" if status else str(last["answer"])
    return record.reason if record.reason != reason_of(record) else ""


def said(answer: str) -> str:
    """The messages of an answer of Datadog's, or all of it if it has another shape."""
    try:
        errors = json.loads(answer)["errors"]
        texts = [one if isinstance(one, str) else one.get("detail") or one.get("title") for one in errors]
        return "; ".join(str(text) for text in texts if text) or answer
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return answer


def _text(record: Record) -> str:
    envelope, attributes = record.envelope, record.envelope.attributes
    git = attributes.get("git") or {}
    texts: list[Any] = [
        envelope.id,
        envelope.delivery,
        envelope.endpoint,
        envelope.kind,
        *envelope.services,
        *(attributes.get(name) for name in ("env", "version", "team", "name", "severity")),
        *attributes.get("custom_tags", ()),
        git.get("commit_sha"),
        git.get("repository_url"),
        reason_of(record),
        detail_of(record),
    ]
    return "\n".join(str(text) for text in texts if text).casefold()


# -- what a person wrote

_NAMES = tuple(field.name for field in fields(Filter))


def parse(given: Mapping[str, Any], now: int) -> Filter:
    """The filter of these names and texts; `now` in nanoseconds. Empty values do not count.

    Raises: Invalid for a name that is no filter, since a slip must not select everything.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            raise Invalid(f"{name}: no such filter{f'; did you mean {near[0]}?' if near else ''}", name)
        if value is None or value == "":
            continue
        if name in ("since", "until"):
            values[name] = moment(value, now, name)
        elif name == "without_env":
            values[name] = _yes(value, name)
        elif not isinstance(value, str):
            raise Invalid(f"{name}: not a text", name)
        else:
            values[name] = value.strip()
    if values.get("state") and values["state"] not in STATES:
        raise Invalid(f"state: not one of {', '.join(STATES)}", "state")
    return replace(Filter(), **values)


def moment(value: object, now: int, name: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time, a date, an epoch number, or a time ago such as `2h` or `7d`.

    Raises: Invalid.
    """
    text = str(value).strip()
    if ago := _AGO.fullmatch(text):
        return now // _MS - int(ago[1]) * _SECONDS[ago[2]] * 1000
    for convert, candidate in ((from_rfc3339, text), (from_epoch, text), (from_rfc3339, f"{text}T00:00:00Z")):
        try:
            return convert(candidate) // _MS
        except ValueError:
            continue
    raise Invalid(f"{name}: neither a time like 2030-01-31T12:00:00Z nor an age like 2h or 7d", name)


def _yes(value: object, name: str) -> bool:
    if value in (True, "1", "true"):
        return True
    if value in (False, "0", "false"):
        return False
    raise Invalid(f"{name}: neither true nor false", name)


def rows_wanted(text: str) -> int:
    """A limit between 1 and MOST_ROWS. Raises: Invalid."""
    if not text:
        return DEFAULT_ROWS
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) > 0):
        raise Invalid(f"limit: not a number from 1 to {MOST_ROWS}", "limit")
    return min(int(text), MOST_ROWS)


def asked_for(parameters: Mapping[str, str]) -> tuple[Filter, int, str]:
    """Filter, limit and cursor of a query. Raises: Invalid."""
    given = {name: value for name, value in parameters.items() if name not in ("limit", "cursor")}
    asked = parse(given, time.time_ns())
    return asked, rows_wanted(parameters.get("limit", "")), parameters.get("cursor", "")


def audit_cursor(text: str) -> str:
    """A cursor of the audit trail. Raises: Invalid."""
    if text and not _AUDIT_CURSOR.fullmatch(text):
        raise Invalid("cursor: not one that an earlier page gave", "cursor")
    return text


def cursor_of(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place[0]}:{place[1]}".encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place | None:
    """The place of a cursor, None of an empty one. Raises: Invalid."""
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        time, colon, identifier = text.partition(":")
        if colon and identifier and abs(int(time)) < _BEYOND_ANY:
            return int(time), identifier
    except (binascii.Error, ValueError):
        pass
    raise Invalid("cursor: not one that an earlier page gave", "cursor")


# -- pages


@dataclass(frozen=True, slots=True)
class Page:
    records: Sequence[tuple[int, Record]]
    """Each with its time in the index: of receipt, or of becoming a dead letter."""
    next_cursor: str | None
    """None: there are no more."""
    looked_through: int


async def page(
    ledger: Ledger,
    indexes: Sequence[str],
    asked: Filter,
    *,
    limit: int,
    cursor: str = "",
    oldest_first: bool = False,
    with_stories: bool = True,
    look_through: int = LOOK_THROUGH,
) -> Page:
    """One page. With a cursor it goes on after what was seen, whatever came or went meanwhile.

    A page may be short, or empty, and still have a next one: it ends after having looked through LOOK_THROUGH records.
    """
    after = place_of(cursor)
    found: list[tuple[Place, Record]] = []
    looked = 0
    more = True
    while more and looked < look_through and len(found) <= limit:
        chunk = limit + 1 if asked.is_bare else max(_CHUNK, min(limit + 1, 1000))
        places = await ledger.places(
            indexes, after=after, low=asked.since, high=asked.until, count=chunk, oldest_first=oldest_first
        )
        more = len(places) == chunk
        for place, record in zip(places, await ledger.briefly([id_ for _, id_ in places]), strict=True):
            after = place
            looked += 1
            if record is not None and asked.matches(record):
                found.append((place, record))
                if len(found) > limit:
                    break
    if len(found) > limit:
        found = found[:limit]
        after, more = found[-1][0], True
    if with_stories:
        stories = await ledger.stories([id_ for (_, id_), _ in found])
        found = [(place, replace(record, story=story)) for (place, record), story in zip(found, stories, strict=True)]
    next_cursor = cursor_of(after) if more and after is not None else None
    return Page([(place[0], record) for place, record in found], next_cursor, looked)
