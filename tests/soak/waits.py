"""What may still wait when all is drained: what it is about is not there, or not for long enough, or gone. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from soak.evidence import Kept
from soak.told import Told


def waiting_on_purpose(ledger: Mapping[str, Kept], told: Told, now: float) -> set[str]:
    """Ids of the statements that wait for good reason at this time (seconds since the epoch), as Datadog knows it.

    A PATCH waits for its deployments: one that nobody reported or that is a dead letter, or ten minutes after a 202.
    What ends or withdraws an incident waits for one whose creation is a dead letter. A withdrawal that Datadog took,
    though no worker lived to put that down, looks for six minutes for what is gone. What comes after such a statement
    waits behind it.
    """
    by_key: defaultdict[str, list[Kept]] = defaultdict(list)
    for one in ledger.values():
        by_key[one.key].append(one)
    found: set[str] = set()
    for several in by_key.values():
        waiting = sorted((one for one in several if one.state == "waiting"), key=lambda one: one.place)
        if waiting and (
            _lacks_deployment(waiting[0], ledger, told, now)
            or _lacks_incident(waiting[0], several)
            or _is_done(waiting[0], told)
        ):
            found.update(one.id for one in waiting)
    return found


def _lacks_deployment(one: Kept, ledger: Mapping[str, Kept], told: Told, now: float) -> bool:
    for deployment in one.after:
        if deployment not in ledger or ledger[deployment].state == "dead_lettered":
            return True
        since = told.untouchable_until(deployment)
        if since is not None and now < since:
            return True
    return False


def _lacks_incident(one: Kept, several: Iterable[Kept]) -> bool:
    return one.needs_incident and any(
        other.state == "dead_lettered" and other.place < one.place and not other.needs_incident for other in several
    )


def _is_done(one: Kept, told: Told) -> bool:
    return one.needs_incident and one.id.endswith("~withdrawn") and told.taken[one.id] > 0
