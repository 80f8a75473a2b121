"""Every shape of the chart gives objects that Kubernetes takes, from the oldest version to the newest."""

from __future__ import annotations

from typing import Any

import pytest
from chart import (
    CHART,
    NEWEST,
    OLDEST,
    SHAPES,
    files,
    objects,
    of_kind,
    only,
    pods,
    shape,
)
from schemas import problems, repeated, unrestricted

MINIMAL = shape("minimal")


def test_there_are_shapes() -> None:
    assert len(SHAPES) > 12


@pytest.mark.parametrize("kube", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", SHAPES)
def test_every_object_is_valid(name: str, kube: str) -> None:
    found = objects(shape(name), kube=kube)
    wrong = {
        f"{one['kind']} {one['metadata']['name']}": problem
        for one in found
        if one["kind"] != "ExternalSecret"  # somebody else's, passed through
        for problem in problems(one, kube)
    }
    assert not wrong
    assert of_kind(found, "Deployment")


def test_a_wrong_field_would_be_seen() -> None:
    for name, kind in (("minimal", "Deployment"), ("keda", "ScaledObject"), ("gateway", "HTTPRoute")):
        for one in of_kind(objects(shape(name)), kind):
            assert not problems(one, NEWEST)
            assert problems({**one, "spec": {**one["spec"], "replica": 1}}, NEWEST)
            assert problems({**one, "metadata": {**one["metadata"], "label": {}}}, NEWEST)
            assert problems({**one, "kind": "Unknown"}, NEWEST) == [f"no schema of {one['apiVersion']} Unknown"]


@pytest.mark.parametrize("name", SHAPES)
def test_server_side_apply_finds_no_name_twice(name: str) -> None:
    found = objects(shape(name))
    assert not [twice for one in found for twice in repeated(one.get("spec", one))]
    identities = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("name", SHAPES)
def test_pods_are_restricted(name: str) -> None:
    found = pods(objects(shape(name)))
    assert len(found) >= 2
    assert not {pod: list(wrong) for pod, spec in found.items() if (wrong := list(unrestricted(spec)))}
    for spec in found.values():
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert "fsGroup" not in spec["securityContext"]
        if name != "openshift":
            assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (10001, 10001)


def test_ids_can_be_left_to_openshift() -> None:
    for spec in pods(objects(shape("openshift"))).values():
        assert not {"runAsUser", "runAsGroup"} & set(spec["securityContext"])


@pytest.mark.parametrize("name", SHAPES)
def test_containers_have_requests_a_limit_of_memory_and_a_place_to_write(name: str) -> None:
    for one in objects(shape(name)):
        if one["kind"] == "Deployment":
            container = one["spec"]["template"]["spec"]["containers"][0]
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108
            volumes = {volume["name"]: volume for volume in one["spec"]["template"]["spec"]["volumes"]}
            assert volumes["tmp"]["emptyDir"]["sizeLimit"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)


@pytest.mark.parametrize("name", SHAPES)
def test_two_renderings_are_equal(name: str) -> None:
    from chart import _files

    first = files(shape(name))
    _files.cache_clear()
    assert files(shape(name)) == first


def test_the_cluster_is_not_asked_and_nothing_is_random() -> None:
    for path in CHART.glob("templates/**/*"):
        if path.is_file():
            text = path.read_text("utf-8")
            for function in ("lookup ", "randAlpha", "randNumeric", "genCA", "genSelf", "genPriv", "uuidv4", " now"):
                assert function not in text, f"{path.name}: {function}"
            assert "Capabilities.APIVersions" not in text, path.name


@pytest.mark.parametrize("name", SHAPES)
def test_selectors_hold_three_labels_and_find_the_pods(name: str) -> None:
    found = objects(shape(name))
    for one in of_kind(found, "Deployment"):
        selector = one["spec"]["selector"]["matchLabels"]
        assert set(selector) == {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
        assert "helm.sh/chart" not in labels, "a new chart alone restarts nothing"
    for one in of_kind(found, "Service"):
        matching = [
            deployment
            for deployment in of_kind(found, "Deployment")
            if one["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(matching) == 1
        ports = {port["name"] for port in matching[0]["spec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports


@pytest.mark.parametrize("name", SHAPES)
def test_what_objects_name_is_there(name: str) -> None:
    found = objects(shape(name))
    names = {(one["kind"], one["metadata"]["name"]) for one in found}
    for one in found:
        spec: dict[str, Any] = one.get("spec", {})
        if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in names
        if one["kind"] == "Ingress":
            for rule in spec["rules"]:
                assert all(("Service", path["backend"]["service"]["name"]) in names for path in rule["http"]["paths"])
        if one["kind"] == "HTTPRoute":
            for backend in spec["rules"][0]["backendRefs"]:
                service = only(found, "Service", backend["name"])
                assert backend["port"] in [port["port"] for port in service["spec"]["ports"]]
        if one["kind"] == "ScaledObject":
            for trigger in spec["triggers"]:
                if reference := trigger.get("authenticationRef"):
                    assert ("TriggerAuthentication", reference["name"]) in names
    for spec in pods(found).values():
        account = spec["serviceAccountName"]
        assert account == "default" or ("ServiceAccount", account) in names
        for container in spec["containers"]:
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert ("ConfigMap", source["configMapRef"]["name"]) in names
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names


def test_names_of_long_releases_are_names() -> None:
    found = objects(MINIMAL, name="a-release-with-the-longest-name-that-helm-takes-xxxxx")
    for one in found:
        assert len(one["metadata"]["name"]) <= 63, one["metadata"]["name"]
        assert not one["metadata"]["name"].endswith("-")
    assert not [problem for one in found for problem in problems(one, NEWEST)]
