from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ids import fact_id, one_of_several

DATADOG = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
"""What the API takes, without `.` and `:`."""


@pytest.mark.parametrize(
    ("parts", "instance", "expected"),
    [
        (("pagerduty-incident", "PFQZPSY"), "", "pagerduty-incident-PFQZPSY"),
        (("pagerduty-incident", "PFQZPSY", "r1775009701"), "", "pagerduty-incident-PFQZPSY-r1775009701"),
        (("pagerduty-incident", "PFQZPSY"), "eu", "pagerduty-incident-eu-PFQZPSY"),
        (("gh-dep", "0186853002", "000145988746"), "", "gh-dep-0186853002-000145988746"),
    ],
)
def test_a_legal_id_stays_readable(parts: tuple[str, ...], instance: str, expected: str) -> None:
    assert fact_id(*parts, instance=instance) == expected


# hashes by: printf '<id>' | sha256sum
@pytest.mark.parametrize(
    ("parts", "instance", "expected"),
    [
        (("pagerduty-incident", "PÄX"), "", "pagerduty-incident-e8c7a53e383c544325763093e338e86c3f2b1ec4"),
        (("x", "a"), "eu", "x-eu-20887038f5bd5c11e20c3e94439ddb903e741a5e"),
    ],
)
def test_any_other_is_replaced_by_its_hash(parts: tuple[str, ...], instance: str, expected: str) -> None:
    assert fact_id(*parts, instance=instance) == expected


def test_a_newline_at_the_end_is_no_legal_id() -> None:
    assert DATADOG.fullmatch(fact_id("pagerduty-incident", "PFQZPSY\n"))
    assert fact_id("pagerduty-incident", "PFQZPSY\n") != fact_id("pagerduty-incident", "PFQZPSY")


@given(st.lists(st.text(), min_size=1), st.from_regex(r"[A-Za-z0-9_-]{0,24}", fullmatch=True))
def test_every_id_is_legal_and_stable(parts: list[str], instance: str) -> None:
    identifier = fact_id("pagerduty-incident", *parts, instance=instance)
    assert DATADOG.fullmatch(identifier)
    assert identifier == fact_id("pagerduty-incident", *parts, instance=instance)


def test_records_of_several_services_have_ids_of_their_own() -> None:
    assert one_of_several("gh-dep-0186853002-000145988746", "checkout") == ("gh-dep-0186853002-000145988746-c7761e58")


@given(st.from_regex(DATADOG, fullmatch=True), st.text(), st.text())
def test_the_id_of_one_of_several_is_legal_and_differs_by_service(identifier: str, one: str, other: str) -> None:
    assert DATADOG.fullmatch(one_of_several(identifier, one))
    assert (one_of_several(identifier, one) == one_of_several(identifier, other)) == (one == other)


def test_long_ids_that_begin_alike_stay_different() -> None:
    assert one_of_several("a" * 120 + "1", "checkout") != one_of_several("a" * 120 + "2", "checkout")
