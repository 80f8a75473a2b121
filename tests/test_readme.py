"""The README is in step with the code: settings, options, commands; and its links lead somewhere."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.cli import commands
from bridge.configuration import Linking, ReadBack, Retention
from bridge.settings import Environment
from bridge.source import Options
from bridge.sources import SOURCES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def option_rows() -> Iterator[str]:
    """The lines of the README's table of options, as they have to be."""
    models: list[tuple[str, type[BaseModel]]] = [("all", Options)]
    models += [(f"`{kind}`", source.options) for kind, source in SOURCES.items()]
    models += [("`linking`", Linking), ("`retention`", Retention), ("`read_back`", ReadBack)]
    for where, model in models:
        for name, info in model.model_fields.items():
            default = _default(info)
            inherited = model is not Options and issubclass(model, Options) and name in Options.model_fields
            if not (inherited and default == _default(Options.model_fields[name])):
                yield f"| {where} | `{name}` | {info.description} | {_shown(default)} |"


def _default(info: FieldInfo) -> object:
    return info.get_default(call_default_factory=True)


def _shown(value: object) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{name}: {_shown(one)}" for name, one in value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value == {} else "" if value is None else str(value)


@pytest.mark.parametrize("row", list(option_rows()))
def test_every_option_is_in_the_table(row: str) -> None:
    assert row in README.splitlines()


@pytest.mark.parametrize("field", list(Environment.model_fields))
def test_every_variable_is_in_the_table(field: str) -> None:
    assert f"| `{Environment.model_fields[field].alias}` |" in README


@pytest.mark.parametrize("command", list(commands.commands))
def test_every_command_is_mentioned(command: str) -> None:
    assert f"dora-bridge {command}" in README or f"make {command}" in README


def _anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: lower case, hyphens for spaces, no other punctuation."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)\s]+)\)", README))))
def test_every_link_leads_somewhere(target: str) -> None:
    if target.startswith("#"):
        assert target[1:] in _anchors(README)
    elif not target.startswith("https://"):
        assert (ROOT / target).exists()


def test_every_section_is_in_the_table_of_contents() -> None:
    contents = README.partition("## Contents\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"\(#([\w-]+)\)", contents)) == _anchors(README) - {"dora-bridge", "contents"}


def _calls() -> set[str]:
    """What the README calls dora-bridge with, in blocks of commands and in the text."""
    lines = [line for line in README.splitlines() if line.startswith("    ")]
    lines += [" ".join(call.split()) for call in re.findall(r"`(dora-bridge [a-z][^`]*)`", README)]
    # what precedes tells the command from a release, a namespace's object or an argument of that name
    calls = [re.search(r"(?:^ *|-- |\| |exec bridge |/tmp |\.yaml )dora-bridge (.+)", line) for line in lines]
    return {re.split(r" +[#>]", call[1])[0] for call in calls if call}


def test_calls_are_found() -> None:
    assert {"check", "rules test cases/", "translate --help", "backfill argocd -"} <= _calls()


@pytest.mark.parametrize("call", sorted(_calls()))
def test_every_call_is_understood(call: str) -> None:
    command: click.Command = copy.deepcopy(commands)  # it keeps which options it was asked about
    context = click.Context(command)
    words = shlex.split(call)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    command.make_parser(context).parse_args(words)
