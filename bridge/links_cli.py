"""The commands `dora-bridge links …`: which deployment an incident belongs to, and what a person says to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from bridge.errors import AdminError
from bridge.linking import Status
from bridge.settings import Settings

if TYPE_CHECKING:
    from bridge.ledger import Ledger
    from bridge.link_review import Word
    from bridge.links import Links

ReadSettings = Callable[[], Settings]


@click.group("links")
def commands() -> None:
    """Change failures: which deployment each incident seems to come from, and what people say to it.

    What is applied marks the deployment as failed in Datadog, which needs DD_APP_KEY and a worker.
    """


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


@commands.command("list")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only in this status.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Of the newest so many incidents.")
@_json_option
@click.pass_obj
def list_(read_settings: ReadSettings, /, status: str | None, limit: int, as_json: bool) -> int:
    """List links, of the newest incidents first. `suggested` ones wait for a person."""
    from bridge import link_review

    async def listed(links: Links, ledger: Ledger) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None and len(rows) < limit:
            asked = {"status": status or "", "limit": str(limit - len(rows)), "cursor": cursor}
            page = await link_review.listing(links, ledger, asked)
            rows += page["links"]
            cursor = page["next_cursor"]
        return {"links": rows, "next_cursor": cursor}

    found = asyncio.run(_with_links(read_settings(), listed))
    if as_json:
        click.echo(json.dumps(found))
        return 0
    for link in found["links"]:
        click.echo(link_review.line(link))
    if not found["links"]:
        click.echo("none", err=True)
    return 0


@commands.command("show")
@click.argument("incident", metavar="INCIDENT")
@_json_option
@click.pass_obj
def show(read_settings: ReadSettings, /, incident: str, as_json: bool) -> int:
    """Explain the links of one incident, by the id that Datadog has of it."""
    from bridge import link_review

    found = asyncio.run(
        _with_links(read_settings(), lambda links, ledger: link_review.of_incident(links, ledger, incident))
    )
    if as_json:
        click.echo(json.dumps({"links": found}))
        return 0
    for link in found:
        first, *more = link_review.lines(link)
        click.echo("\n".join([first, *(f"  {one}" for one in more)]))
    return 0


@commands.command("apply")
@click.argument("incidents", metavar="INCIDENT…", nargs=-1, required=True)
@_json_option
@click.pass_obj
def apply(read_settings: ReadSettings, /, incidents: tuple[str, ...], as_json: bool) -> int:
    """Have Datadog told that the deployments of these incidents failed. Exit code 1 if one has none."""
    return _said(read_settings(), incidents, "apply", as_json)


@commands.command("reject")
@click.argument("incidents", metavar="INCIDENT…", nargs=-1, required=True)
@_json_option
@click.pass_obj
def reject(read_settings: ReadSettings, /, incidents: tuple[str, ...], as_json: bool) -> int:
    """These incidents mark no deployment; what Datadog was told of it is taken back."""
    return _said(read_settings(), incidents, "reject", as_json)


def _said(settings: Settings, incidents: Sequence[str], word: Word, as_json: bool) -> int:
    return int(asyncio.run(_with_links(settings, lambda links, ledger: _say(links, ledger, incidents, word, as_json))))


async def _say(links: Links, ledger: Ledger, incidents: Sequence[str], word: Word, as_json: bool) -> int:
    from bridge import link_review
    from bridge.desk import at_terminal

    failed, said = 0, []
    for incident in incidents:
        try:
            said += await link_review.say(links, ledger, incident, word, by=at_terminal())
        except AdminError as error:
            click.echo(f"dora-bridge: {error.detail}", err=True)
            failed = 1
            continue
        if not as_json:
            click.echo(f"{incident}: recorded")
    if as_json:
        click.echo(json.dumps({"status": "recorded", "links": said}))
    if said and not await ledger.workers():
        click.echo("dora-bridge: no worker is alive: nothing is told to Datadog (dora-bridge worker)", err=True)
    return failed


async def _with_links(settings: Settings, use: Callable[[Links, Ledger], Awaitable[Any]]) -> Any:
    from bridge import redis_url
    from bridge.ledger import Ledger
    from bridge.links import Links

    redis, retention = redis_url.impatient(settings.environment.redis_url), settings.configuration.retention
    try:
        return await use(Links(redis, retention), Ledger(redis, retention))
    finally:
        await redis.aclose()
