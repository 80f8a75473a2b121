"""What the chart does for each of its switches, and the sentence it says when values cannot work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import (
    CHART,
    OLDEST,
    SHAPES,
    VALUES,
    files,
    helm,
    merged,
    notes,
    objects,
    of_kind,
    only,
    pods,
    refusal,
    shape,
)
from redis import Redis
from redis.exceptions import NoPermissionError

from bridge import __version__
from bridge.configuration import parse
from bridge.embedded_redis import PrivateRedis
from bridge.settings import API_KEY, APP_KEY, SENDER_TOKENS, Environment, read, secret_variable
from bridge.sources import DEFAULT_ENDPOINTS

MINIMAL = shape("minimal")


def container(values: dict[str, Any], component: str, **where: Any) -> dict[str, Any]:
    name = "dora-bridge" if component == "bridge" else f"dora-bridge-{component}"
    deployment = only(objects(values, **where), "Deployment", name)
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(values: dict[str, Any], component: str) -> dict[str, str]:
    """The variables of a component, those of the ConfigMap among them; of a Secret the reference."""
    own = container(values, component)["env"]
    given: dict[str, str] = dict(only(objects(values), "ConfigMap", "dora-bridge")["data"])
    return given | {one["name"]: one["value"] if "value" in one else one["valueFrom"] for one in own}


def mounted(values: dict[str, Any], component: str) -> dict[str, tuple[str, str]]:
    """Path below the mount -> Secret and key."""
    name = "dora-bridge" if component == "bridge" else f"dora-bridge-{component}"
    volumes = pods(objects(values))[f"Deployment/{name}"]["volumes"]
    sources = next(one for one in volumes if one["name"] == "secrets")["projected"]["sources"]
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in sources
        for item in source["secret"]["items"]
    }


# -- versions


def test_versions_are_those_of_the_code_and_of_the_tests() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert about["appVersion"] == __version__
    assert about["kubeVersion"] == f">={OLDEST}-0"
    assert f":{__version__}\n" in about["annotations"]["artifacthub.io/images"]
    assert container(MINIMAL, "bridge")["image"].endswith(f":{__version__}")


# -- settings and secrets


def test_settings_of_the_chart_are_those_of_the_code() -> None:
    schema = json.loads((CHART / "values.schema.json").read_bytes())["properties"]
    variables = {str(field.alias) for field in Environment.model_fields.values()}
    made = {"DORA_BRIDGE_REDIS_URL", "DORA_BRIDGE_REDIS_CA", "DORA_BRIDGE_CONFIG"}
    tokens = {API_KEY, APP_KEY, "DORA_BRIDGE_ADMIN_TOKEN", *SENDER_TOKENS.values()}
    assert set(schema["config"]["properties"]) == variables - made - tokens
    assert set(schema["secrets"]["properties"]["keys"]["properties"]) == tokens


@pytest.mark.parametrize("name", SHAPES)
def test_the_code_can_read_the_settings(name: str, tmp_path: Path) -> None:
    """As in the pod, with the mounted files made here."""
    values = merged(shape(name), {"fullnameOverride": "dora-bridge"})
    for component in ("bridge", "worker"):
        environ = {}
        for variable, value in environment(values, component).items():
            environ[variable] = value if isinstance(value, str) else "redis://127.0.0.1:6379/0"
        if "DORA_BRIDGE_REDIS_CA" in environ:
            (tmp_path / "ca.crt").write_text("")
            environ |= {"DORA_BRIDGE_REDIS_CA": str(tmp_path / "ca.crt"), "DORA_BRIDGE_REDIS_URL": "rediss://127.0.0.1"}
        for path in mounted(values, component):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(f"{path}\n")
        for variable, value in environ.items():
            if variable.endswith("_FILE"):
                environ[variable] = value.replace("/run/secrets/dora-bridge", str(tmp_path))
        if "DORA_BRIDGE_CONFIG" in environ:
            content = only(objects(values), "ConfigMap", "dora-bridge-file")["data"]["bridge.yaml"]
            (tmp_path / "bridge.yaml").write_text(content)
            environ["DORA_BRIDGE_CONFIG"] = str(tmp_path / "bridge.yaml")
        settings = read(environ)
        settings.check_application_key()
        endpoints = {endpoint for endpoint, keys in values["secrets"]["endpoints"].items() if keys}
        assert set(settings.secrets) == endpoints
        assert {len(settings.secrets[one]()) for one in endpoints} == {
            len(keys) for keys in values["secrets"]["endpoints"].values() if keys
        }


def test_secrets_are_files_that_are_renewed() -> None:
    values = shape("senders")
    assert mounted(values, "worker")["DD_API_KEY"] == ("datadog", "api-key")
    assert mounted(values, "worker")["DORA_BRIDGE_SECRETS__GITHUB/1"] == ("dora-bridge", "github-new")
    assert mounted(values, "worker")["DORA_BRIDGE_SECRETS__GITHUB/2"] == ("dora-bridge", "github-old")
    assert mounted(values, "worker")[secret_variable("github-mobile")] == ("dora-bridge", "github-mobile")
    for component in ("bridge", "worker"):
        one = container(values, component)
        assert not [mount for mount in one["volumeMounts"] if "subPath" in mount]
        given = {name for name in environment(values, component) if name.endswith("_FILE")}
        assert given == {f"{path.partition('/')[0]}_FILE" for path in mounted(values, component)}


def test_what_the_internet_reaches_has_no_key_that_sends() -> None:
    values = shape("senders")
    assert {"DD_API_KEY", "DORA_BRIDGE_GITHUB_TOKEN"} <= set(mounted(values, "worker"))
    assert not {"DD_API_KEY", "DORA_BRIDGE_GITHUB_TOKEN"} & set(mounted(values, "bridge"))
    assert {"DD_APP_KEY", "DORA_BRIDGE_ADMIN_TOKEN"} <= set(mounted(values, "bridge"))


def test_inline_values_are_ignored_where_a_secret_exists() -> None:
    more = {"secrets": {"existingSecret": "mine"}, "redis": {"existingSecret": "mine"}}
    assert of_kind(objects(shape("trial")), "Secret")
    assert not of_kind(objects(merged(shape("trial"), more)), "Secret")
    assert not of_kind(objects(MINIMAL), "Secret")


def test_the_secret_of_the_chart_is_never_one_that_exists() -> None:
    values = merged(MINIMAL, {"redis": {"existingSecret": "", "url": "redis://redis:6379/0"}})
    own = only(objects(values), "Secret")
    assert own["metadata"]["name"] == "dora-bridge-inline" != values["secrets"]["existingSecret"]
    reference = {"secretKeyRef": {"name": "dora-bridge-inline", "key": "DORA_BRIDGE_REDIS_URL"}}
    assert environment(values, "worker")["DORA_BRIDGE_REDIS_URL"] == reference


def test_large_numbers_have_no_exponent() -> None:
    more = {"config": {"OTEL_BSP_MAX_QUEUE_SIZE": 10000000}, "global": {"env": {"LIMIT": 20000000, "RATIO": 0.5}}}
    given = environment(merged(MINIMAL, more), "bridge")
    assert given["OTEL_BSP_MAX_QUEUE_SIZE"] == "10000000"
    assert (given["LIMIT"], given["RATIO"]) == ("20000000", "0.5")


def test_no_value_of_a_secret_is_anywhere_else() -> None:
    values = merged(shape("trial"), {"secrets": {"inline": {"DD_API_KEY": "hidden-1", "github": "hidden-2"}}})
    for path, text in files(values).items():
        assert "hidden-" not in text, path
    assert "hidden" not in refusal(merged(values, {"secrets": {"endpoints": {"unknown": ["github"]}}}))


def test_a_change_of_settings_restarts_the_pods() -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = only(objects(values), "Deployment", "dora-bridge")["spec"]["template"]["metadata"][
            "annotations"
        ]
        return found

    trial = shape("trial")
    assert "checksum/secret" not in checksums(MINIMAL)
    assert checksums(trial) != checksums(merged(trial, {"config": {"DD_SITE": "datadoghq.eu"}}))
    assert checksums(trial) != checksums(merged(trial, {"bridgeYaml": {"read_back": {"sample_percent": 2}}}))
    assert checksums(trial) != checksums(merged(trial, {"secrets": {"inline": {"github": "another"}}}))
    assert checksums(trial) == checksums(merged(trial, {"commonLabels": {"a": "b"}}))


@pytest.mark.parametrize("name", SHAPES)
def test_bridge_yaml_arrives_as_it_was_written(name: str) -> None:
    written = shape(name).get("bridgeYaml")
    found = [one for one in of_kind(objects(shape(name)), "ConfigMap") if "bridge.yaml" in one["data"]]
    assert len(found) == bool(written)
    for one in found:
        assert yaml.safe_load(one["data"]["bridge.yaml"]) == written
        parse(written, "bridgeYaml")


def test_a_component_wins_over_global() -> None:
    values = shape("everything")
    found = objects(values)
    bridge, worker = (only(found, "Deployment", name)["spec"]["template"] for name in ("bridge", "bridge-worker"))
    env = {
        name: {one["name"]: one.get("value") for one in template["spec"]["containers"][0]["env"]}
        for name, template in (("bridge", bridge), ("worker", worker))
    }
    assert (env["bridge"]["TZ"], env["worker"]["TZ"]) == ("Europe/Berlin", "UTC")
    assert env["bridge"]["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert bridge["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert worker["spec"]["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert (bridge["spec"]["priorityClassName"], worker["spec"]["priorityClassName"]) == ("high", "platform")
    assert bridge["metadata"]["annotations"]["reloader.stakater.com/auto"] == "true"
    assert bridge["spec"]["containers"][0]["image"].startswith("registry.example.com/dora-bridge/dora-bridge@sha256:")
    assert {one["metadata"].get("namespace", "delivery") for one in found} == {"delivery"}


def test_ports_follow_the_listeners() -> None:
    ports = {
        one["name"]: one["containerPort"]
        for one in container(merged(shape("everything"), {"fullnameOverride": ""}), "bridge")["ports"]
    }
    assert ports == {"http": 8000, "internal": 9000}


# -- pods


def test_a_rollout_of_the_bridge_loses_no_request() -> None:
    deployment = only(objects(MINIMAL), "Deployment", "dora-bridge")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert container(MINIMAL, "bridge")["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    old = container(MINIMAL, "bridge", kube=OLDEST)["lifecycle"]["preStop"]
    assert "sleep" not in old, "there it is behind a gate that is shut"
    assert subprocess.run([sys.executable, *old["exec"]["command"][1:-1], "import time"], check=True).returncode == 0


def test_what_else_is_done_at_the_end_of_a_pod_takes_no_sleep_away() -> None:
    command = {"exec": {"command": ["true"]}}
    sleep = {"sleep": {"seconds": 5}}
    for own, expected in (
        ({"postStart": command}, {"postStart": command, "preStop": sleep}),
        ({"preStop": command}, {"preStop": command}),
    ):
        assert container(merged(MINIMAL, {"bridge": {"lifecycle": own}}), "bridge")["lifecycle"] == expected
    assert "lifecycle" not in container(merged(MINIMAL, {"bridge": {"preStopSleepSeconds": 0}}), "bridge")
    assert "terminationGracePeriodSeconds" not in notes(MINIMAL)
    assert "leaves them 15" in notes(merged(MINIMAL, {"bridge": {"preStopSleepSeconds": 15}}))


def test_pull_secrets_are_names_or_objects() -> None:
    values = merged(shape("senders"), {"global": {"imagePullSecrets": ["one", {"name": "two"}]}})
    found = pods(objects(values))
    assert len(found) == 3
    for spec in found.values():
        assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert "imagePullSecrets" in refusal(merged(MINIMAL, {"global": {"imagePullSecrets": [{"nam": "two"}]}}))


def test_keys_of_secrets_are_never_optional() -> None:
    """One that is spelled wrong holds up a roll-out; optional, it would be a sender whose secret nobody knows."""
    for spec in pods(objects(shape("senders"))).values():
        (volume,) = (one for one in spec["volumes"] if one["name"] == "secrets")
        assert not [source for source in volume["projected"]["sources"] if source["secret"].get("optional")]


def test_the_worker_gets_one_signal_and_the_time_it_needs() -> None:
    deployment = only(objects(MINIMAL), "Deployment", "dora-bridge-worker")["spec"]
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] == 60
    assert "lifecycle" not in container(MINIMAL, "worker")


def test_parameters_of_a_rolling_update_go_with_it() -> None:
    deployment = only(objects(shape("everything")), "Deployment", "bridge-worker")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_probes_ask_the_process_and_never_redis() -> None:
    for component, port in (("bridge", "http"), ("worker", "internal")):
        found = container(MINIMAL, component)
        assert found["livenessProbe"]["httpGet"] == found["startupProbe"]["httpGet"] == {"path": "/livez", "port": port}
        assert found["livenessProbe"]["timeoutSeconds"] >= 3
        assert found["livenessProbe"]["failureThreshold"] >= 3
    worker = container(MINIMAL, "worker")["livenessProbe"]
    assert worker["periodSeconds"] * worker["failureThreshold"] == 60
    assert container(MINIMAL, "bridge")["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "readinessProbe" not in container(MINIMAL, "worker")


def test_a_variable_of_the_component_wins_as_a_whole() -> None:
    other = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    secret = {"valueFrom": {"secretKeyRef": {"name": "mine", "key": "url"}}}
    more = {
        "global": {"env": {"A": other, "B": "global", "C": "global", "D": "text"}},
        "bridge": {"env": {"A": secret, "B": "", "D": other, "DORA_BRIDGE_REDIS_URL": secret}},
    }
    given = {one["name"]: one for one in container(merged(MINIMAL, more), "bridge")["env"]}
    assert given["A"] == {"name": "A", **secret}
    assert given["B"] == {"name": "B", "value": ""}
    assert given["C"] == {"name": "C", "value": "global"}
    assert given["D"] == {"name": "D", **other}
    assert given["DORA_BRIDGE_REDIS_URL"] == {"name": "DORA_BRIDGE_REDIS_URL", **secret}
    assert environment(merged(MINIMAL, more), "worker")["B"] == "global"


def test_the_selector_of_a_spread_is_filled_in_only_where_there_is_none() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    own = {"matchExpressions": [{"key": "team", "operator": "Exists"}]}
    constraints = [spread, {**spread, "labelSelector": own}, {**spread, "labelSelector": {}}]
    values = merged(MINIMAL, {"bridge": {"topologySpreadConstraints": constraints}})
    filled, *kept = pods(objects(values))["Deployment/dora-bridge"]["topologySpreadConstraints"]
    assert filled["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "bridge"
    assert [one["labelSelector"] for one in kept] == [own, {}]


def test_commands() -> None:
    assert (container(MINIMAL, "bridge")["args"], container(MINIMAL, "worker")["args"]) == (["serve"], ["worker"])
    more = merged(MINIMAL, {"worker": {"processes": 3}})
    assert container(more, "worker")["args"] == ["worker", "--processes", "3"]


# -- scaling


def test_no_count_beside_an_autoscaler() -> None:
    def counts(name: str) -> list[bool]:
        return ["replicas" in one["spec"] for one in of_kind(objects(shape(name)), "Deployment")]

    assert counts("minimal") == [True, True]
    assert counts("hpa") == [False, False]
    assert counts("keda") == [True, False]


def test_budgets_are_for_several_pods() -> None:
    def budgets(name: str) -> set[str]:
        return {one["metadata"]["name"] for one in of_kind(objects(shape(name)), "PodDisruptionBudget")}

    assert budgets("minimal") == budgets("keda") == {"dora-bridge", "dora-bridge-worker"}
    assert budgets("hpa") == {"dora-bridge"}, "the worker may have one pod there"
    assert budgets("keda-sentinel") == {"dora-bridge"}
    assert budgets("quiet") == set()


def test_keda_counts_what_waits() -> None:
    found = objects(shape("keda"))
    scaled = only(found, "ScaledObject")["spec"]
    assert scaled["minReplicaCount"] >= 1
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"] == {
        "stabilizationWindowSeconds": 300
    }
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "redis"
    assert trigger["metadata"] == {
        "address": "redis.dora.svc:6380",  # KEDA asks from another namespace
        "username": "dora-bridge",
        "databaseIndex": "2",
        "enableTLS": "true",
        "listName": "dora:waiting",
        "listLength": "5000",
    }
    secrets = only(found, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {one["parameter"]: (one["name"], one["key"]) for one in secrets} == {
        "password": ("redis-password", "password"),
        "ca": ("redis-ca", "ca.crt"),
    }
    (sentinel,) = only(objects(shape("keda-sentinel")), "ScaledObject")["spec"]["triggers"]
    assert sentinel["type"] == "redis-sentinel"
    assert sentinel["metadata"]["sentinelMaster"] == "mymaster"
    (own,) = only(objects(shape("keda-prometheus")), "ScaledObject")["spec"]["triggers"]
    assert 'namespace="dora"' in own["metadata"]["query"]


def test_keda_needs_no_more_rights_than_the_readme_says(redis_server: PrivateRedis) -> None:
    """What its redis scalers ask: PING, then in a script TYPE, and ZCARD or, while nothing waits, LLEN."""
    (written,) = re.findall(r"`user (keda [^`]+)`", (CHART / "README.md").read_text("utf-8"))
    name, *rules = written.replace(">password", ">secret").split()
    script = """
        local counts = {zset = 'ZCARD', none = 'LLEN'}
        return redis.call(counts[redis.call('TYPE', KEYS[1]).ok], KEYS[1])
    """
    with Redis.from_url(f"{redis_server.url}?protocol=2") as admin:
        admin.flushdb()
        admin.execute_command("ACL", "SETUSER", name, "reset", *rules)
        url = f"redis://{name}:secret@127.0.0.1:{redis_server.port}/0"
        try:
            with Redis.from_url(url) as keda:
                assert keda.ping()
                assert keda.eval(script, 1, "dora:waiting") == 0
                admin.zadd("dora:waiting", {"one": 1, "two": 2})
                assert keda.eval(script, 1, "dora:waiting") == 2
                with pytest.raises(NoPermissionError):
                    keda.zrange("dora:waiting", 0, -1)
                with pytest.raises(NoPermissionError):
                    keda.zcard("dora:other")
        finally:
            admin.execute_command("ACL", "DELUSER", name)
            admin.flushdb()


def test_the_ledger_has_what_keda_counts() -> None:
    ledger = (CHART.parents[1] / "bridge" / "ledger.py").read_text("utf-8")
    assert "    dora:waiting       zset " in ledger


def test_keda_never_goes_to_zero() -> None:
    assert "minReplicaCount" in refusal(merged(shape("keda"), {"worker": {"keda": {"minReplicaCount": 0}}}))


def test_keda_logs_in_as_the_bridge_does() -> None:
    more = {
        "redis": {
            "tls": {"enabled": True, "existingSecret": "redis-tls", "certKey": "tls.crt", "keyKey": "tls.key"},
            "sentinel": {"username": "watcher", "passwordSecret": {"name": "sentinels"}},
        }
    }
    found = objects(merged(shape("keda-sentinel"), more))
    (trigger,) = only(found, "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["sentinelUsername"] == "watcher"
    assert trigger["metadata"]["enableTLS"] == "true"
    assert trigger["authenticationRef"] == {"name": "dora-bridge-worker"}
    secrets = only(found, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {one["parameter"]: (one["name"], one["key"]) for one in secrets} == {
        "sentinelPassword": ("sentinels", "password"),
        "ca": ("redis-tls", "ca.crt"),
        "cert": ("redis-tls", "tls.crt"),
        "key": ("redis-tls", "tls.key"),
    }
    for spec in pods(found).values():
        volume = next(one for one in spec["volumes"] if one["name"] == "redis-tls")
        assert {item["path"] for item in volume["secret"]["items"]} == {"ca.crt", "tls.crt", "tls.key"}


def test_notes_say_what_keda_cannot_see() -> None:
    assert "sentinel.passwordSecret" in notes(shape("keda-sentinel"))
    told = notes(shape("keda"))
    assert "never sees the URL" in told
    assert "sentinel" not in told.partition("never sees the URL")[2].partition("\n\n")[0]
    for other in ("minimal", "keda-prometheus"):
        assert "KEDA" not in notes(shape(other))


def test_keda_scales_up_as_it_is_told_too() -> None:
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}
    scaled = only(objects(merged(shape("keda"), {"worker": {"keda": {"behavior": behavior}}})), "ScaledObject")
    told = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert told == {"scaleDown": {"stabilizationWindowSeconds": 300}, **behavior}


# -- network


PUBLIC = {"/webhooks", "/livez", "/readyz"}


def test_outside_are_webhooks_and_probes_and_nothing_else() -> None:
    (rule,) = only(objects(shape("ingress")), "Ingress")["spec"]["rules"]
    assert rule["host"] == "bridge.dora.example.com"
    assert {path["path"] for path in rule["http"]["paths"]} == PUBLIC
    assert {path["backend"]["service"]["port"]["name"] for path in rule["http"]["paths"]} == {"http"}
    route = only(objects(shape("gateway")), "HTTPRoute", "dora-bridge")["spec"]["rules"]
    assert {match["path"]["value"] for match in route[0]["matches"]} == PUBLIC
    for name in SHAPES:
        for service in of_kind(objects(shape(name)), "Service"):
            if service["spec"]["type"] != "ClusterIP":
                assert {port["targetPort"] for port in service["spec"]["ports"]} == {"http"}


def test_network_policies_open_what_is_needed() -> None:
    found = objects(shape("network-policy"))
    bridge, worker = (only(found, "NetworkPolicy", name)["spec"] for name in ("dora-bridge", "dora-bridge-worker"))

    def out(policy: dict[str, Any]) -> set[tuple[str, int]]:
        return {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}

    needed = {("UDP", 53), ("TCP", 53), ("TCP", 6379), ("TCP", 4318)}
    assert out(bridge) == needed
    assert out(worker) == needed | {("TCP", 443)}
    opened = {rule["ports"][0]["port"]: rule["from"] for rule in bridge["ingress"]}
    assert set(opened) == {"http", "internal"}
    assert {"app.kubernetes.io/component": "test"}.items() <= opened["http"][1]["podSelector"]["matchLabels"].items()
    assert [rule["ports"][0]["port"] for rule in worker["ingress"]] == ["internal"]


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://redis:6380/0", {53, 6379, 6380}),
        ("rediss://user:p%40:1234@[::1]:6381/0?timeout=1:2", {53, 6379, 6381}),
        ("redis://redis", {53, 6379}),
    ],
)
def test_network_policies_open_the_port_of_an_inline_url(url: str, ports: set[int]) -> None:
    values = merged(MINIMAL, {"networkPolicy": {"enabled": True}, "redis": {"existingSecret": "", "url": url}})
    policy = only(objects(values), "NetworkPolicy", "dora-bridge")["spec"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == ports
    ignored = only(objects(merged(values, {"redis": {"existingSecret": "mine"}})), "NetworkPolicy", "dora-bridge")
    assert {port["port"] for rule in ignored["spec"]["egress"] for port in rule["ports"]} == {53, 6379}


def test_the_internal_port_is_shut_if_nobody_scrapes() -> None:
    found = objects(shape("quiet"))
    bridge, worker = (only(found, "NetworkPolicy", name)["spec"] for name in ("dora-bridge", "dora-bridge-worker"))
    assert [rule["ports"][0]["port"] for rule in bridge["ingress"]] == ["http"]
    assert "ingress" not in worker
    assert worker["policyTypes"] == ["Ingress", "Egress"]


def test_open_metrics_are_said_to_be_open() -> None:
    found = objects(shape("keda-sentinel"))
    rules = only(found, "NetworkPolicy", "dora-bridge")["spec"]["ingress"]
    assert [("from" in rule) for rule in rules] == [False, False]
    assert "networkPolicy.monitoringPeers" in notes(shape("keda-sentinel"))
    assert "networkPolicy.monitoringPeers" not in notes(shape("network-policy"))


# -- metrics


def test_monitors_find_the_internal_port_of_both_components() -> None:
    for name, kind, endpoints in (
        ("monitoring", "ServiceMonitor", "endpoints"),
        ("podmonitor", "PodMonitor", "podMetricsEndpoints"),
    ):
        found = objects(shape(name))
        monitor = only(found, kind)
        (endpoint,) = monitor["spec"][endpoints]
        assert endpoint["port"] == "internal"
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["dora"]}
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wanted = monitor["spec"]["selector"]
        services = [
            one["metadata"]["name"]
            for one in of_kind(found, "Service")
            if wanted["matchLabels"].items() <= one["metadata"]["labels"].items()
            and one["metadata"]["labels"]["app.kubernetes.io/component"] in wanted["matchExpressions"][0]["values"]
            and any(port["name"] == "internal" for port in one["spec"]["ports"])
        ]
        assert services == ["dora-bridge-internal", "dora-bridge-worker-internal"]


def test_alerts_and_dashboard_are_the_files() -> None:
    found = objects(shape("monitoring"))
    rule = only(found, "PrometheusRule")
    ours, *own = rule["spec"]["groups"]
    alerts = {one["alert"] for one in ours["rules"]}
    assert {"DoraBridgeDown", "DoraBridgeRedisDown", "DoraBridgeNoWorkers", "DoraBridgeEventsOld"} <= alerts
    assert [group["name"] for group in own] == ["ours"]
    assert all('namespace="dora"' in one["expr"] for one in ours["rules"])
    assert rule["metadata"]["namespace"] == "monitoring"
    dashboard = only(found, "ConfigMap", "dora-bridge-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"]["grafana_folder"] == "Platform"
    assert json.loads(dashboard["data"]["dora-bridge.json"]) == json.loads(
        (CHART / "files" / "dashboard.json").read_bytes()
    )


def test_thresholds_are_values() -> None:
    more = {"metrics": {"prometheusRule": {"thresholds": {"downFor": "7m", "eventsOldSeconds": 1234}}}}
    rules = only(objects(merged(shape("monitoring"), more)), "PrometheusRule")["spec"]["groups"][0]["rules"]
    assert next(one for one in rules if one["alert"] == "DoraBridgeDown")["for"] == "7m"
    assert any(one["expr"].endswith("> 1234") for one in rules if one["alert"] == "DoraBridgeEventsOld")
    assert not [one for one in rules if one["alert"] == "DoraBridgeSourceSilent"]
    more = {"metrics": {"prometheusRule": {"sourceSilentHours": {"github": 48}}}}
    rules = only(objects(merged(shape("monitoring"), more)), "PrometheusRule")["spec"]["groups"][0]["rules"]
    assert "> 172800" in next(one for one in rules if one["alert"] == "DoraBridgeSourceSilent")["expr"]


def test_a_source_is_silent_too_if_it_never_sent_anything(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing, which tries the alerts: apt install prometheus")
    more = {"metrics": {"prometheusRule": {"selector": "", "sourceSilentHours": {"github": 1, "opsgenie": 0.5}}}}
    groups = only(objects(merged(shape("monitoring"), more)), "PrometheusRule")["spec"]["groups"][:1]
    groups[0]["rules"] = [one for one in groups[0]["rules"] if one["alert"] == "DoraBridgeSourceSilent"]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": groups}))

    def fired(minutes: int, *sources: str) -> dict[str, Any]:
        """The sources of the alerts, whatever their annotations."""
        query = 'count by (source) (ALERTS{alertname="DoraBridgeSourceSilent",alertstate="firing"})'
        samples = [{"labels": f'{{source="{source}"}}', "value": 1} for source in sources]
        return {"expr": query, "eval_time": f"{minutes}m", "exp_samples": samples}

    # accepted at the second 60, and never again; of opsgenie there is nothing
    series = [{"series": 'dora_bridge_last_accepted_timestamp_seconds{source="github"}', "values": "60x180"}]
    looks = [fired(25), fired(35, "opsgenie"), fired(55, "opsgenie"), fired(65, "github", "opsgenie")]
    trial = {"interval": "1m", "input_series": series, "promql_expr_test": looks}
    (tmp_path / "test.yaml").write_text(
        json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [trial]})
    )
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- the test, the notes


def test_helm_test_is_one_pod_with_everything_to_look_at() -> None:
    pod = only(objects(shape("senders")), "Pod")
    assert pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert pod["spec"]["containers"][0]["args"] == ["check"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["initContainers"][0]["command"][-1] == "http://dora-bridge.dora.svc:80/readyz"
    assert "DD_API_KEY_FILE" in {one["name"] for one in pod["spec"]["containers"][0]["env"]}
    assert not of_kind(objects(shape("quiet")), "Pod")
    like_others = only(objects(shape("everything")), "Pod")["metadata"]
    everything = shape("everything")
    assert everything["global"]["podLabels"].items() <= like_others["labels"].items()
    assert everything["global"]["podAnnotations"].items() <= like_others["annotations"].items()
    assert like_others["annotations"]["helm.sh/hook"] == "test"
    assert like_others["labels"]["app.kubernetes.io/component"] == "test"
    told = only(objects(shape("ingress")), "Pod")["spec"]["containers"][0]["args"]
    assert told == ["check", "--public-url=https://bridge.dora.example.com"]


def test_notes_print_the_addresses_to_register() -> None:
    told = notes(shape("ingress"))
    for endpoint in ("github", "pagerduty"):
        assert f" https://bridge.dora.example.com/webhooks/{endpoint}\n" in told
    assert "/webhooks/argocd" not in told
    assert "port-forward" not in told
    assert "https://bridge.example.com/webhooks/github\n" in notes(shape("gateway"))
    assert "kubectl -n dora port-forward svc/dora-bridge 8080:80" in notes(MINIMAL)
    assert "kubectl -n dora get svc dora-bridge" in notes(shape("loadbalancer"))


@pytest.mark.parametrize("name", SHAPES)
def test_notes_tell_what_redis_has_to_be(name: str) -> None:
    told = notes(shape(name))
    for word in ("6.2", "noeviction", "appendonly yes"):
        assert word in told
    assert "\n\n\n" not in told
    assert "<no value>" not in told


def test_notes_know_a_route_without_hostnames() -> None:
    told = notes(merged(MINIMAL, {"route": {"main": {"enabled": True, "parentRefs": [{"name": "gateway"}]}}}))
    assert "kubectl -n dora get httproute dora-bridge\n" in told
    assert "Nothing exposes them" not in told
    assert "https://<your host>/webhooks/github" in told


def test_notes_tell_where_a_secret_is_and_not_what_it_is() -> None:
    assert (
        "kubectl -n dora get secret dora-bridge -o go-template='{{ index .data \"github\" | base64decode }}'\n"
        in notes(MINIMAL)
    )
    assert "get secret dora-bridge-inline " in notes(shape("trial"))
    assert "a-made-up-secret" not in notes(shape("trial"))


def test_notes_tell_what_is_missing() -> None:
    assert "secrets.keys.DD_APP_KEY" in notes(MINIMAL)
    assert "secrets.keys.DD_APP_KEY" not in notes(shape("senders"))
    assert "helm get values" in notes(shape("trial"))


# -- refusals

INLINE = {"existingSecret": ""}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"redis": {"existingSecret": ""}}, "redis.existingSecret"),
        ({"secrets": {"existingSecret": ""}}, "secrets.existingSecret"),
        ({"secrets": {"keys": {"DD_API_KEY": ""}}}, "secrets.keys.DD_API_KEY"),
        ({"secrets": {"endpoints": {"github": []}}}, "secrets.endpoints"),
        ({"secrets": {"endpoints": {"gitlab": ["gitlab"]}}}, "secrets.endpoints.gitlab"),
        ({"secrets": {"existingSecret": "", "inline": {"DD_API_KEY": "x"}}}, "secrets.inline has no key github"),
        ({"worker": {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}}, "worker.keda.enabled, not both"),
        ({"worker": {"keda": {"enabled": True}}}, "redis.host"),
        ({"worker": {"keda": {"enabled": True}}, "redis": {"sentinel": {"master": "m"}}}, "redis.sentinel.addresses"),
        ({"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}, "not both"),
        ({"bridge": {"autoscaling": {"enabled": True, "minReplicas": 7}}}, "bridge.autoscaling.maxReplicas"),
        ({"worker": {"autoscaling": {"enabled": True, "maxReplicas": 1}}}, "worker.autoscaling.maxReplicas"),
        (
            {"worker": {"keda": {"enabled": True, "minReplicaCount": 9}}, "redis": {"host": "redis"}},
            "worker.keda.maxReplicaCount",
        ),
        (
            {"bridge": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
            "bridge.resources.requests.cpu",
        ),
        (
            {"worker": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}},
            "worker.autoscaling.targetCPUUtilizationPercentage",
        ),
        ({"bridge": {"preStopSleepSeconds": 30}}, "bridge.terminationGracePeriodSeconds to 25 s more"),
        ({"redis": {"tls": {"existingSecret": "tls", "certKey": "tls.crt"}}}, "redis.tls.keyKey"),
        ({"redis": {"tls": {"existingSecret": "tls", "keyKey": "tls.key"}}}, "redis.tls.certKey"),
        ({"redis": {"tls": {"certKey": "tls.crt", "keyKey": "tls.key"}}}, "redis.tls.existingSecret"),
        (
            {"worker": {"keda": {"enabled": True}}, "redis": {"host": "r", **INLINE, "url": "rediss://:p@r:6379/0"}},
            "redis.tls.enabled",
        ),
        (
            {
                "worker": {"keda": {"enabled": True}},
                "redis": {"host": "r", **INLINE, "url": "redis+sentinel://r:26379/m/0?sentinel_password=p"},
            },
            "redis.sentinel.passwordSecret",
        ),
        (
            {
                "worker": {"keda": {"enabled": True}},
                "redis": {"host": "r", **INLINE, "url": "rediss://r:6379/0?ssl_certfile=/c&ssl_keyfile=/k"},
            },
            "redis.tls.certKey",
        ),
        ({"config": None}, "config is null"),
        ({"worker": {"keda": {"enabled": True, "minReplicaCount": None}}}, "worker.keda.minReplicaCount is null"),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"route": {"main": {"enabled": True}}}, "route.main.parentRefs"),
        (
            {"bridgeYaml": {"endpoints": {"pagerduty": {"kind": "pagerduty", "send_as": "incident"}}}},
            "secrets.keys.DD_APP_KEY",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_in_one_sentence(more: dict[str, Any], named: str) -> None:
    said = refusal(merged(MINIMAL, more))
    assert said.startswith("dora-bridge: ")
    assert named in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"replica": 2}, "replica"),
        ({"bridge": {"replica": 2}}, "replica"),
        ({"config": {"DORA_BRIDGE_CONCURENCY": 2}}, "CONCURENCY"),
        ({"config": {"DORA_BRIDGE_CONCURRENCY": 2000}}, "CONCURRENCY"),
        ({"bridgeYaml": {"retention": {"event_days": 1}}}, "event_days"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"metrics": {"prometheusRule": {"sourceSilentHours": {"githb": 1}}}}, "githb"),
    ],
)
def test_unknown_and_impossible_values_are_refused_by_the_schema(more: dict[str, Any], named: str) -> None:
    assert named in refusal(merged(MINIMAL, more))


def nulls() -> list[str]:
    """Paths of all values that have a default."""

    def inner(values: dict[str, Any], path: str) -> Iterator[str]:
        for name, value in values.items():
            yield f"{path}{name}"
            if isinstance(value, dict):
                yield from inner(value, f"{path}{name}.")

    return list(inner(yaml.safe_load(VALUES.read_text("utf-8")), ""))


def test_null_is_as_left_out_or_refused_in_one_sentence() -> None:
    switched_on = merged(merged(shape("ingress"), shape("monitoring")), shape("keda"))
    for path in nulls():
        more: Any = None
        for key in reversed(path.split(".")):
            more = {key: more}
        try:
            files(merged(switched_on, more))
        except helm.HelmError as error:
            said = str(error)
            assert ": dora-bridge: " in said or "missing property" in said, f"{path}: {said}"


@pytest.mark.parametrize(
    "path", ["bridgeYaml", "global", "global.env", "worker.podAnnotations", "ingress", "worker.keda", "networkPolicy"]
)
def test_null_renders_as_if_left_out(path: str) -> None:
    more: Any = None
    for key in reversed(path.split(".")):
        more = {key: more}
    assert files(merged(MINIMAL, more)) == files(MINIMAL)


def test_every_template_looks_for_nulls_first() -> None:
    first = '{{- include "dora-bridge.withoutNulls" . -}}\n'
    for path in (CHART / "templates").rglob("*"):
        if path.suffix in (".yaml", ".txt"):
            assert path.read_text("utf-8").startswith(first), path.name


def test_a_bare_off_is_what_it_is_in_yaml() -> None:
    written = yaml.safe_load("endpoints: {argocd: {kind: argocd, linking: off}}\nlinking: {mode: off}")
    parse(written, "bridgeYaml")
    assert objects(merged(MINIMAL, {"bridgeYaml": written}))


def test_default_endpoints_need_no_bridge_yaml() -> None:
    values = merged(MINIMAL, {"secrets": {"endpoints": {name: [name] for name in DEFAULT_ENDPOINTS}}})
    assert set(DEFAULT_ENDPOINTS) == {line.split()[0] for line in notes(values).splitlines() if "/webhooks/" in line}


def test_the_chart_can_be_a_dependency(tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts" / "dora-bridge")
    dependency = {"name": "dora-bridge", "version": "*", "condition": "dora-bridge.enabled"}
    (parent / "Chart.yaml").write_text(
        json.dumps({"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]})
    )
    values = {"dora-bridge": {**MINIMAL, "enabled": True}, "global": {"imageRegistry": "mirror", "other": {"a": 1}}}
    found = objects(values, chart=parent)
    image = only(found, "Deployment", "dora-bridge")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("mirror/")


def test_lint_finds_nothing() -> None:
    for name in SHAPES:
        report = helm.lint(CHART, shape(name), strict=True, namespace="dora")
        assert not [one for one in report["messages"] if one["severity"] > 1], name
        assert not report["errors"], name
