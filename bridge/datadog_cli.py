"""The commands `dora-bridge datadog …`: what Datadog has, and putting it right."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from bridge.errors import ConfigurationError, DatadogUnreadable, Invalid, Unknown
from bridge.settings import Settings

if TYPE_CHECKING:
    from bridge.corrections import Correction
    from bridge.datadog_reads import DatadogReads, RecordKind, Row

ReadSettings = Callable[[], Settings]
_LOOK_S = 10.0
"""How long Datadog may take to tell of a record that is to be deleted what the ledger does not know (any more)."""
_LONGEST = 200


@click.group("datadog")
def commands() -> None:
    """What Datadog has: list it, look at it, delete it, mark a deployment as failed.

    Needs DD_API_KEY and DD_APP_KEY. Whatever changes something goes through the ledger: the worker sends it, and
    `dora-bridge events show` explains it.
    """


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


# -- looking


@commands.command("list")
@click.argument("what", type=click.Choice(["deployments", "failures", "incidents"]))
@click.option("--since", default="7d", show_default=True, help="Not before: a time, or an age like 2h or 7d.")
@click.option("--until", help="Not after. [default: now]")
@click.option("--service", default="", help="Only of this service; * stands for anything.")
@click.option("--env", default="", help="Only of this environment.")
@click.option("--team", default="", help="Only of this team.")
@click.option("--query", default="", help="Only what this query finds, in Datadog's event search syntax.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The newest so many.")
@_json_option
@click.pass_obj
def list_(
    read_settings: ReadSettings,
    /,
    what: str,
    since: str,
    until: str | None,
    service: str,
    env: str,
    team: str,
    query: str,
    limit: int,
    as_json: bool,
) -> int:
    """List what Datadog has, newest first: deployments and failures of DORA, or incidents of Incident Management.

    Deployments and failures of the last seconds may not be listed yet. Nor are incidents, if you ask for some of them:
    Datadog then searches, and finds what was created or changed just before only a while later.
    """
    from bridge import datadog_reads, search

    now = time.time_ns()
    window = {
        "since": search.moment(since, now, "since") * 1_000_000,
        "until": search.moment(until, now, "until") * 1_000_000 if until else now,
    }
    if window["since"] >= window["until"]:
        raise Invalid("since: not before until", "since")
    kind = cast("RecordKind", what.removesuffix("s"))
    whole = datadog_reads.query_of(kind, service=service, env=env, team=team, query=query)
    rows = asyncio.run(_read(read_settings(), lambda reads: reads.newest(kind, query=whole, limit=limit, **window)))
    if as_json:
        click.echo(json.dumps({what: rows}))
        return 0
    if kind == "incident" and whole:
        click.echo("searched: what was created or changed just before may be missing", err=True)
    for row in rows:
        click.echo(datadog_reads.line(kind, row))
    if not rows:
        click.echo("none", err=True)
    return 0


@commands.command("get")
@click.argument("what", type=click.Choice(["deployment", "failure", "incident"]))
@click.argument("identifier", metavar="ID")
@_json_option
@click.pass_obj
def get(read_settings: ReadSettings, /, what: str, identifier: str, as_json: bool) -> int:
    """Show one record as Datadog has it. ID is Datadog's; that of an incident is a UUID."""
    from bridge import datadog_reads

    kind = cast("RecordKind", what)
    datadog_reads.checked_id(kind, identifier)
    row = asyncio.run(_read(read_settings(), lambda reads: reads.get(kind, identifier)))
    click.echo(json.dumps(row) if as_json else datadog_reads.whole(row))
    return 0


# -- putting it right


@dataclass(frozen=True, slots=True)
class _How:
    """How a correction is made."""

    by: str
    dry_run: bool
    wait_s: float
    as_json: bool


def _correcting(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _json_option,
        click.option(
            "--timeout", type=click.FloatRange(0), default=30, show_default=True, help="Wait so many seconds."
        ),
        click.option("--no-wait", is_flag=True, help="Do not wait for Datadog's answer."),
        click.option("--dry-run", is_flag=True, help="Print the call as JSON; send and record nothing."),
        click.option("--by", default="", metavar="NAME", help="Who asks for it. [default: USER@HOST]"),
    ):
        command = option(command)
    return command


