"""The account: what the senders were told, what the ledger keeps, and what Datadog was asked, held against each other.

Pure. Times are seconds since the epoch. A *statement* is what the ledger calls one (`bridge/envelope.py`).

That nothing is missing is not enough: an older statement sent after a newer one, or the same one with another body,
would pass. So all requests are looked at, not only the first of each statement.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ENDS = ("delivered", "superseded", "ignored", "dead_lettered", "discarded")
NO_ANSWER = "no answer"
REFUSED_FOR_GOOD = 422
MARGIN_S = 5.0
"""So long before and after a disturbance an answer of Datadog's may not have been heard, or not put down."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One webhook as its sender knows it, all its tries included."""

    endpoint: str
    states: tuple[str, ...]
    """Ids of the statements that it makes; of a forged one, those that it would make."""
    may_state: tuple[str, ...] = ()
    """Of those that it makes only if they were missed before."""
    said: str = ""
    """The word of the answer it got at last: `accepted`, `ignored`, …, a status like `401`, or NO_ANSWER."""
    acknowledged_at: float | None = None
    """When a 202 came."""
    is_forged: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """One statement as the ledger knows it."""

    id: str
    state: str
    says: str = ""
    """`name_of` its request; empty if it makes none."""
    key: str = ""
    order: int = 0
    received_at: float = 0.0
    was_dead: bool = False
    """It was a dead letter at some time; sent again, it may come after what is newer."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From when to when a worker, Redis or the way to Datadog was disturbed."""

    begin: float
    end: float

    def covers(self, moment: float) -> bool:
        return self.begin - MARGIN_S <= moment <= self.end + MARGIN_S


@dataclass(frozen=True, slots=True)
class Account:
    """What a run came to. The lists name what is wrong: all of them have to be empty."""

    webhooks: Mapping[str, int]
    """By what their senders were told at last."""
    accepted: Mapping[str, int]
    """Statements of webhooks that got a 202, by where they stand in the ledger."""
    may_be: Mapping[str, int]
    """Statements whose sender never heard a 202, by where they stand; `not recorded` is an end, too."""
    requests: Mapping[str, int]
    """Of Datadog, by its answer."""
    repeated: int
    """Requests that repeat what Datadog had answered well, while it could not be known."""
    lost: Sequence[str] = ()
    """Accepted, and not in the ledger, or not at an end; or delivered as the ledger says, and Datadog was not told."""
    changed: Sequence[str] = ()
    """Requested with two different bodies under one id, neither of which Datadog refused for good: what takes the place
    of such a dead letter may know more, as Argo CD's own notification does of what a later one only mentioned."""
    disorder: Sequence[str] = ()
    """Requested after a newer one of the same key, though it was known before."""
    again: Sequence[str] = ()
    """Requested again after a good answer that nothing kept from being heard and put down."""
    invented: Sequence[str] = ()
    """In the ledger or requested, and no authentic webhook states it."""
    refused: Sequence[str] = ()
    """Requests that Datadog would refuse by its own rules."""
    turned_away: Sequence[str] = ()
    """Authentic webhooks that were answered with anything but 202 and 503: most senders do not repeat these."""

    WRONGS = ("lost", "changed", "disorder", "again", "invented", "refused", "turned_away")

    @property
    def is_even(self) -> bool:
        """Whether something was accepted, and all of it came to an end, and nothing is wrong."""
        comes_out = sum(self.accepted.values()) == sum(self.accepted.get(end, 0) for end in ENDS)
        return bool(self.accepted) and comes_out and not any(getattr(self, name) for name in self.WRONGS)


def account(
    sent: Sequence[Sent],
    kept: Iterable[Kept],
    requests: Sequence[Mapping[str, Any]],
    disturbances: Sequence[Disturbance] = (),
) -> Account:
    """The account of all webhooks, the whole ledger, and all requests that the sandbox got (oldest first)."""
    ledger = {one.id: one for one in kept}
    acknowledged: dict[str, float] = {}
    """When it was accepted first."""
    stated: set[str] = set()
    for webhook in sent:
        if webhook.is_forged:
            continue
        stated.update(webhook.states, webhook.may_state)
        if webhook.acknowledged_at is None:
            continue
        # what may have been missed is accepted only if the ledger has it, and by nothing that came before
        missed = [ledger[id_] for id_ in webhook.may_state if id_ in ledger]
        recorded = (one.id for one in missed if one.received_at <= webhook.acknowledged_at)
        for id_ in (*webhook.states, *recorded):
            acknowledged[id_] = min(webhook.acknowledged_at, acknowledged.get(id_, webhook.acknowledged_at))
    told = _Told({one.says: one for one in ledger.values() if one.says}, acknowledged, disturbances)
    for request in requests:
        told.hear(request)
    unsure = {id_ for one in sent if not one.is_forged for id_ in one.states if id_ not in acknowledged}
    return Account(
        webhooks=Counter(one.said for one in sent),
        accepted=Counter(ledger[id_].state if id_ in ledger else "lost" for id_ in acknowledged),
        may_be=Counter(ledger[id_].state if id_ in ledger else "not recorded" for id_ in unsure),
        requests=told.answers,
        repeated=told.repeated,
        lost=sorted(_lost(ledger, acknowledged, told.stated)),
        changed=sorted(id_ for id_, bodies in told.bodies.items() if len(bodies) > 1),
        disorder=told.disorder,
        again=told.again,
        invented=[*sorted(ledger.keys() - stated), *sorted(told.unknown)],
        refused=told.refused,
        turned_away=[
            f"{one.endpoint}: {one.said}"
            for one in sent
            if not one.is_forged and one.acknowledged_at is None and one.said not in (NO_ANSWER, "503")
        ],
    )


