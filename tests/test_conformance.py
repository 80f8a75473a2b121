"""Real, documented and derived bodies of the four senders, and what each must come to.

They are not part of this repository: a folder `samples` beside the project's, at `../shared`, has them. Without it,
these tests are skipped. The expected outcomes were written by hand from the payloads and the mapping of each field;
`custom_tags` are listed where a row names them.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.dry_run import dry_run
from bridge.errors import SignatureMismatch, SignatureMissing
from bridge.settings import Settings, read
from bridge.sources import SOURCES

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there is no folder {SAMPLES}")

NOW = 1_800_000_000 * 10**9
HELLO = "https://github.com/Codertocat/Hello-World"
OCTO = {
    "commit_sha": "3484a3fb816e0859fd6e1cea078d76385ff50625",
    "repository_url": "https://github.com/octo-org/octo-repo",
}
F95 = {"commit_sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e", "repository_url": HELLO}
ALADIN = "argo-00000000-0000-4000-8000-000000000001"
OUTAGE = "opsgenie-incident-ef8cb5b9-9511-48ec-953e-5b7bee55a913"


def at(text: str) -> int:
    """Nanoseconds of a time in UTC."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000


def posted(path: str, started: str | int, finished: str | int | None, **attributes: Any) -> dict[str, Any]:
    times = {"started_at": started, "finished_at": finished}
    told = {name: at(time) if isinstance(time, str) else time for name, time in times.items() if time is not None}
    return {"call": f"POST /api/v2/dora/{path}", **attributes, **told}


def patched(identifier: str, remediation: str | None = None) -> dict[str, Any]:
    remedy = {"remediation": {"id": remediation, "type": "rollback"}} if remediation else {}
    return {"call": f"PATCH /api/v2/dora/deployments/{identifier}", "change_failure": True, **remedy}


IGNORED: list[Any] = []
INVALID = "invalid"
Outcome = list[dict[str, Any]] | str

