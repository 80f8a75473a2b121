"""How far what a link says of its deployment has come: whether Datadog was told, and if not, what has to be mended.

A link that is applied is a decision. The PATCH that tells of it waits for the POSTs of the deployments that it names,
and may be refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.ledger import Ledger, Record

Mark = Mapping[str, Any]
"""`id` in the ledger, `state`, `waits_for` (deployments that Datadog does not have), `mend` (dead letters that hold it
up), and `text`, which is empty if Datadog was told."""


async def with_marks(ledger: Ledger, links: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The links, each with the `mark` of its deployment; None if it is not applied, or the ledger has none any more."""
    found = await marks(ledger, [one["deployment"] for one in links if _is_marked(one)])
    return [{**one, "mark": found.get(one["deployment"]) if _is_marked(one) else None} for one in links]


async def marks(ledger: Ledger, deployments: Sequence[str]) -> dict[str, Mark]:
    """What was said last of each of these deployments, where the ledger still has it."""
    wanted = list(dict.fromkeys(deployments))
    names = await ledger.names(wanted)
    facts = await ledger.facts([f"{names[one]}~change-failure" for one in wanted])
    said = {one: about.latest_first[0] for one, about in zip(wanted, facts, strict=True) if about.latest_first}
    records = dict(zip(said, await ledger.briefly(list(said.values())), strict=True))
    waiting = [one for one in records.values() if one is not None and one.state == "waiting"]
    awaited = list(dict.fromkeys(id_ for one in waiting for id_ in one.envelope.after))
    delivered = await ledger.delivered_at(awaited)
    lacking = [id_ for id_, (at, _) in zip(awaited, delivered, strict=True) if at is None]
    states = {
        id_: one.state if one else "unknown" for id_, one in zip(lacking, await ledger.briefly(lacking), strict=True)
    }
    return {deployment: _mark(record, states) for deployment, record in records.items() if record is not None}


def _is_marked(link: Mapping[str, Any]) -> bool:
    return bool(link["status"] == "applied" and link["deployment"])


def _mark(record: Record, states: Mapping[str, str]) -> Mark:
    """`states`: of each deployment that Datadog does not have, what the ledger says."""
    identifier, state = record.envelope.id, record.state
    waits_for = [id_ for id_ in record.envelope.after if id_ in states] if state == "waiting" else []
    mend = [id_ for id_ in waits_for if states[id_] == "dead_lettered"]
    if state == "dead_lettered":
        mend = [identifier]
    return {
        "id": identifier,
        "state": state,
        "waits_for": waits_for,
        "mend": mend,
        "text": _text(identifier, state, waits_for, mend),
    }


def _text(identifier: str, state: str, waits_for: Sequence[str], mend: Sequence[str]) -> str:
    if state == "delivered":
        return ""
    if state == "dead_lettered":
        return f"Datadog was not told: {identifier} is a dead letter"
    if state != "waiting":
        return f"Datadog was not told: {identifier} was {state}"
    if mend:
        are = "is a dead letter" if len(mend) == 1 else "are dead letters"
        return f"Datadog is not told yet: {identifier} waits until somebody mends {', '.join(mend)}, which {are}"
    if waits_for:
        return f"Datadog is not told yet: {identifier} waits for {', '.join(waits_for)} to be delivered"
    return f"Datadog is not told yet: {identifier} waits"
