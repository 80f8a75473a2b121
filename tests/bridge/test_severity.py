from __future__ import annotations

import pytest

from bridge.severity import incident_severity, severity


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P1", "SEV-1"),
        ("p5", "SEV-5"),
        ("P-2", "SEV-2"),
        ("P 2", "SEV-2"),
        ("SEV1", "SEV-1"),
        ("SEV-1", "SEV-1"),
        ("sev 1", "SEV-1"),
        ("sev_4", "SEV-4"),
        ("Sev1 - critical", "SEV-1"),
        ("Critical (P1)", "SEV-1"),
        ("Priority P3", "SEV-3"),
        (1, "SEV-1"),
        (5, "SEV-5"),
        ("3", "SEV-3"),
        (" 3 ", "SEV-3"),
    ],
)
def test_numbered_names_are_datadogs(name: str | int, expected: str) -> None:
    assert severity(name) == expected


@pytest.mark.parametrize("name", ["High", "Major", "P0", "P6", "P10", "SEV-12", "UP1", "Top 1", "0", "6", "12"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert severity(name) == name


@pytest.mark.parametrize("name", [None, "", "  ", True, False])
def test_absent_is_absent(name: str | None) -> None:
    assert severity(name) is None


def test_blanks_around_a_name_do_not_count() -> None:
    assert severity(" Major ") == "Major"
    assert severity(0) == "0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SEV-0", "SEV-0"),
        ("SEV-1", "SEV-1"),
        ("SEV-5", "SEV-5"),
        ("sev-3", "SEV-3"),
        ("High", "SEV-2"),
        ("Low", "SEV-4"),
        ("Major", "UNKNOWN"),
        ("SEV-6", "UNKNOWN"),
        ("", "UNKNOWN"),
        (None, "UNKNOWN"),
    ],
)
def test_incident_management_has_a_closed_list(text: str | None, expected: str) -> None:
    assert incident_severity(text) == expected
