"""README, schema and values of the chart are in step."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from chart import CHART, VALUES, leaves, merged, objects, of_kind, shape
from derived import explained, with_bridge_yaml, with_table

README = (CHART / "README.md").read_text("utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_bytes())


def test_readme_has_the_table_of_values() -> None:
    assert with_table(README) == README, "python tests/helm/derived.py"


def test_schema_has_the_definitions_of_bridge_yaml() -> None:
    assert with_bridge_yaml(SCHEMA) == SCHEMA, "python tests/helm/derived.py"


def test_every_value_is_explained() -> None:
    paths = [path for path, _ in explained(VALUES.read_text("utf-8"))]
    assert len(paths) == len(set(paths)) > 150
    bare = [
        leaf
        for leaf in leaves(yaml.safe_load(VALUES.read_text("utf-8")))
        if not any(leaf == path or leaf.startswith(f"{path}.") for path in paths)
    ]
    assert bare == []


def test_schema_knows_every_value_and_no_other() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        known = schema["properties"]
        assert set(known) - ({"enabled"} - set(values)) == set(values), path
        if path != "global":
            assert schema["additionalProperties"] is False, path
        for name, value in values.items():
            part = known[name]
            if isinstance(value, dict) and "properties" in part and value:
                compare(value, part, f"{path}.{name}".strip("."))

    values = yaml.safe_load(VALUES.read_text("utf-8"))
    compare(values.pop("route")["main"], SCHEMA["properties"]["route"]["additionalProperties"], "route.main")
    del values["bridgeYaml"]
    known = {name: part for name, part in SCHEMA["properties"].items() if name not in ("route", "bridgeYaml")}
    compare(values, {**SCHEMA, "properties": known}, "")


def test_values_of_the_readme_work() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]
    assert len(blocks) == 4
    values = blocks[0]
    assert objects(values)
    for block in blocks[1:]:
        values = merged(values, block)
    found = objects(values)
    assert {"Ingress", "ExternalSecret"} <= {one["kind"] for one in found}


def test_the_datadog_agent_finds_containers_and_port() -> None:
    block = next(one for one in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "ad.datadoghq.com" in one)
    for deployment in of_kind(objects(merged(shape("minimal"), yaml.safe_load(block))), "Deployment"):
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        checks = json.loads(template["metadata"]["annotations"][f"ad.datadoghq.com/{container['name']}.checks"])
        (instance,) = checks["openmetrics"]["instances"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert instance["openmetrics_endpoint"] == f"http://%%host%%:{ports['internal']}/metrics"


def test_readme_names_the_keys_of_the_secrets_it_makes() -> None:
    made = set(re.findall(r"--from-literal=([\w-]+)=", README))
    first = yaml.safe_load(next(iter(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))))
    defaults = yaml.safe_load(VALUES.read_text("utf-8"))
    keys = {key for keys in first["secrets"]["endpoints"].values() for key in keys}
    assert made == {defaults["secrets"]["keys"]["DD_API_KEY"], defaults["redis"]["key"], *keys}


def test_shapes_say_what_they_are() -> None:
    for path in (CHART / "ci").iterdir():
        assert path.name.endswith("-values.yaml")
        assert path.read_text("utf-8").startswith("# ")
        assert shape(path.stem.removesuffix("-values"))