GITHUB: dict[str, Outcome] = {
    "check_run.completed.failure": IGNORED,
    "check_run.completed.success": IGNORED,
    "check_run.created.with-deployment": IGNORED,
    "deployment.created": IGNORED,
    "deployment.created.actions-gh-pages": IGNORED,
    "deployment_review.requested": IGNORED,
    "deployment_status.error.derived": IGNORED,
    "deployment_status.failure.derived": IGNORED,
    "deployment_status.in_progress.actions-gh-pages": IGNORED,
    "deployment_status.in_progress.derived": IGNORED,
    "deployment_status.queued.derived": IGNORED,
    "deployment_status.waiting.derived": IGNORED,
    "deployment_status.success.preview-transient.derived": IGNORED,
    # made by the REST API: neither a job nor flags of the environment
    "deployment_status.success": [
        posted(
            "deployment",
            "2019-05-15T15:20:53Z",
            "2019-05-15T15:20:55Z",
            id="gh-dep-0186853002-000145988746",
            service="Hello-World",
            env="production",
            git=F95,
            custom_tags=["github_environment:production", "github_actor:Codertocat", "ref:master"],
        )
    ],
    "deployment_status.success.app-installation": [
        posted(
            "deployment",
            "2019-05-15T15:20:53Z",
            "2019-05-15T15:20:55Z",
            id="gh-dep-0186853002-000145988746",
            service="Hello-World",
            env="production",
            git=F95,
        )
    ],
    # it began when its job did, not when it began to wait for approval
    "deployment_status.success.derived": [
        posted(
            "deployment",
            "2024-06-01T10:12:25Z",
            "2024-06-01T10:15:10Z",
            id="gh-dep-0186853002-000145990001",
            service="Hello-World",
            env="production",
            git=F95,
            custom_tags=[
                "github_environment:production",
                "github_actor:github-pages[bot]",
                "github_run_id:289782451",
                "ref:master",
            ],
        )
    ],
    "deployment_status.success.payload-string.derived": [
        posted(
            "deployment",
            "2024-06-04T11:00:00Z",
            "2024-06-04T11:01:00Z",
            id="gh-dep-0186853002-000145990005",
            service="checkout",
            env="production",
            version="v1.12.07",
            git=F95,
        )
    ],
    "deployment_status.success.rollback.derived": [
        posted(
            "deployment",
            "2024-06-05T11:00:00Z",
            "2024-06-05T11:02:00Z",
            id="gh-dep-0186853002-000145990006",
            service="checkout",
            env="production",
            git=F95,
        ),
        patched("gh-dep-0186853002-000145990002", "gh-dep-0186853002-000145990006"),
    ],
    "issues.labeled": IGNORED,
    "issues.opened": IGNORED,
    "issues.pinned.no-labels-key": IGNORED,
    "issues.labeled.incident.derived": [
        posted(
            "failure",
            "2019-05-15T15:20:18Z",
            None,
            id="gh-issue-0186853002-000444500041",
            name="Checkout is down",
            services=["checkout"],
            severity="SEV-1",
            git=F95,
        )
    ],
    "issues.closed.incident.derived": [
        posted(
            "failure",
            "2019-05-15T15:20:18Z",
            "2019-05-15T17:02:11Z",
            id="gh-issue-0186853002-000444500041",
            name="Checkout is down",
            services=["checkout"],
            severity="SEV-1",
            git=F95,
        )
    ],
    "ping.organization": IGNORED,
    "ping.repository": IGNORED,
    "pull_request.closed.merged.derived": IGNORED,
    "pull_request.closed.merged.revert.derived": IGNORED,
    "pull_request.closed.unmerged": IGNORED,
    "push.branch-created": IGNORED,
    "push.branch-created.committer-without-username": IGNORED,
    "push.branch-updated.derived": IGNORED,
    "push.tag-created": IGNORED,
    "push.tag-deleted": IGNORED,
    "release.prereleased": IGNORED,
    "release.released": IGNORED,  # said besides `published`, of the same release
    "release.published": [
        posted(
            "deployment",
            "2019-05-15T15:20:53Z",
            "2019-05-15T15:20:53Z",
            id="gh-rel-0186853002-000017372790",
            service="Hello-World",
            version="0.0.1",
        )
    ],
    "workflow_job.queued.with-deployment": IGNORED,
    "workflow_run.completed.cancelled.derived": IGNORED,
    "workflow_run.completed.conclusion-null": IGNORED,
    "workflow_run.completed.failure.derived": IGNORED,
    "workflow_run.completed.skipped.derived": IGNORED,
    "workflow_run.completed.timed_out.derived": IGNORED,
    "workflow_run.in_progress": IGNORED,
    "workflow_run.requested": IGNORED,
    "workflow_run.completed.success": [
        posted(
            "deployment",
            "2020-10-05T16:33:49Z",
            "2020-10-05T16:33:49Z",
            id="gh-run-0300029405-000289782451-1",
            service="octo-repo",
            git=OCTO,
        )
    ],
    "workflow_run.completed.success.with-pull-requests": [
        posted(
            "deployment",
            "2020-10-05T16:33:49Z",
            "2020-10-05T16:33:49Z",
            id="gh-run-0300029405-000289782451-1",
            service="octo-repo",
            git=OCTO,
        )
    ],
    "workflow_run.completed.success.rerun.derived": [
        posted(
            "deployment",
            "2020-10-05T18:00:00Z",
            "2020-10-05T18:03:00Z",
            id="gh-run-0300029405-000289782451-2",
            service="octo-repo",
            git=OCTO,
        )
    ],
}

ARGOCD: dict[str, Outcome] = {
    "degraded.composed": [patched(f"{ALADIN}-000005")],
    "degraded.no-operation": IGNORED,
    "deleting.outofsync-degraded": IGNORED,
    "helm-chart-repo": [
        posted(
            "deployment",
            "2022-06-06T12:36:12Z",
            "2022-06-06T12:36:12Z",
            id="argo-ab616ced-06a8-4548-bb00-9f295e7d500b-000004",
            service="jenkins",
            version="inemkovich",  # the tag of the image whose name contains the service
        )
    ],
    # neither of its images is named like the service, and a configuration's commit is not the application's
    "multi-source.history.composed": [
        posted(
            "deployment",
            "2024-04-25T17:55:04Z",
            "2024-04-25T17:55:07Z",
            id="argo-00000000-0000-4000-8000-000000000002-000107",
            service="slurm-staging",
            custom_tags=["argocd_app:slurm-staging", "argocd_project:default", "argocd_initiated_by:automated"],
        )
    ],
    "multi-source.operation-only": IGNORED,
    "plugin-single-source": IGNORED,  # the tenth time the same revision
    "rollback.composed": [
        posted(
            "deployment",
            "2024-05-31T18:52:10Z",
            "2024-05-31T18:52:40Z",  # when it was healthy
            id=f"{ALADIN}-000006",
            service="aladin",
            env="prod",
            team="storage",
            version="2",
            custom_tags=[
                "region:eu-central-1",
                "team:storage",
                "argocd_app:aladin-prod",
                "argocd_project:default",
                "argocd_initiated_by:admin",
            ],
        ),
        # it returned to entry 2, so entry 3 is the change that failed
        patched(f"{ALADIN}-000003", f"{ALADIN}-000006"),
    ],
    "running.minimal": IGNORED,
    "single-source.history": [
        posted(
            "deployment",
            "2024-05-31T18:38:01Z",
            "2024-05-31T18:38:02Z",
            id=f"{ALADIN}-000005",
            service="aladin-prod",
        )
    ],
    "single-source.minimal": IGNORED,
    "sync-failed.composed": IGNORED,
}

