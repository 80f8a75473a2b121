"""Why an event is, or is not, in Datadog: the explanation of one, and rows of many."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bridge import link_review, search
from bridge.call import call_of
from bridge.dead_letters import DeadLetters
from bridge.edits import changes
from bridge.envelope import Envelope
from bridge.incident_management import spelled
from bridge.ledger import Fact, Ledger, Record, family_of_key
from bridge.links import Links
from bridge.search import Filter, Page, detail_of, reason_of
from bridge.times import to_rfc3339

_MS = 1_000_000
_BODY_SHOWN = 100_000
_NOTHING: Mapping[str, str] = {}
_OTHERWISE = "by rules under which it concerns another number of services than when it was reported as"

REASONS: Mapping[str, str] = {
    "auth": "Datadog refused the API key",
    "redirected": "Datadog's address answers with a redirect (DORA_BRIDGE_DATADOG_URL, DD_SITE)",
    "rate_limited": "Datadog's rate limit was reached",
    "invalid": "Datadog refused it as invalid",
    "not_found": "Datadog does not know the record it is about",
    "server_error": "Datadog failed",
    "timeout": "Datadog did not answer in time",
    "network": "Datadog could not be reached",
    "deployment_pending": "it waited for its deployment to be delivered",
    "incident_pending": "it waited for its incident to be created",
    "found": "the answer to its creation was lost, and it is in the list of incidents",
    "gone": "Datadog does not have it: nothing is left to delete",
    "unnamed": "Datadog created the incident, but the answer with its id was cut",
    "internal": "the bridge failed on it",
    "unreadable": "this version of the bridge could not read it",
    "payload_invalid": "no truthful event could be made of the webhook",
    "opening_unknown": "the beginning of its incident was not received, or too late",
    "uncounted": "older ones, not counted by reason",
}
"""Reasons of dead letters and attempts, in words."""


def listing(name: str, page: Page) -> dict[str, Any]:
    """One page as JSON values."""
    row = dead_letter if name == "dead_letters" else summary_at
    return {name: [row(since, record) for since, record in page.records], "next_cursor": page.next_cursor}


def summary_at(_: int, record: Record) -> dict[str, Any]:
    return summary(record)


def summary(record: Record) -> dict[str, Any]:
    """One record in a list."""
    envelope = record.envelope
    return {
        "id": envelope.id,
        "datadog_id": envelope.datadog_id,
        "source": envelope.source,
        "endpoint": envelope.endpoint,
        "kind": envelope.kind,
        "service": ", ".join(envelope.services) or None,
        "env": envelope.attributes.get("env"),
        "state": record.state,
        "reason": reason_of(record),
        "detail": detail_of(record) or None,
        "received_at": to_rfc3339(envelope.received_at),
        "attempts": attempts(record.story),
    }


def dead_letter(since_ms: int, record: Record) -> dict[str, Any]:
    """One dead letter in a list."""
    return {**summary(record), "since": to_rfc3339(since_ms * _MS)}


def attempts(story: Sequence[Mapping[str, Any]]) -> int:
    """How often it was sent: lines that have a verdict."""
    return sum("verdict" in line for line in story)


async def explained(
    ledger: Ledger, dead_letters: DeadLetters, identifier: str, links: Links | None = None
) -> dict[str, Any] | None:
    """The explanation of an id of the ledger, or of Datadog's; None if there is no such event.

    With `links` it also tells which deployment an incident belongs to, or which incidents a deployment has.
    """
    record = await ledger.find(identifier)
    if record is None:
        return None
    envelope = record.envelope
    about = identifier.partition("~")[0]
    whole = explanation(
        record,
        called={envelope.datadog_id: about} if envelope.datadog_id not in ("", about) else {},
        fact=await ledger.fact(envelope.fact) if envelope.fact else None,
        original=await dead_letters.original(envelope.id),
        since_ms=await dead_letters.is_dead(envelope.id),
        destination=(await ledger.destinations()).get(family_of_key(envelope.key), {}) if envelope.key else {},
    )
    return whole if links is None else {**whole, **await link_review.about(links, ledger, envelope)}


def explanation(
    record: Record,
    *,
    called: Mapping[str, str] = _NOTHING,
    fact: Fact | None = None,
    original: Envelope | None = None,
    since_ms: int | None = None,
    destination: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The whole story of one record, as JSON values.

    `called`: how it was asked for, if by another id of its deployment.
    """
    envelope = record.envelope
    about = record.raw[0] if record.raw else {}
    kept = about.get("origins", {})
    origins = dict(kept.get(envelope.id) or kept.get(envelope.said_as, {}))
    for line in record.story:
        for name in line.get("edits", ()) if line.get("mode") == "as_sent" else ():
            origins[name] = f"edited by {line.get('by')}"
    return {
        **summary(record),
        "since": to_rfc3339(since_ms * _MS) if since_ms is not None else None,
        "delivery": {
            "id": envelope.delivery or None,
            "headers": about.get("headers", {}),
            "query": about.get("query", {}),
            "secret": envelope.secret or None,
            "body_kept": record.raw is not None,
        },
        "rule": envelope.rule or None,
        "called": {**called, **envelope.called},
        "by": envelope.by or None,
        "origins": origins,
        "key": envelope.key or None,
        "request": _request(envelope, fact),
        "edits": changes(original, envelope) if original else {},
        "story": [{**line, "at": to_rfc3339(int(line["at"]) * _MS), "text": told(line)} for line in record.story],
        "next": _next(record, destination or {}),
        "siblings": list(record.siblings),
    }


