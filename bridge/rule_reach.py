"""Which rules can never match, whatever a sender posts. Pure.

A rule is named only if it is certain. It applies to the facts of events of some kind from some endpoint; the options of
an endpoint say which kinds become facts at all, and its source which keys of `match` such an event can have. Where
none is left, or where earlier rules take all that is left, the rule is without effect.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bridge.rules import Match, Rule, glob_regex
from bridge.source import Endpoint

_PLACE_KEYS = ("endpoint", "kind")


@dataclass(frozen=True, slots=True)
class DeadRule:
    """A rule that can never match, and why."""

    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where facts come from, and what rules can compare there."""

    endpoint: str
    kind: str
    keys: frozenset[str]


def dead_rules(rules: Sequence[Rule], endpoints: Mapping[str, Endpoint]) -> Iterator[DeadRule]:
    """The rules that can never match, in the order of the file."""
    everywhere = [
        _Place(name, kind, keys)
        for name, endpoint in endpoints.items()
        for kind, keys in endpoint.source.matchable(endpoint.options).items()
    ]
    for number, rule in enumerate(rules):
        why = _out_of_reach(rule.match, everywhere, endpoints) or _shadowed(number, rules, everywhere)
        if why:
            yield DeadRule(rule.called(number + 1), why)


def _out_of_reach(match: Match, everywhere: Sequence[_Place], endpoints: Mapping[str, Endpoint]) -> str:
    """Why no event has what it asks for; empty if one may have."""
    given = dict(match.given)
    here = [place for place in everywhere if _takes(given, "endpoint", place.endpoint)]
    if not any(_takes(given, "endpoint", name) for name in endpoints):
        return f"there is no such endpoint as its match.endpoint{_near(given['endpoint'], endpoints)}"
    kinds = [place for place in here if _takes(given, "kind", place.kind)]
    if not kinds:
        known = dict.fromkeys(place.kind for place in here)
        return f"match.kind: what it can match reports only {', '.join(known)}{_near(given.get('kind', ()), known)}"
    if _reachable(match, kinds):
        return ""
    missing = [key for key in given if key not in _PLACE_KEYS and not any(key in place.keys for place in kinds)]
    if missing:
        return f"match.{missing[0]}: events of {_listed(kinds)} have none"
    return f"no event of {_listed(kinds)} has all of {', '.join(key for key in given if key not in _PLACE_KEYS)}"


def _shadowed(number: int, rules: Sequence[Rule], everywhere: Sequence[_Place]) -> str:
    """Which earlier rules take all that it could match; empty if something may be left."""
    takers: dict[str, None] = {}
    for place in _reachable(rules[number].match, everywhere):
        taker = next(
            (
                earlier.called(position)
                for position, earlier in enumerate(rules[:number], start=1)
                if _covers(earlier.match, rules[number].match, place)
            ),
            None,
        )
        if taker is None:
            return ""
        takers[taker] = None
    return f"{' and '.join(takers)} come{'s' * (len(takers) == 1)} first and match{'es' * (len(takers) == 1)} all of it"


def _reachable(match: Match, places: Iterable[_Place]) -> list[_Place]:
    return [
        place
        for place in places
        if all(
            _takes({key: globs}, key, getattr(place, key)) if key in _PLACE_KEYS else key in place.keys
            for key, globs in match.given
        )
    ]


def _covers(earlier: Match, later: Match, place: _Place) -> bool:
    """Whether the earlier one matches every fact from there that the later one matches."""
    wanted = dict(later.given)
    return all(
        _takes({key: globs}, key, getattr(place, key))
        if key in _PLACE_KEYS
        else key in wanted and all(any(is_within(one, general) for general in globs) for one in wanted[key])
        for key, globs in earlier.given
    )


def _takes(given: Mapping[str, Sequence[str]], key: str, value: str) -> bool:
    return key not in given or any(glob_regex(glob).fullmatch(value) for glob in given[key])


def is_within(special: str, general: str) -> bool:
    """Whether every text that the one glob matches is surely matched by the other.

    The general one is matched with the text of the special one, whose star stands for anything and so can only be
    taken by a star. That may miss some, like `*?` within `?*`, but what it says is so.
    """
    parts = {"*": ".*", "?": "[^*]"}
    pattern = "".join(parts.get(character, re.escape(character)) for character in general)
    return re.fullmatch(pattern, special, re.DOTALL) is not None


def _listed(places: Sequence[_Place]) -> str:
    return ", ".join(dict.fromkeys(f"{place.endpoint} ({place.kind})" for place in places))


def _near(globs: Sequence[str], known: Iterable[str]) -> str:
    near = [one for glob in globs for one in difflib.get_close_matches(glob, list(known), n=1)]
    return f"; did you mean {near[0]}?" if near else ""
