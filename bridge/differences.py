"""Where two JSON values differ: each place with what is there in the one and in the other. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class Absent:
    """Stands for a value that is not there, which is not the same as null."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place, e.g. `events[0].body.data.attributes.service`; empty for the whole."""

    place: str
    before: Any
    after: Any

    def json(self) -> dict[str, Any]:
        """`place`, `before` and `after`; one of these is left out where there is nothing."""
        values = {"place": self.place, "before": self.before, "after": self.after}
        return {name: value for name, value in values.items() if value is not ABSENT}


def differences(before: Any, after: Any, place: str = "") -> Iterator[Difference]:
    """The places at which they differ, in the order of the first one.

    Lists of plain values, such as tags, are one place: which of them moved says less than the whole.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{place}.{name}" if place else str(name)
            yield from differences(before.get(name, ABSENT), after.get(name, ABSENT), inner)
    elif _is_nested(before) and _is_nested(after):
        for position in range(max(len(before), len(after))):
            one, other = (list_[position] if position < len(list_) else ABSENT for list_ in (before, after))
            yield from differences(one, other, f"{place}[{position}]")
    elif before != after:
        yield Difference(place, before, after)


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping | list) for one in value)


_LONGEST = 300


def shown(value: Any) -> str:
    """A value for people: JSON, cut if it is very long, or `nothing`."""
    text = repr(value) if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
