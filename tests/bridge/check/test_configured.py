"""Settings and rules: what is wrong with them before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from checking import GOOD, found, told


async def test_endpoints(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {mobile: {kind: github}, argocd: {}}")
    some = await found(
        DORA_BRIDGE_CONFIG=str(tmp_path / "bridge.yaml"),
        DORA_BRIDGE_SECRETS__GITHUB="one",
        DORA_BRIDGE_SECRETS__MOBILE='["one", "two"]',
    )
    assert told(some, "endpoint") == [
        ("ok", "/webhooks/github accepts 1 secret"),
        ("problem", "argocd is configured but has no secret, so no route (set DORA_BRIDGE_SECRETS__ARGOCD)"),
        ("ok", "/webhooks/mobile accepts 2 secrets"),
    ]


async def test_incident_management_needs_the_application_key(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {pagerduty: {send_as: incident}}")
    environ = {
        "DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml"),
        "DORA_BRIDGE_SECRETS__PAGERDUTY": "one",
    }
    detail = "pagerduty sends to Incident Management, which needs an application key (set DD_APP_KEY)"
    assert ("problem", detail) in told(await found(**environ), "endpoint")
    assert ("problem", detail) not in told(await found(**environ, DD_APP_KEY="hidden"), "endpoint")


async def test_without_any_secret() -> None:
    assert told(await found(), "endpoint") == [
        ("problem", "no endpoint has a secret (set DORA_BRIDGE_SECRETS__<ENDPOINT>)")
    ]


async def test_short_tokens_of_the_admin() -> None:
    some = await found(**GOOD, DORA_BRIDGE_ADMIN_TOKEN='["alice:fifteen-letters", "0123456789abcdef", "secret"]')
    said = "is shorter than 16 characters: make one with openssl rand -hex 32 (DORA_BRIDGE_ADMIN_TOKEN)"
    assert told(some, "admin") == [
        ("warning", f"the token of the admin called alice {said}"),
        ("warning", f"the token of the admin called token 3 {said}"),
    ]
    assert not told(await found(**GOOD), "admin"), "off is not short"


async def test_empty_files_of_a_folder(tmp_path: Path) -> None:
    for name, content in {"1": "one", "2": "\n", "3": ""}.items():
        (tmp_path / name).write_text(content)
    some = await found(**GOOD, DORA_BRIDGE_SECRETS__ARGOCD_FILE=str(tmp_path))
    assert told(some, "secrets") == [("warning", "2, 3 of the folder are empty (DORA_BRIDGE_SECRETS__ARGOCD_FILE)")]
    (tmp_path / "2").write_text("two")
    (tmp_path / "3").unlink()
    assert not told(await found(**GOOD, DORA_BRIDGE_SECRETS__ARGOCD_FILE=str(tmp_path)), "secrets")


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("DORA_BRIDGE_REDISURL", "; did you mean DORA_BRIDGE_REDIS_URL?"),
        ("DORA_BRIDGE_CONCURENCY", "; did you mean DORA_BRIDGE_CONCURRENCY?"),
        # only secrets are read from files: with this one, Redis would silently be the default one
        ("DORA_BRIDGE_REDIS_URL_FILE", "; did you mean DORA_BRIDGE_REDIS_URL?"),
        ("DORA_BRIDGE_WWWWWWWWWWWWWWWWWWWWWWWWWW", ""),
    ],
)
async def test_variable_that_is_no_setting(variable: str, hint: str) -> None:
    assert told(await found(**GOOD, **{variable: "x"}), "settings") == [("warning", f"{variable} is no setting{hint}")]


async def test_variables_that_are_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    some = await found(
        **GOOD,
        DORA_BRIDGE_ADMIN_TOKEN_FILE=str(tmp_path / "token"),
        DORA_BRIDGE_GITHUB_TOKEN_FILE=str(tmp_path / "token"),
        DORA_BRIDGE_PAGERDUTY_TOKEN="x",
        DORA_BRIDGE_SECRETS__ARGOCD_FILE=str(tmp_path / "token"),
        DORA_BRIDGE_LISTEN="127.0.0.1:1",
        DD_ENV="what other programs of Datadog read",
    )
    assert not told(some, "settings")


async def test_rules_that_can_never_match(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(
        "rules:\n"
        "  - {name: shop, match: {repository: acme/*}, set: {service: shop}}\n"
        "  - {match: {repository: acme/shop, environment: prod}, set: {service: other}}\n"
        "  - {match: {endpoint: github, application: x}, drop: y}\n"
        "  - {match: {application: x}, drop: y}\n"
    )
    some = await found(**GOOD, DORA_BRIDGE_CONFIG=str(tmp_path / "bridge.yaml"))
    why = "match.application: events of github (deployment_status) have none"
    assert told(some, "rules") == [
        ("warning", "rule 2 can never match: shop comes first and matches all of it (rules)"),
        ("warning", f"rule 3 can never match: {why} (rules)"),
    ]
