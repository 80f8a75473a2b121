"""What Kubernetes and the operators take: every object against a schema, unknown fields refused, and what a schema
cannot say: names that server-side apply wants only once, and the restricted Pod Security Standard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="schemas are not there: pip install kubernetes-validate"
)
jsonschema = pytest.importorskip("jsonschema")
referencing = pytest.importorskip("referencing")

CRDS = Path(__file__).parent / "crds.yaml"
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"


def problems(one: dict[str, Any], kube: str) -> list[str]:
    """What is wrong with an object for this version of Kubernetes; an unknown kind is wrong too."""
    validator = _validator(one["apiVersion"], one["kind"], kube)
    if validator is None:
        return [f"no schema of {one['apiVersion']} {one['kind']}"]
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(one)]


@cache
def _validator(version: str, kind: str, kube: str) -> Any:
    schema = custom_resources().get(f"{version} {kind}")
    if schema is None:
        # apps/v1 is apps-v1, networking.k8s.io/v1 is networking-v1, v1 is v1
        group, slash, number = version.rpartition("/")
        file = _folder(kube) / f"{kind.lower()}-{group.partition('.')[0]}{'-' if slash else ''}{number}.json"
        if not file.is_file():
            return None
        schema = json.loads(file.read_bytes())
    return jsonschema.Draft202012Validator(schema, registry=_registry(kube))


@cache
def custom_resources() -> dict[str, dict[str, Any]]:
    """Version and kind -> schema of the whole object."""
    found = {}
    for name, spec in yaml.safe_load(CRDS.read_text("utf-8")).items():
        version, kind = name.split()
        top = {
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": {"$ref": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            "spec": spec,
        }
        found[name] = strict({"required": ["metadata", "spec"], "properties": top})
    return found


def strict(schema: Any) -> Any:
    """The schema with all properties that are not named refused, and definitions of Kubernetes found."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": f"{_DEFINITIONS}#/$defs/{schema['$ref']}"}
    result = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        result |= {"type": "object", "additionalProperties": False}
    return result


@cache
def _registry(kube: str) -> Any:
    definitions = json.loads((_folder(kube) / "_definitions.json").read_bytes())
    return referencing.Resource.from_contents(definitions) @ referencing.Registry()


def _folder(kube: str) -> Path:
    return Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{kube}-local-strict"


def repeated(one: Any, path: str = "") -> Iterator[str]:
    """Entries of lists that server-side apply knows by a name or a path, and that are there twice."""
    if isinstance(one, dict):
        for key, value in one.items():
            yield from repeated(value, f"{path}.{key}")
    elif isinstance(one, list):
        identities: Sequence[tuple[str, ...]] = (
            ("name",),
            ("mountPath",),
            ("containerPort", "protocol"),
            ("port", "protocol"),
        )
        for identity in identities:
            found = [tuple(item.get(key) for key in identity) for item in one if isinstance(item, dict)]
            known = [item for item in found if None not in item]
            if len(known) != len(set(known)) and not (identity == ("name",) and path.endswith(".sources")):
                yield f"{path}: {identity} {known}"
        for index, item in enumerate(one):
            yield from repeated(item, f"{path}[{index}]")


def unrestricted(pod: dict[str, Any]) -> Iterator[str]:
    """What the restricted Pod Security Standard refuses.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= allowed:
            yield f"volume {volume['name']}"
    whole = pod.get("securityContext", {})
    for container in [*pod.get("initContainers", []), *pod["containers"], *pod.get("ephemeralContainers", [])]:
        own = container.get("securityContext", {})
        context = {**whole, **own}
        wrong = {
            "privileged": own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
            "capabilities": own.get("capabilities", {}).get("drop") != ["ALL"]
            or set(own["capabilities"].get("add", [])) - {"NET_BIND_SERVICE"},
            "runAsNonRoot": context.get("runAsNonRoot") is not True,
            "runAsUser": context.get("runAsUser") == 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") != "Default",
            "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
            # not of the standard, but of ours
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is not True,
        }
        yield from (f"{container['name']}: {what}" for what, is_wrong in wrong.items() if is_wrong)
