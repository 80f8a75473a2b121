from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench.chart import chart, powers, thinned, ticks


def test_ticks_are_round_numbers_up_to_the_most() -> None:
    assert ticks(2000) == [0, 500, 1000, 1500, 2000]
    assert ticks(19.3) == [0, 5, 10, 15]
    assert ticks(0.7) == [0, 0.2, 0.4, 0.6]


def test_a_chart_has_each_line_within_its_frame_and_names_it() -> None:
    text = chart("A <title>", "seconds", "events", {"ours": [(0, 0), (10, 40)], "best": [(5, 40)]})
    svg = ElementTree.fromstring(text)  # noqa: S314 - our own
    lines = [one.attrib["points"] for one in svg.iter() if one.tag.endswith("polyline")]
    assert lines == ["64.0,352.0 692.0,64.0", "378.0,64.0"]
    texts = [one.text for one in svg.iter() if one.tag.endswith("text")]
    assert {"A <title>", "seconds", "events", "ours", "best", "40", "10"} <= set(texts)


def test_an_axis_from_above_zero_on_is_logarithmic() -> None:
    svg = chart("Times", "rate", "ms", {"p99": [(1, 0.1), (2, 1), (4, 10)]}, lowest=0.1)
    assert 'points="221.0,352.0 378.0,208.0 692.0,64.0"' in svg
    assert powers(0.1, 10) == [0.1, 1, 10]
    assert powers(0.2, 99) == [1, 10]


def test_there_is_no_chart_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        chart("Empty", "x", "y", {"none": []})


def test_thinning_keeps_the_first_and_the_last() -> None:
    points = [(float(one), 0.0) for one in range(1001)]
    some = thinned(points, 100)
    assert (some[0], some[-1]) == (points[0], points[-1])
    assert 90 <= len(some) <= 102
    assert thinned([(1.0, 2.0)]) == [(1.0, 2.0)]
