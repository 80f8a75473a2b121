"""Datadog: whether it takes the keys, and what the application key may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checking import Datadog, found, told

READS = (
    "the application key has dora_metrics_read; whether it has dora_metrics_write shows only when something is written"
)


@pytest.mark.parametrize(
    ("environ", "datadog", "expected"),
    [
        ({}, Datadog(), [("problem", "no API key: nothing can be delivered (set DD_API_KEY)"), "no app key"]),
        (
            {"DD_API_KEY": "k"},
            Datadog(app=0),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                "no app key",
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a", "DORA_BRIDGE_DATADOG_URL": "http://proxy:8126/"},
            Datadog(),
            [
                ("ok", "events go to http://proxy:8126"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("ok", "Datadog takes the application key (DD_APP_KEY)"),
                ("ok", READS),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a"},
            Datadog(api=403),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                ("problem", "Datadog refuses the API key (DD_API_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a"},
            Datadog(app=401),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("problem", "Datadog refuses the application key (DD_APP_KEY)"),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a"},
            Datadog(app=404),
            [
                ("ok", "events go to https://api.datadoghq.com"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("warning", "Datadog answers 404 when asked about the application key (DD_APP_KEY)"),
                ("ok", READS),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a", "DD_SITE": "datadoghq.eu"},
            Datadog(api=0),
            [
                ("ok", "events go to https://api.datadoghq.eu"),
                (
                    "problem",
                    "https://api.datadoghq.eu is not reachable: ConnectError (DD_SITE, DORA_BRIDGE_DATADOG_URL)",
                ),
            ],
        ),
        (
            {"DD_API_KEY": "k", "DD_APP_KEY": "a", "DD_SITE": "ddog-gov.com"},
            Datadog(),
            [
                ("ok", "events go to https://api.ddog-gov.com"),
                ("warning", "the site ddog-gov.com does not offer DORA metrics (DD_SITE)"),
                ("ok", "Datadog takes the API key (DD_API_KEY)"),
                ("ok", "Datadog takes the application key (DD_APP_KEY)"),
                ("ok", READS),
            ],
        ),
    ],
)
async def test_datadog(environ: dict[str, str], datadog: Datadog, expected: list[Any]) -> None:
    no_app_key = "no application key: change failures, withdrawals and read-back are off (DD_APP_KEY)"
    expected = [("warning", no_app_key) if one == "no app key" else one for one in expected]
    assert told(await found(datadog, **environ), "datadog") == expected


async def test_questions_to_datadog_carry_the_keys() -> None:
    datadog = Datadog()
    await found(datadog, DD_API_KEY="schlüssel", DD_APP_KEY="app", DORA_BRIDGE_DATADOG_URL="http://proxy:1/dd")
    assert [str(request.url) for request in datadog.requests] == [
        "http://proxy:1/dd/api/v1/validate",
        "http://proxy:1/dd/api/v2/validate_keys",
        "http://proxy:1/dd/api/v2/dora/deployments",
    ]
    for request in datadog.requests[1:]:
        assert [value.decode() for name, value in request.headers.raw if name == b"DD-API-KEY"] == ["schlssel"]
        assert request.headers["dd-application-key"] == "app"
    assert json.loads(datadog.requests[2].content)["data"]["attributes"]["limit"] == 1


async def test_application_key_that_may_not_read() -> None:
    some = told(await found(Datadog(lists=403), DD_API_KEY="k", DD_APP_KEY="a"), "datadog")
    assert some[-1] == (
        "warning",
        "the application key lacks dora_metrics_read, which read-back and reconcile need"
        " (Datadog, Application Keys; DD_APP_KEY)",
    )
    some = told(await found(Datadog(lists=500), DD_API_KEY="k", DD_APP_KEY="a"), "datadog")
    assert some[-1] == ("warning", "Datadog answers 500 when asked whether the key has dora_metrics_read")


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (403, "problem"), (429, "warning")])
async def test_incident_management_needs_its_permission(tmp_path: Path, status: int, level: str) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {pagerduty: {send_as: incident}}")
    environ = {"DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml"), "DD_API_KEY": "k", "DD_APP_KEY": "a"}
    told_level, detail = told(await found(Datadog(incidents=status), **environ), "datadog")[-1]
    assert told_level == level
    assert "incident_read" in detail


async def test_keys_of_files(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("first\nsecond\n")
    (tmp_path / "app").write_text("app\n")
    datadog = Datadog()
    await found(datadog, DD_API_KEY_FILE=str(tmp_path / "api"), DD_APP_KEY_FILE=str(tmp_path / "app"))
    for request in datadog.requests[1:]:
        assert (request.headers["dd-api-key"], request.headers["dd-application-key"]) == ("first", "app")
