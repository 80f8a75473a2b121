"""Whether each request that the bridge made is one that Datadog's own client could have made, and which there were."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v2.model.dora_deployment_patch_request import DORADeploymentPatchRequest
from datadog_api_client.v2.model.dora_deployment_request import DORADeploymentRequest
from datadog_api_client.v2.model.dora_failure_request import DORAFailureRequest
from datadog_api_client.v2.model.dora_list_deployments_request import DORAListDeploymentsRequest
from datadog_api_client.v2.model.dora_list_failures_request import DORAListFailuresRequest
from datadog_api_client.v2.model.incident_create_request import IncidentCreateRequest
from datadog_api_client.v2.model.incident_update_request import IncidentUpdateRequest

_MODELS: Mapping[str, type[Any] | None] = {
    "POST /api/v2/dora/deployment": DORADeploymentRequest,
    "POST /api/v2/dora/failure": DORAFailureRequest,
    "POST /api/v2/dora/incident": DORAFailureRequest,
    "PATCH /api/v2/dora/deployments/{id}": DORADeploymentPatchRequest,
    "DELETE /api/v2/dora/failure/{id}": None,
    "POST /api/v2/incidents": IncidentCreateRequest,
    "PATCH /api/v2/incidents/{id}": IncidentUpdateRequest,
    "DELETE /api/v2/incidents/{id}": None,
    "GET /api/v2/incidents": None,
    "POST /api/v2/dora/deployments": DORAListDeploymentsRequest,
    "POST /api/v2/dora/failures": DORAListFailuresRequest,
}
EVERY_RUN = frozenset(list(_MODELS)[:7])
"""What a few weeks lead to. The lists are asked when the bridge looks for what it sent, which is later."""


def calls(requests: Iterable[Mapping[str, Any]]) -> tuple[Counter[str], list[str]]:
    """How often each endpoint of the reference was called, and what Datadog's client would not take."""
    seen: Counter[str] = Counter()
    wrongs = []
    configuration: Any = Configuration  # has no annotations
    with ApiClient(configuration()) as client:
        for request in requests:
            endpoint = _endpoint(request)
            seen[endpoint] += 1
            if endpoint not in _MODELS:
                wrongs.append(f"{endpoint} is no call of the reference that the bridge is known to make")
                continue
            model = _MODELS[endpoint]
            if model is None:
                if request["body"] is not None:
                    wrongs.append(f"{endpoint} has a body")
                continue
            try:
                read = client.deserialize(json.dumps(request["body"]), (model,), True)
            except (TypeError, ValueError) as error:
                wrongs.append(f"{endpoint}: {error}")
                continue
            if getattr(read, "_unparsed", False):
                wrongs.append(f"{endpoint}: has a value that is none of those allowed")
    return seen, wrongs


def _endpoint(request: Mapping[str, Any]) -> str:
    """Method and path, an id in it named so."""
    head = request["path"].rpartition("/")[0]
    has_id = head.endswith(("/deployments", "/failure", "/deployment", "/incidents"))
    return f"{request['method']} {head + '/{id}' if has_id else request['path']}"
