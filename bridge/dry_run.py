"""What a body would become, without network and Redis: `dora-bridge translate`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bridge.envelope import Envelope
from bridge.intake import Delivery, Receipt, receive
from bridge.settings import Settings
from bridge.source import Endpoint


def dry_run(
    settings: Settings, endpoint: Endpoint, name: str, body: bytes, *, kind: str | None, now: int
) -> dict[str, Any]:
    """The outcome for one body, as JSON values: `events`, `ignored` or `invalid`, with reason, rule and calls.

    Saved bodies are old, so `ignore_older_than_hours` only leads to a remark here. The ledger is taken to be empty:
    a closing that only makes sense after an opening is ignored or invalid; but of an incident that was merged away
    the call is shown. Calls that need an application key are shown whether or not there is one.
    """
    delivery = Delivery(endpoint.source.headers(body, kind), {}, body)

    ageless = replace(endpoint, options=endpoint.options.model_copy(update={"ignore_older_than_hours": 0}))
    receipt = _receipt(settings, ageless, delivery, now)
    first = receipt.envelopes[0]
    calls = [envelope for envelope in receipt.envelopes if envelope.method and _is_shown(envelope)]
    outcome, reason = {"dead_lettered": "invalid"}.get(first.state, "ignored"), first.reason
    if first.needs_opening:
        ends, _, reason = first.needs_opening.partition(": ")
        outcome = {"dead_lettered": "invalid"}.get(ends, "ignored")
    if calls:
        outcome = "events"
        reason = "only if its opening was reported" if first.needs_opening else reason
        today = _receipt(settings, endpoint, delivery, now).envelopes[0]
        if not reason and today.state == "ignored":
            reason = f"posted now it would be ignored: {today.reason}"
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


def _receipt(settings: Settings, endpoint: Endpoint, delivery: Delivery, now: int) -> Receipt:
    return receive(
        endpoint,
        delivery,
        secret=0,
        now=now,
        rules=settings.configuration.rules,
        application_key=settings.application_key,
    )


def _is_shown(envelope: Envelope) -> bool:
    """Whether it would be sent, as far as can be known without the ledger."""
    if not envelope.needs_opening or envelope.method == "DELETE":
        return True
    return any(str(tag).startswith("merged_into:") for tag in envelope.attributes.get("custom_tags", ()))


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['file']}: {result['kind']}: {result['outcome']} {result['reason']}".rstrip()]
    for event in result["events"]:
        attributes = event["body"]["data"]["attributes"] if event["body"] else {}
        lines.append(f"  {event['method']} {event['path']}")
        lines += [f"    {name}: {value}" for name, value in attributes.items()]
    return "\n".join(lines)
