"""Vendor times to integer nanoseconds since the epoch, UTC, without floats.

A float has 53 bits; today's nanoseconds need 61. Every function here gives an int or raises `ValueError` with a
message that does not repeat the value.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

SECOND = 1_000_000_000

_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT_OF_DIGITS = {10: SECOND, 13: 1_000_000, 16: 1_000, 19: 1}


def from_rfc3339(text: object) -> int:
    """Nanoseconds of an RFC 3339 time with `Z` or an offset and 0 to 9 digits of fraction.

    Raises: ValueError when it is anything else; a time without zone is not a moment.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("not an RFC 3339 time with a zone")
    date, clock, fraction, zone = match.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{offset}")
    except ValueError as error:
        raise ValueError("not a possible date or time of day") from error
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + int((fraction or "").ljust(9, "0") or 0)


def from_epoch(number: object) -> int:
    """Nanoseconds of an epoch number, or a string of its digits, whose unit is told by its magnitude.

    10 digits are seconds, 13 milli-, 16 micro- and 19 nanoseconds: right for 2001 to 2286.
    Raises: ValueError for other magnitudes, fractions and anything that is not a whole number.
    """
    if isinstance(number, bool) or not isinstance(number, int | str):
        raise ValueError("not an epoch number")
    digits = str(number)
    if not (digits.isascii() and digits.isdigit()) or len(digits) not in _UNIT_OF_DIGITS:
        raise ValueError("not an epoch number of seconds, milli-, micro- or nanoseconds")
    return int(digits) * _UNIT_OF_DIGITS[len(digits)]


def to_rfc3339(nanoseconds: int) -> str:
    """RFC 3339 in UTC with as many digits of fraction as are needed, for people and answers."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{text}Z"


def _absent_or(convert: Any) -> Any:
    return lambda value: None if value is None or value == "" else convert(value)


Rfc3339 = Annotated[int, BeforeValidator(from_rfc3339)]
"""A required RFC 3339 field of a model, as nanoseconds."""
OptionalRfc3339 = Annotated[int | None, BeforeValidator(_absent_or(from_rfc3339))]
"""The same where null and the empty string mean absent."""
OptionalEpoch = Annotated[int | None, BeforeValidator(_absent_or(from_epoch))]
"""An epoch number or its digits, as nanoseconds; null and the empty string mean absent."""
