from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bridge.times import (
    SECOND,
    OptionalEpoch,
    OptionalRfc3339,
    Rfc3339,
    from_epoch,
    from_rfc3339,
    to_rfc3339,
)

# seconds by: date -u -d 2025-03-04T09:12:40Z +%s
MOMENT = 1_741_079_560_000_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2025-03-04T09:12:40Z", MOMENT),
        ("2025-03-04t09:12:40z", MOMENT),
        ("2025-03-04 09:12:40Z", MOMENT),
        ("2025-03-04T10:12:40+01:00", MOMENT),
        ("2025-03-04T14:42:40+05:30", MOMENT),
        ("2025-03-03T21:12:40-12:00", MOMENT),
        ("2025-03-04T09:12:40.207Z", MOMENT + 207_000_000),
        ("2025-03-04T09:12:40.2Z", MOMENT + 200_000_000),
        ("2025-03-04T09:12:40.000000001Z", MOMENT + 1),
        ("2025-03-04T09:12:40.123456789-00:00", MOMENT + 123_456_789),
        ("2024-02-29T23:59:59Z", 1_709_251_199 * SECOND),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_rfc3339(text: str, nanoseconds: int) -> None:
    assert from_rfc3339(text) == nanoseconds


@pytest.mark.parametrize(
    "value",
    [
        "2025-03-04T09:12:40",  # no zone: not a moment
        "2025-03-04T09:12:40+0100",
        "2025-03-04T09:12Z",
        "2025-03-04",
        "2025-02-29T09:12:40Z",
        "2025-13-04T09:12:40Z",
        "2025-03-04T24:12:40Z",
        "2025-03-04T23:59:60Z",
        "2025-03-04T09:12:40+24:00",
        "2025-03-04T09:12:40.Z",
        "2025-03-04T09:12:40.1234567890Z",
        "2025-03-04T09:12:40Z\n",
        " 2025-03-04T09:12:40Z",
        "٢٠٢٥-03-04T09:12:40Z",
        "",
        None,
        1_741_079_560,
        True,
        [],
    ],
)
def test_what_is_no_rfc3339_time_is_refused_without_repeating_it(value: object) -> None:
    with pytest.raises(ValueError, match=r"^not an? ") as caught:
        from_rfc3339(value)
    assert "2025" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "nanoseconds"),
    [
        (1_741_079_560, MOMENT),
        (1_741_079_560_207, MOMENT + 207_000_000),
        (1_741_079_560_207_391, MOMENT + 207_391_000),
        (1_741_079_560_207_391_173, MOMENT + 207_391_173),
        ("1741079560", MOMENT),
        ("1741079560207391173", MOMENT + 207_391_173),
        (9_999_999_999, 9_999_999_999 * SECOND),
    ],
)
def test_the_unit_of_an_epoch_number_is_told_by_its_magnitude(number: int | str, nanoseconds: int) -> None:
    assert from_epoch(number) == nanoseconds


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1_741_079_560,
        174_107_956,
        17_410_795_602,
        17_410_795_602_073_911_734,
        1_741_079_560.0,
        "1741079560.207",
        "-1741079560",
        "+1741079560",
        " 1741079560",
        "1_741_079_560",
        "١٧٤١٠٧٩٥٦٠",
        "",
        True,
        None,
        [],
    ],
)
def test_what_is_no_epoch_number_is_refused_without_repeating_it(value: object) -> None:
    with pytest.raises(ValueError, match="not an epoch number") as caught:
        from_epoch(value)
    assert "17" not in str(caught.value)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (MOMENT, "2025-03-04T09:12:40Z"),
        (MOMENT + 207_000_000, "2025-03-04T09:12:40.207Z"),
        (MOMENT + 1, "2025-03-04T09:12:40.000000001Z"),
        (MOMENT + 100, "2025-03-04T09:12:40.0000001Z"),
    ],
)
def test_nanoseconds_for_people(nanoseconds: int, text: str) -> None:
    assert to_rfc3339(nanoseconds) == text


@given(st.integers(0, 253_402_300_799 * SECOND))
def test_no_nanosecond_is_lost_on_the_way_there_and_back(nanoseconds: int) -> None:
    assert from_rfc3339(to_rfc3339(nanoseconds)) == nanoseconds


@given(st.datetimes(datetime(1, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_any_time_with_any_offset_is_the_same_moment(moment: datetime) -> None:
    offset = moment.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        return  # RFC 3339 has no seconds in offsets; time zones had them before 1972
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000
    assert from_rfc3339(moment.isoformat()) == expected


@given(
    st.text()
    | st.integers()
    | st.floats()
    | st.none()
    | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")
)
def test_anything_gives_an_integer_or_a_value_error(value: object) -> None:
    for convert in (from_rfc3339, from_epoch):
        with contextlib.suppress(ValueError):
            assert type(convert(value)) is int


class Times(BaseModel):
    required: Rfc3339
    optional: OptionalRfc3339 = None
    epoch: OptionalEpoch = None


def test_fields_of_models() -> None:
    read = Times.model_validate_json(
        b'{"required": "2025-03-04T09:12:40Z", "optional": "2025-03-04T09:12:41Z", "epoch": 1741079560207391173}'
    )
    assert (read.required, read.optional, read.epoch) == (MOMENT, MOMENT + SECOND, MOMENT + 207_391_173)


@pytest.mark.parametrize("absent", ["null", '""'])
def test_null_and_the_empty_string_are_absent_where_a_time_is_optional(absent: str) -> None:
    read = Times.model_validate_json(f'{{"required": "2025-03-04T09:12:40Z", "optional": {absent}, "epoch": {absent}}}')
    assert (read.optional, read.epoch) == (None, None)
    with pytest.raises(ValidationError):
        Times.model_validate_json(f'{{"required": {absent}}}')
