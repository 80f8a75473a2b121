"""Opsgenie and Jira Service Management: nothing is promised; what was refused never comes again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.times import SECOND
from year.cast import MINUTE, NO_CHANGE, Alarm
from year.company import Company
from year.vendors.post import Post, Webhook


@dataclass
class Opsgenie:
    post: Post

    def tell(self, company: Company) -> Iterator[Webhook]:
        for alarm in company.alarms:
            if alarm.pager in ("opsgenie", "jsm"):
                yield from self._of_one(alarm)

    def _of_one(self, alarm: Alarm) -> Iterator[Webhook]:
        ((begin, end),) = alarm.nanoseconds
        is_incident = alarm.counts and alarm.number % 4 == 0
        yield from self._act("Create", alarm, begin + 90_000_000, is_incident)
        if is_incident:
            yield from self._act("Create", alarm, begin + 95_000_000, is_incident, responder=True)
        if self.post.chance(0.1):  # another team was added
            yield from self._act("Create", alarm, begin + 30 * SECOND, is_incident)
        yield from self._act("Acknowledge", alarm, begin + 60 * SECOND, is_incident)
        if end is None:
            return
        if alarm.label:
            yield from self._act("AddTags", alarm, begin + (end - begin) // 3, is_incident, marked=True)
        if alarm.label == "taken off":
            yield from self._act("RemoveTags", alarm, begin + (end - begin) // 2, is_incident)
        yield from self._act("Close", alarm, end, is_incident, marked=alarm.label == NO_CHANGE)
        if is_incident:
            yield from self._act("Close", alarm, end + 5_000_000, is_incident, responder=True)

    def _act(
        self,
        action: str,
        alarm: Alarm,
        updated: int,
        is_incident: bool,
        *,
        responder: bool = False,
        marked: bool = False,
    ) -> Iterator[Webhook]:
        """No order and no repetition is promised: one in ten is late."""
        post = self.post
        at = updated / SECOND + (post.some(10, 3 * MINUTE) if post.chance(0.1) else post.some(0.3, 2))
        body = json.dumps(_alert(action, alarm, updated, is_incident, responder=responder, marked=marked)).encode()
        yield Webhook(at=at, endpoint=alarm.pager, body=body)


def _alert(
    action: str, alarm: Alarm, updated: int, is_incident: bool, *, responder: bool, marked: bool
) -> dict[str, Any]:
    incident = uuid.uuid5(uuid.NAMESPACE_DNS, f"{alarm.number}.incidents.acme.example")
    team = uuid.uuid5(uuid.NAMESPACE_DNS, "second" if responder else "first")
    ((begin, _),) = alarm.nanoseconds
    details: dict[str, str] = {}
    tags = [f"service:{service}" for service in alarm.services]
    tags += [f"env:{alarm.env}"] if alarm.env else []
    if is_incident:
        details = {"incident-id": str(incident), "incident-alert-type": "Responder" if responder else "Owner"}
    return {
        "action": action,
        "alert": {
            "alertId": f"{uuid.uuid5(incident, str(team))}-{begin // 1_000_000}",
            "tinyId": str(alarm.number % 10_000),
            "alias": f"{incident}_{team}" if is_incident else hashlib.sha256(str(alarm.number).encode()).hexdigest(),
            "message": f"{alarm.services[0]} answers with errors",
            "createdAt": begin // 1_000_000,
            "updatedAt": updated,
            "username": "ines@acme.example",
            "tags": [*tags, *([NO_CHANGE] if marked else [])],
            **({"addedTags": NO_CHANGE} if action == "AddTags" else {}),
            **({"removedTags": NO_CHANGE} if action == "RemoveTags" else {}),
            "details": details,
            "entity": "",
            "priority": f"P{alarm.priority}",
            "source": "probe",
            "responders": [{"id": str(team), "type": "team", "name": "everybody"}],
        },
        "source": {"name": "", "type": "incident" if is_incident and action == "Create" else "web"},
        "integrationId": "4f0a2c1e-0000-4000-8000-00000000acme",
        "integrationName": "dora-bridge",
        "integrationType": "Webhook",
    }
