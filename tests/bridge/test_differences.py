"""Where two JSON values differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.differences import ABSENT, Difference, differences, shown


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({"a": 1, "b": [1]}, {"b": [1], "a": 1}, []),
        (1, 2, [("", 1, 2)]),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": {"b": {"c": "x"}}}, {"a": {"b": {"c": "y"}}}, [("a.b.c", "x", "y")]),
        ({"a": 1}, {"b": 1}, [("a", 1, ABSENT), ("b", ABSENT, 1)]),
        ({"a": None}, {}, [("a", None, ABSENT)]),
        ({"a": None}, {"a": {}}, [("a", None, {})]),
        # tags and services as a whole
        ({"a": ["x", "y"]}, {"a": ["x"]}, [("a", ["x", "y"], ["x"])]),
        ({"a": []}, {"a": ["x"]}, [("a", [], ["x"])]),
        # events one by one
        ([{"id": 1}, {"id": 2}], [{"id": 1}, {"id": 3}], [("[1].id", 2, 3)]),
        ([{"id": 1}], [{"id": 1}, {"id": 2}], [("[1]", ABSENT, {"id": 2})]),
        ({"a": [{"id": 1}]}, {"a": []}, [("a[0]", {"id": 1}, ABSENT)]),
    ],
)
def test_places(before: Any, after: Any, expected: list[tuple[str, Any, Any]]) -> None:
    assert list(differences(before, after)) == [Difference(*one) for one in expected]


JSON = st.recursive(
    st.none() | st.integers(0, 2) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_none_if_and_only_if_they_are_equal(before: Any, after: Any) -> None:
    assert (list(differences(before, after)) == []) == (before == after)


def test_json_leaves_out_what_is_not_there() -> None:
    assert Difference("a", ABSENT, None).json() == {"place": "a", "after": None}


def test_text() -> None:
    assert [shown(one) for one in (ABSENT, None, "é", ["x"])] == ["nothing", "null", '"é"', '["x"]']
    assert len(shown("x" * 10_000)) < 400
