"""The README is in step with the code: settings, options of endpoints, retention, commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.cli import commands
from bridge.configuration import Linking, ReadBack, Retention
from bridge.settings import Environment
from bridge.source import Options
from bridge.sources import SOURCES

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


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
