"""Every body that a fixture or an operator leads to is one that Datadog's own client and OpenAPI document accept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v2.model.dora_deployment_patch_by_version_request import DORADeploymentPatchByVersionRequest
from datadog_api_client.v2.model.dora_deployment_patch_request import DORADeploymentPatchRequest
from datadog_api_client.v2.model.dora_deployment_request import DORADeploymentRequest
from datadog_api_client.v2.model.dora_failure_request import DORAFailureRequest
from datadog_api_client.v2.model.incident_create_request import IncidentCreateRequest
from datadog_api_client.v2.model.incident_update_request import IncidentUpdateRequest
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from bridge.call import call_of
from bridge.dora import ChangeFailure, ChangeFailureByVersion, Failure
from bridge.envelope import Envelope, identity

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "shared" / "datadog" / "openapi-dora-incidents.yaml"
MODELS: dict[tuple[str, str], tuple[type[Any], str]] = {
    ("POST", "deployment"): (DORADeploymentRequest, "DORADeploymentRequest"),
    ("POST", "failure"): (DORAFailureRequest, "DORAFailureRequest"),
    ("POST", "incident"): (DORAFailureRequest, "DORAFailureRequest"),
    ("PATCH", "deployments/"): (DORADeploymentPatchRequest, "DORADeploymentPatchRequest"),
    ("PATCH", "deployments"): (DORADeploymentPatchByVersionRequest, "DORADeploymentPatchByVersionRequest"),
}
EVENTS = [
    pytest.param(event, id=f"{path.parent.parent.name}/{path.parent.name}-{number}")
    for path in sorted((HERE / "fixtures").glob("*/*/expected.json"))
    for number, event in enumerate(json.loads(path.read_text("utf-8")).get("events", ()))
    # a closing without its start is not sent as it is: the ledger gives it the one it was opened with
    if event["body"] is not None and ("started_at" in event["body"]["data"]["attributes"] or event["method"] == "PATCH")
]


REMEDIES: list[dict[str, Any]] = [
    {},
    {"remediation_id": "gh-dep-0000000001-000000000002", "remediation_type": "rollback"},
]
BY_VERSION = [*REMEDIES, {"remediation_version": "v2", "remediation_type": "rollforward"}]
MARKS = [
    *(ChangeFailure(deployment_id="gh-dep-0000000001-000000000001", service="", env=None, **more) for more in REMEDIES),
    *(ChangeFailureByVersion(service="shop", env="production", version="v1", **more) for more in BY_VERSION),
]
EVENTS += [
    pytest.param(
        {"method": mark.method, "path": mark.path, "body": replace(mark, failed=failed).body},
        id=f"operator-{number}-{'failed' if failed else 'stable'}",
    )
    for number, mark in enumerate(MARKS)
    for failed in (True, False)
]


def _model(event: dict[str, Any]) -> tuple[type[Any], str]:
    """By the last fixed part of the path; one with an id behind it ends with a slash."""
    name, slash, _ = event["path"].removeprefix("/api/v2/dora/").partition("/")
    return MODELS[event["method"], f"{name}{slash}"]


def test_there_are_events_of_every_kind() -> None:
    assert {_model(param.values[0])[1] for param in EVENTS} == {name for _, name in MODELS.values()}


@pytest.mark.parametrize("event", EVENTS)
def test_datadogs_client_takes_it(event: dict[str, Any]) -> None:
    with ApiClient(Configuration()) as client:
        read = client.deserialize(json.dumps(event["body"]), (_model(event)[0],), True)
    assert not getattr(read, "_unparsed", False)


OPEN = Failure(
    id="pagerduty-incident-PLX8T2C",
    started_at=1_717_585_400 * 10**9,
    services=("checkout",),
    team="backend",
    env="production",
    name="Checkout errors",
    severity="SEV-2",
    custom_tags=("pagerduty_incident:41",),
    send_as="incident",
)
INCIDENT_CALLS = [
    (OPEN, IncidentCreateRequest, "IncidentCreateRequest"),
    (replace(OPEN, severity=None, name=None, team=None, services=()), IncidentCreateRequest, "IncidentCreateRequest"),
    (replace(OPEN, revision=1), IncidentUpdateRequest, "IncidentUpdateRequest"),
    (replace(OPEN, finished_at=1_717_585_900 * 10**9), IncidentUpdateRequest, "IncidentUpdateRequest"),
]


@pytest.mark.parametrize(("failure", "model", "name"), INCIDENT_CALLS)
def test_incident_management_takes_it(failure: Failure, model: type[Any], name: str, document: dict[str, Any]) -> None:
    envelope = Envelope(endpoint="e", source="s", received_at=0, **identity(failure))
    body = call_of(envelope, uuid="a6250371-3453-5a56-b302-93500bfb7e41").body
    with ApiClient(Configuration()) as client:
        read = client.deserialize(json.dumps(body), (model,), True)
    assert not getattr(read, "_unparsed", False)
    validator(name, document).validate(body)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not DOCUMENT.exists():
        pytest.skip(f"Datadog's OpenAPI document is not there: {DOCUMENT}")
    text = DOCUMENT.read_text("utf-8").replace('"#/', '"urn:datadog#/').replace("'#/", "'urn:datadog#/")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


@pytest.mark.parametrize("event", EVENTS)
def test_datadogs_openapi_document_takes_it(event: dict[str, Any], document: dict[str, Any]) -> None:
    validator(_model(event)[1], document).validate(event["body"])


def validator(name: str, document: dict[str, Any]) -> Any:
    """Of this schema of Datadog's document."""
    registry: Any = Registry().with_resource("urn:datadog", Resource(contents=document, specification=DRAFT4))
    return OAS30Validator({"$ref": f"urn:datadog#/components/schemas/{name}"}, registry=registry)