@commands.command("delete")
@click.argument("what", type=click.Choice(["deployment", "failure", "incident"]))
@click.argument("identifier", metavar="ID")
@_correcting
@click.pass_obj
def delete(read_settings: ReadSettings, /, what: RecordKind, identifier: str, **how: Any) -> int:
    """Have Datadog delete a record that should not be there, a deployment sent by mistake say.

    It stays away: a webhook about it that comes again, or late, is not sent any more. What is gone already is no
    error. ID is Datadog's; that of an incident is a UUID.
    """
    from bridge.datadog_reads import checked_id
    from bridge.dora import Withdrawal

    uuid = identifier if what == "incident" else ""
    withdrawal = Withdrawal(record_id=checked_id(what, identifier), what=what, uuid=uuid)
    return _correct(read_settings, withdrawal, _how(**how))


@commands.command("mark-failure")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--service", help="Instead of an ID: the latest deployment of this service …")
@click.option("--env", help="… in this environment …")
@click.option("--version", "version_", metavar="VERSION", help="… of this version.")
@click.option("--remediation-id", metavar="ID", help="The deployment that put it right.")
@click.option("--remediation-version", metavar="VERSION", help="The same by its version; not with an ID.")
@click.option("--type", "type_", type=click.Choice(["rollback", "rollforward"]), help="How that put it right.")
@click.option("--undo", is_flag=True, help="It did not fail: take it back.")
@_correcting
@click.pass_obj
def mark_failure(
    read_settings: ReadSettings,
    /,
    identifier: str | None,
    service: str | None,
    env: str | None,
    version_: str | None,
    remediation_id: str | None,
    remediation_version: str | None,
    type_: Literal["rollback", "rollforward"] | None,
    undo: bool,
    **how: Any,
) -> int:
    """Have Datadog mark a deployment as a change failure, or as none: by ID, or by service, env and version.

    What was said of a deployment by its ID stands: linking does not change it.
    """
    from bridge.datadog_reads import checked_id
    from bridge.dora import ChangeFailure, ChangeFailureByVersion

    by_version = [service, env, version_]
    if bool(identifier) == all(by_version) or (identifier and any(by_version)):
        raise click.UsageError("say which: an ID, or all of --service, --env and --version")
    if (remediation_id and remediation_version) or (remediation_version and identifier):
        raise click.UsageError("--remediation-version: only without an ID, and without --remediation-id")
    if bool(type_) != bool(remediation_id or remediation_version):
        raise click.UsageError("--type: say rollback or rollforward with --remediation-id or --remediation-version")
    if undo and type_:
        raise click.UsageError("--undo: what did not fail needs no remediation")
    if (identifier and identifier == remediation_id) or (version_ and version_ == remediation_version):
        raise click.UsageError("a deployment does not put itself right: name the one that came after it")
    remedy = checked_id("deployment", remediation_id) if remediation_id else None
    correction: Correction
    if identifier:
        correction = ChangeFailure(
            deployment_id=checked_id("deployment", identifier),
            service="",
            env=None,
            failed=not undo,
            remediation_id=remedy,
            remediation_type=type_,
        )
    else:
        correction = ChangeFailureByVersion(
            service=_name("--service", service),
            env=_name("--env", env),
            version=_name("--version", version_),
            failed=not undo,
            remediation_id=remedy,
            remediation_version=_name("--remediation-version", remediation_version) if remediation_version else None,
            remediation_type=type_,
        )
    return _correct(read_settings, correction, _how(**how))


def _how(*, by: str, dry_run: bool, no_wait: bool, timeout: float, as_json: bool) -> _How:
    return _How(_name("--by", by or _who()), dry_run, 0 if no_wait else timeout, as_json)


