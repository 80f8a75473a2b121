"""`bridge.yaml`: what it may say, what is told when it is wrong, and the JSON Schema that ships with it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from jsonschema import Draft202012Validator

from bridge.configuration import Configuration, json_schema, load, parse
from bridge.errors import ConfigurationError
from bridge.sources import DEFAULT_ENDPOINTS, SOURCES

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "bridge" / "bridge.schema.json"
EXAMPLE = """
endpoints:                       # besides or instead of the five default ones
  github-mobile: {kind: github, deployments_from: [workflow_run], workflows: [".github/workflows/deploy.yml"]}
  opsgenie: {kind: opsgenie, failures_from: {priorities: [P1, P2], tags: [incident]}, send_as: failure}
  argocd: {kind: argocd, ignore_older_than_hours: 24}      # a first subscription floods old ones; 0 = never ignore
rules:
  - match: {endpoint: github, repository: "acme/shop", environment: "prod*"}
    set: {service: shopist, env: production, team: backend}
  - match: {environment: "preview-*"}
    drop: preview environments are not production
linking: {mode: observe, window_hours: 24}     # off | observe | auto; may be overridden per endpoint
retention: {events_days: 7, raw_days: 3, dead_letters_days: 90}
"""


def loaded(text: str, folder: Path) -> Any:
    (folder / "bridge.yaml").write_text(text, encoding="utf-8")
    return load(folder / "bridge.yaml")


def problem(content: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(content, "file")
    return caught.value.detail


def test_example(tmp_path: Path) -> None:
    found, endpoints = loaded(EXAMPLE, tmp_path)
    assert sorted(endpoints) == ["argocd", "github", "github-mobile", "jsm", "opsgenie", "pagerduty"]
    mobile = endpoints["github-mobile"]
    assert (mobile.name, mobile.source) == ("github-mobile", SOURCES["github"])
    assert mobile.options.deployments_from == ("workflow_run",)
    assert mobile.options.workflows == (".github/workflows/deploy.yml",)
    assert endpoints["github"].options.deployments_from == ("deployment_status",)
    assert endpoints["opsgenie"].options.failures_from.priorities == ("P1", "P2")
    assert endpoints["opsgenie"].options.failures_from.tags == ("incident",)
    assert endpoints["opsgenie"].options.send_as == "failure"
    assert endpoints["argocd"].options.ignore_older_than_hours == 24
    first, second = found.rules
    assert (first.match.endpoint, first.match.environment) == (("github",), ("prod*",))
    assert (first.set_.service, first.set_.env, first.set_.team) == ("shopist", "production", "backend")
    assert second.drop == "preview environments are not production"
    assert (found.linking.mode, found.linking.window_hours) == ("observe", 24)
    kept = found.retention
    assert (kept.events_days, kept.raw_days, kept.dead_letters_days) == (7, 3, 90)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n", "{}"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    found, endpoints = loaded(text, tmp_path)
    assert found == Configuration()
    assert {name: endpoint.source.name for name, endpoint in endpoints.items()} == dict(DEFAULT_ENDPOINTS)
    assert endpoints["jsm"].options.product == "jsm"
    assert endpoints["opsgenie"].options.product == "opsgenie"


def test_jsm_may_be_configured_and_stays_jsm() -> None:
    _, endpoints = parse({"endpoints": {"jsm": {"send_as": "legacy_incident"}}}, "file")
    assert (endpoints["jsm"].options.product, endpoints["jsm"].options.send_as) == ("jsm", "legacy_incident")
    _, endpoints = parse({"endpoints": {"jsm": {"product": "opsgenie"}, "jsm-2": {"kind": "opsgenie"}}}, "file")
    assert [endpoints[name].options.product for name in ("jsm", "jsm-2")] == ["opsgenie", "opsgenie"]


def test_a_default_name_may_be_given_another_kind() -> None:
    _, endpoints = parse({"endpoints": {"jsm": {"kind": "github"}, "github": {"kind": "argocd"}}}, "file")
    assert (endpoints["jsm"].source.name, endpoints["github"].source.name) == ("github", "argocd")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("[]", "the file must be a mapping"),
        ("- rules", "the file must be a mapping"),
        ("rules", "the file must be a mapping"),
        ("0", "the file must be a mapping"),
        ("false", "the file must be a mapping"),
        ("rules: [", "not YAML at line 1, column 9"),
        ("linking: {}\n\trules: []", "not YAML at line 2, column 1"),
        ("a: b: c", "not YAML at line 1, column 5"),
        ("x: !!python/object:os.system {}", "not YAML at line 1, column 4"),
        ("\x00", "not YAML"),
    ],
)
def test_file_that_is_none(tmp_path: Path, text: str, detail: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(text, tmp_path)
    assert caught.value.detail == f"{tmp_path}/bridge.yaml: {detail}"


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not YAML"):
        load(tmp_path / "bridge.yaml")
    with pytest.raises(ConfigurationError, match="directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        # unknown keys, everywhere
        ({"rule": []}, "file: rule: unknown key; did you mean rules?"),
        ({"endpoint": {}}, "file: endpoint: unknown key; did you mean endpoints?"),
        ({"xyzzy": 1}, "file: xyzzy: unknown key"),
        ({"linking": {"window_hour": 1}}, "file: linking.window_hour: unknown key; did you mean window_hours?"),
        ({"retention": {"event_days": 1}}, "file: retention.event_days: unknown key; did you mean events_days?"),
        (
            {"endpoints": {"github": {"deployment_from": []}}},
            "file: endpoints.github: deployment_from: unknown key; did you mean deployments_from?",
        ),
        (
            {"endpoints": {"pagerduty": {"sevrity_map": {}}}},
            "file: endpoints.pagerduty: sevrity_map: unknown key; did you mean severity_map?",
        ),
        (
            {"endpoints": {"opsgenie": {"failures_from": {"priority": ["P1"]}}}},
            "file: endpoints.opsgenie: failures_from.priority: unknown key; did you mean priorities?",
        ),
        (
            {"endpoints": {"argocd": {"ignore_older_than": 1}}},
            "file: endpoints.argocd: ignore_older_than: unknown key; did you mean ignore_older_than_hours?",
        ),
        (
            {"rules": [{"match": {"enviroment": "x"}, "drop": "y"}]},
            "file: rules.0.match.enviroment: unknown key; did you mean environment?",
        ),
        (
            {"rules": [{"match": {}, "drop": "x"}, {"match": {}, "set": {"servics": "x"}}]},
            "file: rules.1.set.servics: unknown key; did you mean services?",
        ),
        (
            {"rules": [{"matches": {}, "drop": "x", "match": {}}]},
            "file: rules.0.matches: unknown key; did you mean match?",
        ),
        # known, but not there
        ({"rules": [{"match": {}, "drop": "x", "service": "x"}]}, "file: rules.0.service: unknown key"),
        ({"raw_days": 1}, "file: raw_days: unknown key"),
        (
            {"endpoints": {"opsgenie": {"integrations": {"abc": {"envs": "x"}}}}},
            "file: endpoints.opsgenie: integrations.abc.envs: unknown key; did you mean env?",
        ),
        # rules
        ({"rules": [{"match": {}}]}, "file: rules.0: give either set or drop"),
        ({"rules": [{"match": {}, "set": {}, "drop": "x"}]}, "file: rules.0: give either set or drop"),
        ({"rules": [{"drop": "x"}]}, "file: rules.0.match: Field required"),
        (
            {"rules": [{"match": {"service": "x"}, "set": {"service": "$1"}}]},
            "file: rules.0: set has $1, for which match has no star in each case",
        ),
        # endpoints
        (
            {"endpoints": {"mobile": {}}},
            "file: endpoints.mobile.kind: missing; one of github, argocd, pagerduty, opsgenie",
        ),
        (
            {"endpoints": {"mobile": {"kind": "gihub"}}},
            "file: endpoints.mobile.kind: not one of github, argocd, pagerduty, opsgenie; did you mean github?",
        ),
        (
            {"endpoints": {"mobile": {"kind": ["github"]}}},
            "file: endpoints.mobile.kind: not one of github, argocd, pagerduty, opsgenie; did you mean github?",
        ),
        (
            {"endpoints": {"mobile": {"kind": None}}},
            "file: endpoints.mobile.kind: missing; one of github, argocd, pagerduty, opsgenie",
        ),
        (
            {"endpoints": {"github": {"instance": "a b"}}},
            "file: endpoints.github: instance: String should match pattern '^[A-Za-z0-9_-]{0,24}$'",
        ),
        # numbers
        ({"linking": {"window_hours": 0}}, "file: linking.window_hours: Input should be greater than 0"),
        ({"linking": {"window_hours": float("inf")}}, "file: linking.window_hours: Input should be a finite number"),
        ({"linking": {"mode": "on"}}, "file: linking.mode: Input should be 'off', 'observe' or 'auto'"),
        (
            {"retention": {"events_days": float("inf")}},
            "file: retention.events_days: Input should be less than or equal to 36500",
        ),
        (
            {"retention": {"memory_days": float("nan")}},
            "file: retention.memory_days: Input should be less than or equal to 36500",
        ),
        # an expiry of 0 s is an error for Redis: nothing could be recorded at all
        (
            {"retention": {"events_days": 0.000001}},
            "file: retention.events_days: Input should be greater than or equal to 0.0001",
        ),
        ({"retention": {"raw_days": -1}}, "file: retention.raw_days: Input should be greater than or equal to 0"),
    ],
)
def test_problem_names_file_and_key_and_the_nearest_known(content: dict[str, Any], detail: str) -> None:
    assert problem(content) == detail


@pytest.mark.parametrize(
    "name", ["GitHub", "git_hub", "git hub", "git/hub", "", "-", "gïthub", "a.b", "²", "github-file", "x-file"]
)
def test_names_that_would_make_no_good_address_or_variable(name: str) -> None:
    assert problem({"endpoints": {name: {"kind": "github"}}}).startswith(f"file: endpoints.{name}: a name ")


def test_every_problem_is_told_at_once() -> None:
    found = problem({"rule": [], "linking": {"mode": "x"}, "retention": {"raw": 1}})
    assert [line.split(": ")[1] for line in found.splitlines()] == ["linking.mode", "retention.raw", "rule"]


def test_no_retention_of_bodies_is_possible() -> None:
    assert parse({"retention": {"raw_days": 0}}, "file")[0].retention.raw_days == 0


# -- the schema


def test_shipped_schema_is_in_step() -> None:
    """To write it anew:

    python -c 'import json; from bridge.configuration import json_schema as s; print(json.dumps(s(), indent=2))' \\
        > bridge/bridge.schema.json
    """
    assert json.loads(SHIPPED.read_text("utf-8")) == json_schema()


def test_schema_is_one_and_has_a_name() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == "bridge.yaml"


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        "{}",
        "rules: [{match: {labels: [a, 'b*']}, set: {services: [x, y], tags: ['a:b']}}]",
        "endpoints: {argocd: {git: config, config_source: 1, redeploys: send, max_body_bytes: 1000000}}",
        "endpoints: {pagerduty: {services: {PX: [a, b]}, urgencies: [high], severity_map: {High: SEV-1}}}",
        "endpoints: {opsgenie: {integrations: {abc: {env: prod}}, priority_updates: send}}",
        "endpoints: {github: {failures_from: [issues], incident_labels: [incident, sev]}}",
    ],
)
def test_schema_accepts_what_loads(text: str) -> None:
    content = yaml.safe_load(text)
    parse(content, "file")
    Draft202012Validator(json_schema()).validate(content)


@pytest.mark.parametrize(
    "text",
    [
        "rule: []",
        "rules: [{drop: x}]",
        "rules: [{match: {enviroment: x}, drop: y}]",
        "rules: [{match: {environment: []}, drop: y}]",
        "rules: [{match: {environment: 1}, drop: y}]",
        "linking: {mode: on-and-off}",
        "retention: {events_days: 0}",
        "endpoints: {github: {kind: github, redeploys: send}}",
        "endpoints: {mobile: {kind: gitlab}}",
        "endpoints: {opsgenie: {failures_from: {priorities: [P9]}}}",
    ],
)
def test_schema_refuses_what_does_not_load(text: str) -> None:
    content = yaml.safe_load(text)
    with pytest.raises(ConfigurationError):
        parse(content, "file")
    assert not Draft202012Validator(json_schema()).is_valid(content)


def test_every_key_is_described_for_its_reader() -> None:
    schema = json_schema()
    kinds = schema["properties"]["endpoints"]["additionalProperties"]["anyOf"]
    for part in kinds:
        undescribed = [key for key, value in part["properties"].items() if key != "kind" and "description" not in value]
        assert not undescribed, part["title"]


def test_wheel_has_the_schema_and_all_else_that_is_no_code(tmp_path: Path) -> None:
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        str(path.relative_to(ROOT))
        for package in ("bridge", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "bridge/bridge.schema.json" in needed
    assert needed <= names
    assert not [name for name in names if name.startswith(("tests/", "deploy/"))]


@pytest.mark.parametrize(
    ("options", "works"),
    [
        ({"hooks": ["repos/acme/shop.js/hooks/123", "orgs/acme-1/hooks/4", "app/hook"]}, True),
        ({"hooks": ["acme/shop/hooks/123"]}, False),
        ({"hooks": ["repos/acme/shop/hooks/123/deliveries"]}, False),
        ({"hooks": ["https://api.github.com/app/hook"]}, False),
        ({"api_url": "https://git.example.com/api/v3"}, True),
        ({"api_url": "http://127.0.0.1:8080"}, True),
        ({"api_url": "https://git.example.com/"}, False),
        ({"api_url": "https://user:password@git.example.com"}, False),
        ({"api_url": "git.example.com"}, False),
        ({"api_url": "https://git.example.com?token=1"}, False),
    ],
)
def test_what_catching_up_needs(options: dict[str, Any], works: bool) -> None:
    content = {"endpoints": {"github": options}}
    if works:
        parse(content, "file")
    else:
        assert f"endpoints.github: {next(iter(options))}" in problem(content)


def test_a_bare_off_is_a_mode_although_yaml_takes_it_for_false(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text("linking: {mode: off}\nendpoints: {argocd: {kind: argocd, linking: off}}\n")
    configuration, endpoints = load(path)
    assert (configuration.linking.mode, endpoints["argocd"].options.linking_mode) == ("off", "off")


def test_linking_of_an_endpoint_is_a_mode_or_a_section_of_its_own() -> None:
    content = {"endpoints": {"github": {"linking": "auto"}, "jsm": {"linking": {"mode": "auto", "window_hours": 2}}}}
    endpoints = parse(content, "bridge.yaml")[1]
    assert endpoints["github"].options.linking_mode == "auto"
    assert endpoints["jsm"].options.linking.window_hours == 2
    with pytest.raises(ConfigurationError, match="window_hour: unknown key; did you mean window_hours"):
        parse({"endpoints": {"jsm": {"linking": {"window_hour": 2}}}}, "bridge.yaml")
