"""The commands. Exit codes: 0, 1 for a problem that was found, 2 for wrong usage or settings that cannot work."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx
from redis.exceptions import RedisError

from bridge import __version__, datadog_cli, links_cli, logs
from bridge.envelope import STATES
from bridge.errors import AdminError, ConfigurationError, DatadogUnreadable, Invalid
from bridge.settings import Settings, read
from bridge.source import API_URL, Endpoint
from bridge.sources.github import HOOK

if TYPE_CHECKING:
    from bridge.backfill.command import Order
    from bridge.desk import Desk

EXPECTED = (ConfigurationError, RedisError, httpx.TransportError, httpx.InvalidURL, OSError)
"""Errors of the world and of settings: one line on standard error, never a traceback."""


def main() -> None:
    try:
        code = commands.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"dora-bridge: {error.format_message()}", err=True)
        code = error.exit_code
    except click.Abort:
        code = 130
    except ConfigurationError as error:
        click.echo(f"dora-bridge: {error}", err=True)
        code = 2
    except AdminError as error:
        click.echo(f"dora-bridge: {error.detail}", err=True)
        code = 2 if isinstance(error, Invalid) else 1
    except DatadogUnreadable as error:
        click.echo(f"dora-bridge: {error}", err=True)
        code = 1
    except EXPECTED as error:
        click.echo(f"dora-bridge: {type(error).__name__}: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _settings() -> Settings:
    return read(os.environ)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "obj": _settings})
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
    from bridge import tracing
    from bridge.serve import serve as serve_

    logs.set_up()
    settings = _settings()
    settings.check_application_key()
    if not settings.secrets:
        logs.log("process.without_endpoints", logging.WARNING, reason="no DORA_BRIDGE_SECRETS__<ENDPOINT> is set")
    try:
        import uvloop

        runner: Callable[..., asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        runner = None
    stop_tracing = tracing.start(os.environ, "web")
    try:
        with asyncio.Runner(loop_factory=runner) as loop:
            loop.run(serve_(settings))
    finally:
        stop_tracing()
    return 0


@commands.command()
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
def worker(processes: int) -> int:
    """Run the worker: deliver what waits to Datadog."""
    from bridge.children import supervise

    if processes == 1:
        # the same process: the one signal of a container's stop reaches it directly
        os.execv(sys.executable, [sys.executable, "-m", "workers"])  # noqa: S606
    return supervise(["-m", "workers"], processes, _settings().environment.worker_listen)


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
        if result["outcome"] == "invalid":
            click.echo(f"dora-bridge: {name}: {result['reason']}", err=True)
            worst = 1
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
    except (ValueError, RecursionError):
        said = answer.text
    if as_json:
        click.echo(json.dumps({"status": answer.status_code, "answer": said}))
    else:
        click.echo(f"{answer.status_code} {said if isinstance(said, str) else json.dumps(said, indent=2)}")
    return 0 if answer.status_code < 300 else 1


@commands.command("samples")
@click.option("--url", help="Base URL. [default: http://<DORA_BRIDGE_LISTEN>]")
@click.option("--every", type=click.FloatRange(min=1), metavar="SECONDS", help="Go on, with new ones, until Ctrl-C.")
def post_samples(url: str | None, every: float | None) -> int:
    """Post a made-up webhook of each sender that has a secret, signed with it: never to a bridge with a real key.

    Exit code 1 if one was refused.
    """
    from bridge import senders

    settings = _settings()
    if not settings.secrets:
        raise ConfigurationError("no secret to sign with: set DORA_BRIDGE_SECRETS__GITHUB, or that of another endpoint")
    address = (url or f"http://{settings.environment.listen}").rstrip("/")
    while True:
        worst = 0
        try:
            secrets = {name: current()[0] for name, current in settings.secrets.items()}
            for name, answer in senders.post_samples(address, settings.endpoints, secrets):
                click.echo(f"{name:10} {answer.status_code} {answer.text}")
                worst = max(worst, int(answer.status_code >= 300))
        except httpx.TransportError as error:
            if every is None:
                raise
            click.echo(f"dora-bridge: {type(error).__name__}: {error}", err=True)
        if every is None:
            return worst
        time.sleep(every)


@commands.command()
@click.option("--public-url", default="", help="Where senders find the bridge: to ask it, and compare hooks.")
@click.option("--silent-days", default=7.0, show_default=True, help="Name sources that were silent for longer.")
@_json_option
def check(public_url: str, silent_days: float, as_json: bool) -> int:
    """Check the configuration, then what it points to. Exit code 1 if something would lose events.

    Redis, Datadog's keys, web process, workers, what waits, dead letters, sources that fell silent, secrets that can
    go; with tokens, the hooks at GitHub and PagerDuty, and the commands that mend them. Only reads.
    """
    from bridge.check import findings

    if public_url and not re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", public_url):
        raise click.BadParameter("not an http or https URL without credentials", param_hint="--public-url")
    found = asyncio.run(findings(_settings(), os.environ, public_url=public_url, silent_days=silent_days))
    if as_json:
        click.echo(json.dumps([{"level": one.level, "what": one.what, "detail": one.detail} for one in found]))
    else:
        for one in found:
            click.echo(f"{one.level:8} {one.what:12} {one.detail}")
    return int(any(one.level == "problem" for one in found))


@commands.command()
@click.option("--since", default="7d", show_default=True, help="Not before: a time, or an age like 2h or 7d.")
@click.option("--until", help="Not after. [default: now]")
@click.option("--service", help="Only of this service.")
@click.option("--env", help="Only of this environment.")
@click.option("--grace", default="10m", show_default=True, help="What was delivered more recently may be missing.")
@_json_option
def reconcile(since: str, until: str | None, service: str | None, env: str | None, grace: str, as_json: bool) -> int:
    """Compare the ledger with Datadog per service and env. Exit code 1 if Datadog lacks something it took.

    By the times of the events: a deployment's end, a failure's start. Tells what is missing, what Datadog has from
    somebody else or twice, and rollbacks that there were not. Needs an application key.
    """
    from bridge import coverage

    asked = coverage.asked_for(since=since, until=until, service=service, env=env, grace=grace)
    report = asyncio.run(coverage.reconcile(_settings(), asked))
    click.echo(json.dumps(report.json()) if as_json else report.text())
    return int(report.has_missing)


@commands.group()
def backfill() -> None:
    """Catch up after an outage: read a sender's own API, and fill in what the ledger lacks, with the true times.

    Only shows what is lacking, unless --apply is given. What is known is recognised, so it can be repeated at will;
    an interrupted --apply goes on where it stopped. Exit code 1 if something could not be read.
    """


def _backfill_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _json_option,
        click.option(
            "--per-second",
            type=click.FloatRange(0, 100, min_open=True),
            default=10,
            show_default=True,
            help="At most so many calls, and records, in a second.",
        ),
        click.option("--apply", is_flag=True, help="Record it, so that it is delivered."),
        click.option("--env", default="", help="As `?env=` in the address that the sender posts to."),
        click.option("--until", help="Not after. [default: now]"),
        click.option("--since", default="7d", show_default=True, help="Not before: a time, or an age like 2h or 7d."),
        click.option("--endpoint", help="Name of the endpoint. [default: the first of this kind]"),
    ):
        command = option(command)
    return command


def _order(kind: str, given: dict[str, Any]) -> Order:
    from bridge.backfill.command import Order
    from bridge.search import moment

    settings, now = _settings(), time.time_ns()
    endpoint = _endpoint(settings, given.pop("endpoint") or kind)
    if endpoint.source.name != kind:
        raise click.UsageError(f"--endpoint {endpoint.name}: it is of kind {endpoint.source.name}, not {kind}")
    since = moment(given.pop("since"), now, "since") * 1_000_000
    until = given.pop("until")
    order = Order(settings, endpoint, since, moment(until, now, "until") * 1_000_000 if until else now, **given)
    if order.since >= order.until:
        raise click.UsageError("--since is not before --until")
    return order


@backfill.command("github")
@click.option("--repository", "repositories", multiple=True, metavar="OWNER/NAME", help="Read what happened in it.")
@click.option(
    "--hook", "hooks", multiple=True, metavar="PATH", help="Like repos/acme/shop/hooks/123. [default: option hooks]"
)
@_backfill_options
def backfill_github(repositories: tuple[str, ...], hooks: tuple[str, ...], **given: Any) -> int:
    """Failed deliveries of hooks; and deployments of repositories, or what else the endpoint reports.

    Needs DORA_BRIDGE_GITHUB_TOKEN.
    """
    from bridge.backfill import command

    order = _order("github", given)
    options: Any = order.endpoint.options
    hooks = hooks or options.hooks
    for name, values, pattern in (("repository", repositories, r"[\w.-]+/[\w.-]+"), ("hook", hooks, HOOK)):
        if wrong := [one for one in values if not re.fullmatch(pattern, one)]:
            raise click.UsageError(f"--{name} {wrong[0]}: not like {'acme/shop' if name == 'repository' else _A_HOOK}")
    if not repositories and not hooks:
        raise click.UsageError("say what to read: --repository OWNER/NAME, or --hook, or option hooks of the endpoint")
    return asyncio.run(command.github(order, repositories, hooks))


_A_HOOK = "repos/acme/shop/hooks/123, orgs/acme/hooks/4 or app/hook"


@backfill.command("pagerduty")
@click.option("--service", "services", multiple=True, metavar="ID", help="Only incidents of this service.")
@click.option("--team", "teams", multiple=True, metavar="ID", help="Only incidents of this team.")
@_backfill_options
def backfill_pagerduty(services: tuple[str, ...], teams: tuple[str, ...], **given: Any) -> int:
    """Incidents that were opened, resolved or reopened. Without --service and --team those of the whole account.

    Needs DORA_BRIDGE_PAGERDUTY_TOKEN.
    """
    from bridge.backfill import command

    return asyncio.run(command.pagerduty(_order("pagerduty", given), services, teams))


@backfill.command("argocd")
@click.argument("files", nargs=-1)
@click.option("--url", default="", help="Read an API server instead; needs DORA_BRIDGE_ARGOCD_TOKEN.")
@_backfill_options
def backfill_argocd(files: tuple[str, ...], url: str, **given: Any) -> int:
    """Histories of Applications. FILES are what kubectl or argocd print; - reads standard input.

    \b
    kubectl get applications.argoproj.io -A -o json | dora-bridge backfill argocd -
    argocd app list -o json | dora-bridge backfill argocd -
    """
    from bridge.backfill import command

    if bool(files) == bool(url):
        raise click.UsageError("say what to read: FILES, or --url of an API server")
    if url and not re.fullmatch(API_URL, url.rstrip("/")):
        raise click.UsageError("--url: not an http or https URL without credentials")
    order = _order("argocd", given)
    return asyncio.run(command.argocd(order, {name: _contents(name) for name in files}, url))


@commands.group()
def rules() -> None:
    """The rules of bridge.yaml: keep them under test, and see which events a change of them would change."""


@rules.command("test")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--update", is_flag=True, help="Write expected.json where it is missing or differs.")
@_json_option
def rules_test(directory: Path, update: bool, as_json: bool) -> int:
    """Compare what webhooks become with what they shall become: no network, no Redis.

    Each case is a folder DIR/<endpoint>/<case>/ with body.json, expected.json (what `translate` prints, or some of
    it), and if need be headers.json and context.json. Exit code 1 if one of them fails.
    """
    from bridge.rule_cases import as_text, cases, summary, tried

    settings = _settings()
    try:
        found = [(case, _endpoint(settings, case.endpoint)) for case in cases(directory)]
    except click.UsageError as error:
        raise click.UsageError(f"{directory}: folders in it are named after endpoints: {error.message}") from error
    if not found:
        raise click.UsageError(f"{directory}: no cases; one is a folder like {directory / 'github/my-case'}")
    verdicts = []
    for case, endpoint in found:
        verdicts.append(tried(case, endpoint, settings.configuration.rules, now=time.time_ns(), update=update))
        if not as_json:
            click.echo(as_text(verdicts[-1]))
    counts = summary(verdicts)
    if as_json:
        click.echo(json.dumps({"cases": [one.json() for one in verdicts], **counts}))
    else:
        click.echo(", ".join(f"{number} {status}" for status, number in counts.items()))
    return int(counts["failed"] > 0)


@rules.command("diff")
@click.option(
    "--config",
    "new",
    required=True,
    metavar="NEW",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file to compare with that of DORA_BRIDGE_CONFIG.",
)
@click.option("--since", help="Not before: a time, or an age like 12h or 3d. [default: all that is kept]")
@click.option("--check", "checks", is_flag=True, help="Exit code 1 if anything changes.")
@_json_option
def rules_diff(new: Path, since: str | None, checks: bool, as_json: bool) -> int:
    """Show which events of the last days would be others under NEW. Sends nothing, and changes nothing.

    Translates the bodies that the ledger still has, under the configuration as it is and under NEW.
    """
    from bridge.replay import replay

    result = asyncio.run(replay(_settings(), new, since))
    click.echo(json.dumps(result.json()) if as_json else result.text())
    return int(checks and result.comparison.differs)


@commands.group()
def events() -> None:
    """The ledger: what was received, and what became of it."""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(
        {
            "source": "Only of this source or endpoint.",
            "reason": "Only with this reason.",
            "service": "Only of this service.",
            "env": "Only of this environment.",
            "since": "Not before: a time, or an age like 2h or 7d.",
            "until": "Not after.",
            "q": "Only with this in an id, version, commit, name, reason or answer.",
        }.items()
    ):
        command = click.option(f"--{name}", help=text)(command)
    return command


@events.command("list")
@_filters
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--without-env", is_flag=True, help="Only deployments and failures that name no environment.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@_json_option
def events_list(limit: int, as_json: bool, without_env: bool, **given: str | None) -> int:
    """List events, newest first."""
    given["without_env"] = "1" if without_env else None
    asyncio.run(_with_desk(lambda desk: desk.show("events", given, limit, as_json)))
    return 0


@events.command("show")
@click.argument("identifier", metavar="ID")
@_json_option
def events_show(identifier: str, as_json: bool) -> int:
    """Explain one event: ID is one of the ledger, or the one that Datadog has."""
    asyncio.run(_with_desk(lambda desk: desk.explain(identifier, as_json)))
    return 0


commands.add_command(datadog_cli.commands)
commands.add_command(links_cli.commands)


@commands.group("dead-letters")
def dead_letters() -> None:
    """What could not be delivered and waits for a person: look, mend, redrive, discard, export."""


@dead_letters.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@_json_option
def dead_letters_list(limit: int, as_json: bool, **given: str | None) -> int:
    """List dead letters, newest first."""
    asyncio.run(_with_desk(lambda desk: desk.show("dead_letters", given, limit, as_json)))
    return 0


@dead_letters.command("show")
@click.argument("identifier", metavar="ID")
@_json_option
def dead_letters_show(identifier: str, as_json: bool) -> int:
    """Explain one dead letter, with its body as received."""
    asyncio.run(_with_desk(lambda desk: desk.explain(identifier, as_json, dead=True)))
    return 0


@dead_letters.command("redrive")
@click.argument("identifiers", metavar="[ID…]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@_filters
@click.option("--retranslate", is_flag=True, help="Translate the bodies again, with today's rules and code.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Edit an attribute: plain text, or JSON.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@_json_option
def dead_letters_redrive(
    identifiers: tuple[str, ...],
    everything: bool,
    retranslate: bool,
    changes: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **given: str | None,
) -> int:
    """Send dead letters again: those named, those that match, or --all. Exit code 1 if one could not be redriven."""
    filtered = {name: value for name, value in given.items() if value is not None}
    if bool(identifiers) + bool(filtered) + everything != 1:
        raise click.UsageError("say which: IDs, or filters like --source and --reason, or --all")
    edits = dict(map(_edit, changes))
    mode = "retranslate" if retranslate else ""
    if identifiers:
        return int(asyncio.run(_with_desk(lambda desk: desk.redrive_each(identifiers, mode, edits, dry_run, as_json))))
    return int(asyncio.run(_with_desk(lambda desk: desk.redrive_matching(filtered, mode, edits, dry_run, as_json))))


@dead_letters.command("discard")
@click.argument("identifiers", metavar="ID…", nargs=-1, required=True)
@_json_option
def dead_letters_discard(identifiers: tuple[str, ...], as_json: bool) -> int:
    """End dead letters for good: they are never sent."""
    return int(asyncio.run(_with_desk(lambda desk: desk.discard(identifiers, as_json))))


@dead_letters.command("export")
@_filters
@click.option("-o", "--output", type=click.File("w", encoding="utf-8"), default="-", help="Instead of standard output.")
def dead_letters_export(output: Any, **given: str | None) -> int:
    """Write dead letters as JSON lines, oldest first: the explanation and the body of each."""
    asyncio.run(_with_desk(lambda desk: desk.export(given, output)))
    return 0


def _edit(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`; the value is JSON where it looks like it, and null leaves the attribute out."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--set {text}: not NAME=VALUE")
    if value[:1] in ("[", "{") or value in ("null", "true", "false"):
        try:
            return name, json.loads(value)
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"--set {name}: not JSON") from error
    return name, value


async def _with_desk(use: Callable[[Desk], Awaitable[Any]]) -> Any:
    from bridge.desk import open_desk

    async with open_desk(_settings()) as desk:
        return await use(desk)


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
