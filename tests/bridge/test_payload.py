"""payload: what vendors leave out, null or change counts as absent, and the rest stays."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from bridge.payload import (
    Item,
    Items,
    Many,
    Maybe,
    Object,
    Part,
    StrippedOrNumber,
    Text,
    TextOrNumber,
    Time,
    as_tags,
    fields_of,
)


class Author(Part):
    name: Text = None


class Commit(Part):
    id: int


class Everything(Part):
    title: Text = None
    number: TextOrNumber = None
    closed_at: Time = None
    draft: Maybe[bool] = None
    commit: Maybe[Commit] = None
    author: Object[Author] = Author(name="nobody")
    reviewer: Object[Author | None] = None
    details: Object[dict[str, Text]] = pydantic.Field({})
    known: Object[dict[str, Item[StrippedOrNumber]]] = pydantic.Field({})
    sources: Many[Object[Author]] = ()
    revisions: Many[Text] = ()
    commits: Items[Commit] = ()


def read(**fields: Any) -> Everything:
    """The model of a body as it is posted; it is the same if the body was parsed before."""
    model = Everything.model_validate_json(json.dumps(fields))
    assert model == Everything.model_validate(fields)
    return model


ODD: list[Any] = [None, "", " ", "odd", 0, -1, 3.5, 10**30, True, [], ["odd"], [None], {}, {"id": "odd"}, {"name": 5}]


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("field", Everything.model_fields)
def test_no_odd_value_of_any_field_refuses_the_body(field: str, odd: object) -> None:
    model = read(**{"title": "a", "revisions": ["b"], field: odd})
    assert field == "title" or model.title == "a"
    assert field == "revisions" or model.revisions == ("b",)


@pytest.mark.parametrize(
    ("field", "sent", "value"),
    [
        ("title", " a b\n", "a b"),
        ("title", " ", None),
        ("title", 5, None),
        ("number", 5, "5"),
        ("number", " 5 ", "5"),
        ("number", 1.10, None),  # or 1.1?
        ("number", True, None),
        ("closed_at", "1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("closed_at", "1970-01-01T00:00:01", None),
        ("closed_at", 1, None),
        ("draft", False, False),
        ("draft", "odd", None),
        ("commit", {"id": 5, "new": 1}, Commit(id=5)),
        ("commit", {}, None),
        ("author", {"name": "a"}, Author(name="a")),
        ("author", {"name": 5}, Author()),
        ("author", None, Author()),
        ("author", ["a"], Author()),
        ("reviewer", None, None),
        ("reviewer", "a", Author()),
        ("details", {"a": " b ", "c": 5}, {"a": "b", "c": None}),
        ("details", [], {}),
        ("known", {"a": " b ", "c": 5, "d": None}, {"a": "b", "c": "5"}),
        ("sources", [{"name": "a"}, 5, {}], (Author(name="a"), Author(), Author())),
        ("sources", {"name": "a"}, ()),
        ("revisions", ["a", None, "b"], ("a", None, "b")),
        ("revisions", "ab", ()),
        ("commits", [{"id": 1}, {}, 5, {"id": 2}], (Commit(id=1), Commit(id=2))),
        ("commits", None, ()),
    ],
)
def test_what_is_read(field: str, sent: object, value: object) -> None:
    assert getattr(read(**{field: sent}), field) == value


def test_what_is_left_out_has_its_default() -> None:
    assert read() == Everything.model_construct()
    assert read().author.name == "nobody"


def test_a_required_field_is_still_required() -> None:
    for body in ("{}", '{"id": "odd"}', "[]", "5"):
        with pytest.raises(pydantic.ValidationError):
            Commit.model_validate_json(body)


def test_a_fact_says_where_those_fields_came_from_that_it_has() -> None:
    found = {"service": ("shop", "app.name"), "env": (None, "app.env"), "services": ((), "tags"), "kind": ("x", "")}
    assert fields_of(found) == {
        "service": "shop",
        "env": None,
        "services": (),
        "kind": "x",
        "origins": {"service": "app.name"},
    }


def test_tags_of_what_has_a_value() -> None:
    assert as_tags(run=5, actor="jo", ref=None, team="") == ("run:5", "actor:jo")
