"""Runbooks: one for each alert, in one shape, linked, and naming no command, option or metric that there is not."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from plain_rules import CHART, PLAIN
from told import told_metrics

from bridge.cli import commands

FOLDER = Path(__file__).parents[2] / "deploy" / "runbooks"
PAGES = sorted(FOLDER.glob("*.md"))
TEXTS = {page.name: page.read_text("utf-8") for page in PAGES}
ALERTS = set(re.findall(r"alert: (\w+)", (CHART / "files" / "rules.yaml").read_text("utf-8")))
PLANNED = {
    "rotate-a-secret.md",
    "redrive-dead-letters.md",
    "move-redis.md",
    "github-after-an-outage.md",
    "argocd-does-not-send.md",
    "upgrade.md",
    "roll-back.md",
}


def test_there_is_one_for_each_alert_and_no_other() -> None:
    assert set(TEXTS) == {f"{alert}.md" for alert in ALERTS} | PLANNED | {"README.md"}


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_those_of_alerts_have_one_shape(alert: str) -> None:
    lines = TEXTS[f"{alert}.md"].splitlines()
    assert lines[0] == f"# {alert}"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## What it means", "## Who notices", "## Check", "## What to do", "## Prevent"]


def test_all_are_in_the_list() -> None:
    assert {f"{name}" for name in TEXTS} - {"README.md"} == set(re.findall(r"\]\(([\w-]+\.md)\)", TEXTS["README.md"]))


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^):]+)\)", TEXTS[page]):
        assert (FOLDER / link).exists(), link


def named(text: str) -> list[list[str]]:
    """The commands of ours in a text: in code spans, and lines of code."""
    code = [
        *re.findall(r"`(dora-bridge [^`]*)`", text),
        *re.findall(r"^ {4,}(?:.*-- |.*worker |DORA_\S+ )?(dora-bridge .*)$", text, re.M),
    ]
    return [shlex.split(one, comments=True)[1:] for one in code]


@pytest.mark.parametrize("page", TEXTS)
def test_commands_exist_with_these_options(page: str) -> None:
    for words in named(TEXTS[page]):
        command: click.Command = commands
        rest = list(words)
        while isinstance(command, click.Group) and rest:
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        assert not isinstance(command, click.Group), words
        command = copy.deepcopy(command)  # a command keeps what it was told here
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                parameter.type.exists = False  # those of a reader are not here
        command.make_context(words[0], rest)


@pytest.mark.parametrize("page", TEXTS)
def test_metrics_exist(page: str) -> None:
    assert set(re.findall(r"\bdora_bridge_\w+", TEXTS[page])) <= set(told_metrics())


def test_the_commands_were_found() -> None:
    found = [words for text in TEXTS.values() for words in named(text)]
    assert len(found) > 50
    assert {"check", "events", "dead-letters", "backfill", "reconcile"} <= {words[0] for words in found}


def test_addresses_in_the_plain_rules_are_files_here() -> None:
    [group] = yaml.safe_load(PLAIN.read_text("utf-8"))["groups"]
    for rule in group["rules"]:
        assert (FOLDER / rule["annotations"]["runbook_url"].partition("deploy/runbooks/")[2]).is_file()
