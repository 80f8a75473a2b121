from __future__ import annotations

import pytest

from bench.medians import medians, percentile, ratio_of_rounds, steady_rate


def test_percentiles_are_values_that_occurred() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, one) for one in (1, 25, 26, 50, 75, 99, 100)] == [1, 1, 2, 2, 3, 4, 4]
    assert percentile(range(1, 1001), 99) == 990


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    with pytest.raises(ValueError, match="percentage"):
        percentile([1], 0)


def test_medians_are_per_name_over_the_rounds_that_have_it() -> None:
    rounds = [{"a": 1.0, "b": 5.0}, {"a": 9.0}, {"a": 2.0, "b": 7.0}]
    assert medians(rounds) == {"a": 2.0, "b": 6.0}


def test_the_ratio_is_taken_within_each_round() -> None:
    # the second round was slow as a whole; medians of each alone would say 100 / 100
    assert ratio_of_rounds([100, 10, 150], [200, 20, 100]) == 0.5


def test_a_ratio_needs_both_numbers_of_each_round() -> None:
    with pytest.raises(ValueError, match="argument"):
        ratio_of_rounds([1, 2], [1])


def test_a_steady_rate_leaves_out_beginning_and_end() -> None:
    steady = [10 + number / 100 for number in range(80)]  # 100 a second
    slow_start, slow_end = [float(number) for number in range(10)], [20.0 + number for number in range(10)]
    assert steady_rate([*slow_end, *steady, *slow_start]) == pytest.approx(100)
    with pytest.raises(ValueError, match="too few"):
        steady_rate([1.0] * 9)