PAGERDUTY: dict[str, Outcome] = {
    "incident.acknowledged": IGNORED,
    "incident.annotated.resolution-note": IGNORED,
    "incident.custom_field_values.updated.derived": IGNORED,
    "incident.escalated.agent-null.derived": IGNORED,
    "incident.priority_updated.P1.documented": IGNORED,
    "incident.priority_updated.P2": IGNORED,
    "incident.priority_updated.go-client-test": IGNORED,
    "incident.reassigned.2021": IGNORED,
    "incident.reopened": [
        posted(
            "failure",
            "2026-04-01T02:15:01Z",
            None,
            id="pagerduty-incident-Q05XJA8GDXGOB3-r1775009701",
            name="Test Incident 2",
            services=["Default Service"],
            severity="SEV-3",
        )
    ],
    "incident.resolved.2021-no-created_at": INVALID,
    "incident.resolved.by-integration.derived": [
        posted(
            "failure",
            "2025-04-07T03:47:13Z",
            "2025-04-07T03:49:36.358Z",
            id="pagerduty-incident-Q2CKYRLH85UNN4",
            name="Test",
            services=["Webhook Tester"],
            severity="Low",
            custom_tags=[
                "pagerduty_incident:37",
                "pagerduty_service:PNE3JZM",
                "urgency:low",
                "resolved_by:integration",
            ],
        )
    ],
    "incident.resolved.by-user": [
        posted(
            "failure",
            "2025-04-07T03:47:13Z",
            "2025-04-07T03:49:36.358Z",
            id="pagerduty-incident-Q2CKYRLH85UNN4",
            name="Test",
            services=["Webhook Tester"],
            severity="Low",
            custom_tags=["pagerduty_incident:37", "pagerduty_service:PNE3JZM", "urgency:low", "resolved_by:user"],
        )
    ],
    "incident.resolved.merged.derived": [  # sent only if its opening was
        posted(
            "failure",
            "2025-04-07T03:47:13Z",
            "2025-04-07T03:49:36.358Z",
            id="pagerduty-incident-Q2CKYRLH85UNN4",
            name="Test",
            services=["Webhook Tester"],
            severity="Low",
            custom_tags=[
                "pagerduty_incident:37",
                "pagerduty_service:PNE3JZM",
                "urgency:low",
                "resolved_by:user",
                "merged_into:Q3B15VLMF3ASBD",
            ],
        )
    ],
    "incident.responder.added": IGNORED,
    "incident.status_update_published": IGNORED,
    "incident.triggered.2021-no-created_at": [
        posted(
            "failure",
            "2021-06-04T13:35:29.781Z",
            None,
            id="pagerduty-incident-PFQZPSY",
            name="Test Incident 3",
            services=["acme"],
            severity="High",
        )
    ],
    "incident.triggered.by-user.low-urgency": [
        posted(
            "failure",
            "2025-04-07T03:47:13Z",
            None,
            id="pagerduty-incident-Q2CKYRLH85UNN4",
            name="Test",
            services=["Webhook Tester"],
            severity="Low",
        )
    ],
    "incident.triggered.events-api.incident_key-null": [
        posted(
            "failure",
            "2025-02-05T05:56:12Z",
            None,
            id="pagerduty-incident-Q1KD0TLXG4S1VO",
            name="HighErrorCriticalLogs triggered on acme-api-alerts",
            services=["Last9-Dev-Eks"],
            severity="High",
        )
    ],
    "incident.unacknowledged.2021": IGNORED,
    "pagey.ping": IGNORED,
    "service.created": IGNORED,
    "service.updated.documented": IGNORED,
}