def _name(option: str, value: str | None) -> str:
    text = (value or "").strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise click.UsageError(f"{option}: not a text of 1 to {_LONGEST} printable characters")
    return text


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"unknown@{socket.gethostname()}"


def _correct(read_settings: ReadSettings, correction: Correction, how: _How) -> int:
    if how.dry_run:
        click.echo(json.dumps({"method": correction.method, "path": correction.path, "body": correction.body}))
        return 0
    return asyncio.run(_corrected(read_settings(), correction, how))


async def _corrected(settings: Settings, correction: Correction, how: _How) -> int:
    """Records it, waits for what becomes of it, and tells; 1 if Datadog refused it, or did not take it in that time."""
    from bridge import explain, redis_url
    from bridge.corrections import Corrections
    from bridge.dead_letters import DeadLetters
    from bridge.ledger import Ledger
    from bridge.wakeup import Doorbell

    _keys(settings, "dora_metrics_write (incident_write for incidents)")
    redis = redis_url.impatient(settings.environment.redis_url)
    try:
        retention = settings.configuration.retention
        ledger, dead_letters = Ledger(redis, retention), DeadLetters(redis, retention)
        corrections = Corrections(ledger, dead_letters, Doorbell(redis).ring, functools.partial(_look, settings))
        identifier = await corrections.record(correction, by=how.by)
        click.echo(f"recorded as {identifier}", err=True)
        record = await corrections.outcome(
            identifier, timeout_s=how.wait_s, told=lambda line: click.echo(f"  {line}", err=True)
        )
        state = record.state
        whole = await explain.explained(ledger, dead_letters, identifier) or {}
        if how.as_json:
            click.echo(json.dumps(whole))
        else:
            detail = explain.REASONS["gone"] if whole.get("reason") == "gone" else whole.get("detail")
            click.echo(f"{identifier}: {state}" + (f" ({detail})" if detail else ""))
        if state == "waiting" and how.wait_s:  # somebody waited
            lacking = "" if await ledger.workers() else "no worker is alive (start `dora-bridge worker`); "
            click.echo(f"dora-bridge: {lacking}{whole.get('next')}: `dora-bridge events show {identifier}`", err=True)
            return 1
        return int(state not in ("delivered", "waiting"))
    finally:
        await redis.aclose()


# -- Datadog


def _keys(settings: Settings, permission: str) -> dict[str, str]:
    """What calls are made with. Raises: ConfigurationError naming the key that is missing."""
    api_key, app_key = settings.api_key, settings.app_key
    if api_key is None or app_key is None:
        missing = "DD_API_KEY" if api_key is None else "DD_APP_KEY"
        needs = f"this needs an API key and an application key with the permission {permission}"
        raise ConfigurationError(f"{missing} is not set: {needs}")
    return {"base_url": settings.datadog_url, "api_key": api_key, "app_key": app_key}


@contextlib.asynccontextmanager
async def _reads(settings: Settings) -> AsyncIterator[DatadogReads]:
    import httpx

    from bridge.datadog_calls import TIMEOUT_S, DatadogCalls
    from bridge.datadog_reads import DatadogReads
    from bridge.proxies import DIRECT

    keys = _keys(settings, "dora_metrics_read (incident_read for incidents)")
    async with httpx.AsyncClient(timeout=TIMEOUT_S, mounts=DIRECT) as client:
        yield DatadogReads(DatadogCalls(client, sleep=_wait), **keys)


async def _wait(seconds: float) -> None:
    click.echo(f"waits {seconds:.0f} s for Datadog", err=True)
    await asyncio.sleep(seconds)


async def _read(settings: Settings, ask: Callable[[DatadogReads], Any]) -> Any:
    async with _reads(settings) as reads:
        return await ask(reads)


async def _look(settings: Settings, kind: RecordKind, identifier: str) -> Row:
    """The record as Datadog has it; empty if it does not tell."""
    try:
        async with asyncio.timeout(_LOOK_S), _reads(settings) as reads:
            return await reads.get(kind, identifier)
    except (Unknown, DatadogUnreadable, TimeoutError):
        return {}
