"""Bodies of webhooks as no vendor has sent them yet: real ones, with something taken away, retyped or broken.

What is chosen is left to the caller (`Choose`), so that hypothesis and a coverage-guided run spoil in the same way.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Choose = Callable[[Sequence[Any]], Any]
"""One of several."""

FIXTURES = Path(__file__).parents[1] / "fixtures"

LITERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-0",
    "0",
    "-1",
    "1.5",
    "1741079560",
    "1741079560207",
    "1741079560207391173",
    "9223372036854775808",
    "9" * 400,
    "9" * 5_000,
    "null",
    "true",
    "[]",
    "{}",
    '""',
    '" "',
    '"0"',
    r'"\ud800"',
    r'"\u0000"',
    r'"\udbff\udfff"',
    '"²"',
    '"ß\u0130"',
    '"2025-03-04T09:12:40Z"',
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59.999999999-12:00"',
    '"1741079560207391173"',
    '"https://user:secret@example.com/a/b"',
    '"a' + "b" * 300 + '"',
    '{"id":1,"id":2}',
    "[" * 150 + "]" * 150,
    "[" * 5_000 + "]" * 5_000,
    '{"a":' * 300 + "1" + "}" * 300,
)
"""What is put in the place of a value, as text: much of it is what Python's own encoder would not write."""
_MARK = "\x00literal "
"""Stands for a literal until the body is written; no body has it."""


def spoiled(body: Any, choose: Choose) -> bytes:
    """The body as JSON, or nearly, with one to four changes."""
    body = copy.deepcopy(body)
    again: list[tuple[str, str]] = []
    for _ in range(choose((1, 1, 2, 3, 4))):
        places = list(_places(body))
        if not places:
            break
        container, key = choose(places)
        change = choose(("drop", "literal", "literal", "value of another", "twice", "letters"))
        if change == "drop":
            del container[key]
        elif change == "literal":
            container[key] = f"{_MARK}{choose(range(len(LITERALS)))}"
        elif change == "value of another":
            other, its_key = choose(places)
            container[key] = copy.deepcopy(other[its_key])
        elif isinstance(key, str) and change == "letters":
            container[key.swapcase()] = copy.deepcopy(container[key])
        elif isinstance(key, str):
            # the key once more, before itself
            again.append((json.dumps(key) + ":", choose(LITERALS)))
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=choose((True, False)))
    for number, literal in enumerate(LITERALS):
        text = text.replace(json.dumps(f"{_MARK}{number}"), literal)
    for key, literal in again:
        text = text.replace(key, f"{key}{literal},{key}", 1)
    return _broken(text.encode("utf-8", "surrogatepass"), choose)


def _broken(raw: bytes, choose: Choose) -> bytes:
    """Mostly as it was; now and then bytes that are no JSON, or no text."""
    how = choose(("not", "not", "not", "not", "not", "not", "cut", "inserted", "doubled", "utf-16"))
    if how == "utf-16":
        return raw.decode("utf-8", "replace").encode("utf-16")
    at = choose(range(len(raw) + 1))
    if how == "cut":
        return raw[:at]
    if how == "inserted":
        return raw[:at] + choose((b"\xff", b"\x00", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf")) + raw[at:]
    return raw + raw if how == "doubled" else raw


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in it, with every key or index."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


@cache
def fixtures(source: str) -> Sequence[tuple[Mapping[str, str], bytes, Mapping[str, Any]]]:
    """Headers, body and context of every fixture of a source."""
    found = []
    for folder in sorted((FIXTURES / source).iterdir()):
        context = folder / "context.json"
        found.append(
            (
                json.loads((folder / "headers.json").read_bytes()),
                (folder / "body.json").read_bytes(),
                json.loads(context.read_bytes()) if context.exists() else {},
            )
        )
    return found


@cache
def bodies(source: str) -> Sequence[tuple[Mapping[str, str], Any]]:
    """Headers and body of the fixtures whose body is a JSON object."""
    found = []
    for headers, raw, _ in fixtures(source):
        try:
            body = json.loads(raw)
        except ValueError:
            continue
        if isinstance(body, dict):
            found.append((headers, body))
    return found
