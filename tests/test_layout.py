"""What the folders promise: who imports whom, what is pure, where sources and settings are named."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from bridge.configuration import json_schema, parse
from bridge.settings import API_KEY, APP_KEY, SENDER_TOKENS, Environment
from bridge.sources import DEFAULT_ENDPOINTS, SOURCES

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("bridge", "workers")
    for path in sorted((ROOT / package).rglob("*.py"))
}
PURE = [
    "bridge.errors",
    "bridge.compact",
    "bridge.times",
    "bridge.signatures",
    "bridge.dora",
    "bridge.envelope",
    "bridge.twins",
    "bridge.ids",
    "bridge.payload",
    "bridge.severity",
    "bridge.source",
    "bridge.rules",
    "bridge.intake",
    "bridge.datadog_records",
    "bridge.rollbacks",
    "bridge.reconcile",
    "bridge.incident_list",
    "bridge.incident_management",
    "bridge.call",
    "bridge.differences",
    "bridge.rule_diff",
    "bridge.rule_reach",
    *(name for name in MODULES if name.startswith("bridge.sources")),
    "workers.datadog",
    "workers.patience",
]
"""They get time, secrets and randomness as arguments."""
EDGES = {"starlette", "uvicorn", "redis", "rq", "os", "time", "asyncio", "socket", "subprocess", "logging", "threading"}
FORBIDDEN_NAMES = {"utils", "util", "common", "base", "core", "manager", "managers", "helpers", "misc"}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Everything that a module imports, also inside functions: modules, and names of modules."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def packages(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def reached(module: str) -> Iterator[str]:
    """The modules of ours that importing this one brings along, itself included."""
    seen, waiting = set(), [module]
    while waiting:
        one = waiting.pop()
        if one in MODULES and one not in seen:
            seen.add(one)
            yield one
            waiting += imports(one)


def test_the_walk_sees_what_there_is() -> None:
    assert {"bridge.app", "bridge.sources.github", "workers.drain", "bridge.sources"} <= set(MODULES)
    assert {"starlette.routing", "bridge.intake", "bridge.intake.receive"} <= imports("bridge.app")
    assert "bridge.serve" in imports("bridge.cli"), "an import inside a function counts"
    assert {"bridge.intake", "bridge.sources.github"} <= set(reached("bridge.app"))


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "bridge"])
def test_bridge_never_imports_workers(module: str) -> None:
    assert "workers" not in packages(module)


@pytest.mark.parametrize("module", PURE)
def test_pure_files_touch_nothing(module: str) -> None:
    assert not packages(module) & EDGES
    if module != "workers.datadog":  # whose requests and answers are values of httpx
        assert "httpx" not in packages(module)


@pytest.mark.parametrize("module", PURE)
def test_pure_files_import_only_pure_ones_of_ours(module: str) -> None:
    assert set(reached(module)) - {"bridge", "workers"} <= set(PURE)


@pytest.mark.parametrize("module", PURE)
def test_pure_files_ask_no_clock_and_open_nothing(module: str) -> None:
    asked = {ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)}
    assert not {name for name in asked if name.split(".")[-1] in ("now", "utcnow", "today", "time_ns", "monotonic")}
    assert not asked & {"open", "input", "print"}


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("bridge.cli", "workers.__main__")])
def test_only_the_entry_points_read_the_environment(module: str) -> None:
    read = [
        ast.unparse(node)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    ]
    # what a child process inherits is handed on as a whole
    assert module in ("bridge.children", "bridge.demo", "bridge.embedded_redis") or not read


# -- sources


@pytest.mark.parametrize("name", SOURCES)
def test_no_source_imports_another(name: str) -> None:
    others = {f"bridge.sources.{other}" for other in SOURCES if other != name}
    assert not imports(f"bridge.sources.{name}") & {*others, "bridge.sources"}


def test_every_source_is_in_the_table_by_its_name() -> None:
    files = {path.stem for path in (ROOT / "bridge" / "sources").glob("*.py")} - {"__init__"}
    assert files == set(SOURCES)
    assert all(name == source.name for name, source in SOURCES.items())
    assert all(source is sys.modules[f"bridge.sources.{name}"].SOURCE for name, source in SOURCES.items())
    assert set(SOURCES) <= set(DEFAULT_ENDPOINTS)
    assert set(DEFAULT_ENDPOINTS.values()) <= set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_fixtures_and_one_that_it_refuses(name: str) -> None:
    folders = [path for path in (ROOT / "tests" / "fixtures" / name).iterdir() if path.is_dir()]
    for folder in folders:
        assert {"headers.json", "body.json", "expected.json"} <= {path.name for path in folder.iterdir()}, folder
    expected = [json.loads((folder / "expected.json").read_bytes()) for folder in folders]
    for outcome in ("events", "ignored", "invalid"):
        assert any(outcome in one for one in expected), outcome


def test_there_are_no_fixtures_of_no_source() -> None:
    assert {path.name for path in (ROOT / "tests" / "fixtures").iterdir() if path.is_dir()} == set(SOURCES)


# -- names, texts


def test_no_file_has_a_name_that_says_nothing() -> None:
    files = [path for folder in ("bridge", "workers", "tests") for path in (ROOT / folder).rglob("*.py")]
    names = {part for path in files for part in path.relative_to(ROOT).with_suffix("").parts}
    assert len(files) > 50
    assert not {name.removeprefix("test_") for name in names} & FORBIDDEN_NAMES


@pytest.mark.parametrize("module", [name for name in MODULES if MODULES[name].read_text("utf-8").strip()])
def test_every_file_begins_with_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module)), module


def test_test_files_are_named_after_what_they_test() -> None:
    for package in ("bridge", "workers"):
        stems = {path.stem for path in (ROOT / package).rglob("*.py")} | {"sources", "sandbox"}
        tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / package).glob("test_*.py")}
        known = {stem for stem in stems if not stem.startswith("__")}
        assert not {name for name in tested if not any(name.startswith(stem) for stem in known)}


README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("variable", [str(field.alias) for field in Environment.model_fields.values()])
def test_readme_names_every_variable(variable: str) -> None:
    assert f"`{variable}`" in README


@pytest.mark.parametrize(
    "variable", ["DORA_BRIDGE_SECRETS__", "DORA_BRIDGE_ADMIN_TOKEN", "_FILE", *SENDER_TOKENS.values()]
)
def test_readme_names_the_variables_of_secrets(variable: str) -> None:
    assert variable in README


@pytest.mark.parametrize("name", DEFAULT_ENDPOINTS)
def test_readme_names_every_default_endpoint(name: str) -> None:
    assert f"`/webhooks/{name}`" in README


def test_readme_names_no_variable_that_is_none() -> None:
    known = {str(field.alias) for field in Environment.model_fields.values()}
    known |= {"DORA_BRIDGE_ADMIN_TOKEN", "DORA_BRIDGE_ADMIN_TOKEN_FILE", "DORA_BRIDGE_SECRETS__"}
    known |= {f"{variable}{suffix}" for variable in SENDER_TOKENS.values() for suffix in ("", "_FILE")}
    known |= {f"{variable}_FILE" for variable in (API_KEY, APP_KEY)}
    named = set(re.findall(r"\b(?:DORA_BRIDGE|DD)_[A-Z_]+\b", README))
    assert not {name for name in named if name not in known and not name.startswith("DORA_BRIDGE_SECRETS__")}


def test_readme_names_every_key_of_the_configuration_file() -> None:
    schema = json_schema()
    endpoints = schema["properties"]["endpoints"]["additionalProperties"]["anyOf"]
    keys = {key for part in (schema, *schema["$defs"].values(), *endpoints) for key in part.get("properties", {})}
    assert len(keys) > 40
    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", README)) == []


def test_configuration_files_of_the_readme_load() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        parse(yaml.safe_load(block), "README.md")