OPSGENIE: dict[str, Outcome] = {
    "acknowledge": IGNORED,
    "addnote": IGNORED,
    "addtags": IGNORED,
    "addteam": IGNORED,
    "assignownership": IGNORED,
    "close.minimal": IGNORED,  # of an alert without priority, which did not count
    "create.2017-priority-int": IGNORED,  # P3
    "create.2017-string-numbers": INVALID,  # P2, but nothing says what failed
    "create.2020": IGNORED,  # P3
    "create.2021.with-details": IGNORED,  # P3
    "create.documented": IGNORED,
    "customaction": IGNORED,
    "delete": IGNORED,
    "escalate": IGNORED,
    "incident-alert.acknowledge": IGNORED,
    "incident-alert.addnote": IGNORED,
    "incident-alert.create": [
        posted(
            "failure",
            1_625_239_292_510_000_000,
            None,
            id=OUTAGE,
            name="Payments gateway down",
            team="Payments",
            severity="SEV-1",
            custom_tags=["opsgenie_alert:41676", "opsgenie_integration:Webhook"],
        )
    ],
    "incident-alert.close": [
        posted(
            "failure",
            1_625_239_292_510_000_000,
            1_625_239_570_946_000_000,
            id=OUTAGE,
            name="Payments gateway down",
            team="Payments",
            severity="SEV-1",
        )
    ],
    "incident-alert.create.second-responder.derived": IGNORED,  # the owner's alert stands for the incident
    "unacknowledge": IGNORED,
    "updatepriority.derived": IGNORED,
}

OPSGENIE_OF_ANY_PRIORITY: dict[str, Outcome] = {
    "create.2017-priority-int": [
        posted(
            "failure",
            1_502_709_956_288_000_000,
            None,
            id="opsgenie-alert-ec03dad6-62c8-4c94-b38b-d88f398e900f",
            name="another alert",
            services=["Server"],
            severity="SEV-3",
        )
    ],
    "create.2020": [
        posted(
            "failure",
            1_593_475_564_295_000_000,
            None,
            id="opsgenie-alert-7ec331d7-f5f3-4f78-a49c-2ad886df69fe-1593475564295",
            name="asdf",
            team="operations",
            severity="SEV-3",
        )
    ],
    "create.2021.with-details": [
        posted(
            "failure",
            1_625_246_953_480_000_000,
            None,
            id="opsgenie-alert-6552a02b-ff34-4e65-a1cc-83eb3fccdcef-1625246953480",
            name="[Site24x7] education-v2-prod-api status is: TROUBLE",
            team="team-fulfillment-verification-deltaapi",
            env="prod",
            severity="SEV-3",
        )
    ],
}

DEFAULTS = read({})
TABLES = {"github": GITHUB, "argocd": ARGOCD, "pagerduty": PAGERDUTY, "opsgenie": OPSGENIE}
EVERYTHING = """
endpoints:
  github: {deployments_from: [deployment_status, workflow_run, release], failures_from: [issues]}
  argocd: {ignore_older_than_hours: 0}
  any-priority: {kind: opsgenie, failures_from: {priorities: [P1, P2, P3, P4, P5]}}
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Every kind of event is read, and none is too old."""
    path = tmp_path_factory.mktemp("conformance") / "bridge.yaml"
    path.write_text(EVERYTHING)
    return read({"DORA_BRIDGE_CONFIG": str(path)})


def outcome(settings: Settings, endpoint: str, body: bytes, expected: Outcome) -> Outcome:
    """What a body comes to, as the tables have it; tags are left out where `expected` names none."""
    found = dry_run(settings, settings.endpoints[endpoint], "file", body, kind=None, now=NOW)
    json.dumps(found)
    assert found["reason"] or found["outcome"] == "events"
    if found["outcome"] != "events":
        assert not found["events"]
        return INVALID if found["outcome"] == "invalid" else IGNORED
    rows = []
    for event in found["events"]:
        attributes = event["body"]["data"]["attributes"]
        assert event["id"] == attributes.get("id", event["body"]["data"].get("id"))
        rows.append({"call": f"{event['method']} {event['path']}", **attributes})
    for number, row in enumerate(rows):
        if not isinstance(expected, str) and number < len(expected) and "custom_tags" not in expected[number]:
            row.pop("custom_tags", None)
    return rows