def body_of(record: Record) -> dict[str, Any]:
    """The body as received, as text, for the detail of a dead letter."""
    if record.raw is None:
        return {"body": None, "body_bytes": None, "body_truncated": False}
    body = record.raw[1]
    return {
        "body": body[:_BODY_SHOWN].decode("utf-8", "replace"),
        "body_bytes": len(body),
        "body_truncated": len(body) > _BODY_SHOWN,
    }


def _request(envelope: Envelope, fact: Fact | None) -> dict[str, Any] | None:
    """The call as it is, or was, made."""
    if not envelope.method:
        return None
    known = fact or Fact({}, {}, {})
    call = call_of(envelope, opening=known.opening, adjustment=known.adjusted, uuid=known.uuid)
    return {"method": call.method, "path": call.path, "body": call.body}


def told(line: Mapping[str, Any]) -> str:
    """One line of a story as a sentence."""
    state, reason, by = line.get("state"), str(line.get("reason", "")), line.get("by")
    words = REASONS.get(reason, reason)
    if "verdict" in line:
        return _attempt(line, words)
    if by == "read-back":
        return READ_BACK[str(line.get("reason"))]
    if by == "redelivery" and state == "waiting":
        return "The sender delivered it again, so it goes out again"
    if by == "opening" and state == "waiting":
        return "Its opening came, so it goes out after it"
    if state == "waiting" and by:
        how = "translated again and redriven" if line.get("mode") == "retranslate" else "redriven"
        return f"{by}: {'edited and ' if line.get('edits') and line.get('mode') == 'as_sent' else ''}{how}"
    if state == "dead_lettered" and by:
        return f"{by}: translated again, and still no truthful event: {words}"
    sentence = {
        "waiting": "Waits",
        "discarded": "Discarded",
        "superseded": "Superseded",
        "ignored": "Ignored",
        "dead_lettered": "Dead letter",
    }.get(str(state), str(state))
    return f"{f'{by}: ' if by else ''}{sentence}{f': {words}' if words else ''}"


READ_BACK = {
    "verified": "Found in Datadog's lists",
    "missing": "Not found in Datadog within a day, although Datadog took it",
}


def _attempt(line: Mapping[str, Any], words: str) -> str:
    status = line.get("status")
    took = f" after {round(float(line['took_ms']))} ms" if line.get("took_ms") else ""
    if line["verdict"] == "delivered":
        late = ", to be processed later" if line.get("reason") == "delayed" else ""
        late += "; it is of the sample that is looked for in Datadog" if line.get("sampled") else ""
        if line.get("reason") == "found":
            return f"Datadog has it: {words}"
        if line.get("reason") == "gone":
            return f"{words} ({status}{took})"
        return f"Datadog took it{late} ({status}{took})"
    what = f"{words[:1].upper()}{words[1:]}" if words else "It failed"
    text = f"{what} ({status}{took})" if status else f"{what}{took}"
    if line.get("state") == "dead_lettered":
        return f"{text}: a dead letter now" if line["verdict"] == "rejected" else f"{text}, and patience ended"
    if line.get("blocked"):
        return f"{text}: held until Datadog takes calls again"
    if line.get("due"):
        wait_s = (int(line["due"]) - int(line["at"])) / 1000
        return f"{text}: tried again after {duration(wait_s)}"
    return text


