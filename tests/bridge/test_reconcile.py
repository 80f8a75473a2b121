"""The comparison of ledger and Datadog: each verdict, what is not one, and how they count."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.datadog_records import DatadogRecord, Kind
from bridge.reconcile import Claim, Comparison, compare

HOUR = 3600 * 10**9
SINCE = 1_795_000_000 * 10**9
UNTIL = SINCE + 24 * HOUR
SETTLED = UNTIL - HOUR // 6


def claim(id_: str, hours: float = 1, identity: str = "v1", **more: Any) -> Claim:
    """A deployment of checkout in production that ended so many hours into the window, and was delivered soon."""
    at = SINCE + int(hours * HOUR)
    fields = {"started_at": at - 60 * 10**9, "finished_at": at, "delivered_at": at + 10**9, **more}
    fields = {"services": ("checkout",), "env": "production", "identity": identity, **fields}
    return Claim(**{"kind": "deployment", "id": id_, **fields})


def listed(one: Claim, **more: Any) -> DatadogRecord:
    """The record that Datadog has of it."""
    fields = {name: getattr(one, name) for name in ("kind", "id", "services", "env", "identity", "started_at")}
    return DatadogRecord(**{**fields, "finished_at": one.sent_at or one.finished_at, **more})


def stranger(id_: str, hours: float = 1, identity: str = "v1", **more: Any) -> DatadogRecord:
    return replace(listed(claim(id_, hours, identity)), **more)


def compared(claims: list[Claim], records: list[DatadogRecord], **more: Any) -> Comparison:
    return compare(claims, records, since=SINCE, until=UNTIL, settled_before=SETTLED, **more)


def counts(comparison: Comparison) -> dict[str, int]:
    return {verdict: number for verdict, number in comparison.totals.items() if number}


def found(comparison: Comparison) -> list[tuple[str, str]]:
    return [(one.verdict, one.id) for one in comparison.findings]


# -- what the ledger delivered


def test_what_is_there_matches() -> None:
    one = claim("a")
    assert counts(compared([one], [listed(one)])) == {"matched": 1}
    assert found(compared([one], [listed(one)])) == []


def test_what_is_not_there_is_missing() -> None:
    comparison = compared([claim("a"), claim("b", 2, delayed=True)], [])
    assert counts(comparison) == {"missing": 2}
    assert [(one.id, one.delayed) for one in comparison.findings] == [("a", False), ("b", True)]
    assert "with 202" not in comparison.findings[0].detail
    assert "with 202" in comparison.findings[1].detail


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"delivered_at": SETTLED + 1}, {"fresh": 1}),
        ({"delivered_at": SETTLED}, {"missing": 1}),
        ({"is_withdrawn": True}, {"withdrawn": 1}),
        ({"delivered_at": None, "waiting": 1}, {"waiting": 1}),
        ({"delivered_at": None, "dead_letters": 1}, {"dead_letters": 1}),
        ({"delivered_at": None}, {}),
        ({"waiting": 1, "dead_letters": 1}, {"missing": 1, "waiting": 1, "dead_letters": 1}),
        ({"finished_at": SINCE - 1}, {}),
        ({"finished_at": UNTIL + 1}, {}),
        ({"finished_at": SINCE}, {"missing": 1}),
        ({"finished_at": UNTIL}, {"missing": 1}),
    ],
)
def test_what_is_not_listed(more: dict[str, Any], expected: dict[str, int]) -> None:
    assert counts(compared([claim("a", **more)], [])) == expected


def test_what_was_withdrawn_and_is_there_is_a_finding() -> None:
    one = claim("a", is_withdrawn=True)
    assert found(compared([one], [listed(one)])) == [("undeleted", "a")]


def test_of_a_crowded_second_nothing_is_missing() -> None:
    one = claim("a", sent_at=SINCE + HOUR + 5 * 10**9)
    second = (SINCE + HOUR) // 10**9
    for seconds, expected in (({second}, "unclear"), ({second + 5}, "unclear"), ({second + 9}, "missing")):
        crowded: set[tuple[Kind, int]] = {("deployment", number) for number in seconds}
        assert counts(compared([one], [], crowded=crowded)) == {expected: 1}
    assert counts(compared([one], [], crowded={("failure", second)})) == {"missing": 1}


def test_a_failure_is_in_the_window_by_its_start_and_counts_for_each_service() -> None:
    failure = claim("f", kind="failure", services=("checkout", "payments"), finished_at=None)
    late = replace(failure, id="g", started_at=SINCE - 5, finished_at=SINCE + 5)
    comparison = compared([failure, late], [])
    assert counts(comparison) == {"missing": 1}
    assert {place: row["missing"] for place, row in comparison.rows.items()} == {
        ("checkout", "production"): 1,
        ("payments", "production"): 1,
    }


def test_rows_are_per_service_and_env() -> None:
    claims = [claim("a"), claim("b", env="staging"), claim("c", services=("api",)), claim("d", services=(), env="")]
    comparison = compared(claims, [listed(claims[0])])
    assert list(comparison.rows) == [
        ("", ""),
        ("api", "production"),
        ("checkout", "production"),
        ("checkout", "staging"),
    ]
    assert comparison.rows["checkout", "production"] == Counter(matched=1)


# -- what Datadog has besides


def test_what_the_ledger_never_had_is_unknown() -> None:
    comparison = compared([], [stranger("x"), stranger("y", 30), stranger("z", 2, kind="failure")])
    assert found(comparison) == [("unknown", "x"), ("unknown", "z")]


def test_what_the_ledger_remembers_is_not_unknown() -> None:
    assert counts(compared([], [stranger("x")], remembered={"x"})) == {"expired": 1}


def test_what_the_ledger_knows_from_beyond_the_window_is_not_unknown() -> None:
    outside = claim("a", finished_at=SINCE - 10**9)
    assert counts(compared([outside], [listed(outside, finished_at=SINCE + 5)])) == {}


def test_what_waits_or_is_a_dead_letter_and_is_there_all_the_same_is_not_unknown() -> None:
    one = claim("a", delivered_at=None, waiting=1)
    assert counts(compared([one], [listed(one)])) == {"waiting": 1}


# -- duplicates


def test_the_same_id_again_is_a_duplicate() -> None:
    one = claim("a")
    again = listed(one, finished_at=SINCE + 2 * HOUR)
    assert counts(compared([one], [listed(one), listed(one), again])) == {"matched": 1, "duplicate": 2}


def test_of_equal_records_ours_is_no_duplicate() -> None:
    one = claim("m")
    for id_ in ("a", "z"):
        copy = stranger(id_, finished_at=listed(one).finished_at + 999)  # type: ignore[operator]
        assert found(compared([one], [listed(one), copy])) == [("unknown", id_), ("duplicate", id_)]


@pytest.mark.parametrize(
    "more",
    [
        {"services": ("other",)},
        {"env": "staging"},
        {"identity": "v2"},
        {"identity": ""},
        {"started_at": SINCE},
        {"finished_at": SINCE + HOUR + 10**9},
        {"kind": "failure"},
    ],
)
def test_what_differs_is_no_duplicate(more: dict[str, Any]) -> None:
    one = claim("a")
    assert counts(compared([one], [listed(one), stranger("b", **more)])) == {"matched": 1, "unknown": 1}


def test_failures_are_alike_by_services_env_and_times() -> None:
    one = claim("a", kind="failure", services=("x", "y"))
    copy = listed(one, id="b", services=("y", "x"))
    is_open = listed(one, id="c", finished_at=None)
    assert found(compared([one], [listed(one), copy, is_open]))[-1:] == [("duplicate", "b")]


# -- phantom rollbacks


def phantoms(claims: list[Claim], records: list[DatadogRecord], **more: Any) -> list[str]:
    return [one.id for one in compared(claims, records, **more).findings if one.verdict == "phantom"]


V1, V2, V3 = claim("a", 1, "v1"), claim("b", 2, "v2"), claim("c", 3, "v3")
BACK = claim("d", 4, "v1")


def test_a_rollback_that_happened_is_none() -> None:
    claims = [V1, V2, V3, BACK]
    assert phantoms(claims, [listed(one) for one in claims]) == []


def test_a_record_with_a_later_time_makes_one() -> None:
    wrong = listed(V1, finished_at=SINCE + 5 * HOUR)
    assert phantoms([V1, V2, V3], [listed(V1), wrong, listed(V2), listed(V3)]) == ["b"]


def test_a_record_of_somebody_else_makes_one() -> None:
    comparison = compared([V1, V2], [listed(V1), listed(V2), stranger("x", 4, "v1")])
    assert found(comparison) == [("unknown", "x"), ("phantom", "b")]
    assert comparison.findings[1].detail == "looks rolled back by x; the ledger never had x"


def test_a_redeployment_that_looks_like_one_because_of_a_stranger() -> None:
    again = claim("d", 4, "v1")
    assert phantoms([V1, again], [listed(V1), stranger("x", 2, "v9"), listed(again)]) == ["x"]


def test_of_another_service_or_env_nothing_is_said() -> None:
    others = [stranger("x", 4, "v1", env="staging"), stranger("y", 4, "v1", services=("api",))]
    assert phantoms([V1, V2], [listed(V1), listed(V2), *others]) == []


def test_where_the_ledger_has_nothing_it_knows_no_better() -> None:
    assert phantoms([], [stranger("x", 1, "v1"), stranger("y", 2, "v2"), stranger("z", 3, "v1")]) == []


def test_what_the_ledger_only_remembers_is_part_of_the_truth() -> None:
    old = stranger("old", 1, "v1")
    claims = [V2, BACK]
    records = [old, *map(listed, claims)]
    assert phantoms(claims, records) == ["b"]
    assert phantoms(claims, records, remembered={"old"}) == []


def test_what_was_not_delivered_is_part_of_the_truth() -> None:
    lost = replace(V2, delivered_at=None, dead_letters=1)
    # the rollback did happen; Datadog blames the only one it has of what came between
    assert phantoms([V1, lost, V3, BACK], [listed(one) for one in (V1, V3, BACK)]) == []


def test_another_one_may_not_be_blamed_while_the_true_one_is_there() -> None:
    claims = [V1, V2, BACK]
    records = [*map(listed, claims), stranger("x", 1.5, "v9")]
    assert phantoms(claims, records) == ["x"]


def test_a_withdrawn_deployment_is_not_part_of_the_truth() -> None:
    withdrawn = replace(V2, is_withdrawn=True)
    # V1, V1 is nothing; but Datadog has V2 still
    assert phantoms([V1, withdrawn, BACK], [listed(V1), listed(withdrawn), listed(BACK)]) == ["b"]
    assert phantoms([V1, withdrawn, BACK], [listed(V1), listed(BACK)]) == []


def test_one_that_came_late_without_its_version_makes_none() -> None:
    late = claim("late", 2.5, "v1")
    assert phantoms([V1, V2, late, V3], [*map(listed, (V1, V2, V3)), listed(late, identity="")]) == []


def test_equal_ends_are_as_they_were_sent() -> None:
    first, second = claim("z", 2, "v2"), claim("y", 2, "v1", sent_at=SINCE + 2 * HOUR + 10**9)
    claims = [V1, first, second]
    assert phantoms(claims, [listed(one) for one in claims]) == []


# -- as a whole


HISTORIES = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["v1", "v2", "v3", ""])), max_size=10)


@given(HISTORIES)
def test_a_datadog_that_has_exactly_what_was_delivered_gives_no_findings(history: list[tuple[int, str]]) -> None:
    # the bridge gives no two deployments of a service the same second
    claims = [
        claim(f"id-{n}", hour, version, sent_at=SINCE + hour * HOUR + n * 10**9)
        for n, (hour, version) in enumerate(history)
    ]
    comparison = compared(claims, [listed(one) for one in reversed(claims)])
    assert found(comparison) == []
    assert comparison.totals["matched"] == len(claims)


@given(HISTORIES, st.data())
def test_each_claim_has_one_verdict_and_missing_are_those_that_are_gone(
    history: list[tuple[int, str]], data: Any
) -> None:
    claims = [claim(f"id-{n}", hour, version) for n, (hour, version) in enumerate(history)]
    gone = data.draw(st.sets(st.sampled_from([one.id for one in claims]))) if claims else set()
    comparison = compared(claims, [listed(one) for one in claims if one.id not in gone])
    assert {one.id for one in comparison.findings if one.verdict == "missing"} == gone
    assert comparison.totals["matched"] + comparison.totals["missing"] == len(claims)


def test_a_finding_as_json() -> None:
    [finding] = compared([claim("a")], []).findings
    assert finding.json() == {
        "verdict": "missing",
        "kind": "deployment",
        "id": "a",
        "services": ["checkout"],
        "env": "production",
        "at": "2026-11-18T12:06:40Z",
        "detail": "Datadog took it at 2026-11-18T12:06:41Z",
        "delayed": False,
    }
