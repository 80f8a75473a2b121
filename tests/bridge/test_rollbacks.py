"""Datadog's rule for rollbacks, replayed over histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.rollbacks import Step, rollbacks


def history(text: str) -> list[Step]:
    """`A B A`: one deployment after the other, named by position; `-` has neither commit nor version."""
    return [Step(n, n, f"{n}", "" if name == "-" else name) for n, name in enumerate(text.split())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("A", []),
        ("A A", []),
        ("A B C", []),
        ("A B A", [("2", "1")]),
        ("A B C A", [("3", "1")]),  # the documented example: V2 is blamed
        ("A A B A", [("3", "2")]),
        ("A B A B", [("2", "1"), ("3", "2")]),
        ("A B A A", [("2", "1")]),
        ("A - A", []),
        ("- A -", []),
        ("A B - A", [("3", "1")]),
    ],
)
def test_histories(text: str, expected: list[tuple[str, str]]) -> None:
    assert rollbacks(history(text)) == expected


def test_the_end_decides_and_between_equal_ends_the_one_that_was_sent() -> None:
    late = Step(0, 0, "late", "A")
    assert rollbacks([Step(1, 1, "b", "B"), Step(2, 2, "a", "A"), late]) == [("a", "b")]
    assert rollbacks([Step(1, 2, "a", "A"), Step(1, 1, "b", "B"), late]) == [("a", "b")]
    assert rollbacks([Step(1, 1, "a", "A"), Step(1, 2, "b", "B"), late]) == []


@given(st.lists(st.sampled_from("ABC-"), max_size=12))
def test_every_rollback_returns_and_blames_what_came_between(names: list[str]) -> None:
    steps = history(" ".join(names)) if names else []
    found = rollbacks(steps)
    assert len({one.id for one in found}) == len(found)
    for one in found:
        assert int(one.blamed) < int(one.id)
        assert names[int(one.blamed)] != names[int(one.id)] != "-"
        assert names[int(one.id)] in names[: int(one.blamed)]