def _lost(ledger: Mapping[str, Kept], acknowledged: Iterable[str], stated: Counter[str]) -> Iterator[str]:
    for id_ in acknowledged:
        if id_ not in ledger:
            yield f"{id_}: not in the ledger"
        elif ledger[id_].state not in ENDS:
            yield f"{id_}: {ledger[id_].state}"
    for id_, one in ledger.items():
        if one.state == "delivered" and not stated[id_]:
            yield f"{id_}: delivered, and Datadog was not told"


@dataclass
class _Told:
    """What Datadog was asked, request by request."""

    ledger: Mapping[str, Kept]
    """By what they say."""
    acknowledged: Mapping[str, float]
    disturbances: Sequence[Disturbance]
    answers: Counter[str] = field(default_factory=Counter)
    stated: Counter[str] = field(default_factory=Counter)
    bodies: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    repeated: int = 0
    disorder: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    """What no statement of the ledger says."""
    _well: dict[str, float] = field(default_factory=dict)
    """id -> when Datadog answered it well, last"""
    _requested: defaultdict[str, dict[str, Kept]] = field(default_factory=lambda: defaultdict(dict))
    """key -> what was requested of it, in the order in which each was requested first"""

    def hear(self, request: Mapping[str, Any]) -> None:
        name = name_of(request)
        if name is None:
            return
        known = self.ledger.get(name)
        if known is None:
            self.unknown.add(name)
        id_ = known.id if known else name
        status, note, moment = request["status"], request["note"] or "", request["at"]
        is_good = status is not None and status < 300
        self.answers[str(status or "none")] += 1
        if status is not None and status >= 400 and status != 429 and not note.startswith("script:"):
            self.refused.append(f"{id_}: {status} {note}")
        if id_ in self._well:
            if any(one.covers(self._well[id_]) for one in self.disturbances):
                self.repeated += 1
            else:
                self.again.append(id_)
        if known is not None:
            self._place(known)
        if status != REFUSED_FOR_GOOD:
            self.bodies[id_].add(json.dumps(request["body"], sort_keys=True))
        if is_good:
            self._well[id_] = moment
        # it took these as well, and cut the connection
        self.stated[id_] += is_good or "drop before_reply" in note or "drop mid_reply" in note

    def _place(self, one: Kept) -> None:
        earlier = self._requested[one.key]
        if not one.was_dead:
            newer = (other for other in earlier.values() if other.order > one.order)
            self.disorder += [f"{one.id} after {other.id}" for other in newer if self._had_to_wait(other, one)]
        earlier.setdefault(one.id, one)

    def _had_to_wait(self, newer: Kept, one: Kept) -> bool:
        """Whether the newer one had to go after this one, and did not.

        Deployments may come late; about an incident nothing is said after something later about it.
        """
        if not one.key.startswith("deployment:"):
            return True
        order = list(self._requested[one.key])
        was_tried_before = one.id in order and order.index(one.id) < order.index(newer.id)
        return was_tried_before or self.acknowledged.get(one.id, float("inf")) < newer.received_at


def name_of(call: Mapping[str, Any]) -> str | None:
    """Which statement a call makes, as `method`, `path` and `body` show it; None for a call that only reads.

    An incident that was closed, reopened under the same id and closed again has two closings, which end it differently.
    """
    method, path, body = call["method"], call["path"], call["body"]
    if method == "GET" or (method == "POST" and path in ("/api/v2/dora/deployments", "/api/v2/dora/failures")):
        return None
    if method == "DELETE":
        return f"{path.rpartition('/')[2]} withdrawn"
    try:
        attributes = body["data"]["attributes"]
        if path == "/api/v2/dora/deployment":
            return str(attributes["id"])
        if path in ("/api/v2/dora/failure", "/api/v2/dora/incident"):
            end = attributes.get("finished_at")
            return f"{attributes['id']} " + ("opened" if end is None else f"closed at {end}")
    except (KeyError, TypeError):
        pass
    return f"{method} {path}"
