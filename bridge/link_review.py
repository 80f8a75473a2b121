"""What people see of links, and what they say to them: for the admin, its page and the commands.

The worker decides (`workers/linker.py`); what a person says is a fact like others, which it looks at within a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from bridge import search
from bridge.envelope import Envelope
from bridge.errors import Invalid, NotNow, Unknown
from bridge.ledger import Ledger
from bridge.linking import Status
from bridge.links import Links
from bridge.marks import marks, with_marks
from bridge.times import to_rfc3339

STATUSES: tuple[str, ...] = get_args(Status)
Word = Literal["apply", "reject"]
_SIGNALS = ("~rollback", "~change-failure")
"""What a webhook says itself of a deployment is kept under the deployment's id and one of these."""


async def listing(links: Links, ledger: Ledger, parameters: Mapping[str, str]) -> dict[str, Any]:
    """One page of links, of the newest incidents first, by `status`, `limit` and `cursor`. Raises: Invalid."""
    for name in parameters:
        if name not in ("status", "limit", "cursor"):
            raise Invalid(f"{name[:40]}: not known; known are status, limit, cursor", name[:40])
    status = parameters.get("status", "")
    if status and status not in STATUSES:
        raise Invalid(f"status: not one of {', '.join(STATUSES)}", "status")
    before = search.place_of(parameters.get("cursor", ""))
    limit = search.rows_wanted(parameters.get("limit", ""))
    found, place = await links.listed(status=status, limit=limit, before=before)
    rows = await with_marks(ledger, [as_json(one) for one in found])
    return {"links": rows, "next_cursor": search.cursor_of(place) if place else None}


async def of_incident(links: Links, ledger: Ledger, incident: str) -> list[dict[str, Any]]:
    """What was decided about an incident, one for each of its services. Raises: Unknown; NotNow if nothing was."""
    decisions = await links.decisions([incident])
    if not decisions:
        if not await links.is_known(incident):
            raise Unknown(f"no incident {incident} is known")
        undecided = "nothing was decided about it: the worker does within a second, unless its linking is off"
        raise NotNow(f"{incident}: {undecided} (linking.mode, or linking of its endpoint)")
    return await with_marks(ledger, [as_json(one) for one in decisions])


async def say(links: Links, ledger: Ledger, incident: str, word: Word, *, by: str) -> list[dict[str, Any]]:
    """Records what a person says to the links of an incident; the links as they stand before the worker looks.

    Raises: Unknown; NotNow if there is nothing to say it to.
    """
    decisions = await of_incident(links, ledger, incident)
    if word == "apply" and not any(one["deployment"] for one in decisions):
        raise NotNow(f"{incident}: there is no deployment to mark: {'; '.join(decisions[0]['reasons'])}")
    await links.override(incident, word, by=by)
    return [{**one, "override": word} for one in decisions]


async def about(links: Links, ledger: Ledger, envelope: Envelope) -> dict[str, Any]:
    """What linking made of the fact of a statement.

    `links`: of an incident its own, of a deployment those that name it. `verdict`: what Datadog was told, or is being
    told, of a deployment; None if nothing was. `mark`: how far that has come.
    """
    family, identifier = envelope.key.partition(":")[0], envelope.datadog_id
    if family in ("failure", "incident"):
        own = [as_json(one) for one in await links.decisions([identifier])]
        return {"links": await with_marks(ledger, own), "verdict": None, "mark": None}
    if family not in ("deployment", "change"):
        return {"links": [], "verdict": None, "mark": None}
    services = envelope.services or [one for one in [envelope.concerns.get("service", "")] if one]
    found = await links.decisions([f"{identifier}{signal}" for signal in _SIGNALS])
    found += [one for one in await links.blaming(identifier, services) if one not in found]
    verdict = (await links.verdicts([identifier])).get(identifier)
    return {
        "links": await with_marks(ledger, [as_json(one) for one in found]),
        "verdict": _verdict(verdict) if verdict else None,
        "mark": (await marks(ledger, [identifier])).get(identifier),
    }


def _verdict(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "change_failure": bool(kept.get("change_failure")),
        "remediation": kept.get("remediation") or None,
        "by": kept.get("by") or None,
    }


def as_json(link: Mapping[str, Any]) -> dict[str, Any]:
    """One link as the admin gives it; `at` is the beginning of the incident, None if it is not known."""
    at = to_rfc3339(link["at"] * 1_000_000) if link["at"] else None
    return {**link, "at": at, "override": link["override"] or None}


# -- as text


def line(link: Mapping[str, Any]) -> str:
    """One line of a list."""
    at = f"{link['at'][:19]}Z" if link["at"] else "-"
    mark = f"; {link['mark']['text']}" if link["mark"] and link["mark"]["text"] else ""
    return f"{at:20}  {link['status']:9}  {link['incident']}: {_deployment(link)} ({_why(link)}){mark}"


def lines(link: Mapping[str, Any], *, seen_from: str = "") -> Sequence[str]:
    """One link whole. `seen_from`: the id of the incident or deployment whose page it is on, which is not repeated."""
    about_ = f"{link['incident']}: " if seen_from != link["incident"] else ""
    score = f", score {link['score']:.2f}" if link["deployment"] else ""
    told = [f"{link['status']}{score}: {about_}{_deployment(link)}", *link["reasons"]]
    if link["remediation"]:
        told.append(f"remedied by {link['remediation']['id']} ({link['remediation']['type']})")
    if link["mark"] and link["mark"]["text"]:
        told.append(link["mark"]["text"])
        told += [f"`dora-bridge dead-letters show {id_}` tells what to mend" for id_ in link["mark"]["mend"]]
    if waits(link):
        told.append(f"`dora-bridge links apply {link['incident']}` marks the deployment as failed")
    return told


def waits(link: Mapping[str, Any]) -> bool:
    """Whether it waits for a person."""
    return bool(link["status"] == "suggested" and link["override"] != "apply")


def verdict_said(verdict: Mapping[str, Any]) -> str:
    """What Datadog was told of a deployment, as a sentence."""
    failed = "it failed" if verdict["change_failure"] else "it did not fail"
    remedy = verdict["remediation"] or {}
    remedied = f", remedied by {remedy['id']} ({remedy.get('type', '')})" if remedy.get("id") else ""
    return f"{failed}{remedied}"


def _deployment(link: Mapping[str, Any]) -> str:
    where = " in ".join(filter(None, (link["service"], link["env"])))
    return f"{link['deployment']}, {where}" if link["deployment"] else f"no deployment of {where}"


def _why(link: Mapping[str, Any]) -> str:
    score = f"{link['score']:.2f}: " if link["deployment"] else ""
    return f"{score}{'; '.join(link['reasons'])}"
