"""Every body that a fixture leads to is one that Datadog's own client and OpenAPI document accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v2.model.dora_deployment_patch_request import DORADeploymentPatchRequest
from datadog_api_client.v2.model.dora_deployment_request import DORADeploymentRequest
from datadog_api_client.v2.model.dora_failure_request import DORAFailureRequest
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "shared" / "datadog" / "openapi-dora-incidents.yaml"
MODELS: dict[tuple[str, str], tuple[type[Any], str]] = {
    ("POST", "deployment"): (DORADeploymentRequest, "DORADeploymentRequest"),
    ("POST", "failure"): (DORAFailureRequest, "DORAFailureRequest"),
    ("POST", "incident"): (DORAFailureRequest, "DORAFailureRequest"),
    ("PATCH", "deployments"): (DORADeploymentPatchRequest, "DORADeploymentPatchRequest"),
}
EVENTS = [
    pytest.param(event, id=f"{path.parent.parent.name}/{path.parent.name}-{number}")
    for path in sorted((HERE / "fixtures").glob("*/*/expected.json"))
    for number, event in enumerate(json.loads(path.read_text("utf-8")).get("events", ()))
    # a closing without its start is not sent as it is: the ledger gives it the one it was opened with
    if event["body"] is not None and ("started_at" in event["body"]["data"]["attributes"] or event["method"] == "PATCH")
]


def _model(event: dict[str, Any]) -> tuple[type[Any], str]:
    return MODELS[event["method"], event["path"].split("/")[4]]


def test_there_are_events_of_every_kind() -> None:
    assert {_model(param.values[0])[1] for param in EVENTS} == {name for _, name in MODELS.values()}


@pytest.mark.parametrize("event", EVENTS)
def test_datadogs_client_takes_it(event: dict[str, Any]) -> None:
    with ApiClient(Configuration()) as client:
        read = client.deserialize(json.dumps(event["body"]), (_model(event)[0],), True)
    assert not getattr(read, "_unparsed", False)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not DOCUMENT.exists():
        pytest.skip(f"Datadog's OpenAPI document is not there: {DOCUMENT}")
    text = DOCUMENT.read_text("utf-8").replace('"#/', '"urn:datadog#/').replace("'#/", "'urn:datadog#/")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


@pytest.mark.parametrize("event", EVENTS)
def test_datadogs_openapi_document_takes_it(event: dict[str, Any], document: dict[str, Any]) -> None:
    registry: Any = Registry().with_resource("urn:datadog", Resource(contents=document, specification=DRAFT4))
    schema = {"$ref": f"urn:datadog#/components/schemas/{_model(event)[1]}"}
    OAS30Validator(schema, registry=registry).validate(event["body"])
