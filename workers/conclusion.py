"""What becomes of an event after an attempt: its end, or when it is tried again. Pure."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from typing import Any

from bridge.envelope import adjusted
from bridge.incident_management import is_incident
from bridge.ledger import Head, Settlement
from bridge.waiting_since import put_back_ms
from workers.datadog import Outcome, Reason, Verdict
from workers.destination import Standing
from workers.patience import NOT_FOUND_S, PATIENCE_S, next_try_s

_NEVER_ITS_FAULT = (Reason.RATE_LIMITED, Reason.AUTH, Reason.REDIRECTED)
_UNKNOWN = (Reason.SERVER_ERROR, Reason.TIMEOUT, Reason.NETWORK)
"""Datadog may have taken the event all the same."""
_SECOND_NS = 1_000_000_000


def conclude(
    head: Head,
    outcome: Outcome,
    *,
    standing: Standing,
    took_ms: float,
    now_ms: int,
    jitter: float,
    sample_percent: float = 0.0,
) -> Settlement:
    """The settlement of one attempt, with the line for the event's story.

    `standing`: how the destination stands after it. If it is not open, the event is not to blame, its tries are not
    counted, and it is due as soon as it is open. `now_ms`: since the epoch; `jitter`: 0 to 1. `sample_percent`: of
    what Datadog took, how much is looked for in its lists.
    """
    if _is_gone_already(head, outcome):
        outcome = replace(outcome, verdict=Verdict.DELIVERED, reason=Reason.GONE)
    # a line that a redrive wrote has neither: patience starts anew
    tries, since = int(head.last.get("n", 0)), int(head.last.get("since", now_ms))
    age_s = (now_ms - since) / 1000
    state, wait_s = "waiting", 0.0
    blamed = standing.is_open and outcome.reason not in _NEVER_ITS_FAULT
    if outcome.verdict is Verdict.DELIVERED:
        state = "delivered"
    elif outcome.verdict is Verdict.REJECTED:
        state = "dead_lettered"
    elif blamed:
        tries += 1
        others_pass = standing.worked_at_ms > since
        next_s = next_try_s(outcome, tries=tries, age_s=age_s, others_pass=others_pass, jitter=jitter)
        state, wait_s = ("dead_lettered", 0.0) if next_s is None else ("waiting", next_s)
    elif outcome.reason not in _NEVER_ITS_FAULT and age_s >= PATIENCE_S:
        state = "dead_lettered"
    wait_ms = math.ceil(wait_s * 1000)
    line: dict[str, Any] = {
        "at": now_ms,
        "state": state,
        "n": tries,
        "since": since,
        "verdict": outcome.verdict.value,
        "status": outcome.status,
        "reason": outcome.reason.value,
        "answer": outcome.answer,
        "took_ms": round(took_ms, 1),
        "due": now_ms + wait_ms if wait_ms else 0,
        "put_back": put_back_ms(head.last),
        "blocked": outcome.verdict is Verdict.ERRORED and not blamed,
        "sampled": state == "delivered" and _is_readable(head) and is_sampled(head.envelope.id, sample_percent),
        **head.adjustment,
    }
    kept = {name: value for name, value in line.items() if value or name in ("n", "status")}
    told = _told(head) if outcome.verdict is Verdict.DELIVERED or outcome.reason in _UNKNOWN else None
    return Settlement(head.lane, head.key, head.envelope.id, state, kept, wait_ms, told, outcome.uuid)


def _is_gone_already(head: Head, outcome: Outcome) -> bool:
    """Whether a DELETE finds nothing since there is nothing any more, and not since there is nothing yet.

    So it is right after a DELETE that was not answered, and where an earlier one was asked for. An incident in Incident
    Management has its UUID from the moment it is there: a person is told at once; a webhook may follow its creation so
    closely that it is looked for a few times.
    """
    envelope, before = head.envelope, head.last.get("reason")
    if envelope.method != "DELETE" or outcome.reason is not Reason.NOT_FOUND:
        return False
    was_deleted = envelope.rank != "2"
    looked = bool(envelope.by) or (before == Reason.NOT_FOUND and int(head.last.get("n", 0)) >= len(NOT_FOUND_S))
    return before in _UNKNOWN or was_deleted or (is_incident(envelope) and looked)


def is_sampled(identifier: str, percent: float) -> bool:
    """Whether an id is in the sample: the same ids always are, and those of a smaller sample are in a greater one."""
    return zlib.crc32(identifier.encode()) % 10_000 < percent * 100


def _is_readable(head: Head) -> bool:
    """Whether it states a deployment or failure: what a PATCH changed cannot be read back."""
    return head.envelope.method == "POST" and head.envelope.path.startswith("/api/v2/dora/") and not head.uuid


def _told(head: Head) -> tuple[str, int] | None:
    """What Datadog now knows, or may know, of the deployments of this key: commit or version, and second."""
    if not head.key.startswith("deployment:"):
        return None
    attributes = adjusted(head.envelope.attributes, head.adjustment)
    identity = attributes.get("git", {}).get("commit_sha") or attributes.get("version") or "-"
    return identity, attributes["finished_at"] // _SECOND_NS
