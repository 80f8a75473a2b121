"""The whole system on this machine, with nothing installed or configured."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click
import httpx

from bridge import configuration
from bridge.children import Children
from bridge.embedded_redis import HOST, PrivateRedis
from bridge.samples import samples
from bridge.senders import post_samples
from bridge.settings import PREFIX, secret_variable
from bridge.source import Endpoint

READY_TIMEOUT_S = 30.0
ARRIVAL_TIMEOUT_S = 30.0


def run(*, once: bool, port: int | None) -> int:
    """Starts everything, posts one signed sample per source, and shows what reaches the sandbox.

    Exit code: 0 if all samples arrived, 1 if one did not. Without `once` it goes on until Ctrl-C.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    _, endpoints = configuration.parse({}, "bridge.yaml")
    public, internal, datadog = (f"{HOST}:{one}" for one in _ports(port))
    tokens = {name: f"demo-{name}-{secrets.token_hex(4)}" for name in endpoints}
    admin_token = f"demo-admin-{secrets.token_hex(4)}"

    with (
        tempfile.TemporaryDirectory(prefix="dora-bridge-demo-") as folder,
        (Path(folder) / "log.jsonl").open("wb") as log,
        _Redis(Path(folder)) as redis_url,
    ):
        environ = {
            "DD_API_KEY": "demo",
            "DD_APP_KEY": "demo",
            f"{PREFIX}DATADOG_URL": f"http://{datadog}",
            f"{PREFIX}REDIS_URL": redis_url,
            f"{PREFIX}LISTEN": public,
            f"{PREFIX}INTERNAL_LISTEN": internal,
            f"{PREFIX}ADMIN_TOKEN": admin_token,
            **{secret_variable(name): token for name, token in tokens.items()},
        }
        # files of real secrets that are set here are not the demo's
        environ |= {f"{name}_FILE": "" for name in environ} | {f"{PREFIX}REDIS_CA": ""}
        with Children(environ, output=log) as children:
            click.echo("starting a private Redis, the sandbox Datadog, the web process and a worker …")
            children.start("sandbox", ["-m", "bridge", "sandbox", "--listen", datadog])
            children.start("web", ["-m", "bridge", "serve"])
            children.start("worker", ["-m", "bridge", "worker"])
            urls = [f"http://{datadog}/sandbox/requests", f"http://{public}/readyz"]
            if not _all_ready(urls, children, stopping):
                return _failed("it did not start", log)
            sent = _post_samples(f"http://{public}", endpoints, tokens)
            missing = _watch(f"http://{datadog}", sent, stopping)
            if missing or len(sent) < len(samples()):
                return _failed(f"not arrived: {', '.join(missing) or 'refused samples'}", log)
            click.echo(f"all {len(sent)} samples reached the sandbox Datadog")
            if once:
                return 0
            _tell_how_to_go_on(public, internal, datadog, tokens, admin_token, log)
            while not stopping.wait(0.5):
                if ended := children.ended():
                    return _failed(f"the {ended[0]} process ended with exit code {ended[1]}", log)
            click.echo("\nstopping …")
    return 0


class _Redis:
    """The Redis of the demo: the one that DORA_BRIDGE_REDIS_URL names, else a private one."""

    def __init__(self, folder: Path) -> None:
        self._given = os.environ.get(f"{PREFIX}REDIS_URL")
        self._private = None if self._given else PrivateRedis(folder / "redis")

    def __enter__(self) -> str:
        if self._private is None:
            return str(self._given)
        self._private.start()
        return self._private.url

    def __exit__(self, *_: object) -> None:
        if self._private is not None:
            self._private.stop()


def _ports(port: int | None) -> tuple[int, int, int]:
    """Of the public and internal listener and the sandbox: given and the next two, else free ones."""
    if port is not None:
        return port, port + 1, port + 2
    probes = [socket.create_server((HOST, 0)) for _ in range(3)]
    first, second, third = (probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    return first, second, third


def _all_ready(urls: list[str], children: Children, stopping: threading.Event) -> bool:
    deadline = time.monotonic() + READY_TIMEOUT_S
    waiting = list(urls)
    while waiting and time.monotonic() < deadline and not stopping.is_set() and not children.ended():
        try:
            if httpx.get(waiting[0], timeout=1, trust_env=False).status_code == 200:
                waiting.pop(0)
                continue
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return not waiting


def _post_samples(url: str, endpoints: Mapping[str, Endpoint], tokens: Mapping[str, str]) -> dict[str, str]:
    """Posts one sample per source; the Datadog id that each was accepted with."""
    sent = {}
    for name, answer in post_samples(url, endpoints, {name: token.encode() for name, token in tokens.items()}):
        events = answer.json().get("events", [])
        for event in events:
            sent[event["id"]] = name
        click.echo(f"  {name:10} -> {answer.status_code} {', '.join(event['id'] for event in events) or answer.text}")
    return sent


def _watch(datadog: str, sent: Mapping[str, str], stopping: threading.Event) -> list[str]:
    """Prints each sample as it arrives at the sandbox; the endpoints of those that did not in time."""
    waiting = dict(sent)
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while waiting and time.monotonic() < deadline and not stopping.is_set():
        for request in httpx.get(f"{datadog}/sandbox/requests", timeout=5, trust_env=False).json():
            attributes = _attributes(request)
            if attributes.get("id") in waiting and request["status"] in (200, 202):
                name = waiting.pop(attributes["id"])
                where = attributes.get("service") or ", ".join(attributes.get("services", ()))
                click.echo(
                    f"  {request['method']} {request['path']} <- {name}: {where}, {attributes.get('env', 'no env')}"
                )
        time.sleep(0.05)
    return list(waiting.values())


def _attributes(request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        attributes: Mapping[str, Any] = request["body"]["data"]["attributes"]
    except (KeyError, TypeError):
        return {}
    return attributes


def _failed(what: str, log: IO[bytes]) -> int:
    """Says what went wrong, with the last lines of the processes."""
    log.flush()
    lines = Path(log.name).read_text(errors="replace").splitlines()
    click.echo(f"demo: {what}", err=True)
    for line in lines[-15:]:
        click.echo(f"  {line}", err=True)
    return 1


def _tell_how_to_go_on(
    public: str, internal: str, datadog: str, tokens: Mapping[str, str], admin_token: str, log: IO[bytes]
) -> None:
    _, body = samples()["opsgenie"]
    alert = json.dumps(json.loads(body), separators=(",", ":"))
    click.echo(
        f"""
webhooks        http://{public}/webhooks/{{{",".join(sorted(tokens))}}}
what arrived    http://{datadog}/sandbox/requests
admin           http://{internal}/admin/   token: {admin_token}
metrics         http://{internal}/metrics
log             {log.name}

post one yourself:

  curl -i http://{public}/webhooks/opsgenie -H 'Authorization: Bearer {tokens["opsgenie"]}' \\
    -H 'Content-Type: application/json' -d '{alert}'

Ctrl-C stops everything."""
    )
