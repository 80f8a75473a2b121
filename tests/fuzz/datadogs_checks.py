"""Whether Datadog would take a call, as far as its OpenAPI document and our sandbox tell."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from bridge.call import Call
from bridge.sandbox import rules

DOCUMENT = Path(__file__).parents[3] / "shared" / "datadog" / "openapi-dora-incidents.yaml"
_DEPLOYMENT, _DEPLOYMENTS = "/api/v2/dora/deployment", "/api/v2/dora/deployments/"
_FAILURES = ("/api/v2/dora/failure", "/api/v2/dora/incident")
_INCIDENTS = "/api/v2/incidents"


def problems(call: Call) -> list[str]:
    """What is wrong with a call that a webhook led to; none for a DELETE, which has no body."""
    method, path, body = call.method, call.path, call.body
    last = path.rpartition("/")[2]
    if method == "DELETE":
        return [] if body is None else ["a DELETE with a body"]
    if (method, path) == ("POST", _DEPLOYMENT):
        return rules.deployment_errors(body) + _by_document("DORADeploymentRequest", body)
    if method == "POST" and path in _FAILURES:
        return rules.failure_errors(body) + _by_document("DORAFailureRequest", body)
    if method == "PATCH" and path.startswith(_DEPLOYMENTS):
        return rules.patch_errors(body, last) + _by_document("DORADeploymentPatchRequest", body)
    if (method, path) == ("POST", _INCIDENTS):
        return rules.incident_errors(body) + _by_document("IncidentCreateRequest", body)
    if method == "PATCH" and path.startswith(f"{_INCIDENTS}/"):
        return rules.incident_update_errors(body, last) + _by_document("IncidentUpdateRequest", body)
    return [f"no such call: {method} {path}"]


def _by_document(schema: str, body: object) -> list[str]:
    validator = _validator(schema)
    return [] if validator is None else [error.message for error in validator.iter_errors(body)]


@cache
def _validator(schema: str) -> Any:
    """Of this schema of Datadog's document; None where the document is not there."""
    if not DOCUMENT.exists():
        return None
    import yaml
    from openapi_schema_validator import OAS30Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    text = DOCUMENT.read_text("utf-8").replace('"#/', '"urn:datadog#/').replace("'#/", "'urn:datadog#/")
    contents = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    registry: Any = Registry().with_resource("urn:datadog", Resource(contents=contents, specification=DRAFT4))
    return OAS30Validator({"$ref": f"urn:datadog#/components/schemas/{schema}"}, registry=registry)
