"""PagerDuty V3: the events of one incident keep their order, and are repeated for 48 hours."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bridge.times import SECOND
from year.cast import MINUTE, PAGERDUTY, Alarm, Unit
from year.company import Company
from year.vendors.post import Post, Webhook, at_millisecond, at_second


@dataclass
class PagerDuty:
    post: Post

    def tell(self, company: Company) -> Iterator[Webhook]:
        first = float(min(one.started for one in company.rollouts))
        ping = {"id": "01PING", "event_type": "pagey.ping", "occurred_at": at_second(first), "data": {"type": "ping"}}
        yield Webhook(at=first, endpoint="pagerduty", body=json.dumps({"event": ping}).encode())
        for alarm in company.alarms:
            if alarm.pager in PAGERDUTY:
                yield from self._queue(alarm)

    def _queue(self, alarm: Alarm) -> Iterator[Webhook]:
        """The events of one incident, in their order: what is refused is repeated, and what follows it waits."""
        post, free = self.post, 0.0
        for number, event in enumerate(_events(alarm)):
            occurred = event.pop("moment")
            event |= {"id": f"01K{alarm.number:09d}{number:03d}", "occurred_at": at_millisecond(occurred)}
            at = max(occurred / SECOND + post.some(0.3, 3), free)
            body = json.dumps({"event": event}).encode()
            ids = [str(uuid.UUID(int=post.dice.getrandbits(128), version=4)) for _ in range(2)]
            webhook = Webhook(at=at, endpoint=alarm.pager, body=body, headers={"x-webhook-id": ids[0]})
            yield webhook
            up = post.up_again(at)
            if up is not None:
                at = up + post.some(5, 10 * MINUTE)
                yield replace(webhook, at=at)
            if post.chance(0.03):  # it did not hear the answer
                yield replace(webhook, at=at + 0.2)
            if post.chance(0.08):  # a second subscription, of the account
                yield replace(webhook, at=at + 0.1, headers={"x-webhook-id": ids[1]})
            free = at + 0.3


def _events(alarm: Alarm) -> Iterator[dict[str, Any]]:
    (begin, end), *more = alarm.nanoseconds
    incident = _incident(alarm)

    def event(kind: str, moment: int, by: str | None = "user_reference", **changed: object) -> dict[str, Any]:
        return {
            "event_type": f"incident.{kind}",
            "resource_type": "incident",
            "agent": {"id": "PUSER1", "type": by, "summary": "Ines"} if by else None,
            "client": None,
            "data": incident | changed,
            "moment": moment,
        }

    yield event("triggered", begin + 414_000_000, "inbound_integration_reference", status="triggered")
    yield event("acknowledged", begin + 40 * SECOND, status="acknowledged")
    if alarm.raised_to and end is not None:
        incident = incident | {"priority": {"id": "PPRIO9", "type": "priority", "summary": f"P{alarm.raised_to}"}}
        yield event("priority_updated", begin + (end - begin) // 2, status="acknowledged")
    if alarm.merged_into is not None and end is not None:
        target = {"id": _incident_id(alarm.merged_into), "type": "incident_reference", "summary": "the other one"}
        reason = {"type": "merge_resolve_reason", "incident": target}
        yield event("resolved", end, status="resolved", resolve_reason=reason)
    elif end is not None:
        yield event("resolved", end, None if alarm.number % 3 else "user_reference", status="resolved")
        note = {"id": "PNOTE", "type": "incident_note", "incident": incident, "content": "Resolution Note: fixed"}
        yield event("annotated", end + 300_000_000) | {"data": note}
    for again, over in more:
        reopened = {"reopened_at": at_second(again // SECOND)}
        yield event("reopened", again + 120_000_000, status="triggered", **reopened)
        if over is not None:
            yield event("resolved", over, status="resolved", **reopened)


def _incident_id(number: int) -> str:
    return f"Q{number:013d}"


def _incident(alarm: Alarm) -> dict[str, Any]:
    unit: Unit = alarm.unit
    identifier = _incident_id(alarm.number)
    return {
        "id": identifier,
        "type": "incident",
        "html_url": f"https://acme.pagerduty.com/incidents/{identifier}",
        "number": alarm.number,
        "status": "triggered",
        "incident_key": None,
        "created_at": at_second(alarm.spans[0][0]),
        "reopened_at": None,
        "title": f"{unit.name} answers with errors",
        "service": {"id": unit.page_id, "type": "service_reference", "summary": f"{unit.name.title()} (team)"},
        "assignees": [],
        "escalation_policy": {"id": "PPOLICY", "type": "escalation_policy_reference", "summary": "Everybody"},
        "teams": [],
        "priority": {"id": "PPRIO1", "type": "priority", "summary": f"P{alarm.priority}"} if alarm.priority else None,
        "urgency": "high",
        "conference_bridge": None,
        "resolve_reason": None,
        "incident_type": {"name": "incident_default"},
    }
