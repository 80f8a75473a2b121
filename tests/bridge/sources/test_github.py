"""GitHub: what the fixtures cannot show. The facts themselves are in `tests/fixtures/github/`."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dora import ChangeFailure, Deployment, Failure
from bridge.errors import PayloadInvalid, SignatureMissing
from bridge.source import Context, Translation
from bridge.sources.github import SOURCE, GitHubOptions

FIXTURES = Path(__file__).parents[2] / "fixtures" / "github"
EVERYTHING = GitHubOptions(deployments_from=("deployment_status", "workflow_run", "release"), failures_from=("issues",))
WHOLE = {
    "deployment_status": "actions-after-approval",
    "workflow_run": "success",
    "release": "target-is-a-commit",
    "issues": "labels-tell-everything",
}
"""Kind -> case of a body with all that we read."""
NEEDED = {
    "deployment_status": {
        "deployment",
        "deployment.id",
        "deployment_status",
        "deployment_status.created_at",
        "repository",
        "repository.id",
        "repository.name",
    },
    "workflow_run": {
        "workflow_run",
        "workflow_run.id",
        "workflow_run.run_attempt",
        "workflow_run.updated_at",
        "repository",
        "repository.id",
        "repository.name",
    },
    "release": {
        "release",
        "release.id",
        "release.published_at",
        "repository",
        "repository.id",
        "repository.name",
    },
    "issues": {"issue", "issue.id", "issue.created_at", "repository", "repository.id"},
}
"""Without these nothing true can be said; whatever else is odd, the event is no dead letter."""

MARK = "Value-Of-The-Payload"
ODD = [MARK, "", "  ", None, 0, -1, 2**70, 1.5, True, False, [], [MARK], [None], {}, {"id": MARK}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


def body_of(kind: str, case: str = "") -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / f"{kind}.{case or WHOLE[kind]}" / "body.json").read_bytes())
    return body


def translate(kind: str, body: Any, options: GitHubOptions = EVERYTHING, **context: Any) -> Translation:
    event = SOURCE.models[kind].model_validate_json(json.dumps(body))
    return SOURCE.translate(event, Context(options, **context))


def deployment(body: Any, kind: str = "deployment_status", **context: Any) -> Deployment:
    (fact,) = translate(kind, body, **context).facts
    assert isinstance(fact, Deployment)
    return fact


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a body there is something."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(body)
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return body


@pytest.mark.parametrize("kind", WHOLE)
def test_only_what_is_needed_can_make_a_dead_letter(kind: str) -> None:
    body = body_of(kind)
    refused = set()
    for path in paths(body):
        for value in ODD:
            try:
                translate(kind, changed(body, path, value))
            except (PayloadInvalid, pydantic.ValidationError):
                refused.add(".".join(map(str, path)))
    assert refused == NEEDED[kind]


@pytest.mark.parametrize("kind", WHOLE)
def test_reasons_do_not_repeat_the_payload(kind: str) -> None:
    body = body_of(kind)
    for path in paths(body):
        try:
            said = translate(kind, changed(body, path, MARK)).ignored
        except PayloadInvalid as error:
            said = error.detail
        except pydantic.ValidationError:
            continue
        assert MARK not in said


@given(data=st.data())
def test_any_json_in_any_place_comes_to_a_fact_or_is_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(WHOLE)))
    body = body_of(kind)
    for _ in range(data.draw(st.integers(1, 4))):
        places = [*paths(body)] or [("action",)]
        body = changed(body, data.draw(st.sampled_from(places)), data.draw(json_values))
    try:
        facts = translate(kind, body).facts
    except (PayloadInvalid, pydantic.ValidationError):
        return
    for fact in facts:
        assert isinstance(fact, Deployment | Failure | ChangeFailure)
        assert json.loads(json.dumps(fact.body)) == fact.body


@given(body=json_values, kind=st.sampled_from(sorted(WHOLE)))
def test_any_json_is_refused(body: Any, kind: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        translate(kind, body)


@pytest.mark.parametrize(
    "payload",
    [
        "[" * 200_000,
        '{"version":' + "9" * 5_000 + "}",
        '{"rollback_of":"' + "9" * 5_000 + '"}',
        '{"version":"\\ud800"}',
    ],
)
def test_a_payload_that_nobody_can_read_counts_as_none(payload: str) -> None:
    body = body_of("deployment_status")
    assert deployment(changed(body, ("deployment", "payload"), payload)) == deployment(body)


def test_a_long_issue_takes_no_time() -> None:
    body = body_of("issues", "opened")
    for text in (
        " " * 65_000,
        "service:" + " " * 65_000 + "\n",
        "service: " + "a " * 32_000,
        "\nservice" * 9_000,
    ):
        translate("issues", changed(body, ("issue", "body"), text))


def test_no_source_unless_an_option_lists_it() -> None:
    assert {kind for kind in WHOLE if translate(kind, body_of(kind), GitHubOptions()).facts} == {"deployment_status"}
    nothing = GitHubOptions(deployments_from=())
    assert not any(translate(kind, body_of(kind), nothing).facts for kind in WHOLE)


@pytest.mark.parametrize(
    "options",
    [
        {"deployments_from": ["push"]},
        {"deployments_from": "workflow_run"},
        {"failures_from": ["pull_request"]},
        {"workflow": [".github/workflows/deploy.yml"]},
        {"instance": "with space"},
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        GitHubOptions.model_validate(options)


def test_legs_of_a_matrix_are_deployments_of_their_own() -> None:
    body = body_of("deployment_status")
    one, other = deployment(body), deployment(changed(body, ("deployment", "id"), 2210459319))
    assert (one.git, one.key) == (other.git, other.key)
    assert one.id != other.id


def test_a_later_closing_replaces_an_earlier_one_of_the_same_issue() -> None:
    closed = body_of("issues", "closed")
    again = changed(closed, ("issue", "closed_at"), "2025-03-07T09:00:00Z")
    opening, first, second = (
        translate("issues", body).facts[0] for body in (body_of("issues", "opened"), closed, again)
    )
    assert isinstance(opening, Failure)
    assert isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert opening.id == first.id == second.id
    assert opening.started_at == first.started_at == second.started_at
    assert opening.revision < first.revision < second.revision


def test_what_rules_can_match() -> None:
    assert translate("deployment_status", body_of("deployment_status")).traits == {
        "repository": "northwind-labs/checkout",
        "environment": "Production",
        "workflow": ".github/workflows/deploy.yml",
        "branch": "main",
        "service": "checkout",
        "team": None,
    }
    assert translate("workflow_run", body_of("workflow_run"), query={"env": "live"}).traits == {
        "repository": "northwind-labs/checkout",
        "environment": "live",
        "workflow": ".github/workflows/deploy.yml",
        "branch": "main",
        "service": "checkout",
    }
    assert translate("release", body_of("release")).traits == {
        "repository": "northwind-labs/checkout",
        "environment": None,
        "service": "checkout",
    }
    assert translate("issues", body_of("issues")).traits == {
        "repository": "northwind-labs/checkout",
        "environment": ("Production",),
        "labels": (
            "Incident",
            "P2",
            "sev-1",
            "env:Production",
            "service:checkout-api",
            "service: basket",
            "p99 latency",
        ),
        "service": ("checkout-api", "basket"),
    }


@pytest.mark.parametrize(
    ("ref", "branch"), [("refs/heads/main", "main"), ("release/2.14", "release/2.14"), (None, None)]
)
def test_the_branch_is_the_deployed_ref(ref: str | None, branch: str | None) -> None:
    body = changed(body_of("deployment_status"), ("deployment", "ref"), ref)
    assert translate("deployment_status", body).traits["branch"] == branch


@pytest.mark.parametrize(
    ("label", "severity"),
    [
        ("sev-1", "SEV-1"),
        ("SEV2", "SEV-2"),
        ("sev 3", "SEV-3"),
        ("P4", "SEV-4"),
        ("p5", "SEV-5"),
        ("sev1: critical", "SEV-1"),
        ("sev-6", None),
        ("P10", None),
        ("1", None),
        ("critical", None),
        ("p2p", None),
        ("http2 p1", None),
    ],
)
def test_severity_is_only_read_from_labels_that_name_one(label: str, severity: str | None) -> None:
    body = changed(body_of("issues", "opened"), ("issue", "labels"), [{"name": "incident"}, {"name": label}])
    (failure,) = translate("issues", body).facts
    assert isinstance(failure, Failure)
    assert failure.severity == severity


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target", "pull_request_review"])
def test_runs_for_pull_requests_are_no_deployments(event: str) -> None:
    assert not translate("workflow_run", changed(body_of("workflow_run"), ("workflow_run", "event"), event)).facts


def test_the_host_of_an_enterprise_server_is_in_the_id_in_lower_case() -> None:
    body = body_of("deployment_status")
    one, same, other = (
        deployment(body, headers={"x-github-enterprise-host": host})
        for host in ("git.example.com", "Git.Example.com", "git.example.org")
    )
    assert one.id == same.id != other.id


def test_ids_of_deliveries() -> None:
    assert SOURCE.delivery_id({"x-github-delivery": "5e81a3c1-f8d4-11ef-9001-2b6c40d97f1a"}, b"") == (
        "5e81a3c1-f8d4-11ef-9001-2b6c40d97f1a"
    )
    assert SOURCE.delivery_id({}, b"") is None


def test_the_signature_of_githubs_own_example_fits() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    body, secret = b"Hello, World!", b"It's a Secret to Everybody"
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert SOURCE.scheme.verify({"x-hub-signature-256": f"sha256={digest}"}, body, [b"another", secret]) == 2
    with pytest.raises(SignatureMissing):  # SHA-1 stands beside it, and alone it is not enough
        SOURCE.scheme.verify({"x-hub-signature": "sha1=" + digest[:40]}, body, [secret])


@pytest.mark.parametrize("folder", [path.name for path in FIXTURES.iterdir() if "without-repository" not in path.name])
def test_the_kind_is_told_by_the_body(folder: str) -> None:
    made = SOURCE.headers((FIXTURES / folder / "body.json").read_bytes(), None)
    assert made["x-github-event"] == folder.partition(".")[0]


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["action", "workflow_job", "deployment", "repository"], "workflow_job"),
        (["action", "since", "reviewers", "workflow_run", "repository"], "deployment_review"),
        (["action", "deployment_callback_url", "deployment"], "deployment_protection_rule"),
        (["action", "comment", "issue"], "issue_comment"),
        (["action", "number", "pull_request"], "pull_request"),
    ],
)
def test_the_kind_is_told_by_the_keys_of_the_body(keys: list[str], kind: str) -> None:
    assert SOURCE.headers(json.dumps({key: {} for key in keys}).encode(), None)["x-github-event"] == kind


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"zen"', b'{"action": "starred"}', b"\xff"])
def test_a_kind_that_cannot_be_told_is_not_made_up(body: bytes) -> None:
    made = SOURCE.headers(body, None)
    assert "x-github-event" not in made
    with pytest.raises(PayloadInvalid):
        SOURCE.kind(made, body)
    assert SOURCE.headers(body, "star")["x-github-event"] == "star"


def test_headers_are_those_of_githubs_sender() -> None:
    one, other = (SOURCE.headers(b"{}", "ping") for _ in range(2))
    assert one["content-type"] == "application/json"
    assert one["user-agent"].startswith("GitHub-Hookshot/")
    assert uuid.UUID(one["x-github-delivery"]) != uuid.UUID(other["x-github-delivery"])
