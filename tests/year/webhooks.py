"""The year as the vendors tell it: every webhook in the order of arrival, and what goes wrong on the way. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from year.company import Company
from year.vendors.argocd import ArgoCD
from year.vendors.github import GitHub
from year.vendors.opsgenie import Opsgenie
from year.vendors.pagerduty import PagerDuty
from year.vendors.post import Post, Webhook


def webhooks(company: Company, seed: int) -> list[Webhook]:
    """All of them, in the order of arrival. Those that arrive in an outage are refused."""
    post = Post(random.Random(f"post/{seed}"), company.outages)  # noqa: S311 - a story, no secret
    told = [
        *GitHub(post).tell(company),
        *ArgoCD(post).tell(company),
        *PagerDuty(post).tell(company),
        *Opsgenie(post).tell(company),
    ]
    return sorted(told, key=lambda webhook: webhook.at)


def configuration(company: Company, linking: Mapping[str, Any]) -> dict[str, Any]:
    """The company's `bridge.yaml`."""
    account = {
        "services": {unit.page_id: list(unit.services) for unit in company.units},
        "envs": {unit.page_id: "production" for unit in company.units if unit.names_env},
        "priority_updates": "send",
    }
    return {
        "endpoints": {
            "github-mobile": {
                "kind": "github",
                "deployments_from": ["workflow_run"],
                "workflows": [".github/workflows/release.yml"],
            },
            "github-issues": {"kind": "github", "deployments_from": [], "failures_from": ["issues"]},
            "argocd": {"ignore_older_than_hours": 0},
            "pagerduty": account,
            "pagerduty-ops": account | {"kind": "pagerduty", "instance": "ops", "send_as": "incident"},
            "jsm": {"kind": "opsgenie", "send_as": "legacy_incident"},
        },
        "rules": [
            {"match": {"environment": "preview-*"}, "drop": "previews are not production"},
            {
                "match": {"repository": "acme/monorepo", "environment": "prod/platform"},
                "set": {"services": ["auth", "sessions", "profiles"], "env": "production"},
            },
            {
                "match": {"repository": "acme/monorepo", "environment": "prod/*"},
                "set": {"service": "$1", "env": "production"},
            },
            {"match": {"endpoint": "github", "environment": "Prod-EU"}, "set": {"env": "production"}},
            {"match": {"endpoint": "github-mobile"}, "set": {"env": "production"}},
            {"match": {"application": "*-prod"}, "set": {"service": "$1", "env": "production"}},
        ],
        "linking": dict(linking),
        "retention": {"events_days": 30},
    }
