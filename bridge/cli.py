"""The commands. Exit codes: 0, 1 for a problem that was found, 2 for wrong usage or settings that cannot work."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx
from redis.exceptions import RedisError

from bridge import __version__, logs
from bridge.errors import ConfigurationError
from bridge.settings import Settings, read
from bridge.source import Endpoint

EXPECTED = (ConfigurationError, RedisError, httpx.TransportError, OSError)
"""Errors of the world and of settings: one line on standard error, never a traceback."""


def main() -> None:
    try:
        code = commands.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except ConfigurationError as error:
        click.echo(f"dora-bridge: {error}", err=True)
        code = 2
    except EXPECTED as error:
        click.echo(f"dora-bridge: {type(error).__name__}: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _settings() -> Settings:
    return read(os.environ)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dora-bridge")
def commands() -> None:
    """Signed webhooks of GitHub, Argo CD, PagerDuty and Opsgenie in, DORA events for Datadog out.

    Settings are environment variables (DORA_BRIDGE_…, DD_API_KEY, DD_APP_KEY, DD_SITE) and one optional file,
    DORA_BRIDGE_CONFIG; the README lists them all.
    """


@commands.command()
@click.option("--once", is_flag=True, help="End after the samples arrived; exit 1 if one did not.")
@click.option(
    "--port", type=click.IntRange(1, 65533), help="Listen on this port and the next two. [default: free ones]"
)
def demo(once: bool, port: int | None) -> int:
    """Run everything on this machine against a sandbox Datadog, with nothing configured."""
    from bridge import demo as demo_

    return demo_.run(once=once, port=port)


@commands.command()
def serve() -> int:
    """Run the web process: the public listener and the internal one."""
    from bridge.serve import serve as serve_

    logs.set_up()
    settings = _settings()
    if not settings.secrets:
        logs.log("process.without_endpoints", logging.WARNING, reason="no DORA_BRIDGE_SECRETS__<ENDPOINT> is set")
    try:
        import uvloop

        runner: Callable[..., asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        runner = None
    with asyncio.Runner(loop_factory=runner) as loop:
        loop.run(serve_(settings))
    return 0


@commands.command()
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
def worker(processes: int) -> int:
    """Run the worker: deliver what waits to Datadog."""
    from bridge.children import supervise

    if processes == 1:
        # the same process: the one signal of a container's stop reaches it directly
        os.execv(sys.executable, [sys.executable, "-m", "workers"])  # noqa: S606
    return supervise(["-m", "workers"], processes)


@commands.command()
@click.option("--listen", default="127.0.0.1:8126", show_default=True, metavar="HOST:PORT", help="Where it answers.")
def sandbox(listen: str) -> int:
    """Run a stand-in Datadog that checks like the real one and can be told to fail. For tests and trials only."""
    from bridge.sandbox import serve_sandbox

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError("--listen: not HOST:PORT")
    serve_sandbox(host, int(port))
    return 0


@commands.command()
@click.argument("source")
@click.argument("files", nargs=-1, required=True)
@click.option("--kind", help="Kind of event, e.g. deployment_status; told from the body otherwise.")
@click.option("--text", is_flag=True, help="Readable text instead of one JSON object for each file.")
def translate(source: str, files: tuple[str, ...], kind: str | None, text: bool) -> int:
    """Show what webhooks would become: no network, no Redis. SOURCE is a kind or an endpoint; - reads standard input.

    Prints one JSON object for each file; exit code 1 if one of them makes no truthful event.
    """
    from bridge.dry_run import as_text, dry_run

    settings = _settings()
    endpoint = _endpoint(settings, source)
    worst = 0
    for name in files:
        result = dry_run(settings, endpoint, name, _contents(name), kind=kind, now=time.time_ns())
        click.echo(as_text(result) if text else json.dumps(result))
        worst = max(worst, int(result["outcome"] == "invalid"))
    return worst


@commands.command()
@click.argument("source")
@click.argument("file")
@click.option("--kind", help="Kind of event, e.g. deployment_status; told from the body otherwise.")
@click.option("--url", help="Base URL or full address. [default: http://<DORA_BRIDGE_LISTEN>]")
@click.option("--secret", help="Sign with this instead of the configured secret.")
@_json_option
def send(source: str, file: str, kind: str | None, url: str | None, secret: str | None, as_json: bool) -> int:
    """Sign FILE as the sender would and post it; print status and answer. SOURCE is a kind or an endpoint."""
    from bridge.senders import post

    settings = _settings()
    endpoint = _endpoint(settings, source)
    body = _contents(file)
    configured = settings.secrets.get(endpoint.name)
    if secret is None and configured is None:
        from bridge.settings import secret_variable

        raise ConfigurationError(f"no secret to sign with: give --secret or set {secret_variable(endpoint.name)}")
    address = (url or f"http://{settings.environment.listen}").rstrip("/")
    if "/webhooks/" not in address:
        address += f"/webhooks/{endpoint.name}"
    key = secret.encode() if secret is not None else configured()[0] if configured else b""
    answer = post(address, endpoint, body, kind=kind, secret=key)
    try:
        said: Any = answer.json()
    except ValueError:
        said = answer.text
    if as_json:
        click.echo(json.dumps({"status": answer.status_code, "answer": said}))
    else:
        click.echo(f"{answer.status_code} {said if isinstance(said, str) else json.dumps(said, indent=2)}")
    return 0 if answer.status_code < 300 else 1


@commands.command()
@_json_option
def check(as_json: bool) -> int:
    """Check the configuration, then what it points to. Exit code 1 if something would lose events."""
    from bridge.check import findings

    found = asyncio.run(findings(_settings(), os.environ))
    if as_json:
        click.echo(json.dumps([{"level": one.level, "what": one.what, "detail": one.detail} for one in found]))
    else:
        for one in found:
            click.echo(f"{one.level:8} {one.what:12} {one.detail}")
    return int(any(one.level == "problem" for one in found))


@commands.group()
def events() -> None:
    """The ledger: what was received, and what became of it."""


@events.command("list")
@click.option("--source", help="Only of this source.")
@click.option("--state", help="Only in this state: waiting, delivered, ignored, superseded, dead_lettered.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@_json_option
def events_list(source: str | None, state: str | None, limit: int, as_json: bool) -> int:
    """List events, newest first."""
    from bridge.explain import listed, row

    records = asyncio.run(_with_ledger(lambda ledger: listed(ledger, source=source, state=state, limit=limit)))
    if as_json:
        click.echo(json.dumps({"events": records}))
    else:
        for record in records:
            click.echo(row(record))
    return 0


@events.command("show")
@click.argument("identifier", metavar="ID")
@_json_option
def events_show(identifier: str, as_json: bool) -> int:
    """Explain one event: ID is one of the ledger, or the one that Datadog has."""
    from bridge.explain import explanation, story

    record = asyncio.run(_with_ledger(lambda ledger: ledger.find(identifier)))
    if record is None:
        click.echo(f"dora-bridge: the ledger knows no event {identifier}", err=True)
        return 1
    click.echo(json.dumps(explanation(record)) if as_json else story(explanation(record)))
    return 0


async def _with_ledger(use: Callable[[Any], Any]) -> Any:
    from bridge import redis_url
    from bridge.ledger import Ledger

    settings = _settings()
    redis = redis_url.impatient(settings.environment.redis_url)
    try:
        return await use(Ledger(redis, settings.configuration.retention))
    finally:
        await redis.aclose()


def _endpoint(settings: Settings, name: str) -> Endpoint:
    """The configured endpoint of that name, or the first one of that kind."""
    if name in settings.endpoints:
        return settings.endpoints[name]
    for endpoint in settings.endpoints.values():
        if endpoint.source.name == name:
            return endpoint
    known = ", ".join(sorted(settings.endpoints))
    raise click.UsageError(f"no source {name!r}; known are {known}")


def _contents(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{name}: {error.strerror}") from error
