"""What Datadog was asked, request by request, and what of it should not have been asked, or not then. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from soak.evidence import Disturbance, Kept
from soak.naming import is_creation, kind_of, name_of
from workers.patience import DELAYED_S

REFUSED_FOR_GOOD = 422


class Told:
    """What is heard of requests, oldest first; the lists are those of `Account`."""

    def __init__(
        self, ledger: Iterable[Kept], acknowledged: Mapping[str, float], disturbances: Sequence[Disturbance]
    ) -> None:
        self._acknowledged = acknowledged
        self._disturbances = disturbances
        self._by_name: defaultdict[str, list[Kept]] = defaultdict(list)
        self._dead_keys: set[str] = set()
        for one in sorted(ledger, key=lambda one: one.place):
            if one.says:
                self._by_name[one.says].append(one)
            if one.was_dead:
                self._dead_keys.add(one.key)
        self.answers: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        """How often Datadog took a statement, whether or not its answer was heard."""
        self.kinds: Counter[str] = Counter()
        """How many statements of a kind it took."""
        self.bodies: defaultdict[str, set[str]] = defaultdict(set)
        self.repeated = 0
        self.disorder: list[str] = []
        self.early: list[str] = []
        self.doubled: list[str] = []
        self.again: list[str] = []
        self.refused: list[str] = []
        self.unknown: set[str] = set()
        """What no statement of the ledger says."""
        self._well: dict[str, float] = {}
        """id -> when Datadog answered it well, last"""
        self._had: defaultdict[str, list[float]] = defaultdict(list)
        """id -> from when on a PATCH may name it, by each answer that may have been heard"""
        self._requested: defaultdict[str, dict[str, Kept]] = defaultdict(dict)
        """key -> what was requested of it, in the order in which each was requested first"""

    def hear(self, request: Mapping[str, Any]) -> None:
        name = name_of(request)
        if name is None:
            return
        known = self._statement(name)
        if known is None:
            self.unknown.add(name)
        id_ = known.id if known else name
        status, note, moment = request["status"], request["note"] or "", request["at"]
        self.answers[str(status or "none")] += 1
        if status is not None and status >= 400 and not self._is_explained(request, id_):
            self.refused.append(f"{id_}: {status} {note}")
        if id_ in self._well:
            if any(one.covers(self._well[id_]) for one in self._disturbances):
                self.repeated += 1
            else:
                self.again.append(id_)
        if known is not None:
            self._place(known)
            self._look_for_what_it_needs(known, request["method"], moment)
        if status != REFUSED_FOR_GOOD:
            self.bodies[id_].add(json.dumps(request["body"], sort_keys=True))
        is_good = status is not None and status < 300
        # it took these as well, and cut the connection: before, or after its status was said
        is_half_said = "drop mid_reply" in note
        is_taken = is_good or is_half_said or "drop before_reply" in note
        if is_good:
            self._well[id_] = moment
        if is_good or is_half_said:
            self._had[id_].append(moment + (DELAYED_S if status == 202 else 0.0))
        if is_taken and is_creation(request) and self.taken[id_]:
            self.doubled.append(id_)
        self.kinds[kind_of(request)] += is_taken and not self.taken[id_]
        self.taken[id_] += is_taken

    def untouchable_until(self, deployment: str) -> float | None:
        """From when on a PATCH may name this deployment; None if Datadog did not take it, as far as it answered."""
        # which of several answers was put down is not known
        return min(self._had.get(deployment, ()), default=None)

    def _statement(self, name: str) -> Kept | None:
        """What the ledger knows by this name. What is said of something several times is said in its order."""
        candidates = self._by_name.get(name)
        if not candidates or len(candidates) == 1:
            return candidates[0] if candidates else None
        requested = self._requested[candidates[0].key].values()
        newest = max((one.place for one in requested), default=(-1, ""))
        return next((one for one in candidates if one.place >= newest), candidates[-1])

    def _is_explained(self, request: Mapping[str, Any], id_: str) -> bool:
        """Whether it was refused only since Datadog was told to, or since it is gone already."""
        status, note = request["status"], request["note"] or ""
        is_gone = status == 404 and request["method"] == "DELETE" and self.taken[id_] > 0
        return is_gone or status == 429 or f"status {status}" in note

    def _place(self, one: Kept) -> None:
        earlier = self._requested[one.key]
        if not one.was_dead:
            newer = (other for other in earlier.values() if other.place > one.place)
            self.disorder += [f"{one.id} after {other.id}" for other in newer if self._had_to_wait(other, one)]
        earlier.setdefault(one.id, one)

    def _had_to_wait(self, newer: Kept, one: Kept) -> bool:
        """Whether the newer one had to go after this one, and did not.

        Deployments may come late; nothing is said of anything else after something later about it.
        """
        if not one.key.startswith("deployment:"):
            return True
        order = list(self._requested[one.key])
        was_tried_before = one.id in order and order.index(one.id) < order.index(newer.id)
        return was_tried_before or self._acknowledged.get(one.id, float("inf")) < newer.received_at

    def _look_for_what_it_needs(self, one: Kept, method: str, moment: float) -> None:
        """A PATCH needs its deployments, ten minutes after a 202; what ends or withdraws an incident, the incident."""
        for deployment in one.after:
            since = self.untouchable_until(deployment)
            if since is None:
                self.early.append(f"{one.id} before {deployment}")
            elif moment < since:
                self.early.append(f"{one.id} {since - moment:.1f} s too early after the 202 of {deployment}")
        # of a failure whose opening was refused Datadog may have something all the same
        is_about_nothing = method == "DELETE" and one.key not in self._dead_keys
        if (is_about_nothing or one.needs_incident) and not self._has_been_told_of(one):
            self.early.append(f"{one.id} before what it is about")

    def _has_been_told_of(self, one: Kept) -> bool:
        return any(self.taken[other.id] for other in self._requested[one.key].values() if other.place < one.place)
