"""What a body would become, without network and Redis: `dora-bridge translate`."""

from __future__ import annotations

from typing import Any

from bridge.intake import Delivery, receive
from bridge.settings import Settings
from bridge.source import Endpoint


def dry_run(
    settings: Settings, endpoint: Endpoint, name: str, body: bytes, *, kind: str | None, now: int
) -> dict[str, Any]:
    """The outcome for one body, as JSON values: `events`, `ignored` or `invalid`, with reason, rule and calls.

    The ledger is taken to be empty: what only makes sense after an opening is ignored or invalid here. Calls that
    need an application key are shown whether or not there is one.
    """
    headers = endpoint.source.headers(body, kind)
    receipt = receive(
        endpoint,
        Delivery(headers, {}, body),
        secret=0,
        now=now,
        rules=settings.configuration.rules,
        application_key=settings.application_key,
    )
    first = receipt.envelopes[0]
    calls = [envelope for envelope in receipt.envelopes if envelope.method and not envelope.needs_opening]
    reason = first.reason
    outcome = "events" if calls else "invalid" if first.state == "dead_lettered" else "ignored"
    if not calls and first.needs_opening:
        ends, _, reason = first.needs_opening.partition(": ")
        outcome = "invalid" if ends == "dead_lettered" else "ignored"
    return {
        "file": name,
        "kind": first.kind or kind or "",
        "outcome": outcome,
        "reason": reason,
        "rule": first.rule,
        "events": [
            {
                "id": envelope.datadog_id,
                "key": envelope.key,
                "method": envelope.method,
                "path": envelope.path,
                "body": envelope.body,
            }
            for envelope in calls
        ],
    }


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['file']}: {result['kind']}: {result['outcome']} {result['reason']}".rstrip()]
    for event in result["events"]:
        attributes = event["body"]["data"]["attributes"] if event["body"] else {}
        lines.append(f"  {event['method']} {event['path']}")
        lines += [f"    {name}: {value}" for name, value in attributes.items()]
    return "\n".join(lines)
