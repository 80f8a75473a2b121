"""PagerDuty: what the fixtures cannot show. The facts themselves are in `tests/fixtures/pagerduty/`."""

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

from bridge.dora import Failure, Withdrawal
from bridge.errors import PayloadInvalid, SignatureMismatch, SignatureMissing
from bridge.source import Context, Translation
from bridge.sources.pagerduty import SOURCE, PagerDutyOptions

FIXTURES = Path(__file__).parents[2] / "fixtures" / "pagerduty"
BODIES = [json.loads(path.read_bytes()) for path in sorted(FIXTURES.glob("incident.*/body.json"))]

TRIGGERED: dict[str, Any] = json.loads((FIXTURES / "incident.triggered.events-api" / "body.json").read_bytes())
RESOLVED: dict[str, Any] = json.loads((FIXTURES / "incident.resolved.by-user" / "body.json").read_bytes())

ODD = [None, "", "  ", "odd", 0, -1, 3.5, True, [], ["odd"], [None], {}, {"id": 5}, {"summary": ["odd"]}]


def translate(body: Any, *, application_key: bool = False, **options: Any) -> Translation:
    raw = json.dumps(body).encode()
    model = SOURCE.models[SOURCE.kind({}, raw)]
    context = Context(PagerDutyOptions(**options), application_key=application_key)
    return SOURCE.translate(model.model_validate_json(raw), context)


def failure(body: Any, **options: Any) -> Failure:
    (fact,) = translate(body, **options).facts
    assert isinstance(fact, Failure)
    return fact


def changed(body: dict[str, Any], event_type: str = "", **data: Any) -> dict[str, Any]:
    """The body of another event of the same incident."""
    body = copy.deepcopy(body)
    body["event"]["event_type"] = event_type or body["event"]["event_type"]
    body["event"]["data"].update(data)
    return body


# made with: openssl dgst -sha256 -hmac <secret>
SIGNED = '{"event":{"id":"01GQ4T8ZJ5R2N7V0C3X6WKD9EB","event_type":"pagey.ping","title":"Grüße"}}'.encode()
NEW, OLD = b"c2hvcCtub3J0aHdpbmQ=", b"old-secret"  # used as it is, though it looks like base64
BY_NEW = "v1=d6dd451f8cff7cb54147ea4f1b0c0c2beb8e2eea544d10dfd1b4b68303b8d4fa"
BY_OLD = "v1=2a750b97183196e7d7e68912bf7f5584b926f9cef7b282a8f8f60af4e5b1c44e"


@pytest.mark.parametrize(
    ("header", "secrets", "position"),
    [
        (BY_NEW, [NEW], 1),
        (f"{BY_OLD},{BY_NEW}", [NEW], 1),
        (f"{BY_OLD} , {BY_NEW}", [NEW], 1),
        (f"v2={'0' * 64},{BY_NEW}", [NEW], 1),
        (BY_OLD, [NEW, OLD], 2),
    ],
)
def test_any_signature_of_any_secret_is_enough(header: str, secrets: list[bytes], position: int) -> None:
    assert SOURCE.scheme.verify({"x-pagerduty-signature": header}, SIGNED, secrets) == position


def test_a_signature_of_another_body_or_version_is_refused() -> None:
    with pytest.raises(SignatureMismatch):
        SOURCE.scheme.verify({"x-pagerduty-signature": BY_NEW}, SIGNED + b" ", [NEW])
    with pytest.raises(SignatureMissing):
        SOURCE.scheme.verify({"x-pagerduty-signature": BY_NEW.replace("v1=", "v2=")}, SIGNED, [NEW])


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"5", b'{"event": 5}', b'{"event": {"event_type": null}}', b"[" * 100_000],
)
def test_a_body_without_event_type_has_no_kind_and_no_delivery_id(body: bytes) -> None:
    with pytest.raises(PayloadInvalid, match=r"event\.event_type"):
        SOURCE.kind({}, body)
    assert SOURCE.delivery_id({}, body) is None


def test_the_delivery_id_is_that_of_the_event_and_not_of_the_subscription() -> None:
    body = json.dumps(TRIGGERED).encode()
    assert SOURCE.delivery_id({"x-webhook-id": "other"}, body) == "01GQ4T8ZJ5R2N7V0C3X6WKD9EB"


def test_openings_and_closings_of_each_occurrence_have_one_id_and_start() -> None:
    """Datadog matches them by id, env, services and started_at."""
    again = {"reopened_at": "2025-03-05T07:30:11Z"}
    first = failure(TRIGGERED), failure(RESOLVED)
    second = failure(changed(TRIGGERED, "incident.reopened", **again)), failure(changed(RESOLVED, **again))
    for opening, closing in (first, second):
        assert (opening.id, opening.started_at, opening.services) == (
            closing.id,
            closing.started_at,
            closing.services,
        )
        assert opening.finished_at is None
        assert closing.finished_at is not None
        assert (opening.revision, closing.revision) == (0, 0)
        assert (opening.only_if_open, closing.only_if_open) == ("", "")
    assert first[0].id != second[0].id


