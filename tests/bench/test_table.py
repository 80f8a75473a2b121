from __future__ import annotations

from bench.table import Result, Target, shown, table, targets


def test_numbers_show_the_digits_that_count() -> None:
    assert [shown(one) for one in (12_345, 1234.5, 99.94, 9.876, 0.01234, None, "word")] == [
        "12,345",
        "1,234",
        "99.9",
        "9.88",
        "0.0123",
        "–",
        "word",
    ]


def test_columns_stand_under_each_other_and_numbers_at_the_right() -> None:
    assert table(["route", "req/s"], [["(a) bare", 9000], ["(b)", None]]) == [
        "| route    | req/s |",
        "| -------- | ----: |",
        "| (a) bare | 9,000 |",
        "| (b)      |     – |",
    ]


def test_a_target_is_met_at_its_bound() -> None:
    assert Target("rate", 0.5, 0.5, "at least").is_met
    assert not Target("rate", 0.49, 0.5, "at least").is_met
    assert Target("p99", 3.0, 3.0, "at most").is_met
    assert not Target("p99", 3.01, 3.0, "at most").is_met


def test_a_missed_target_is_seen_in_the_text_and_in_the_json() -> None:
    one = Result("Intake", ["route"], [["(a)"]], targets=[Target("rate", 0.4, 0.5, "at least")])
    cells = [cell.strip() for cell in targets([one]).text().splitlines()[-1].split("|")]
    assert cells == ["", "rate", "0.4", "at least 0.5", "**no**", ""]
    assert one.json()["targets"] == [{"what": "rate", "measured": 0.4, "at least": 0.5, "met": False}]
    assert one.json()["rows"] == [{"route": "(a)"}]
