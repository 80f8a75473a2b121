"""What another configuration would change in the events of the same webhooks: `rules diff`. Pure.

Compared are two translations by today's code, not what was sent: that may have been made by older code, or edited. A
statement is added or removed by its id. As in the ledger, a deployment keeps for each service the id by which it was
told of it, when it comes to concern another number of services (twins.py): only services that come or go are added or
removed. Webhooks that say the same statement count once: the last of them wins, in the order of receipt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bridge.call import call_of
from bridge.differences import Difference, differences, shown
from bridge.envelope import Envelope
from bridge.intake import OBSERVED, Receipt
from bridge.twins import retold

What = Literal["added", "removed", "changed"]
CHANGES: tuple[What, ...] = get_args(What)


@dataclass(frozen=True, slots=True)
class Change:
    """One statement that would be made, or not, or with other words."""

    what: What
    before: Envelope | None
    after: Envelope | None
    why: str = ""
    """Why there is none on the other side: ignored or invalid, with the reason; empty if it became other statements."""

    @property
    def envelope(self) -> Envelope:
        """The statement after the change, or the one that is removed."""
        one = self.after or self.before
        if one is None:
            raise AssertionError("a change of nothing")
        return one

    @property
    def differences(self) -> Sequence[Difference]:
        """The attributes that change, and the path where it does; none of what is added or removed."""
        if self.before is None or self.after is None:
            return ()
        return tuple(differences(_told(self.before), _told(self.after)))

    def json(self) -> dict[str, Any]:
        """The change as JSON values; `event` is the call that is added or removed, or what it changes to."""
        one, call = self.envelope, call_of(self.envelope)
        return {
            "change": self.what,
            "id": one.datadog_id,
            "statement": one.id,
            "endpoint": one.endpoint,
            "kind": one.kind,
            "rule": {"before": _rule(self.before), "after": _rule(self.after)},
            "reason": self.why,
            "differences": [difference.json() for difference in self.differences],
            "event": {"method": call.method, "path": call.path, "body": call.body},
        }


class Comparison:
    """Two translations of each webhook, as they come in; then what differs."""

    def __init__(self) -> None:
        self.deliveries = 0
        self._before: dict[str, Envelope] = {}
        self._after: dict[str, Envelope] = {}
        self._why: dict[str, str] = {}
        self._told_before: set[tuple[str, str]] = set()
        """Service and id of each deployment that the events of before name."""

    def add(self, before: Receipt | str, after: Receipt | str, recorded: Collection[str]) -> None:
        """Takes what one webhook comes to on both sides, or why it is not received there.

        `recorded` are the ids of what the ledger has of it: a deployment of before is told by many webhooks, and is
        an event only of the one that caught up on it.
        """
        self.deliveries += 1
        old = _envelopes(before)
        self._told_before |= {place for one in old for place in _deployments(one)}
        new = [self._as_told_before(one) for one in _envelopes(after)]
        caught_up = {_missed(one) for one in old if {one.id, retold(one, one.twins).id} & set(recorded)} | {None}
        for side, envelopes, other in ((self._before, old, after), (self._after, new, before)):
            for one in envelopes:
                if _missed(one) in caught_up:
                    side[one.id] = one
                    self._why[one.id] = _why(other)

    def _as_told_before(self, envelope: Envelope) -> Envelope:
        """The statement of after, about deployments by the ids that they have before."""
        names = {
            id_: envelope.twins[id_]
            for service, id_ in _deployments(envelope)
            if (service, envelope.twins[id_]) in self._told_before and (service, id_) not in self._told_before
        }
        return retold(envelope, names) if names else envelope

    @property
    def unchanged(self) -> int:
        """How many statements are the same."""
        both = self._before.keys() & self._after.keys()
        return sum(_told(self._before[id_]) == _told(self._after[id_]) for id_ in both)

    @property
    def differs(self) -> bool:
        """Whether anything changes."""
        return next(self.changes(), None) is not None

    def changes(self) -> Iterator[Change]:
        """What differs, in the order of receipt."""
        for id_ in self._why:
            before, after = self._before.get(id_), self._after.get(id_)
            if before is None:
                yield Change("added", None, after, self._why[id_])
            elif after is None:
                yield Change("removed", before, None, self._why[id_])
            elif _told(before) != _told(after):
                yield Change("changed", before, after)


def _envelopes(receipt: Receipt | str) -> Sequence[Envelope]:
    """The calls. Those that need an application key count as well: whether there is one is no matter of rules."""
    if isinstance(receipt, str):
        return ()
    return [one for one in receipt.envelopes if one.method and one.reason != OBSERVED]


def _deployments(envelope: Envelope) -> Sequence[tuple[str, str]]:
    """Service and id of each deployment that it names."""
    service = envelope.concerns.get("service") or "".join(envelope.services)
    return [(service, id_) for id_ in envelope.twins]


def _missed(envelope: Envelope) -> int | None:
    """Its number in the sender's history, if it is reported only where it was missed."""
    history = envelope.history
    return history.number if history is not None and history.role == "missed" else None


def _why(other: Receipt | str) -> str:
    if isinstance(other, str):
        return other
    if any(_missed(one) is None for one in _envelopes(other)):
        return ""
    note = other.envelopes[0]
    word = "a dead letter" if note.state == "dead_lettered" else note.state
    return f"{word}: {note.reason}{f' ({note.rule})' if note.rule else ''}"


def _told(envelope: Envelope) -> dict[str, Any]:
    return {"path": envelope.path, **envelope.attributes}


def _rule(envelope: Envelope | None) -> str:
    return "" if envelope is None else envelope.rule


def as_text(change: Change) -> str:
    """One line, and under it what changes in the event, or what the event is."""
    one, call = change.envelope, call_of(change.envelope)
    lines = [f"{change.what:8} {one.id}  {call.method} {call.path}"]
    if change.what == "changed":
        rules = [_rule(side) or "no rule" for side in (change.before, change.after)]
        if rules[0] != rules[1]:
            lines.append(f"         by {rules[1]}, before by {rules[0]}")
        lines += [f"         {each.place}: {shown(each.before)} -> {shown(each.after)}" for each in change.differences]
        return "\n".join(lines)
    named = [name for name in ("service", "services", "env") if name in one.attributes]
    about = [f"{name} {shown(one.attributes[name])}" for name in named] + ([f"by {one.rule}"] if one.rule else [])
    if about:
        lines.append(f"         {', '.join(about)}")
    if change.why:
        lines.append(f"         {'before' if change.what == 'added' else 'now'} {change.why}")
    return "\n".join(lines)
