"""A failure in Incident Management: which call each statement becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.call import call_of
from bridge.dora import Fact, Failure, Git, Withdrawal, withdrawal
from bridge.envelope import Envelope, identity
from bridge.incident_management import creates, is_incident, is_marked, mark_of, needs_uuid, spelled

NS = 10**9
T = 1_717_585_400 * NS
UUID = "a6250371-3453-5a56-b302-93500bfb7e41"
OPEN = Failure(
    id="pagerduty-incident-PLX8T2C",
    started_at=T,
    services=("checkout", "payments"),
    team="backend",
    env="production",
    name="Checkout errors",
    severity="SEV-3",
    custom_tags=("pagerduty_incident:41",),
    send_as="incident",
    origins={"id": "event.data.id"},
)
CHANGED = replace(OPEN, severity="SEV-1", revision=T + 60 * NS, only_if_open="x")
CLOSED = replace(OPEN, finished_at=T + 600 * NS)


def envelope(fact: Fact) -> Envelope:
    return Envelope(endpoint="pagerduty", source="pagerduty", received_at=T, **identity(fact))


def fields(fact: Fact, opening: Failure = OPEN) -> dict[str, Any]:
    """What the PATCH says."""
    call = call_of(envelope(fact), opening=envelope(opening).attributes, uuid=UUID)
    assert (call.method, call.path) == ("PATCH", f"/api/v2/incidents/{UUID}")
    assert call.body is not None
    assert (call.body["data"]["id"], call.body["data"]["type"]) == (UUID, "incidents")
    return {name: value for name, (value, _) in spelled(call.body["data"]["attributes"]).items()}


def test_the_opening_creates_an_incident() -> None:
    call = call_of(envelope(OPEN))
    assert (call.method, call.path) == ("POST", "/api/v2/incidents")
    assert call.body == {
        "data": {
            "type": "incidents",
            "attributes": {
                "title": "Checkout errors",
                "customer_impacted": False,
                "fields": {
                    "severity": {"type": "dropdown", "value": "SEV-3"},
                    "state": {"type": "dropdown", "value": "active"},
                    "summary": {
                        "type": "textbox",
                        "value": "started_at: 2024-06-05T11:03:20Z\nenv: production\npagerduty_incident:41\n"
                        "dora-bridge: pagerduty-incident-PLX8T2C",
                    },
                    "services": {"type": "autocomplete", "value": ["checkout", "payments"]},
                    "teams": {"type": "autocomplete", "value": ["backend"]},
                },
            },
        }
    }


def test_it_is_still_a_creation_when_it_is_looked_at_later() -> None:
    assert call_of(envelope(OPEN), opening=envelope(OPEN).attributes, uuid=UUID) == call_of(envelope(OPEN))


def test_nothing_is_said_of_what_is_not_known() -> None:
    bare = Failure(id=OPEN.id, started_at=T, services=("checkout",), send_as="incident")
    call = call_of(envelope(bare))
    assert call.body is not None
    attributes = call.body["data"]["attributes"]
    assert attributes["title"] == OPEN.id, "Datadog needs a title, and this is true"
    assert set(attributes["fields"]) == {"severity", "state", "summary", "services"}
    assert attributes["fields"]["severity"]["value"] == "UNKNOWN"


def test_a_root_cause_stands_in_the_summary() -> None:
    call = call_of(envelope(replace(OPEN, git=Git("a" * 40, "https://github.com/acme/shop"), version="1.2")))
    assert call.body is not None
    summary = call.body["data"]["attributes"]["fields"]["summary"]["value"]
    assert f"git: https://github.com/acme/shop {'a' * 40}" in summary.splitlines()
    assert "version: 1.2" in summary.splitlines()


def test_no_line_of_anybody_else_looks_like_the_mark() -> None:
    tags = ("dora-bridge: other", "a:b\ndora-bridge: other", " dora-bridge:  other")
    call = call_of(envelope(replace(OPEN, custom_tags=tags, env="x\ndora-bridge: other")))
    assert call.body is not None
    assert not is_marked({"id": UUID, **call.body["data"]}, "other")
    assert mark_of(call.body["data"]) == OPEN.id


def test_a_title_is_cut_to_what_datadog_takes() -> None:
    call = call_of(envelope(replace(OPEN, name="x" * 2000)))
    assert call.body is not None
    assert len(call.body["data"]["attributes"]["title"]) == 1024


def test_a_change_tells_title_and_severity_and_leaves_the_state_alone() -> None:
    assert fields(CHANGED) == {"title": "Checkout errors", "severity": "SEV-1"}
    assert fields(replace(CHANGED, severity=None)) == {"title": "Checkout errors"}
    assert fields(replace(CHANGED, severity="High")) == {"title": "Checkout errors", "severity": "SEV-2"}


def test_the_end_tells_the_state_and_what_the_sender_changed() -> None:
    assert fields(CLOSED) == {"state": "resolved"}, "what people changed in Datadog stays"
    assert fields(replace(CLOSED, name="Cards declined")) == {"state": "resolved", "title": "Cards declined"}
    assert fields(replace(CLOSED, severity="SEV-1")) == {"state": "resolved", "severity": "SEV-1"}
    assert fields(replace(CLOSED, severity=None, name=None)) == {"state": "resolved"}


def test_services_and_teams_are_as_at_the_opening() -> None:
    moved = replace(CLOSED, services=("elsewhere",), team="others", env="staging")
    assert fields(moved) == {"state": "resolved"}
    assert fields(replace(CHANGED, services=("elsewhere",), team="others")) == fields(CHANGED)


def test_a_merged_incident_is_deleted() -> None:
    merged = envelope(withdrawal(OPEN))
    assert merged.key == envelope(OPEN).key
    call = call_of(merged, uuid=UUID)
    assert (call.method, call.path, call.body) == ("DELETE", f"/api/v2/incidents/{UUID}", None)


@pytest.mark.parametrize("fact", [CHANGED, CLOSED, withdrawal(OPEN)])
def test_a_placeholder_stands_for_the_id_that_is_not_known_yet(fact: Fact) -> None:
    call = call_of(envelope(fact))
    assert call.path == "/api/v2/incidents/{uuid}"
    assert call.body is None or call.body["data"]["id"] == "{uuid}"


def test_which_statements_create_and_which_need_the_id_of_datadog() -> None:
    assert (creates(envelope(OPEN)), needs_uuid(envelope(OPEN))) == (True, False)
    for fact in (CHANGED, CLOSED, withdrawal(OPEN)):
        assert (creates(envelope(fact)), needs_uuid(envelope(fact))) == (False, True)
        assert is_incident(envelope(fact))
    by_a_person = envelope(Withdrawal(record_id=UUID, what="incident", uuid=UUID))
    assert (creates(by_a_person), needs_uuid(by_a_person), is_incident(by_a_person)) == (False, False, True)
    assert call_of(by_a_person).path == f"/api/v2/incidents/{UUID}"
    for send_as in ("failure", "legacy_incident"):
        other = envelope(replace(OPEN, send_as=send_as))
        assert (creates(other), needs_uuid(other), is_incident(other)) == (False, False, False)


def test_an_end_without_a_known_beginning_is_no_incident() -> None:
    assert envelope(CLOSED).needs_opening.startswith("dead_lettered: the opening of this incident is not in the ledger")
    assert envelope(replace(CLOSED, send_as="failure")).needs_opening == ""
    assert envelope(withdrawal(OPEN)).needs_opening.startswith("ignored: ")


def listed(summary: object) -> dict[str, Any]:
    return {"id": UUID, "attributes": {"fields": {"summary": {"type": "textbox", "value": summary}}}}


def test_an_incident_is_known_by_the_mark_in_its_summary() -> None:
    call = call_of(envelope(OPEN))
    assert call.body is not None
    assert is_marked({"id": UUID, **call.body["data"]}, OPEN.id)
    found = listed(f"somebody wrote\r\n  dora-bridge: {OPEN.id}  \r\nmore")
    assert is_marked(found, OPEN.id)
    assert mark_of(found) == OPEN.id


@pytest.mark.parametrize(
    "incident",
    [
        listed(f"dora-bridge: {OPEN.id}-r1717585400"),
        listed(f"see dora-bridge: {OPEN.id}"),
        listed(None),
        listed(7),
        {"id": UUID, "attributes": {"fields": {}}},
        {"id": UUID, "attributes": None},
        {},
    ],
)
def test_others_are_not_taken_for_it(incident: dict[str, Any]) -> None:
    assert not is_marked(incident, OPEN.id)
    assert mark_of(incident) != OPEN.id


def test_attributes_are_spelled_for_people_with_where_they_came_from() -> None:
    call = call_of(envelope(OPEN))
    assert call.body is not None
    told = spelled(call.body["data"]["attributes"])
    assert told["title"] == ("Checkout errors", "name")
    assert told["severity"] == ("SEV-3", "severity")
    assert told["teams"] == (["backend"], "team")
    assert spelled({"service": "checkout", "git": {"commit_sha": "a"}}) == {
        "service": ("checkout", "service"),
        "git": ({"commit_sha": "a"}, "git"),
    }
