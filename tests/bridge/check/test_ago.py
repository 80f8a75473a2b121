"""Lengths of time in words."""

from __future__ import annotations

import pytest

from bridge.check.ago import length


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (3 * 86_400 + 1, "3 d"),
    ],
)
def test_largest_unit_that_fits(seconds: float, said: str) -> None:
    assert length(seconds) == said