CASES = [
    (name, file if name != "argocd" else f"rendered.{file}", expected)
    for name, table in TABLES.items()
    for file, expected in table.items()
]


@pytest.mark.parametrize(("name", "file", "expected"), CASES, ids=[f"{name}/{file}" for name, file, _ in CASES])
def test_sample(everything: Settings, name: str, file: str, expected: Outcome) -> None:
    body = (SAMPLES / name / f"{file}.json").read_bytes()
    assert outcome(everything, name, body, expected) == expected


@pytest.mark.parametrize(("file", "expected"), ARGOCD.items())
def test_application_in_the_template_of_datadog(everything: Settings, file: str, expected: Outcome) -> None:
    application = json.loads((SAMPLES / "argocd" / f"application.{file}.json").read_bytes())
    assert outcome(everything, "argocd", json.dumps({"app": application}).encode(), expected) == expected


@pytest.mark.parametrize(("file", "expected"), OPSGENIE_OF_ANY_PRIORITY.items())
def test_alert_of_any_priority(everything: Settings, file: str, expected: Outcome) -> None:
    body = (SAMPLES / "opsgenie" / f"{file}.json").read_bytes()
    assert outcome(everything, "any-priority", body, expected) == expected


@pytest.mark.parametrize("file", OPSGENIE)
def test_jira_service_management_says_the_same_under_its_own_ids(everything: Settings, file: str) -> None:
    body = (SAMPLES / "opsgenie" / f"{file}.json").read_bytes()
    expected = OPSGENIE[file]
    found = outcome(everything, "jsm", body, expected)
    if isinstance(found, list):
        found = [{**row, "id": row["id"].replace("jsm-", "opsgenie-", 1)} for row in found]
    assert found == expected


def test_by_default_github_reports_only_successful_deployment_statuses() -> None:
    for file in GITHUB:
        body = (SAMPLES / "github" / f"{file}.json").read_bytes()
        expected = GITHUB[file] if file.startswith("deployment_status") else IGNORED
        assert outcome(DEFAULTS, "github", body, expected) == expected, file


def test_saved_bodies_are_shown_however_old_with_a_remark() -> None:
    for file, expected in ARGOCD.items():
        body = (SAMPLES / "argocd" / f"rendered.{file}.json").read_bytes()
        deploys = isinstance(expected, list) and any(row["call"].startswith("POST") for row in expected)
        found = dry_run(DEFAULTS, DEFAULTS.endpoints["argocd"], file, body, kind=None, now=NOW)
        if deploys:
            assert (found["outcome"], "ignore_older_than_hours" in found["reason"]) == ("events", True), file


def test_no_sample_is_left_out() -> None:
    for name, table in TABLES.items():
        files = {path.name.removesuffix(".json") for path in (SAMPLES / name).glob("*.json")}
        if name == "argocd":
            assert {f"application.{file}" for file in table} | {f"rendered.{file}" for file in table} == files
        else:
            assert set(table) == files


def vectors() -> list[Any]:
    if not (SAMPLES / "signature_vectors.json").exists():
        return []
    told = json.loads((SAMPLES / "signature_vectors.json").read_bytes())
    return [
        pytest.param(name, vector, id=f"{name}: {vector['name']}")
        for name in ("github", "pagerduty")
        for vector in told[name]
    ]


@pytest.mark.parametrize(("name", "vector"), vectors())
def test_signature(name: str, vector: dict[str, Any]) -> None:
    scheme = SOURCES[name].scheme
    headers = {scheme.header: vector[scheme.header.replace("-", "_")]}
    try:
        accepted = scheme.verify(headers, vector["body"].encode(), [b"another", vector["secret"].encode()]) == 2
    except (SignatureMissing, SignatureMismatch):
        accepted = False
    assert vector["valid"] in (accepted, None)


def test_there_are_signatures_of_both_kinds() -> None:
    assert {vector.values[1]["valid"] for vector in vectors()} >= {True, False}
