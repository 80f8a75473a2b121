"""Intake: what an authentic delivery comes to, whatever it is. The facts themselves are in `tests/fixtures/`."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import configuration
from bridge.dora import Deployment, Failure, Withdrawal
from bridge.envelope import Envelope
from bridge.errors import PayloadInvalid, SignatureMismatch
from bridge.intake import Delivery, Receipt, receive, truthful, verify
from bridge.samples import samples
from bridge.source import Endpoint
from bridge.times import SECOND, to_rfc3339

NOW = 1_741_090_000 * SECOND  # 2025-03-04T12:06:40Z
HOUR = 3600 * SECOND
FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = sorted(path.parent for path in FIXTURES.glob("*/*/body.json"))
ALL = ("github", "argocd", "pagerduty", "opsgenie")
FORM = "application/x-www-form-urlencoded"


def endpoint(name: str, **options: Any) -> Endpoint:
    return configuration.parse({"endpoints": {name: options}}, "bridge.yaml")[1][name]


def rules_of(*rules: dict[str, Any]) -> Any:
    return configuration.parse({"rules": list(rules)}, "bridge.yaml")[0].rules


def sample(name: str) -> dict[str, Any]:
    """One body of that sender that becomes an event, of just before NOW."""
    body: dict[str, Any] = json.loads(samples(NOW)[name][1])
    return body


def come_to(name: str, body: Any, *, kind: str | None = None, now: int = NOW, **more: Any) -> Receipt:
    """What this body comes to at the endpoint of that name."""
    options, headers = more.pop("options", {}), more.pop("headers", {})
    at = endpoint(name, **options)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = at.source.headers(raw, kind) | {"x-github-delivery": "delivery-1"} | headers
    delivery = Delivery(made, more.pop("query", {}), raw)
    return receive(at, delivery, secret=1, now=now, **more)


def the_note(receipt: Receipt) -> tuple[str, str]:
    """State and reason of what made no event."""
    (note,) = receipt.envelopes
    assert note.id == receipt.note_id
    assert re.fullmatch(r"in-[0-9a-f]{32}", note.id)
    assert {note.method, note.body, note.key, note.datadog_id} == {"", None}
    return note.state, note.reason


# -- what is kept of each


def test_an_event_says_where_it_came_from() -> None:
    (found,) = come_to("github", sample("github")).envelopes
    assert (found.endpoint, found.source, found.kind) == ("github", "github", "deployment_status")
    assert (found.received_at, found.delivery, found.secret, found.state) == (NOW, "delivery-1", 1, "waiting")
    assert found.id == found.datadog_id == "gh-dep-0000004242-001741090000"
    assert found.origins["env"] == "deployment.environment"


@pytest.mark.parametrize("name", ALL)
def test_each_sample_of_the_demo_becomes_one_event(name: str) -> None:
    assert [one.state for one in come_to(name, sample(name)).envelopes] == ["waiting"]


def test_kept_headers_have_no_credentials() -> None:
    given = dict.fromkeys(
        ("authorization", "x-hub-signature", "x-hub-signature-256", "x-pagerduty-signature", "cookie", "dd_env"), "x"
    )
    assert Delivery(given, {}, b"").kept_headers == {"dd_env": "x"}


def test_verify_is_over_the_raw_form() -> None:
    """Signatures by `openssl dgst -sha256 -hmac form-secret`."""
    body = b"payload=%7B%22zen%22%3A%22Half+measures+are+as+bad+as+nothing+at+all.%22%7D"
    of_form = "sha256=ee84e98b4b8bbb9d993cb24110da24dffc9c42c908e118ed503fdf296f0e6979"
    of_json = "sha256=5f794be5b2d87d88e24ffeae94f0bcb1a0403b070917774ca7a22c538c9e0227"
    headers = {"content-type": FORM, "x-github-event": "ping", "x-hub-signature-256": of_form}
    delivery = Delivery(headers, {}, body)
    assert verify(endpoint("github"), delivery, [b"other", b"form-secret"]) == 2
    receipt = receive(endpoint("github"), delivery, secret=2, now=NOW)
    assert the_note(receipt) == ("ignored", "this kind of event is not reported")
    with pytest.raises(SignatureMismatch):
        verify(
            endpoint("github"),
            replace(delivery, headers={**headers, "x-hub-signature-256": of_json}),
            [b"form-secret"],
        )


# -- forms


@pytest.mark.parametrize("content_type", [FORM, FORM + "; charset=utf-8", "Application/X-WWW-Form-URLEncoded"])
def test_form_says_the_same_as_json(content_type: str) -> None:
    body = sample("github")
    body["deployment"]["environment"] = "Prod & Zürich + 100 %"
    form = urlencode({"payload": json.dumps(body, ensure_ascii=False)}).encode()
    headers = {"content-type": content_type, "x-github-event": "deployment_status"}
    (of_form,) = come_to("github", form, headers=headers).envelopes
    (of_json,) = come_to("github", body).envelopes
    assert of_form == of_json
    assert of_form.attributes["env"] == "prod & zürich + 100 %"


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("", "a form without exactly one field `payload`"),
        ("payload=", "a form without exactly one field `payload`"),
        ("payload", "a form without exactly one field `payload`"),
        ("other=1", "a form without exactly one field `payload`"),
        ("payload={}&payload={}", "a form without exactly one field `payload`"),
        ("Payload={}", "a form without exactly one field `payload`"),
        ("payload=%7B", "body: not JSON"),
        ("payload=%FF%FE", "body: not JSON"),
        ("payload=" + quote_plus("[]"), "body: Input should be an object"),
        ("payload=" + quote_plus("{}"), "deployment: Field required; deployment_status: Field required; repository"),
    ],
)
def test_odd_forms_are_dead_letters(form: str, reason: str) -> None:
    headers = {"content-type": FORM, "x-github-event": "deployment_status"}
    state, found = the_note(come_to("github", form.encode(), headers=headers))
    assert (state, found[: len(reason)]) == ("dead_lettered", reason)


def test_json_that_is_called_a_form_is_json() -> None:
    """As curl does it without a content type."""
    headers = {"content-type": FORM, "x-github-event": "deployment_status"}
    body = json.dumps(sample("github")).encode()
    assert come_to("github", body, headers=headers) == come_to("github", body)


# -- not JSON, kinds


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"{'a': 1}", b"\xff\xfe{\x00", b'{"a": "\xff"}', b'{"a": "\\ud800"}']
)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("github", "deployment_status"),
        ("github", "issues"),
        ("github", "ping"),
        ("github", "kind_to_come"),
        ("argocd", None),
        ("pagerduty", None),
        ("opsgenie", None),
        ("jsm", None),
    ],
)
def test_not_json_is_a_dead_letter_for_mapped_and_unmapped_kinds(name: str, kind: str | None, body: bytes) -> None:
    state, reason = the_note(come_to(name, body, kind=kind))
    assert state == "dead_lettered"
    assert "JSON" in reason


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("github", {"zen": "Half measures are as bad as nothing at all."}, "ping"),
        ("github", {"anything": 1}, "kind_to_come"),
        ("github", [], "push"),
        ("pagerduty", {"event": {"event_type": "pagey.ping", "data": {"message": "Hello"}}}, None),
        ("pagerduty", {"event": {"event_type": "incident.teleported"}}, None),
        ("opsgenie", {"action": "Acknowledge", "alert": {}}, None),
        ("opsgenie", {"action": "PageTheBoss"}, None),
    ],
)
def test_unknown_kinds_are_ignored(name: str, body: Any, kind: str | None) -> None:
    receipt = come_to(name, body, kind=kind)
    assert the_note(receipt) == ("ignored", "this kind of event is not reported")
    assert receipt.envelopes[0].kind == (kind or body.get("action") or body["event"]["event_type"])


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("github", {}, "the header x-github-event is missing"),
        ("pagerduty", {}, "event.event_type is missing, or the body is not JSON"),
        ("pagerduty", {"event": {"event_type": ""}}, "event.event_type is missing, or the body is not JSON"),
        ("opsgenie", {"alert": {}}, "action is missing, or the body is not JSON"),
        ("argocd", {}, 'there is no schema: expected "dora-bridge.argocd/v1", or an object app with the Application'),
    ],
)
def test_without_a_kind_it_is_a_dead_letter(name: str, body: Any, reason: str) -> None:
    receipt = come_to(name, body)
    assert the_note(receipt) == ("dead_lettered", reason)
    # which a person can still read
    assert Envelope.from_json(receipt.envelopes[0].to_json()) == receipt.envelopes[0]


# -- times

T = 1_741_080_000 * SECOND
DEPLOYMENT = Deployment(id="x" * 16, service="s", started_at=T, finished_at=T)
FAILURE = Failure(id="x" * 16, services=("s",), started_at=T)
FIRST_TRUE = 1_262_304_000 * SECOND
LAST_TRUE = NOW + 300 * SECOND


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (replace(DEPLOYMENT, started_at=FIRST_TRUE), None),
        (replace(DEPLOYMENT, started_at=FIRST_TRUE - 1), "started_at is before 2010: a wrong unit?"),
        (replace(DEPLOYMENT, started_at=0), "started_at is before 2010: a wrong unit?"),
        (replace(DEPLOYMENT, started_at=-1), "started_at is before 2010: a wrong unit?"),
        (replace(DEPLOYMENT, started_at=T // 1000, finished_at=T // 1000), "started_at is before 2010: a wrong unit?"),
        (replace(DEPLOYMENT, finished_at=T // 1000), "finished_at is before 2010: a wrong unit?"),
        (replace(DEPLOYMENT, finished_at=LAST_TRUE), None),
        (replace(DEPLOYMENT, finished_at=LAST_TRUE + 1), "finished_at is more than 5 minutes in the future"),
        (replace(DEPLOYMENT, started_at=LAST_TRUE + 1), "started_at is more than 5 minutes in the future"),
        (replace(DEPLOYMENT, finished_at=T * 1000), "finished_at is more than 5 minutes in the future"),
        (replace(DEPLOYMENT, finished_at=T - 2 * SECOND - 1), "finished_at is before started_at"),
        (FAILURE, None),
        (replace(FAILURE, finished_at=T), None),
        (replace(FAILURE, started_at=None), None),
        (replace(FAILURE, started_at=None, finished_at=T), None),
        (replace(FAILURE, started_at=0), "started_at is before 2010: a wrong unit?"),
        (replace(FAILURE, finished_at=LAST_TRUE + 1), "finished_at is more than 5 minutes in the future"),
        # a failure's start is what Datadog matches by: it is not moved
        (replace(FAILURE, finished_at=T - 1), "finished_at is before started_at"),
        (replace(FAILURE, revision=LAST_TRUE), None),
        (replace(FAILURE, revision=LAST_TRUE + 1), "the time of the event is more than 5 minutes in the future"),
        (replace(FAILURE, revision=1), "the time of the event is before 2010: a wrong unit?"),
        (Withdrawal(record_id="x" * 16), None),
    ],
)
def test_times_that_cannot_be_true(fact: Any, reason: str | None) -> None:
    if reason is None:
        assert truthful(fact, NOW) == fact
        return
    with pytest.raises(PayloadInvalid) as caught:
        truthful(fact, NOW)
    assert caught.value.detail == reason


@pytest.mark.parametrize("step", [1, SECOND, 2 * SECOND])
def test_end_a_step_of_two_clocks_before_the_start(step: int) -> None:
    found = truthful(replace(DEPLOYMENT, finished_at=T - step, custom_tags=("a:b",)), NOW)
    assert found == replace(
        DEPLOYMENT, started_at=T - step, finished_at=T - step, custom_tags=("a:b", "clock_adjusted:true")
    )


def test_equal_times_are_no_adjustment() -> None:
    assert truthful(DEPLOYMENT, NOW) is DEPLOYMENT


def github_at(start: int, end: int) -> dict[str, Any]:
    body = sample("github")
    body["deployment"]["created_at"] = to_rfc3339(start)
    body["deployment_status"]["created_at"] = to_rfc3339(end)
    return body


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (SECOND, 2 * SECOND, "started_at is before 2010: a wrong unit?"),
        (T, NOW + HOUR, "finished_at is more than 5 minutes in the future"),
        (T, T - 3 * SECOND, "finished_at is before started_at"),
    ],
)
def test_untrue_times_are_dead_letters(start: int, end: int, reason: str) -> None:
    assert the_note(come_to("github", github_at(start, end))) == ("dead_lettered", reason)


def test_end_just_before_its_start_is_reported_with_a_tag() -> None:
    (found,) = come_to("github", github_at(T, T - 2 * SECOND)).envelopes
    assert found.attributes["started_at"] == found.attributes["finished_at"] == T - 2 * SECOND
    assert found.attributes["custom_tags"][-1] == "clock_adjusted:true"


# -- ignore_older_than_hours

OLD = "it finished longer ago than ignore_older_than_hours"


@pytest.mark.parametrize(
    ("hours", "age", "ignored"),
    [
        (0, 24 * 365 * HOUR, False),
        (24, 24 * HOUR, False),
        (24, 24 * HOUR + SECOND, True),
        (0.5, HOUR // 2 + SECOND, True),
        (0.5, HOUR // 2, False),
        (0.0001, SECOND, True),
        (0.0001, 0, False),
        (24, -60 * SECOND, False),
        (float("inf"), 24 * 365 * HOUR, False),
    ],
)
def test_ignore_older_than_hours(hours: float, age: int, ignored: bool) -> None:
    receipt = come_to("github", github_at(NOW - age, NOW - age), options={"ignore_older_than_hours": hours})
    assert [one.state for one in receipt.envelopes] == ["ignored" if ignored else "waiting"]
    if ignored:
        assert the_note(receipt) == ("ignored", OLD)


def test_argo_cd_ignores_what_is_older_than_a_day_unless_told() -> None:
    body, later = sample("argocd"), NOW + 25 * HOUR
    assert the_note(come_to("argocd", body, now=later)) == ("ignored", OLD)
    assert come_to("argocd", body, now=later, options={"ignore_older_than_hours": 0}).envelopes[0].state == "waiting"


def test_a_time_that_cannot_be_true_is_not_just_old() -> None:
    body = sample("argocd")
    body["history"][0] |= {"started_at": "0001-01-01T00:00:00Z", "deployed_at": "0001-01-01T00:00:00Z"}
    state, reason = the_note(come_to("argocd", body))
    assert (state, reason) == ("dead_lettered", "started_at is before 2010: a wrong unit?")


def test_failures_do_not_get_too_old() -> None:
    receipt = come_to("pagerduty", sample("pagerduty"), now=NOW + 9999 * HOUR, options={"ignore_older_than_hours": 1})
    assert receipt.envelopes[0].state == "waiting"


# -- rules


def test_rule_renames_and_is_named() -> None:
    rules = rules_of(
        {"match": {"environment": "production"}, "drop": "not reached"},
        {"name": "shops", "match": {"repository": "acme/*", "endpoint": "github"}, "set": {"service": "shop-$1"}},
    )
    (found,) = come_to("github", sample("github"), rules=rules[1:]).envelopes
    assert (found.services, found.rule, found.key) == (
        ("shop-checkout",),
        "shops",
        "deployment:shop-checkout:production",
    )
    assert found.origins["service"] == "rule"
    assert the_note(come_to("github", sample("github"), rules=rules)) == ("ignored", "not reached")


def test_rule_makes_several_deployments_that_share_one_body() -> None:
    rules = rules_of({"match": {"kind": "deployment_status"}, "set": {"services": ["web", "api"]}})
    receipt = come_to("github", sample("github"), rules=rules)
    first, second = receipt.envelopes
    assert [first.services, second.services] == [("web",), ("api",)]
    assert re.fullmatch(r"gh-dep-0000004242-001741090000-[0-9a-f]{8}", first.id)
    assert first.id != second.id
    assert {first.raw, second.raw} == {receipt.note_id}


def test_rule_drops_with_its_reason() -> None:
    rules = rules_of({"match": {"environment": "prod*"}, "drop": "previews are not production"})
    receipt = come_to("github", sample("github"), rules=rules)
    assert the_note(receipt) == ("ignored", "previews are not production")
    assert receipt.envelopes[0].rule == "rule 1"


def test_rule_that_makes_nothing_of_it_is_a_dead_letter_that_names_the_rule() -> None:
    rules = rules_of({"name": "short", "match": {"repository": "acme/checkout*"}, "set": {"service": "$1"}})
    state, reason = the_note(come_to("github", sample("github"), rules=rules))
    assert state == "dead_lettered"
    assert reason == "short makes an empty or malformed value of what its stars matched"


def test_rules_see_the_vendors_names() -> None:
    for name, match in {
        "github": {"repository": "acme/checkout", "environment": "production"},
        "argocd": {"application": "payments", "labels": "project=default", "branch": "main"},
        "pagerduty": {"service": "checkout", "labels": "pagerduty_service:PCHECKOUT", "kind": "incident.triggered"},
        "opsgenie": {"service": "payments", "environment": "production", "labels": "env:production"},
    }.items():
        rules = rules_of({"match": {**match, "endpoint": name}, "drop": "seen"})
        assert the_note(come_to(name, sample(name), rules=rules)) == ("ignored", "seen"), name


# -- calls that need an application key

NEEDS_KEY = "this call needs an application key (DD_APP_KEY is not set)"


def argocd_degraded() -> dict[str, Any]:
    body = sample("argocd")
    body["health"]["status"] = "Degraded"
    return body


def pagerduty_merged() -> dict[str, Any]:
    body = sample("pagerduty")
    body["event"]["event_type"] = "incident.resolved"
    body["event"]["data"]["resolve_reason"] = {"type": "merge_resolve_reason", "incident": {"id": "POTHER"}}
    return body


def test_change_failure_without_application_key_is_ignored_and_says_so() -> None:
    implied, found = come_to("argocd", argocd_degraded()).envelopes
    assert (implied.method, implied.state, implied.is_catch_up) == ("POST", "waiting", True)
    assert (found.method, found.state, found.reason) == ("PATCH", "ignored", NEEDS_KEY)
    implied, found = come_to("argocd", argocd_degraded(), application_key=True).envelopes
    assert (found.method, found.state, found.reason) == ("PATCH", "waiting", "")


def test_withdrawal_needs_an_application_key_and_is_a_closing_without() -> None:
    (found,) = come_to("pagerduty", pagerduty_merged(), application_key=True).envelopes
    assert (found.method, found.state) == ("DELETE", "waiting")
    (found,) = come_to("pagerduty", pagerduty_merged()).envelopes
    assert (found.method, found.state, found.id[-7:]) == ("POST", "waiting", "~closed")


def test_rollback_without_application_key_is_still_a_deployment() -> None:
    folder = FIXTURES / "argocd" / "deployed.rollback"
    receipt = come_to(
        "argocd", (folder / "body.json").read_bytes(), now=2 * NOW, options={"ignore_older_than_hours": 0}
    )
    deployed, patched, *missed = receipt.envelopes
    assert (deployed.method, deployed.state, deployed.raw) == ("POST", "waiting", receipt.note_id)
    assert (patched.method, patched.state, patched.raw) == ("PATCH", "ignored", receipt.note_id)
    assert patched.reason == NEEDS_KEY
    assert all(one.is_catch_up and one.raw == receipt.note_id for one in missed)


# -- ids of notes


def test_note_ids_differ_by_body_endpoint_and_delivery_and_nothing_else() -> None:
    a, b = {"zen": "a"}, {"zen": "b"}
    ids = [
        come_to("github", a).note_id,
        come_to("github", b).note_id,
        come_to("github", a, headers={"x-github-delivery": "another"}).note_id,
        come_to("github", a, headers={"x-github-delivery": ""}).note_id,
        come_to("opsgenie", a).note_id,
        come_to("jsm", a).note_id,
    ]
    assert len(set(ids)) == len(ids)
    assert come_to("github", a, now=NOW + 1, headers={"user-agent": "x"}).note_id == ids[0]


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=2, unique=True))
def test_note_ids_differ_for_different_bodies(bodies: list[bytes]) -> None:
    for name in ALL:
        one, other = (come_to(name, body, kind="push").note_id for body in bodies)
        assert one != other


def test_the_same_fact_has_the_same_id_whatever_the_delivery() -> None:
    one = come_to("github", sample("github"), headers={"x-github-delivery": "1"})
    other = come_to("github", sample("github"), headers={"x-github-delivery": "2"}, now=NOW + HOUR)
    assert [envelope.id for envelope in one.envelopes] == [envelope.id for envelope in other.envelopes]
    assert one.note_id != other.note_id


# -- whatever is posted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=8), values, max_size=4),
    max_leaves=20,
)
kinds = st.sampled_from(["deployment_status", "workflow_run", "release", "issues", "ping"]) | st.text(max_size=20)
queries = st.dictionaries(st.sampled_from(["env", "x"]), st.text(max_size=5))
EVERYTHING: Mapping[str, dict[str, Any]] = {
    "github": {"deployments_from": ["deployment_status", "workflow_run", "release"], "failures_from": ["issues"]},
    "argocd": {"git": "config", "redeploys": "send", "ignore_older_than_hours": 0},
    "pagerduty": {"priority_updates": "send"},
    "opsgenie": {"priority_updates": "send"},
}


def ends_well(name: str, raw: bytes, headers: dict[str, str], query: dict[str, str], application_key: bool) -> None:
    for options in ({}, EVERYTHING[name]):
        found = receive(
            endpoint(name, **options),
            Delivery(headers, query, raw),
            secret=1,
            now=NOW,
            rules=rules_of({"match": {"environment": "*"}, "set": {"team": "$1"}}),
            application_key=application_key,
        )
        assert found.envelopes
        for one in found.envelopes:
            assert one.state in ("waiting", "ignored", "dead_lettered")
            assert one.state == "waiting" or one.reason
            assert Envelope.from_json(one.to_json()) == replace(one, origins={})
            assert 0 <= one.order < 2**53


@pytest.mark.parametrize("name", ALL)
@given(raw=st.binary(), kind=kinds, content_type=st.sampled_from(["", "application/json", FORM]), query=queries)
@example(raw=b"[" * 100_000, kind="release", content_type="", query={})
@example(raw=b'{"a":' * 100_000, kind="push", content_type="", query={})
@example(raw=b"1" * 5_000, kind="issues", content_type="", query={})
@example(raw=b'"\\ud800"', kind="issues", content_type="", query={})
@example(raw=b"payload=" + b"%" * 50, kind="push", content_type=FORM, query={})
def test_never_raises_for_bytes(name: str, raw: bytes, kind: str, content_type: str, query: dict[str, str]) -> None:
    headers = {"x-github-event": kind, "content-type": content_type}
    ends_well(name, raw, headers, query, application_key=True)


@pytest.mark.parametrize("name", ALL)
@given(body=json_values, kind=kinds)
def test_never_raises_for_json(name: str, body: Any, kind: str) -> None:
    ends_well(name, json.dumps(body).encode(), {"x-github-event": kind}, {}, application_key=False)


def bodies_of(name: str) -> list[tuple[dict[str, str], Any]]:
    """Headers and bodies of the fixtures that are JSON objects."""
    found = []
    for folder in FOLDERS:
        if folder.parent.name == name:
            try:
                body = json.loads((folder / "body.json").read_bytes())
            except ValueError:
                continue
            if isinstance(body, dict):
                found.append((json.loads((folder / "headers.json").read_bytes()), body))
    assert len(found) > 30
    return found


BODIES = {name: bodies_of(name) for name in ALL}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in it, with every key or index."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_never_raises_for_a_real_body_with_odd_values(name: str, data: st.DataObject) -> None:
    headers, body = copy.deepcopy(data.draw(st.sampled_from(BODIES[name])))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(body))))
        container[key] = data.draw(json_values)
        if data.draw(st.booleans()):
            del container[key]
        if not list(places(body)):
            break
    ends_well(name, json.dumps(body).encode(), headers, {}, application_key=data.draw(st.booleans()))


# -- reasons name fields, never values

MARK = "Mark-"
VALUES: list[Callable[[str], Any]] = [
    str,
    lambda mark: {mark: mark},
    lambda mark: [mark],
    lambda mark: f"2025-03-04T12:00:00Z{mark}",
    lambda mark: f"1741080000{mark}",
    lambda mark: f"https://{mark}:{mark}@example.com/x",
]


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_reasons_repeat_nothing_of_the_payload(name: str, data: st.DataObject) -> None:
    headers, body = copy.deepcopy(data.draw(st.sampled_from(BODIES[name])))
    kept = data.draw(st.sets(st.integers(0, 60)))
    for number, (container, key) in enumerate(list(places(body))):
        if isinstance(container[key], str) and number not in kept:
            container[key] = data.draw(st.sampled_from(VALUES))(f"{MARK}{number}")
    for options in ({}, EVERYTHING[name]):
        found = receive(
            endpoint(name, **options),
            Delivery(headers, {}, json.dumps(body).encode()),
            secret=1,
            now=NOW,
            application_key=True,
        )
        for one in found.envelopes:
            assert MARK not in one.reason + one.needs_opening + one.rule


def test_the_marks_get_as_far_as_each_outcome() -> None:
    """Or the property above would say nothing: with every value marked it is ignored, a dead letter, or reported."""
    states = set()
    for name in ALL:
        for headers, original in BODIES[name]:
            body = copy.deepcopy(original)
            for number, (container, key) in enumerate(list(places(body))):
                # times and what chooses the kind stay
                if isinstance(container[key], str) and key not in KEPT and not container[key][:4].isdigit():
                    container[key] = f"{MARK}{number}"
            found = receive(
                endpoint(name, **EVERYTHING[name]),
                Delivery(headers, {}, json.dumps(body).encode()),
                secret=1,
                now=2 * NOW,
                application_key=True,
            )
            states |= {(name, one.state) for one in found.envelopes}
            assert not any(MARK in one.reason for one in found.envelopes)
    assert {(name, state) for name in ALL for state in ("waiting", "ignored", "dead_lettered")} <= states


KEPT = {"event_type", "action", "state", "conclusion", "phase", "status", "schema", "priority", "name"}
