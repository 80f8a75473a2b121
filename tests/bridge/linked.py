"""Links for tests: recorded as webhooks are, and decided as the worker does it."""

from __future__ import annotations

from typing import Any

from undelivered import NOW, SECOND, deployed, failed, record

from bridge.configuration import Linking
from bridge.ledger import Ledger
from bridge.linking import Policy, decide
from bridge.links import Links
from bridge.source import LinkingMode

DEPLOYMENT = deployed(1).id


def incident_id(number: int = 1) -> str:
    return failed(number).id


async def happened(ledger: Ledger, number: int = 1, **fields: Any) -> str:
    """An incident that began after the deployment DEPLOYMENT had finished, `number` minutes before now; its id."""
    await record(ledger, failed(number, started_at=NOW - number * 60 * SECOND, **fields))
    return incident_id(number)


async def look(links: Links, service: str = "chekout", *, mode: LinkingMode = "observe", blocked: str = "") -> None:
    """Decides as the worker does, and tells nobody."""
    scene = await links.scene(service)
    decisions = decide(service, scene.incidents, scene.deployments, lambda _: Policy(mode, Linking(), blocked))
    await links.keep(decisions, {one.id: one.started_at or 0 for one in scene.incidents})
