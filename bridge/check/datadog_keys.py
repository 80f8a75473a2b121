"""Whether Datadog takes the keys, and what the application key may do."""

from __future__ import annotations

import time

import httpx

from bridge.check.finding import Finding
from bridge.datadog_calls import Keys, request
from bridge.datadog_lists import list_request
from bridge.incident_management import PATH as INCIDENTS
from bridge.settings import Settings
from bridge.times import SECOND

_LOOK_BACK = 3600 * SECOND


async def datadog_keys(settings: Settings, client: httpx.AsyncClient) -> list[Finding]:
    """The answers to "Validate API key" and "Validate API and application keys", then what may be read.

    Source: Datadog API reference, Authentication. There is no call that tells whether a key may write but writing.
    """
    api_key, app_key = settings.api_key, settings.app_key
    if api_key is None:
        return []
    headers = {"DD-API-KEY": api_key}
    questions = [("the API key (DD_API_KEY)", "/api/v1/validate")]
    if app_key is not None:
        headers["DD-APPLICATION-KEY"] = app_key
        questions.append(("the application key (DD_APP_KEY)", "/api/v2/validate_keys"))
    found: list[Finding] = []
    try:
        for key, path in questions:
            status = (await client.get(settings.datadog_url + path, headers=headers)).status_code
            if status in (401, 403):
                return [*found, Finding("problem", "datadog", f"Datadog refuses {key}")]
            if status == 200:
                found.append(Finding("ok", "datadog", f"Datadog takes {key}"))
            else:
                found.append(Finding("warning", "datadog", f"Datadog answers {status} when asked about {key}"))
        if app_key is not None:
            found += await _permissions(settings, client, api_key=api_key, app_key=app_key)
    except httpx.TransportError as error:
        detail = f"{settings.datadog_url} is not reachable: {type(error).__name__} (DD_SITE, DORA_BRIDGE_DATADOG_URL)"
        return [Finding("problem", "datadog", detail)]
    return found


async def _permissions(settings: Settings, client: httpx.AsyncClient, *, api_key: str, app_key: str) -> list[Finding]:
    now = time.time_ns()
    keys: Keys = {"base_url": settings.datadog_url, "api_key": api_key, "app_key": app_key}
    answer = await client.send(list_request("deployment", now - _LOOK_BACK, now, limit=1, **keys))
    found = [_reading(answer.status_code, "dora_metrics_read", "read-back and reconcile")]
    if settings.incident_endpoints:
        answer = await client.send(request("GET", INCIDENTS, parameters={"page[size]": 1}, **keys))
        found.append(_reading(answer.status_code, "incident_read", "incidents of Incident Management"))
    return found


def _reading(status: int, permission: str, what: str) -> Finding:
    write = permission.removesuffix("read") + "write"
    if status == 200:
        detail = f"the application key has {permission}; whether it has {write} shows only when something is written"
        return Finding("ok", "datadog", detail)
    if status in (401, 403):
        detail = f"the application key lacks {permission}, which {what} need (Datadog, Application Keys; DD_APP_KEY)"
        return Finding("problem" if permission == "incident_read" else "warning", "datadog", detail)
    return Finding("warning", "datadog", f"Datadog answers {status} when asked whether the key has {permission}")