def test_an_incident_whose_urgency_was_lowered_is_closed_only_if_it_was_reported() -> None:
    body = changed(RESOLVED, urgency="low")
    assert failure(body).only_if_open == ""
    assert "urgenc" in failure(body, urgencies=["high"]).only_if_open
    assert failure(changed(RESOLVED, urgency=None), urgencies=["high"]).only_if_open == ""


def test_a_new_priority_is_a_later_version_of_an_opening_that_was_reported() -> None:
    body = changed(TRIGGERED, "incident.priority_updated", priority={"summary": "P1"})
    body["event"]["occurred_at"] = "2025-03-04T09:20:02.115Z"
    fact = failure(body, priority_updates="send")
    assert fact.revision == 1741080002115000000
    assert fact.only_if_open
    assert fact.finished_at is None


def test_a_merge_ends_what_was_reported_and_makes_no_failure_of_its_own() -> None:
    for reason in ({"type": "merge_resolve_reason", "incident": None}, "merged", "MERGED"):
        body = changed(RESOLVED, resolve_reason=reason)
        assert "merged" in failure(body).only_if_open
        (fact,) = translate(body, application_key=True).facts
        assert isinstance(fact, Withdrawal)


@pytest.mark.parametrize("reason", [None, 7, [], {}, {"type": None}, "fixed", {"type": "other_resolve_reason"}])
def test_any_other_reason_is_a_recovery(reason: object) -> None:
    (fact,) = translate(changed(RESOLVED, resolve_reason=reason), application_key=True).facts
    assert isinstance(fact, Failure)
    assert fact.custom_tags[-1] == "resolved_by:user"


@pytest.mark.parametrize(
    ("priority", "urgency", "severity"),
    [
        ("P1", "low", "SEV-1"),
        ("Sev2 - major", "low", "SEV-2"),
        ("Gold", "low", "SEV-4"),
        ("Silver", "low", "Silver"),
        (None, "high", "SEV-2"),
        (None, "low", "Low"),
        (None, None, None),
        (" ", "severe", None),
    ],
)
def test_severity_of_priority_else_of_urgency(priority: str | None, urgency: str | None, severity: str | None) -> None:
    body = changed(TRIGGERED, priority={"summary": priority}, urgency=urgency)
    assert failure(body, severity_map={"Gold": "SEV-4", "High": "SEV-2"}).severity == severity


def test_rules_can_match_on_service_id_and_teams() -> None:
    body = changed(TRIGGERED, teams=[{"id": "PUW6YQ1", "summary": "Payments Crew"}, {"id": "P1"}, 7])
    assert translate(body, envs={"PK4R9WB": "prod"}).traits == {
        "service": "Checkout API",
        "team": ("Payments Crew",),
        "environment": "prod",
        "labels": ("pagerduty_service:PK4R9WB", "Payments Crew"),
    }


def test_an_opening_with_nothing_but_a_team_is_left_to_the_rules() -> None:
    fact = failure(changed(TRIGGERED, service=None, teams=[{"id": "PUW6YQ1", "summary": "Payments Crew"}]))
    assert (fact.services, fact.team) == ((), None)


def test_the_older_endpoint_of_datadog() -> None:
    assert failure(TRIGGERED, send_as="legacy_incident").path == "/api/v2/dora/incident"


def test_incident_management() -> None:
    fact = failure(TRIGGERED, send_as="incident")
    assert (fact.path, fact.key) == ("/api/v2/incidents", f"incident:{fact.id}")
    merged = changed(RESOLVED, resolve_reason="merged")
    (gone,) = translate(merged, send_as="incident").facts
    assert (gone.method, gone.path, gone.key) == ("DELETE", "/api/v2/incidents/{uuid}", fact.key)


@pytest.mark.parametrize(
    "options",
    [{"urgencies": ["High"]}, {"priority_updates": True}, {"services": {"P1": "shop"}}, {"service": {}}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        PagerDutyOptions(**options)


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize(
    "field",
    [
        "created_at",
        "number",
        "title",
        "status",
        "teams",
        "priority",
        "urgency",
        "resolve_reason",
        "incident_key",
    ],
)
def test_an_odd_optional_field_does_no_harm(field: str, odd: object) -> None:
    data: dict[str, Any] = {field: odd}
    for body in (TRIGGERED, RESOLVED):
        assert failure(changed(body, **data)).services == ("Checkout API",)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_agent_does_no_harm(odd: object) -> None:
    body = changed(RESOLVED)
    body["event"]["agent"] = odd
    resolved_by = [tag for tag in failure(body).custom_tags if tag.startswith("resolved_by:")]
    assert resolved_by == (["resolved_by:auto"] if odd is None else [])


@given(st.data())
def test_whatever_a_body_lacks_or_holds_instead_it_is_translated_or_refused(data: st.DataObject) -> None:
    body = copy.deepcopy(data.draw(st.sampled_from(BODIES)))
    for _ in range(data.draw(st.integers(1, 3))):
        spoil(body, data, ODD)
    try:
        result = translate(body, priority_updates="send", application_key=data.draw(st.booleans()))
    except (PayloadInvalid, pydantic.ValidationError, KeyError):  # KeyError: by now a kind that is not read
        return
    assert result.facts or result.ignored
    for fact in result.facts:
        assert 16 <= len(fact.id) <= 128
        json.dumps(fact.body)
