"""The call as it is really made, of what the ledger knows. What becomes of incidents: `test_incident_management.py`."""

from __future__ import annotations

from dataclasses import replace

from bridge.call import Call, call_of
from bridge.dora import Deployment, Failure, Withdrawal
from bridge.envelope import Envelope, identity

T = 1_717_585_400 * 10**9
DEPLOYMENT = Deployment(id="gh-dep-0000000001-000000000002", service="checkout", started_at=T, finished_at=T + 1)
FAILURE = Failure(id="pagerduty-incident-P1", started_at=T, services=("checkout",))


def envelope(fact: Deployment | Failure | Withdrawal) -> Envelope:
    return Envelope(endpoint="e", source="s", received_at=T, **identity(fact))


def test_without_more_knowledge_the_call_is_that_of_the_fact() -> None:
    for fact in (DEPLOYMENT, FAILURE, Withdrawal(record_id=FAILURE.id)):
        assert call_of(envelope(fact)) == Call(fact.method, fact.path, fact.body)


def test_a_failure_is_made_to_match_its_opening() -> None:
    call = call_of(envelope(FAILURE), opening={"env": "production", "services": ["before"], "started_at": T - 1})
    assert call.body == {
        "data": {
            "attributes": {"id": FAILURE.id, "env": "production", "services": ["before"], "started_at": T - 1},
        }
    }


def test_what_was_opened_in_incident_management_ends_there_whatever_send_as_says_since() -> None:
    ended = envelope(replace(FAILURE, finished_at=T + 1))
    call = call_of(ended, opening=envelope(FAILURE).attributes, uuid="a6250371")
    assert (call.method, call.path) == ("PATCH", "/api/v2/incidents/a6250371")
    call = call_of(envelope(Withdrawal(record_id=FAILURE.id)), uuid="a6250371")
    assert (call.method, call.path) == ("DELETE", "/api/v2/incidents/a6250371")
    by_a_person = replace(envelope(Withdrawal(record_id=FAILURE.id)), by="ada")
    assert call_of(by_a_person, uuid="a6250371").path == f"/api/v2/dora/failure/{FAILURE.id}"


def test_a_deployment_gets_its_adjustment() -> None:
    call = call_of(envelope(DEPLOYMENT), adjustment={"second": 1_717_585_401})
    assert call.body is not None
    assert call.body["data"]["attributes"]["finished_at"] == 1_717_585_401 * 10**9
    assert call.body["data"]["attributes"]["custom_tags"] == ["second_adjusted:true"]
