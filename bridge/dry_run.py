"""What a body would become, without network and Redis: `dora-bridge translate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bridge.call import call_of
from bridge.envelope import Envelope
from bridge.incident_management import is_incident, spelled
from bridge.intake import OBSERVED, Delivery, Receipt, receive
from bridge.rules import Rule
from bridge.settings import Settings
from bridge.source import Endpoint


def dry_run(
    settings: Settings, endpoint: Endpoint, name: str, body: bytes, *, kind: str | None, now: int
) -> dict[str, Any]:
    """The outcome for one body, as JSON values: `events`, `ignored` or `invalid`, with reason, rule and calls.

    Saved bodies are old, so `ignore_older_than_hours` only leads to a remark here. The ledger is taken to be empty:
    a closing that only makes sense after an opening is ignored or invalid, and nothing was missed before; but of an
    incident that was merged away the call is shown. Calls that need an application key are shown whether or not there
    is one.
    """
    delivery = Delivery(endpoint.source.headers(body, kind), {}, body)
    rules, application_key = settings.configuration.rules, settings.application_key
    result = outcome(ageless(endpoint, delivery, rules=rules, application_key=application_key, now=now))
    if result["outcome"] == "events" and not result["reason"]:
        posted = receive(endpoint, delivery, secret=0, now=now, rules=rules, application_key=application_key)
        today = posted.envelopes[0]
        if today.state == "ignored":
            result["reason"] = f"posted now it would be ignored: {today.reason}"
    return {"file": name, **result, "kind": result["kind"] or kind or ""}


def ageless(
    endpoint: Endpoint, delivery: Delivery, *, rules: Sequence[Rule], application_key: bool, now: int
) -> Receipt:
    """What a delivery comes to, however old it is: `ignore_older_than_hours` does not count."""
    options = endpoint.options.model_copy(update={"ignore_older_than_hours": 0})
    lasting = replace(endpoint, options=options)
    return receive(lasting, delivery, secret=0, now=now, rules=rules, application_key=application_key)


def outcome(receipt: Receipt, *, opened: bool = False) -> dict[str, Any]:
    """What `translate` prints of a receipt, but for the name of the file; `opened`: its opening was reported."""
    first, calls = receipt.envelopes[0], shown(receipt, opened=opened)
    word, reason = {"dead_lettered": "invalid"}.get(first.state, "ignored"), first.reason
    if first.needs_opening:
        ends, _, reason = first.needs_opening.partition(": ")
        word = {"dead_lettered": "invalid"}.get(ends, "ignored")
    if calls:
        word, first = "events", calls[0]
        reason = first.reason
        if first.needs_opening and not opened:
            reason = "only if its opening was reported"
    return {
        "kind": first.kind,
        "outcome": word,
        "reason": reason,
        "rule": first.rule,
        "events": [
            {
                "id": envelope.datadog_id,
                "key": envelope.key,
                "method": call.method,
                "path": call.path,
                "body": call.body,
            }
            for envelope, call in ((envelope, call_of(envelope)) for envelope in calls)
        ],
    }


def shown(receipt: Receipt, *, opened: bool = False) -> Sequence[Envelope]:
    """The calls that would be made, as far as can be known without the ledger."""
    return [
        envelope
        for envelope in receipt.envelopes
        if envelope.method
        and not envelope.is_catch_up
        and envelope.reason != OBSERVED
        and (opened or _is_shown(envelope))
    ]


def _is_shown(envelope: Envelope) -> bool:
    if not envelope.needs_opening or envelope.method == "DELETE":
        return True
    if is_incident(envelope) and envelope.needs_opening.startswith("dead_lettered"):
        return True  # Incident Management needs the opening of every closing
    return any(str(tag).startswith("merged_into:") for tag in envelope.attributes.get("custom_tags", ()))


def as_text(result: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{result['file']}: {result['kind']}: {result['outcome']} {result['reason']}".rstrip()]
    for event in result["events"]:
        attributes = event["body"]["data"]["attributes"] if event["body"] else {}
        lines.append(f"  {event['method']} {event['path']}")
        lines += [f"    {name}: {value}" for name, (value, _) in spelled(attributes).items()]
    return "\n".join(lines)
