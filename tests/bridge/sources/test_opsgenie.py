"""Opsgenie and JSM: what the fixtures cannot show. The facts themselves are in `tests/fixtures/opsgenie/`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoiling import spoil

from bridge.dora import Failure
from bridge.errors import PayloadInvalid, SignatureMismatch, SignatureMissing
from bridge.source import Context, Translation
from bridge.sources.opsgenie import SOURCE, OpsgenieOptions

FIXTURES = Path(__file__).parents[2] / "fixtures" / "opsgenie"
BODIES = [json.loads(path.read_bytes()) for path in sorted(FIXTURES.glob("*/body.json"))]

CREATE: dict[str, Any] = json.loads((FIXTURES / "Create.details" / "body.json").read_bytes())
CLOSE: dict[str, Any] = json.loads((FIXTURES / "Close.details" / "body.json").read_bytes())
ALERT_ID = "4f0c2a9e-7d31-4b68-9c55-1e8a3d7b6f20-1741079560207"
INCIDENT_ID = "c58e0b7a-14d9-4f62-8a3b-6d2f90e1c7b4"
TEAM_ID = "b1d7c0f4-52aa-4c7e-8f13-90c2e6a4d785"

ODD = [None, "", "  ", "odd", 0, -1, 3.5, True, [], ["odd"], [None], {}, {"type": 5}, {"name": ["odd"]}]


def translate(body: Any, **options: Any) -> Translation:
    raw = json.dumps(body).encode()
    model = SOURCE.models[SOURCE.kind({}, raw)]
    return SOURCE.translate(model.model_validate_json(raw), Context(OpsgenieOptions(**options)))


def failure(body: Any, **options: Any) -> Failure:
    (fact,) = translate(body, **options).facts
    assert isinstance(fact, Failure)
    return fact


def changed(body: dict[str, Any], action: str = "", **alert: Any) -> dict[str, Any]:
    """The body of another action on the same alert."""
    body = copy.deepcopy(body)
    body["action"] = action or body["action"]
    body["alert"].update(alert)
    return body


def test_a_token_is_presented_as_bearer_or_as_password() -> None:
    secrets = [b"new-token", b"s3cret"]
    assert SOURCE.scheme.verify({"authorization": "Bearer s3cret"}, b"{}", secrets) == 2
    # printf 'bridge:s3cret' | base64
    assert SOURCE.scheme.verify({"authorization": "Basic YnJpZGdlOnMzY3JldA=="}, b"{}", secrets) == 2
    with pytest.raises(SignatureMismatch):
        SOURCE.scheme.verify({"authorization": "Bearer s3cre"}, b"{}", secrets)
    with pytest.raises(SignatureMissing):
        SOURCE.scheme.verify({}, b"{}", secrets)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"5", b'{"action": null}', b"{}", b"[" * 100_000])
def test_a_body_without_action_has_no_kind_and_no_delivery_id(body: bytes) -> None:
    with pytest.raises(PayloadInvalid, match="action"):
        SOURCE.kind({}, body)
    assert SOURCE.delivery_id({}, body) is None


def test_the_delivery_id_tells_actions_on_one_alert_apart() -> None:
    assert SOURCE.delivery_id({}, json.dumps(CREATE).encode()) == f"{ALERT_ID}-Create-1741079560391000000"
    assert SOURCE.delivery_id({}, json.dumps(CLOSE).encode()) == f"{ALERT_ID}-Close-1741082283641000173"


@pytest.mark.parametrize("updated_at", [None, "", [], {"at": 1}])
def test_without_updated_at_there_is_no_delivery_id(updated_at: object) -> None:
    assert SOURCE.delivery_id({}, json.dumps(changed(CREATE, updatedAt=updated_at)).encode()) is None


def test_a_second_create_for_another_team_says_the_same() -> None:
    """An integration of a team that is added later gets a Create of its own."""
    first = failure(CREATE)
    team = {"id": "2a4c6e80-1357-4bdf-9ace-02468ace1357", "type": "team", "name": "platform"}
    responders = [*CREATE["alert"]["responders"], team]
    second = failure(changed(CREATE, team="platform", responders=responders, updatedAt=1741079900000000000))
    assert second == first
    assert first.revision == 0


@pytest.mark.parametrize(
    "alert", [{"priority": "P3"}, {"priority": None}, {"priority": "P3", "tags": None}, {"priority": "high"}]
)
def test_a_close_that_does_not_look_like_a_failure_closes_only_what_was_reported(
    alert: dict[str, Any],
) -> None:
    assert failure(CLOSE).only_if_open == ""
    assert "failures_from" in failure(changed(CLOSE, **alert)).only_if_open
    assert failure(changed(CLOSE, **alert)).id == failure(CLOSE).id


def test_a_delete_closes_only_what_was_reported() -> None:
    assert failure(changed(CLOSE, "Delete")).only_if_open


def test_a_close_that_knows_little_leaves_it_to_the_opening() -> None:
    fact = failure(changed(CLOSE, details=None, responders=None, createdAt=None))
    assert (fact.services, fact.team, fact.env, fact.started_at) == ((), None, None, None)
    assert fact.finished_at == 1741082283641000173
    assert fact.revision == 0


def test_a_new_priority_is_a_later_version_of_an_opening_that_was_reported() -> None:
    body = changed(CREATE, "UpdatePriority", priority="P4", updatedAt=1741079900000000021)
    fact = failure(body, priority_updates="send")
    assert (fact.severity, fact.revision) == ("SEV-4", 1741079900000000021)
    assert fact.only_if_open
    assert fact.finished_at is None


@pytest.mark.parametrize(
    ("details", "alias", "fact_id"),
    [
        ({"incident-id": INCIDENT_ID}, "any", f"opsgenie-incident-{INCIDENT_ID}"),
        ({"incident-id": INCIDENT_ID}, f"{TEAM_ID}_{TEAM_ID}", f"opsgenie-incident-{INCIDENT_ID}"),
        ({}, f"{INCIDENT_ID}_{TEAM_ID}", f"opsgenie-incident-{INCIDENT_ID}"),
        ({"incident-id": ""}, f"{INCIDENT_ID}_{TEAM_ID}", f"opsgenie-incident-{INCIDENT_ID}"),
        ({}, f"{INCIDENT_ID}_{TEAM_ID}_1", f"opsgenie-alert-{ALERT_ID}"),
        ({}, INCIDENT_ID, f"opsgenie-alert-{ALERT_ID}"),
        ({"incident-alert-type": "Owner"}, None, f"opsgenie-alert-{ALERT_ID}"),
    ],
)
def test_several_alerts_of_one_incident_are_one_failure(
    details: dict[str, str], alias: str | None, fact_id: str
) -> None:
    assert failure(changed(CREATE, details=details, alias=alias)).id == fact_id


def test_an_incident_counts_whatever_its_priority() -> None:
    of_incident: dict[str, Any] = {"details": {"incident-id": INCIDENT_ID}, "priority": "P5"}
    assert failure(changed(CREATE, **of_incident)).severity == "SEV-5"
    assert failure(changed(CLOSE, **of_incident)).only_if_open == ""


@pytest.mark.parametrize("action", ["Create", "Close", "Delete", "UpdatePriority"])
def test_nothing_that_happens_to_the_alert_of_another_responder_counts(action: str) -> None:
    details = {"incident-id": INCIDENT_ID, "incident-alert-type": "Stakeholder"}
    result = translate(changed(CLOSE, action, details=details), priority_updates="send")
    assert not result.facts
    assert "responder" in result.ignored


@pytest.mark.parametrize(
    ("tags", "services"),
    [
        (["service:shop"], ("shop",)),
        (["Service: shop", "service:shop"], ("shop",)),
        (["service:My Shop"], ("My Shop",)),
        (["service:shop service:basket tier:web"], ("shop", "basket")),
        (["st:service:shop"], ()),
        (["service:", "service", ":shop"], ()),
    ],
)
def test_services_of_tags(tags: list[str], services: tuple[str, ...]) -> None:
    assert failure(changed(CREATE, details={}, tags=tags)).services == services


@pytest.mark.parametrize(
    ("tags", "env"),
    [
        (["env:prod"], "prod"),
        (["environment:prod", "env:live"], "live"),
        (["ENV: prod"], "prod"),
        (["st:environment:prod"], "prod"),
        (["a:b:env:prod", "env:prod"], "prod"),
        (["component:mysql env:live location:fra1"], "live"),
        (["env:prod", "env:staging"], None),
        (["env:prod", "env:staging", "environment:prod"], "prod"),
        (["env:eu:prod", "env:", "env", "my env:prod"], None),
    ],
)
def test_env_of_tags(tags: list[str], env: str | None) -> None:
    assert failure(changed(CREATE, details={}, tags=tags)).env == env


def test_details_win_over_tags_and_these_over_the_integration() -> None:
    integration = {CREATE["integrationId"]: {"service": "by-id", "team": "by-id", "env": "by-id"}}
    body = changed(CREATE, tags=["service:tagged", "env:tagged"])
    fact = failure(body, integrations=integration)
    assert (fact.services, fact.team, fact.env) == (("checkout",), "payments", "prod")
    fact = failure(changed(body, details={}), integrations=integration)
    assert (fact.services, fact.team, fact.env) == (("tagged",), "payments", "tagged")


def test_only_tags_that_datadog_takes_become_tags() -> None:
    tags = ["critical", "squad:shop", ":x", "x:", " : ", "account:AWS PROD", 7, None, ["a:b"], "squad:shop"]
    assert failure(changed(CREATE, tags=tags)).custom_tags[2:] == ("squad:shop", "account:AWS PROD")


def test_rules_can_match_on_tags_and_the_integration() -> None:
    assert translate(changed(CREATE, tags=["critical", "tier:web"])).traits == {
        "service": ("checkout",),
        "team": "payments",
        "environment": "prod",
        "labels": ("critical", "tier:web", "opsgenie_integration:dora-bridge"),
    }


@pytest.mark.parametrize("priorities", [["P1"], ["p1"], [1], ["1"]])
def test_priorities_are_configured_as_people_write_them(priorities: list[Any]) -> None:
    wanted = {"priorities": priorities, "tags": ["outage"]}
    assert translate(CREATE, failures_from=wanted).facts
    assert translate(changed(CREATE, priority=1), failures_from=wanted).facts
    assert not translate(changed(CREATE, priority="P2"), failures_from=wanted).facts
    assert translate(changed(CREATE, priority="P2", tags=["OUTAGE"]), failures_from=wanted).facts


@pytest.mark.parametrize(
    "options",
    [
        {"failures_from": {"priorities": ["P6"]}},
        {"failures_from": {"priorities": "P1"}},
        {"failures_from": {"priority": ["P1"]}},
        {"product": "compass"},
        {"integrations": {"x": {"services": ["shop"]}}},
        {"integration": {}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        OpsgenieOptions(**options)


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize(
    "field",
    ["tinyId", "alias", "message", "tags", "entity", "team", "responders", "teams", "details", "note"],
)
def test_an_odd_optional_field_does_no_harm(field: str, odd: object) -> None:
    for body in (CREATE, CLOSE):
        alert: dict[str, Any] = {field: odd}
        fact = failure(changed(body, **alert))
        assert fact.id == f"opsgenie-alert-{ALERT_ID}"
        assert fact.started_at == 1741079560207000000


@given(st.data())
def test_whatever_a_body_lacks_or_holds_instead_it_is_translated_or_refused(data: st.DataObject) -> None:
    body = copy.deepcopy(data.draw(st.sampled_from(BODIES)))
    for _ in range(data.draw(st.integers(1, 3))):
        spoil(body, data, ODD)
    try:
        result = translate(body, priority_updates="send")
    except (PayloadInvalid, pydantic.ValidationError, KeyError):  # KeyError: by now a kind that is not read
        return
    assert result.facts or result.ignored
    for fact in result.facts:
        assert 16 <= len(fact.id) <= 128
        json.dumps(fact.body)
