"""Fields that vendors leave out, null or change: how we read them, and say where we found them. Pure.

The models of a source list what we read of its payloads, in the vendor's words. A field is required only if nothing
true can be said without it. Any other has a default and one of the types below: what is missing, null or of an
unexpected type counts as absent, since it is no reason to lose a deployment or an incident.

    class Issue(Part):
        id: int
        title: Text = None
        closed_at: Time = None
        author: Object[Author] = Author()
        labels: Items[Label] = ()

What `translate` finds is written down as `Found`, a value and its place for each field of a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticOmit

from bridge.times import Rfc3339

T = TypeVar("T")


class Part(BaseModel):
    """An object of a payload, or all of it: the fields we read, nothing more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# The first alternative that takes the value decides; the last one takes any. Unlike a validator around the type,
# this calls no Python for the usual value, which makes GitHub's events a third cheaper to read.
_IN_THIS_ORDER = Field(union_mode="left_to_right")


def _leave_out(value: object) -> object:
    raise PydanticOmit


_Odd = Annotated[None, BeforeValidator(lambda value: None)]
Maybe = Annotated[T | _Odd | None, _IN_THIS_ORDER]
"""A T; None for anything else."""
Object = Annotated[T | Annotated[T, BeforeValidator(lambda value: {})], _IN_THIS_ORDER]
"""A T made of an object; the empty T for anything else. For models that require no field, and for dicts."""
Many = Annotated[tuple[T, ...] | Annotated[tuple[T, ...], BeforeValidator(lambda value: ())], _IN_THIS_ORDER]
"""All items of a list, in their places, so T must take any value; () for anything else."""
Item = Annotated[T | Annotated[T, BeforeValidator(_leave_out)], _IN_THIS_ORDER]
"""A T in a list or a dict, which goes without it if it is none."""
Items = Many[Item[T]]
"""Those items of a list that are T; () for anything else."""


def _number_as_text(value: object) -> object:
    # no fractions: 1.10 and 1.1 are one number in JSON, but two versions
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Stripped = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text without blanks around it; blank text is none."""
StrippedOrNumber = Annotated[Stripped, BeforeValidator(_number_as_text)]
"""The same, or the digits of a whole number."""
Text = Maybe[Stripped]
TextOrNumber = Maybe[StrippedOrNumber]
Time = Maybe[Rfc3339]


Found = Mapping[str, tuple[Any, str]]
"""Field of a fact -> its value, and where in the webhook that was."""


def fields_of(found: Found) -> dict[str, Any]:
    """The arguments of the fact: the values, and as `origins` the places of those that are there."""
    origins = {field: place for field, (value, place) in found.items() if value and place}
    return {**{field: value for field, (value, _) in found.items()}, "origins": origins}


def as_tags(**values: str | int | None) -> tuple[str, ...]:
    """`name:value` for each that has a value."""
    return tuple(f"{name}:{value}" for name, value in values.items() if value)
