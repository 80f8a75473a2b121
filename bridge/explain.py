"""Why an event is, or is not, in Datadog: the explanation of one, and rows of many."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.ledger import Ledger, Record
from bridge.times import to_rfc3339

_MS = 1_000_000


async def listed(
    ledger: Ledger, *, source: str | None = None, state: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest records, as JSON values."""
    rows: list[dict[str, Any]] = []
    async for record in ledger.records(newest=0 if source or state else limit):
        if (source is None or record.envelope.source == source) and (state is None or record.state == state):
            rows.append(summary(record))
            if len(rows) == limit:
                break
    return rows


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
        "reason": record.reason,
        "received_at": to_rfc3339(envelope.received_at),
        "attempts": attempts(record.story),
    }


def attempts(story: Sequence[Mapping[str, Any]]) -> int:
    """How often it was sent: lines that have a verdict."""
    return sum("verdict" in line for line in story)


def explanation(record: Record) -> dict[str, Any]:
    """The whole story of one record, as JSON values."""
    envelope = record.envelope
    about = record.raw[0] if record.raw else {}
    return {
        **summary(record),
        "delivery": {
            "id": envelope.delivery or None,
            "headers": about.get("headers", {}),
            "query": about.get("query", {}),
            "secret": envelope.secret or None,
            "body_kept": record.raw is not None,
        },
        "rule": envelope.rule or None,
        "origins": about.get("origins", {}).get(envelope.id, {}),
        "key": envelope.key or None,
        "request": {"method": envelope.method, "path": envelope.path, "body": envelope.body}
        if envelope.method
        else None,
        "story": [{**line, "at": to_rfc3339(int(line["at"]) * _MS)} for line in record.story],
        "next": _next(record),
        "siblings": list(record.siblings),
    }


def _next(record: Record) -> str:
    """What happens next, in a sentence."""
    state = record.state
    if state == "waiting":
        due = int(record.story[-1].get("due", 0)) if record.story else 0
        wait_s = due / 1000 - time.time()
        if wait_s > 0:
            return f"it is tried again at {to_rfc3339(due * _MS)}"
        return "it is sent when it is the first of its key and Datadog takes calls"
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
    reason = f" ({summary['reason']})" if summary["reason"] else ""
    return f"{summary['received_at'][:19]}Z  {summary['state']:13} {summary['id']:48} {where}{reason}"


def story(explained: Mapping[str, Any]) -> str:
    """The explanation as text."""
    delivery = explained["delivery"]
    lines = [
        f"{explained['id']}: {explained['state']}" + (f" ({explained['reason']})" if explained["reason"] else ""),
        f"  received   {explained['received_at']} on /webhooks/{explained['endpoint']}, {explained['kind'] or 'no kind'}",
        f"  delivery   {delivery['id'] or 'without an id'}, secret {delivery['secret'] or '-'}",
    ]
    lines += [f"             {name}: {value}" for name, value in delivery["headers"].items()]
    lines.append(f"  rule       {explained['rule'] or 'none matched'}")
    if explained["request"]:
        request = explained["request"]
        lines.append(f"  request    {request['method']} {request['path']}")
        attributes = request["body"]["data"]["attributes"] if request["body"] else {}
        for name, value in attributes.items():
            origin = explained["origins"].get(name)
            lines.append(f"             {name} = {value}" + (f"   <- {origin}" if origin else ""))
    for line in explained["story"]:
        told = [str(line[name]) for name in ("verdict", "status", "reason", "by") if line.get(name)]
        lines.append(f"  {line['at']:24} {line['state']}: {' '.join(told)}")
        if line.get("answer"):
            lines.append(f"             Datadog: {line['answer'][:300]}")
    lines.append(f"  next       {explained['next']}")
    if explained["siblings"]:
        lines.append(f"  see also   {', '.join(explained['siblings'])}")
    return "\n".join(lines)
