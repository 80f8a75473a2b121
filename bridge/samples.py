"""One plausible webhook of each sender, as of now: what `dora-bridge demo` posts."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from bridge.times import SECOND, to_rfc3339


def samples(now: int | None = None) -> dict[str, tuple[str | None, bytes]]:
    """endpoint -> kind and body; ids are new at each call, times are of the last minutes (`now` in ns)."""
    now = time.time_ns() if now is None else now
    number = now // SECOND
    bodies = {
        "github": ("deployment_status", _github(now, number)),
        "argocd": (None, _argocd(now)),
        "pagerduty": (None, _pagerduty(now, number)),
        "opsgenie": (None, _opsgenie(now, number)),
    }
    return {endpoint: (kind, json.dumps(body).encode()) for endpoint, (kind, body) in bodies.items()}


def _ago(now: int, seconds: int) -> str:
    return to_rfc3339((now // SECOND - seconds) * SECOND)


def _github(now: int, number: int) -> dict[str, Any]:
    return {
        "action": "created",
        "deployment_status": {
            "id": number + 1,
            "state": "success",
            "environment": "production",
            "created_at": _ago(now, 5),
        },
        "deployment": {
            "id": number,
            "sha": uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex + "00c0ffee",
            "ref": "v1.42.0",
            "task": "deploy",
            "payload": {},
            "environment": "production",
            "creator": {"login": "ada"},
            "created_at": _ago(now, 95),
        },
        "repository": {
            "id": 4242,
            "name": "checkout",
            "full_name": "acme/checkout",
            "html_url": "https://github.com/acme/checkout",
            "default_branch": "main",
        },
    }


def _argocd(now: int) -> dict[str, Any]:
    source = {"repoURL": "https://github.com/acme/config.git", "path": "payments", "targetRevision": "main"}
    return {
        "schema": "dora-bridge.argocd/v1",
        "sent_at": _ago(now, 0),
        "application": {
            "name": "payments",
            "namespace": "argocd",
            "uid": str(uuid.uuid4()),
            "project": "default",
            "labels": None,
            "annotations": {"dd_service": "payments", "dd_env": "production", "dd_customtags": "region:eu"},
            "sources": [source],
        },
        "health": {"status": "Healthy", "lastTransitionTime": _ago(now, 10)},
        "sync_status": "Synced",
        "images": ["registry.example.com/acme/payments:2.7.1"],
        "operation": {
            "phase": "Succeeded",
            "started_at": _ago(now, 60),
            "finished_at": _ago(now, 30),
            "initiated_by": {"username": "ada"},
            "partial": False,
        },
        "history": [
            {
                "id": 7,
                "revision": "0" * 39 + "7",
                "started_at": _ago(now, 60),
                "deployed_at": _ago(now, 30),
                "sources": [source],
            }
        ],
    }


def _pagerduty(now: int, number: int) -> dict[str, Any]:
    return {
        "event": {
            "id": f"01DEMO{number}",
            "event_type": "incident.triggered",
            "resource_type": "incident",
            "occurred_at": _ago(now, 60),
            "agent": None,
            "client": None,
            "data": {
                "id": f"PDEMO{number}",
                "type": "incident",
                "number": 17,
                "status": "triggered",
                "created_at": _ago(now, 60),
                "title": "Checkout answers slowly",
                "service": {"id": "PCHECKOUT", "summary": "checkout"},
                "priority": {"summary": "P2"},
                "urgency": "high",
                "resolve_reason": None,
            },
        }
    }


def _opsgenie(now: int, number: int) -> dict[str, Any]:
    return {
        "action": "Create",
        "alert": {
            "alertId": f"{uuid.uuid4()}-{number}000",
            "tinyId": "17",
            "message": "Payments queue grows",
            "createdAt": (number - 45) * 1000,
            "updatedAt": (number - 45) * SECOND,
            "priority": "P1",
            "tags": ["service:payments", "env:production"],
        },
        "source": {"name": "", "type": "API"},
        "integrationId": "demo",
        "integrationName": "demo",
    }
