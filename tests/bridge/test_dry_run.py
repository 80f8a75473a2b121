"""The dry run: the same `receive` as the web process, told as JSON values or text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.dry_run import as_text, dry_run
from bridge.intake import Delivery, receive
from bridge.ledger import entries_of
from bridge.samples import samples
from bridge.settings import Settings, read

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOW = 1_800_000_000 * 10**9


def result(name: str, body: bytes, kind: str | None = None, **environ: str) -> dict[str, Any]:
    settings = read(environ)
    return dry_run(settings, settings.endpoints[name], "file.json", body, kind=kind, now=NOW)


def fixture(name: str, case: str) -> bytes:
    return (FIXTURES / name / case / "body.json").read_bytes()


def configured(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "bridge.yaml").write_text(text)
    return read({"DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml")})


@pytest.mark.parametrize("name", ["github", "argocd", "pagerduty", "opsgenie"])
def test_same_calls_as_the_web_process(name: str) -> None:
    kind, body = samples(NOW)[name]
    settings = read({})
    endpoint = settings.endpoints[name]
    receipt = receive(endpoint, Delivery(endpoint.source.headers(body, kind), {}, body), secret=1, now=NOW)
    (envelope,) = (entry.envelope for entry in entries_of(receipt, Delivery({}, {}, body)))
    found = result(name, body)
    assert found["events"] == [
        {
            "id": envelope.datadog_id,
            "key": envelope.key,
            "method": envelope.method,
            "path": envelope.path,
            "body": envelope.body,
        }
    ]
    assert (found["file"], found["kind"], found["outcome"]) == ("file.json", envelope.kind, "events")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("name", "body", "kind", "outcome", "told_kind", "reason"),
    [
        ("github", b"{", None, "invalid", "", "the header x-github-event is missing"),
        ("github", b"{", "issues", "invalid", "issues", "body: not JSON"),
        ("github", b'{"zen":""}', None, "ignored", "ping", "this kind of event is not reported"),
        ("github", b"[]", "push", "ignored", "push", "this kind of event is not reported"),
        (
            "argocd",
            b"{}",
            None,
            "invalid",
            "",
            'there is no schema: expected "dora-bridge.argocd/v1", or an object app',
        ),
        (
            "opsgenie",
            fixture("opsgenie", "Close.without-createdAt"),
            None,
            "invalid",
            "Close",
            "no start time in the webhook, and the opening of this incident is not in the ledger",
        ),
    ],
)
def test_no_event(name: str, body: bytes, kind: str | None, outcome: str, told_kind: str, reason: str) -> None:
    found = result(name, body, kind)
    assert (found["outcome"], found["kind"], found["events"]) == (outcome, told_kind, [])
    assert found["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("pagerduty", fixture("pagerduty", "incident.resolved.merged"), "only if its opening was reported"),
        (
            "argocd",
            fixture("argocd", "deployed.single-source"),
            "posted now it would be ignored: it finished longer ago than ignore_older_than_hours",
        ),
    ],
)
def test_what_depends_on_more_than_the_body_is_shown_with_a_remark(name: str, body: bytes, reason: str) -> None:
    found = result(name, body, None)
    assert (found["outcome"], found["reason"], len(found["events"])) == ("events", reason, 1)


def test_a_kind_that_is_given_names_what_could_not_be_read() -> None:
    assert result("pagerduty", b"{", "incident.triggered")["kind"] == "incident.triggered"


def test_calls_that_need_an_application_key_are_shown_and_say_so(tmp_path: Path) -> None:
    settings = configured(tmp_path, "endpoints: {argocd: {ignore_older_than_hours: 0}}")
    body = fixture("argocd", "deployed.rollback")
    found = dry_run(settings, settings.endpoints["argocd"], "-", body, kind=None, now=NOW)
    assert [call["method"] for call in found["events"]] == ["POST", "PATCH"]
    assert (found["outcome"], found["reason"]) == ("events", "")
    body = fixture("argocd", "degraded.single-source")
    found = dry_run(settings, settings.endpoints["argocd"], "-", body, kind=None, now=NOW)
    assert [call["method"] for call in found["events"]] == ["PATCH"]
    assert found["reason"] == "this call needs an application key (DD_APP_KEY is not set)"


def test_rule_is_named(tmp_path: Path) -> None:
    settings = configured(tmp_path, "rules: [{name: eu, match: {environment: 'prod*'}, set: {services: [a, b]}}]")
    kind, body = samples(NOW)["github"]
    found = dry_run(settings, settings.endpoints["github"], "-", body, kind=kind, now=NOW)
    assert found["rule"] == "eu"
    assert [call["key"] for call in found["events"]] == ["deployment:a:production", "deployment:b:production"]
    settings = configured(tmp_path, "rules: [{match: {environment: 'prod*'}, drop: not here}]")
    found = dry_run(settings, settings.endpoints["github"], "-", body, kind=kind, now=NOW)
    assert (found["outcome"], found["rule"], found["reason"]) == ("ignored", "rule 1", "not here")


def test_text_of_an_event() -> None:
    text = as_text(result("github", fixture("github", "deployment_status.ref-is-a-tag")))
    first, second, *rest = text.splitlines()
    assert first == "file.json: deployment_status: events"
    assert second == "  POST /api/v2/dora/deployment"
    assert [line.partition(":")[0].strip() for line in rest][:5] == [
        "id",
        "service",
        "env",
        "started_at",
        "finished_at",
    ]


@pytest.mark.parametrize(
    ("name", "case", "environ", "lines"),
    [
        (
            "pagerduty",
            "incident.resolved.merged-with-application-key",
            {"DD_APP_KEY": "x"},
            [
                "file.json: incident.resolved: events only if its opening was reported",
                "  DELETE /api/v2/dora/failure/pagerduty-incident-Q3XKFM7TD0W2PA",
            ],
        ),
        (
            "argocd",
            "degraded.single-source",
            {"DD_APP_KEY": "x"},
            ["file.json: degraded: events", "  PATCH /api/v2/dora/deployments/", "    change_failure: True"],
        ),
    ],
)
def test_text_of_other_calls(name: str, case: str, environ: dict[str, str], lines: list[str]) -> None:
    text = as_text(result(name, fixture(name, case), **environ)).splitlines()
    assert len(text) == len(lines)
    assert all(one.startswith(start) for one, start in zip(text, lines, strict=True))


def test_calls_of_incident_management_are_shown_as_they_are_made(tmp_path: Path) -> None:
    settings = configured(tmp_path, "endpoints: {pagerduty: {send_as: incident}}")
    calls = {}
    for case in ("incident.triggered.priority-and-team", "incident.resolved.by-user", "incident.resolved.merged"):
        body = fixture("pagerduty", case)
        found = dry_run(settings, settings.endpoints["pagerduty"], "-", body, kind=None, now=NOW)
        assert found["outcome"] == "events"
        [calls[case]] = found["events"]
    opened, ended, merged = calls.values()
    assert (opened["method"], opened["path"]) == ("POST", "/api/v2/incidents")
    assert opened["body"]["data"]["attributes"]["fields"]["state"]["value"] == "active"
    assert (ended["method"], ended["path"]) == ("PATCH", "/api/v2/incidents/{uuid}")
    assert (merged["method"], merged["path"], merged["body"]) == ("DELETE", "/api/v2/incidents/{uuid}", None)
    body = fixture("pagerduty", "incident.triggered.priority-and-team")
    text = as_text(dry_run(settings, settings.endpoints["pagerduty"], "-", body, kind=None, now=NOW))
    assert "  POST /api/v2/incidents\n    title: Checkout errors above 5 %\n" in text
    assert "    severity: SEV-2\n" in text
