"""Folders of webhooks with what they shall become, for users to keep their mapping under test: `rules test DIR`.

    DIR/<endpoint>/<case>/
        body.json       the body as the sender posts it
        headers.json    optional: its headers; without the file, those that this sender would send
        context.json    optional: {"query": {"env": …}, "options": {…}, "application_key": true, "opened": true}
        expected.json   what `dora-bridge translate` prints for it, or some of that: what is left out is not compared

A case may lie deeper; the first folder below DIR names the endpoint, or a kind. In `expected.json`,
`{"ignored": "part of the reason"}` and `{"invalid": "part of the reason"}` are short for an outcome with such a reason,
and `origins` says where the fields of each event come from. `options` are put over those of the configured endpoint.

As with `translate`, the age of a body does not matter, and the ledger is taken to be empty; `opened` says that it has
the opening of this incident. There is no application key unless the case says so: what a body comes to must not
depend on where it is tested.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pydantic

from bridge.differences import Difference, differences, shown
from bridge.dry_run import ageless, outcome
from bridge.dry_run import shown as calls
from bridge.intake import Delivery
from bridge.rules import Rule
from bridge.source import Endpoint

BODY, HEADERS, CONTEXT, EXPECTED = "body.json", "headers.json", "context.json", "expected.json"
_PRINTED = ("kind", "outcome", "reason", "rule", "events")
_SHORT = ("ignored", "invalid")
_KEYS = (*_PRINTED, "origins", *_SHORT)
_CONTEXT_KEYS = ("query", "options", "application_key", "opened")


@dataclass(frozen=True, slots=True)
class Case:
    """One folder, by its name below DIR, e.g. `github/deploy-of-the-shop`."""

    name: str
    folder: Path

    @property
    def endpoint(self) -> str:
        """The first part of its name."""
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one case. `problem` says why it could not be compared; then there are no differences."""

    case: Case
    status: Literal["passed", "failed", "updated"]
    problem: str = ""
    differences: Sequence[Difference] = ()
    """From what is expected to what it comes to."""

    def json(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        told = [
            {"place": one["place"], **{new: one[old] for old, new in _WORDS.items() if old in one}}
            for one in (difference.json() for difference in self.differences)
        ]
        return {"case": self.case.name, "status": self.status, "problem": self.problem, "differences": told}


_WORDS = {"before": "expected", "after": "got"}


class CaseBroken(Exception):
    """A file of a case is missing or cannot be read; the text says which and why."""


def cases(directory: Path) -> list[Case]:
    """All folders below a directory that have a body or an expectation, by name."""
    folders = {path.parent for name in (BODY, EXPECTED) for path in directory.rglob(name)}
    return sorted((Case(one.relative_to(directory).as_posix(), one) for one in folders), key=lambda case: case.name)


def tried(case: Case, endpoint: Endpoint, rules: Sequence[Rule], *, now: int, update: bool = False) -> Verdict:
    """Whether the body of a case becomes what is expected; `now` is nanoseconds since the epoch, UTC.

    With `update`, `expected.json` is written where it is missing or differs: with the keys that it had, unless it was
    short for something that is not so any more.
    """
    try:
        got = _came_to(case, endpoint, rules, now)
        path = case.folder / EXPECTED
        if not path.exists():
            if not update:
                raise CaseBroken(f"{EXPECTED} is missing; write it, or have it written by --update and read it")
            _write(path, {name: got[name] for name in _PRINTED})
            return Verdict(case, "updated")
        expected = _object(path, _KEYS)
        found = tuple(_different(expected, got))
        if found and update:
            kept = tuple(expected) if expected.keys() <= got.keys() else _PRINTED
            _write(path, {name: got[name] for name in kept})
            return Verdict(case, "updated", differences=found)
    except CaseBroken as broken:
        return Verdict(case, "failed", str(broken))
    return Verdict(case, "failed" if found else "passed", differences=found)


def _came_to(case: Case, endpoint: Endpoint, rules: Sequence[Rule], now: int) -> dict[str, Any]:
    try:
        body = (case.folder / BODY).read_bytes()
    except OSError as error:
        raise CaseBroken(f"{BODY}: {error.strerror}") from error
    context = _object(case.folder / CONTEXT, _CONTEXT_KEYS)
    path = case.folder / HEADERS
    headers = _object(path) if path.exists() else endpoint.source.headers(body, None)
    delivery = Delivery(
        {name.lower(): str(value) for name, value in headers.items()},
        {name: str(value) for name, value in _mapping(context, "query").items()},
        body,
    )
    receipt = ageless(
        _with_options(endpoint, _mapping(context, "options")),
        delivery,
        rules=rules,
        application_key=bool(context.get("application_key", False)),
        now=now,
    )
    opened = bool(context.get("opened", False))
    origins = [dict(envelope.origins) for envelope in calls(receipt, opened=opened)]
    return {**outcome(receipt, opened=opened), "origins": origins}


def _mapping(context: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = context.get(name, {})
    if not isinstance(value, dict):
        raise CaseBroken(f"{CONTEXT}: {name} is not an object")
    return value


def _with_options(endpoint: Endpoint, options: Mapping[str, Any]) -> Endpoint:
    if not options:
        return endpoint
    try:
        merged = endpoint.source.options.model_validate(endpoint.options.model_dump() | dict(options))
    except pydantic.ValidationError as error:
        places = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise CaseBroken(f"{CONTEXT}: no such options, or not such values: {places}") from error
    return replace(endpoint, options=merged)


def _object(path: Path, known: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON object of a file, empty if there is none; a slip in a key must not pass as a test."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CaseBroken(f"{path.name}: not JSON, or not readable") from error
    if not isinstance(value, dict):
        raise CaseBroken(f"{path.name}: not a JSON object")
    unknown = [name for name in value if known and name not in known]
    if unknown:
        raise CaseBroken(f"{path.name}: unknown key {unknown[0]}; known are {', '.join(known)}")
    return value


def _different(expected: Mapping[str, Any], got: Mapping[str, Any]) -> Sequence[Difference]:
    found: list[Difference] = []
    for name, value in expected.items():
        if name in _SHORT:
            found += differences(name, got["outcome"], "outcome")
            if got["outcome"] == name and str(value) not in got["reason"]:
                found.append(Difference("reason", value, got["reason"]))
        else:
            found += differences(value, got[name], name)
    return found


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def as_text(verdict: Verdict) -> str:
    """One line, and under it what differs."""
    lines = [f"{verdict.status:8} {verdict.case.name}"]
    if verdict.problem:
        lines.append(f"         {verdict.problem}")
    lines += [
        f"         {one.place}: expected {shown(one.before)}, got {shown(one.after)}" for one in verdict.differences
    ]
    return "\n".join(lines)


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """status -> how many; `updated` only if there are any."""
    counts = {"passed": 0, "failed": 0}
    for one in verdicts:
        counts[one.status] = counts.get(one.status, 0) + 1
    return counts
