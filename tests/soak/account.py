"""The account: what the senders were told, what the ledger keeps, and what Datadog was asked, held against each other.

Pure. Times are seconds since the epoch. A *statement* is what the ledger calls one (`bridge/envelope.py`).

That nothing is missing is not enough: an older statement sent after a newer one, or the same one with another body,
would pass. So all requests are looked at, not only the first of each statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from soak import incidents
from soak.evidence import NO_ANSWER, ON_PURPOSE, Disturbance, Kept, Sent
from soak.told import Told
from soak.waits import waiting_on_purpose

ENDS = ("delivered", "superseded", "ignored", "dead_lettered", "discarded", ON_PURPOSE)
"""Where a statement may stand when all is drained."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a run came to. The lists name what is wrong: all of them have to be empty."""

    webhooks: Mapping[str, int]
    """By what their senders were told at last."""
    accepted: Mapping[str, int]
    """Statements of webhooks that got a 202, by where they stand in the ledger."""
    may_be: Mapping[str, int]
    """Statements whose sender never heard a 202, by where they stand; `not recorded` is an end, too."""
    concluded: Mapping[str, int]
    """Statements that the bridge made of what it knew, by where they stand."""
    requests: Mapping[str, int]
    """Of Datadog, by its answer."""
    told: Mapping[str, int]
    """Statements that Datadog took, by `kind_of`."""
    repeated: int
    """Requests that repeat what Datadog had answered well, while it could not be known."""
    lost: Sequence[str] = ()
    """Accepted or concluded, and not in the ledger, or not at an end; or delivered as the ledger says, and Datadog was
    not told."""
    changed: Sequence[str] = ()
    """Requested with two different bodies under one id, neither of which Datadog refused for good: what takes the place
    of such a dead letter may know more, as Argo CD's own notification does of what a later one only mentioned."""
    disorder: Sequence[str] = ()
    """Requested after a newer one of the same key, though it was known before."""
    early: Sequence[str] = ()
    """Requested before what it is about was there: a PATCH, or a DELETE."""
    doubled: Sequence[str] = ()
    """Incidents that Datadog was made to create once more. No disturbance excuses that: the bridge looks before."""
    incidents: Sequence[str] = ()
    """Incidents that Datadog lists otherwise than the ledger says."""
    again: Sequence[str] = ()
    """Requested again after a good answer that nothing kept from being heard and put down."""
    invented: Sequence[str] = ()
    """In the ledger or requested, and no authentic webhook states it."""
    refused: Sequence[str] = ()
    """Requests that Datadog would refuse by its own rules."""
    turned_away: Sequence[str] = ()
    """Authentic webhooks that were answered with anything but 202 and 503: most senders do not repeat these."""

    WRONGS = (
        "lost",
        "changed",
        "disorder",
        "early",
        "doubled",
        "incidents",
        "again",
        "invented",
        "refused",
        "turned_away",
    )

    @property
    def is_even(self) -> bool:
        """Whether something was accepted, and all of it came to an end, and nothing is wrong."""
        comes_out = all(state in ENDS for state in (*self.accepted, *self.concluded))
        return bool(self.accepted) and comes_out and not any(getattr(self, name) for name in self.WRONGS)


def account(
    sent: Sequence[Sent],
    kept: Iterable[Kept],
    requests: Sequence[Mapping[str, Any]],
    disturbances: Sequence[Disturbance] = (),
    *,
    listed: Sequence[Mapping[str, Any]],
    now: float,
) -> Account:
    """The account of all webhooks, the whole ledger, and all requests that the sandbox got (oldest first).

    `listed`: the incidents that Incident Management has at the end; `now`: when that is.
    """
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
    told = Told(ledger.values(), acknowledged, disturbances)
    for request in requests:
        told.hear(request)
    ledger |= {id_: replace(ledger[id_], state=ON_PURPOSE) for id_ in waiting_on_purpose(ledger, told, now)}
    named = {id_.partition("~")[0] for id_ in stated}
    # about deployments that authentic webhooks name
    concluded = {id_ for id_, one in ledger.items() if one.is_concluded and named.issuperset(one.after)}
    unsure = {id_ for one in sent if not one.is_forged for id_ in one.states if id_ not in acknowledged}
    return Account(
        webhooks=Counter(one.said for one in sent),
        accepted=Counter(ledger[id_].state if id_ in ledger else "lost" for id_ in acknowledged),
        may_be=Counter(ledger[id_].state if id_ in ledger else "not recorded" for id_ in unsure),
        concluded=Counter(ledger[id_].state for id_ in concluded),
        requests=told.answers,
        told=told.kinds,
        repeated=told.repeated,
        lost=sorted(_lost(ledger, acknowledged.keys() | concluded, told.taken)),
        changed=sorted(id_ for id_, bodies in told.bodies.items() if len(bodies) > 1),
        disorder=told.disorder,
        early=told.early,
        doubled=told.doubled,
        incidents=list(incidents.amiss(ledger.values(), listed)),
        again=told.again,
        invented=[*sorted(ledger.keys() - stated - concluded), *sorted(told.unknown)],
        refused=told.refused,
        turned_away=[
            f"{one.endpoint}: {one.said}"
            for one in sent
            if not one.is_forged and one.acknowledged_at is None and one.said not in (NO_ANSWER, "503")
        ],
    )


def _lost(ledger: Mapping[str, Kept], awaited: Iterable[str], taken: Counter[str]) -> Iterator[str]:
    for id_ in awaited:
        if id_ not in ledger:
            yield f"{id_}: not in the ledger"
        elif ledger[id_].state not in ENDS:
            yield f"{id_}: {ledger[id_].state}"
    for id_, one in ledger.items():
        if one.state == "delivered" and not taken[id_]:
            yield f"{id_}: delivered, and Datadog was not told"
