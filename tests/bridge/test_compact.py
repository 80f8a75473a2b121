"""Compact JSON is what any reader of JSON takes for the value, whatever text is in it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.compact import compact

texts = st.text(st.characters(codec=None))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(values)
def test_is_the_value(value: Any) -> None:
    assert json.loads(compact(value)) == value


def test_is_as_short_as_can_be() -> None:
    assert compact({"a": [1, "ü"], "b": None}) == '{"a":[1,"ü"],"b":null}'


def test_half_a_pair_is_an_escape() -> None:
    """Which Redis and Datadog are sent as UTF-8, where it has no bytes."""
    assert compact(["ü", "\ud83d"]) == r'["\u00fc","\ud83d"]'
