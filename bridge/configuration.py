"""The optional file `bridge.yaml`: endpoints, rules, linking, retention, read-back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from bridge.errors import ConfigurationError
from bridge.rules import Rule
from bridge.source import Endpoint, LinkingMode
from bridge.sources import DEFAULT_ENDPOINTS, SOURCES

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Linking(BaseModel):
    """Which deployment an incident belongs to."""

    model_config = _STRICT

    mode: LinkingMode = Field("observe", description="observe records and shows what auto would send")
    window_hours: float = Field(
        24, gt=0, allow_inf_nan=False, description="How long before an incident a deployment may have finished"
    )
    environments: tuple[str, ...] = Field(("prod*",), description="Where an incident without env is looked for")


class ReadBack(BaseModel):
    """How much of what Datadog took is looked for in its lists; needs an application key."""

    model_config = _STRICT

    sample_percent: float = Field(
        1, ge=0, le=100, description="Of the events that Datadog took with 200; after 202 all are looked for"
    )


MOST_DAYS = 36_500
Days = Annotated[float, Field(ge=0.0001, le=MOST_DAYS)]
"""Redis counts in whole seconds and refuses an expiry of 0: at least 8 s, at most a century."""


class Retention(BaseModel):
    """How long the ledger keeps what has come to its end. What is waiting never expires."""

    model_config = _STRICT

    events_days: Days = Field(7, description="Delivered, ignored and superseded events")
    raw_days: float = Field(
        3, ge=0, le=MOST_DAYS, description="Bodies as received; 0 keeps none, dead letters keep theirs"
    )
    dead_letters_days: Days = Field(90, description="Dead letters and their bodies")
    dead_letters_max: int = Field(100_000, ge=1, description="Most dead letters; beyond it the oldest are dropped")
    memory_days: Days = Field(180, description="Which facts were reported, to recognise repetitions")


class Configuration(BaseModel):
    """The file, with `endpoints` as read: each is checked by its kind."""

    model_config = _STRICT

    endpoints: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Besides or instead of the default ones, by name"
    )
    rules: tuple[Rule, ...] = ()
    linking: Linking = Linking()
    retention: Retention = Retention()
    read_back: ReadBack = ReadBack()


_LEAKED = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises for a day like 2025-13-45, for `!!bool maybe`, `!!timestamp x` and the like, and for deep nesting.
UnicodeDecodeError is one of them."""


def load(path: Path) -> tuple[Configuration, Mapping[str, Endpoint]]:
    """The configuration of a YAML file, and all endpoints by name.

    Raises: ConfigurationError naming file, key and, for an unknown one, the nearest known.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror} (DORA_BRIDGE_CONFIG)") from error
    except (yaml.YAMLError, *_LEAKED) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}: not YAML{place}") from error
    return parse({} if content is None else content, str(path))


def parse(content: object, where: str) -> tuple[Configuration, Mapping[str, Endpoint]]:
    """The same of what a file held; `where` names it in errors."""
    if not isinstance(content, dict):
        raise ConfigurationError(f"{where}: the file must be a mapping")
    try:
        configuration = Configuration.model_validate(content)
    except pydantic.ValidationError as error:
        raise ConfigurationError(_problems(error, where)) from error
    return configuration, _endpoints(configuration.endpoints, where)


def _endpoints(configured: Mapping[str, Mapping[str, Any]], where: str) -> Mapping[str, Endpoint]:
    endpoints = {}
    for name in (*DEFAULT_ENDPOINTS, *configured):
        options = dict(configured.get(name, {}))
        kind = options.pop("kind", DEFAULT_ENDPOINTS.get(name))
        if not name.replace("-", "").isalnum() or not name.isascii() or name != name.lower():
            raise ConfigurationError(f"{where}: endpoints.{name}: a name has lower-case letters, digits and hyphens")
        if name.endswith("-file"):
            problem = "a name does not end in -file, as variables of secret files do"
            raise ConfigurationError(f"{where}: endpoints.{name}: {problem}")
        if not isinstance(kind, str) or kind not in SOURCES:
            raise ConfigurationError(f"{where}: endpoints.{name}.kind: {_not_one_of(kind, SOURCES)}")
        if name == "jsm" and kind == DEFAULT_ENDPOINTS["jsm"]:
            options.setdefault("product", "jsm")
        source = SOURCES[kind]
        try:
            endpoints[name] = Endpoint(name, source, source.options.model_validate(options))
        except pydantic.ValidationError as error:
            raise ConfigurationError(_problems(error, f"{where}: endpoints.{name}", source.options)) from error
    return endpoints


def _problems(error: pydantic.ValidationError, where: str, model: type[BaseModel] = Configuration) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            name = str(problem["loc"][-1])
            lines.append(f"{where}: {place}: unknown key{_nearest(name, _known_keys(model, problem['loc']))}")
        else:
            lines.append(f"{where}: {place}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _known_keys(model: type[BaseModel], place: Sequence[int | str]) -> Iterable[str]:
    """The keys that are known beside the last one of this place."""
    schema = part = model.model_json_schema()
    for step in place[:-1]:
        part = part["items"] if isinstance(step, int) else part.get("properties", {}).get(step, part)
        part = part.get("additionalProperties") or part
        (part,) = [one for one in part.get("anyOf", [part]) if one.get("type") != "null" and "enum" not in one]
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    known: Iterable[str] = part["properties"]
    return known


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _not_one_of(value: object, known: Iterable[str]) -> str:
    names = ", ".join(known)
    if value is None:
        return f"missing; one of {names}"
    return f"not one of {names}{_nearest(str(value), names.split(', '))}"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, as shipped beside this module in `bridge.schema.json`."""
    schema = Configuration.model_json_schema()
    kinds = []
    for name, source in SOURCES.items():
        options = source.options.model_json_schema()
        schema.setdefault("$defs", {}).update(options.pop("$defs", {}))
        options["properties"] = {"kind": {"const": name}, **options["properties"]}
        options["title"] = f"Endpoint of kind {name}"
        kinds.append(options)
    schema["properties"]["endpoints"]["additionalProperties"] = {"anyOf": kinds}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "bridge.yaml"}
