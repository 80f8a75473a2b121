"""The chart, rendered by Helm's own engine without a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python", reason="Helm's engine is not there: pip install helm-python-sdk")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "dora-bridge"
VALUES = CHART / "values.yaml"
SHAPES = sorted(path.stem.removesuffix("-values") for path in (CHART / "ci").glob("*-values.yaml"))
OLDEST, NEWEST = "1.29.0", "1.37.0"
"""The first is that of Chart.yaml; for the second there are schemas in `kubernetes-validate`."""

Object = dict[str, Any]


def shape(name: str) -> dict[str, Any]:
    """The values of `ci/<name>-values.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text("utf-8"))
    return loaded


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The values with others over them, as with a second `-f`."""
    result = dict(values)
    for key, value in more.items():
        own = result.get(key)
        result[key] = merged(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return result


def files(
    values: dict[str, Any],
    *,
    name: str = "dora-bridge",
    namespace: str = "dora",
    kube: str = NEWEST,
    chart: Path = CHART,
) -> dict[str, str]:
    """Path of each template -> its text. Raises: HelmError as an installation would."""
    return dict(_files(json.dumps(values, sort_keys=True), name, namespace, kube, chart))


@cache
def _files(values: str, name: str, namespace: str, kube: str, chart: Path) -> tuple[tuple[str, str], ...]:
    # Chart.render has no argument for the version of Kubernetes, which its library knows
    options = json.dumps({"name": name, "namespace": namespace, "kube_version": f"v{kube}"})
    with helm.Chart.load(chart) as loaded:
        rendered = json.loads(helm._native.call_string("helm_render", loaded._raw(), values, options))
    return tuple(sorted(rendered.items()))


def objects(values: dict[str, Any], **where: Any) -> list[Object]:
    """All objects of a rendering, the pod of the test among them."""
    return [
        one
        for path, text in files(values, **where).items()
        if path.endswith(".yaml")
        for one in yaml.safe_load_all(text)
        if one
    ]


def notes(values: dict[str, Any], **where: Any) -> str:
    """What an installation prints."""
    return next(text for path, text in files(values, **where).items() if path.endswith("NOTES.txt"))


def of_kind(rendered: list[Object], kind: str) -> list[Object]:
    return [one for one in rendered if one["kind"] == kind]


def only(rendered: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of this kind, and of this name."""
    found = [one for one in of_kind(rendered, kind) if name in (None, one["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]


def pods(rendered: list[Object]) -> dict[str, Object]:
    """Kind and name -> spec of the pods."""
    found = {}
    for one in rendered:
        spec = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
        if spec:
            found[f"{one['kind']}/{one['metadata']['name']}"] = spec["spec"]
    return found


def leaves(values: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of what is no map with keys."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path


def refusal(values: dict[str, Any]) -> str:
    """The sentence with which a rendering fails."""
    with pytest.raises(helm.HelmError) as caught:
        files(values)
    return re.sub(r"^execution error at \([^)]*\): ", "", str(caught.value))
