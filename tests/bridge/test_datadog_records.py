"""Records as Datadog reads them back."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.datadog_records import record_of

AT = 1_795_000_000


@pytest.mark.parametrize("time", ["2026-11-18T11:06:40Z", "2026-11-18T11:06:40.000Z", AT, AT * 1000, AT * 10**9])
def test_times_are_read_in_every_form(time: Any) -> None:
    record = record_of({"id": "x", "attributes": {"started_at": time, "finished_at": None}}, "failure")
    assert (record.started_at, record.finished_at) == (AT * 10**9, None)


def test_a_deployment() -> None:
    attributes = {
        "service": "checkout",
        "env": "production",
        "version": "v1",
        "git": {"commit_sha": "ABC", "repository_id": "github.com/acme/checkout"},
        "started_at": AT,
        "finished_at": AT + 5,
    }
    record = record_of({"id": "x", "type": "dora_deployment", "attributes": attributes}, "deployment")
    assert (record.services, record.env, record.identity) == (("checkout",), "production", "abc")
    assert record.moment == (AT + 5) * 10**9


@pytest.mark.parametrize(
    ("attributes", "services", "identity"),
    [
        ({"services": ["a", "b"], "version": "v1"}, ("a", "b"), "v1"),
        ({"services": [], "team": "backend"}, ("team:backend",), ""),
        ({"services": None, "git": None}, (), ""),
        ({"services": "odd", "git": {"repository_id": "x"}}, (), ""),
    ],
)
def test_a_failure(attributes: Any, services: tuple[str, ...], identity: str) -> None:
    record = record_of({"id": "x", "attributes": {"started_at": AT, **attributes}}, "failure")
    assert (record.services, record.identity, record.moment) == (services, identity, AT * 10**9)


@pytest.mark.parametrize("row", [{}, {"id": "x"}, {"id": 5, "attributes": {}}, {"id": "x", "attributes": []}])
def test_what_is_no_record_is_refused(row: Any) -> None:
    with pytest.raises(ValueError, match="without id or attributes"):
        record_of(row, "deployment")