def duration(seconds: float) -> str:
    """About how long, in one or two units."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = int(seconds % size // part)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{round(seconds)} s"


def _next(record: Record, destination: Mapping[str, str]) -> str:
    """What happens next, in a sentence."""
    state = record.state
    if state == "waiting":
        held = destination.get("state", "open")
        until_ms = int(float(destination.get("until") or 0))
        probe = f"; one call looks at {to_rfc3339(until_ms * _MS)[:19]}Z" if until_ms > time.time() * 1000 else ""
        if held == "parked":
            return f"it waits until Datadog accepts the key: {destination.get('reason') or 'auth'}{probe}"
        if held == "held":
            why = REASONS.get(destination.get("reason", ""), destination.get("reason", ""))
            return f"it waits until Datadog takes calls again: {why}{probe}"
        due = int(record.story[-1].get("due", 0)) if record.story else 0
        if due > time.time() * 1000:
            return f"it is tried again at {to_rfc3339(due * _MS)}"
        return "it is sent when it is the first of its key and Datadog takes calls"
    if state == "delivered" and record.reason == "delayed":
        return "nothing is sent; with an application key it is looked for in Datadog until it is there"
    if state == "delivered" and record.reason == "missing":
        return "nothing by itself: ask Datadog's support for it, by its id"
    if state == "delivered" and record.reason == "gone":
        return "nothing: it is not in Datadog"
    if state == "delivered" and record.envelope.method == "DELETE":
        return "nothing: Datadog was told to delete it"
    return {
        "delivered": "nothing: Datadog has it",
        "ignored": "nothing: there is nothing to report",
        "superseded": "nothing: a later statement stands",
        "dead_lettered": "nothing until a person, or the sender by delivering it again, redrives it",
        "discarded": "nothing: a person discarded it",
    }[state]


def row(summary: Mapping[str, Any]) -> str:
    """One line of text."""
    where = f"{summary['service'] or '-'}/{summary['env'] or '-'}"
    why = ": ".join(filter(None, (summary["reason"], (summary["detail"] or "").replace("\n", " ")[:120])))
    at = summary.get("since") or summary["received_at"]
    return f"{at[:19]}Z  {summary['state']:13} {summary['id']:48} {where}{f' ({why})' if why else ''}"


def story(explained: Mapping[str, Any]) -> str:
    """The explanation as text."""
    why = ": ".join(filter(None, (explained["reason"], explained["detail"])))
    lines = [
        f"{explained['id']}: {explained['state']}" + (f" ({why[:300]})" if why else ""),
        *_beginning(explained),
    ]
    if explained["request"]:
        request = explained["request"]
        lines.append(f"  request    {request['method']} {request['path']}")
        attributes = request["body"]["data"]["attributes"] if request["body"] else {}
        for name, (value, said_by) in spelled(attributes).items():
            origin = explained["origins"].get(said_by)
            text = str(value).replace("\n", "\n" + 15 * " ")
            lines.append(f"             {name} = {text}" + (f"   <- {origin}" if origin else ""))
    for name, change in explained["edits"].items():
        lines.append(f"  edited     {name}: {change['from']} -> {change['to']}")
    for line in explained["story"]:
        lines.append(f"  {line['at']:24} {line['text']}")
        for name, change in line.get("edits", {}).items():
            lines.append(f"             {name}: {change['from']} -> {change['to']}")
        if line.get("answer"):
            lines.append(f"             Datadog: {line['answer'][:300]}")
    for link in explained.get("links", ()):
        first, *more = link_review.lines(link, seen_from=explained["datadog_id"])
        lines += [f"  link       {first}", *(f"             {one}" for one in more)]
    if explained.get("verdict"):
        untold = (explained.get("mark") or {}).get("text")
        said = link_review.verdict_said(explained["verdict"])
        lines.append(f"  verdict    {said}. {untold}" if untold else f"  verdict    Datadog was told: {said}")
    lines.append(f"  next       {explained['next']}")
    if explained["siblings"]:
        lines.append(f"  see also   {', '.join(explained['siblings'])}")
    return "\n".join(lines)


def _beginning(explained: Mapping[str, Any]) -> list[str]:
    """Where it came from: a webhook and the rule that matched, or a person."""
    at, delivery = explained["received_at"], explained["delivery"]
    if explained["by"]:
        return [f"  asked for  {at} by {explained['by']}: {explained['kind']}"]
    return [
        f"  received   {at} on /webhooks/{explained['endpoint']}: {explained['kind'] or '-'}",
        f"  delivery   {delivery['id'] or 'without an id'}, secret {delivery['secret'] or '-'}",
        *(f"             {name}: {value}" for name, value in delivery["headers"].items()),
        *(f"             ?{name}={value}" for name, value in delivery["query"].items()),
        f"  rule       {explained['rule'] or 'none matched'}",
        *(f"  called     {name} {_OTHERWISE} {id_}" for id_, name in explained["called"].items()),
    ]


def audited(line: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the audit trail."""
    return {**line, "at": to_rfc3339(int(line["at"]) * _MS)}


async def exported(ledger: Ledger, dead_letters: DeadLetters, asked: Filter, cursor: str = "") -> AsyncIterator[str]:
    """Each dead letter that a filter selects as a line of JSON: its explanation and its body as received."""
    next_cursor: str | None = cursor
    while next_cursor is not None:
        page = await search.page(
            ledger, search.DEAD_LETTERS, asked, limit=100, cursor=next_cursor, oldest_first=True, with_stories=False
        )
        next_cursor = page.next_cursor
        for _, brief in page.records:
            record = await ledger.find(brief.envelope.id)
            whole = await explained(ledger, dead_letters, brief.envelope.id)
            if record is not None and whole is not None:
                body = record.raw[1].decode("utf-8", "replace") if record.raw else None
                yield json.dumps({**whole, "body": body}, separators=(",", ":")) + "\n"
