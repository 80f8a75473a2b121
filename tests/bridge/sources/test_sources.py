"""Every fixture of every source: headers and body as the sender posts them, and exactly what they come to.

    tests/fixtures/<source>/<kind>.<case>/
        headers.json    names in lower case
        body.json       the body
        context.json    optional: {"options": {…}, "query": {…}, "application_key": true, "opened": true}
        expected.json   one of
                        {"kind": …, "events": [{"id", "key", "method", "path", "body"}, …], "origins": [{…}]}
                        {"kind": …, "ignored": "part of the reason"}
                        {"kind": …, "invalid": "part of the reason"}

`dora-bridge rules test tests/fixtures` says the same of them; `opened`, that the ledger has the opening of an incident,
matters only there. `origins` may be left out; without `kind`, not even the kind of event can be told.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pydantic
import pytest

from bridge.dora import Fact
from bridge.errors import PayloadInvalid
from bridge.rules import Match, Rule, apply
from bridge.source import Context, Translation
from bridge.sources import SOURCES

FIXTURES = Path(__file__).parents[2] / "fixtures"
FOLDERS = sorted(path.parent for path in FIXTURES.glob("*/*/expected.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_fixture(folder: Path) -> None:
    source = SOURCES[folder.parent.name]
    expected = read(folder / "expected.json")
    headers = read(folder / "headers.json")
    body = (folder / "body.json").read_bytes()
    given = read(folder / "context.json") if (folder / "context.json").exists() else {}
    context = Context(
        source.options.model_validate(given.get("options", {})),
        headers,
        given.get("query", {}),
        given.get("application_key", False),
    )
    assert all(name == name.lower() for name in headers)

    assert outcome(source.name, headers, body, context) == {
        "kind": None,
        **{name: expected[name] for name in expected if name != "origins"},
        **{name: Containing(expected[name]) for name in ("ignored", "invalid") if name in expected},
    }
    if "origins" in expected:
        facts = said(source.translate(source.models[expected["kind"]].model_validate_json(body), context))
        assert [dict(fact.origins) for fact in facts] == expected["origins"]


def outcome(name: str, headers: dict[str, str], body: bytes, context: Context) -> dict[str, Any]:
    """What a body comes to, in the words of `expected.json`."""
    source, kind = SOURCES[name], None
    try:
        kind = source.kind(headers, body)
        if kind not in source.models:
            return {"kind": kind, "ignored": "this kind of event is not reported"}
        translation = source.translate(source.models[kind].model_validate_json(body), context)
    except PayloadInvalid as error:
        return {"kind": kind, "invalid": error.detail}
    except pydantic.ValidationError as error:
        return {"kind": kind, "invalid": "; ".join(".".join(map(str, e["loc"])) for e in error.errors())}
    facts = said(translation)
    if not facts:
        return {"kind": kind, "ignored": translation.ignored}
    for fact in translation.facts:
        # what Datadog takes as an id, and needs no escaping in paths
        assert re.fullmatch(r"[A-Za-z0-9_-]{16,128}", fact.id, re.ASCII)
        assert json.loads(json.dumps(fact.body)) == fact.body
    return {
        "kind": kind,
        "events": [
            {"id": fact.id, "key": fact.key, "method": fact.method, "path": fact.path, "body": fact.body}
            for fact in facts
        ],
    }


def said(translation: Translation) -> list[Fact]:
    """Without what came before it in a history, which has tests of its own."""
    return [fact for fact in translation.facts if not (getattr(fact, "history", None) and fact.history.role)]  # type: ignore[union-attr]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_the_headers_that_we_make_name_the_same_kind(folder: Path) -> None:
    source, kind = SOURCES[folder.parent.name], read(folder / "expected.json").get("kind")
    body = (folder / "body.json").read_bytes()
    made = source.headers(body, kind)
    assert all(name == name.lower() for name in made)
    if kind is not None:
        assert source.kind(made, body) == kind


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_has_a_fixture_and_every_source_one_of_each_outcome(name: str) -> None:
    expected = [read(folder / "expected.json") for folder in FOLDERS if folder.parent.name == name]
    assert not set(SOURCES[name].models) - {one.get("kind") for one in expected}
    assert not {"events", "ignored", "invalid"} - {key for one in expected for key in one}


@pytest.mark.parametrize("name", SOURCES)
def test_matchable_names_every_key_of_rules_that_facts_have_values_for(name: str) -> None:
    """And none that they never have: then `check` could not say of a rule that it never matches."""
    source, seen, told = SOURCES[name], set(), set()
    for folder in (folder for folder in FOLDERS if folder.parent.name == name):
        expected, given = read(folder / "expected.json"), {}
        if "events" not in expected:
            continue
        if (folder / "context.json").exists():
            given = read(folder / "context.json")
        options = source.options.model_validate(given.get("options", {}))
        context = Context(options, read(folder / "headers.json"), given.get("query", {}), True)
        kind = expected["kind"]
        translation = source.translate(
            source.models[kind].model_validate_json((folder / "body.json").read_bytes()), context
        )
        told |= {(one, key) for one, keys in source.matchable(options).items() for key in keys}
        seen |= {
            (kind, key)
            for key in set(Match.model_fields) - {"endpoint", "kind"}
            for fact in translation.facts
            if apply([Rule.model_validate({"match": {key: "*"}, "drop": "x"})], fact, translation.traits)[1]
        }
    assert seen <= told
    assert {key for _, key in told} == {key for _, key in seen}
    assert {kind for kind, _ in told} == {kind for kind, _ in seen}


def test_no_folder_is_left_out() -> None:
    assert sorted(path for path in FIXTURES.glob("*/*") if path.is_dir()) == FOLDERS
    kinds = {folder: read(folder / "expected.json").get("kind") or "" for folder in FOLDERS}
    assert not [folder for folder, kind in kinds.items() if not folder.name.startswith(kind)]


class Containing(str):
    """Equal to any text that contains it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self in other

    __hash__ = str.__hash__


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())
