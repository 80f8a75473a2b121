"""Which deployments Datadog takes for rollbacks, by the order of their ends. Pure.

Datadog's rule: a rollback deploys an earlier version that differs from the one immediately before. V1, V2, V3, V1
marks V2, the first deployment after the version that is returned to. V1, V1 is nothing. A version is recognised by
the commit if there is git metadata, else by the version. Source: "Change failure detection", Rollback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Step(NamedTuple):
    """One deployment of one service in one environment; steps sort by their time (ns), then by the other fields."""

    finished_at: int
    sent_at: int
    """The end as Datadog was told it, where that differs: it decides between equal ends."""
    id: str
    identity: str


class Rollback(NamedTuple):
    id: str
    """The deployment that returned to an earlier version."""
    blamed: str
    """The deployment that counts as the change failure."""


def rollbacks(steps: Iterable[Step]) -> list[Rollback]:
    """The rollbacks in a history of one service and env. Deployments without commit and version are left out:
    they can be neither recognised nor returned to."""
    found = []
    latest: dict[str, int] = {}
    history = [step for step in sorted(steps) if step.identity]
    for position, step in enumerate(history):
        earlier = latest.get(step.identity)
        if earlier is not None and earlier < position - 1:
            found.append(Rollback(step.id, history[earlier + 1].id))
        latest[step.identity] = position
    return found
