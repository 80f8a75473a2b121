"""What `deploy/<sender>/` tells people to set up is what the code answers, reads and understands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Group

from bridge.cli import commands
from bridge.settings import Environment, secret_variable
from bridge.sources import DEFAULT_ENDPOINTS, SOURCES
from bridge.sources.github import GitHubOptions
from bridge.sources.opsgenie import OpsgenieOptions
from bridge.sources.pagerduty import PagerDutyOptions

DEPLOY = Path(__file__).parents[2] / "deploy"
SENDERS = {"argocd": ["argocd"], "github": ["github"], "opsgenie": ["opsgenie", "jsm"], "pagerduty": ["pagerduty"]}
"""Folder -> the endpoints it is about."""
README = {folder: (DEPLOY / folder / "README.md").read_text("utf-8") for folder in SENDERS}
FILES = sorted(path for folder in SENDERS for path in (DEPLOY / folder).iterdir())


def first_cells(text: str, header: str) -> list[str]:
    """What stands in backticks in the first column of the table with this header."""
    rows = text.split(f"\n| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def tf_lists(folder: str, name: str) -> list[set[str]]:
    """Each list of strings that the Terraform file gives this name."""
    text = (DEPLOY / folder / "webhooks.tf").read_text("utf-8")
    return [set(re.findall(r'"([^"]+)"', found)) for found in re.findall(rf"\b{name} *= *\[(.*?)\]", text, re.DOTALL)]


def test_every_sender_has_a_folder() -> None:
    assert {SOURCES[DEFAULT_ENDPOINTS[name]].name for names in SENDERS.values() for name in names} == set(SOURCES)
    assert {name for names in SENDERS.values() for name in names} == set(DEFAULT_ENDPOINTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_addresses_are_those_of_the_endpoints(path: Path) -> None:
    named = set(re.findall(r"/webhooks/([a-z-]+)", path.read_text("utf-8")))
    assert named <= set(SENDERS[path.parent.name])


@pytest.mark.parametrize("folder", SENDERS)
def test_each_endpoint_s_address_and_secret_are_told(folder: str) -> None:
    for name in SENDERS[folder]:
        assert f"/webhooks/{name}" in README[folder]
        assert secret_variable(name) in README[folder]


@pytest.mark.parametrize("folder", SENDERS)
def test_variables_and_commands_are_those_there_are(folder: str) -> None:
    known = {str(field.alias) for field in Environment.model_fields.values()}
    known |= {secret_variable(name) for name in DEFAULT_ENDPOINTS} | {"DORA_BRIDGE_GITHUB_TOKEN"}
    assert set(re.findall(r"DORA_BRIDGE_\w+[A-Z]", README[folder])) <= known
    for words in re.findall(
        r"\bdora-bridge ((?:[a-z-]+ ?)+)", "\n".join(re.findall(r"(?: {4}|`)(dora-bridge .*)", README[folder]))
    ):
        command: Any = commands
        for word in words.split():
            if isinstance(command, Group):
                assert word in command.commands, f"dora-bridge {words}"
                command = command.commands[word]


@pytest.mark.parametrize("folder", SENDERS)
def test_headers_are_those_that_are_checked(folder: str) -> None:
    header = SOURCES[DEFAULT_ENDPOINTS[SENDERS[folder][0]]].scheme.header
    texts = [path.read_text("utf-8").lower() for path in FILES if path.parent.name == folder]
    assert header in "\n".join(texts) or folder == "pagerduty"  # whose header nobody has to set up


@pytest.mark.parametrize("folder", SENDERS)
def test_linked_files_exist(folder: str) -> None:
    for name in re.findall(r"`([\w-]+\.(?:tf|json|yaml))`", README[folder]):
        assert (DEPLOY / folder / name).is_file() or name == "bridge.yaml"


# -- GitHub


def test_github_s_events_are_those_that_options_can_ask_for() -> None:
    events = first_cells(README["github"], "event")
    assert set(events) == set(SOURCES["github"].models)
    default = GitHubOptions()
    assert events[0] == default.deployments_from[0]
    assert tf_lists("github", "events") == [{*default.deployments_from, *default.failures_from}] * 2
    assert set(re.findall(r"events\[\]=(\w+)", README["github"])) == set(default.deployments_from)


def test_github_s_options_are_understood() -> None:
    for block in re.findall(r"`((?:deployments_from|failures_from|hooks): \[[^`]*\])`", README["github"]):
        GitHubOptions.model_validate(yaml.safe_load(block.replace("HOOK", "1")))
    assert len(re.findall(r"config\[url\]=https://", README["github"])) == 2


# -- PagerDuty


def test_pagerduty_s_events_are_those_that_are_read() -> None:
    read = set(SOURCES["pagerduty"].models)
    assert set(first_cells(README["pagerduty"], "event")) == read
    subscription = json.loads((DEPLOY / "pagerduty" / "subscription.json").read_text("utf-8"))["webhook_subscription"]
    assert set(subscription["events"]) == read
    assert subscription["active"] is True
    assert tf_lists("pagerduty", "events") == [read]
    assert PagerDutyOptions.model_validate({"priority_updates": "send"})


# -- Opsgenie


def test_opsgenie_s_actions_are_those_that_are_read() -> None:
    assert set(first_cells(README["opsgenie"], "action")) == set(SOURCES["opsgenie"].models)
    assert OpsgenieOptions.model_validate({"priority_updates": "send", "title_updates": "send"})


@pytest.mark.parametrize("option", ["failures_from", "services", "integrations", "priority_updates", "title_updates"])
def test_opsgenie_s_options_exist(option: str) -> None:
    assert f"`{option}" in README["opsgenie"]
    assert option in OpsgenieOptions.model_fields
