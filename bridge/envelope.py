"""Envelope: one fact on its way, with its identities; to and from JSON, versioned.

Two identities:

- `datadog_id` names the fact, as Datadog sees it. An opening and its closing share it.
- `id` names one statement of it, and is the id of the ledger: `<datadog_id>` for a deployment; `<datadog_id>~open`,
  `…~closed` for a failure, `…~withdrawn` for the DELETE of either; `…~change-failure`, `…~remedied` for a PATCH that
  a webhook asks for, and `…~verdict-<n>` for the n-th that the bridge concludes or a person asks for. It is made from
  the fact and not from the vendor's delivery id, so a redelivery is recognised even when a second subscription or a
  forged header gives it another delivery id.

A webhook that says nothing, or nothing true, becomes a *note*: an envelope without a call, whose id is made from
endpoint, delivery id and body (`in-<32 hex>`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, get_args

from bridge.compact import compact
from bridge.dora import ChangeFailure, ChangeFailureByVersion, Deployment, Fact, Failure, History, Occurrence
from bridge.ids import one_of_several

VERSION = 1

State = Literal["waiting", "delivered", "ignored", "superseded", "dead_lettered", "discarded"]
"""Where a statement stands: waiting for Datadog, or at one of its ends."""
STATES: tuple[State, ...] = get_args(State)

_MICROSECOND = 1_000
_PHASE = 3_000_000_000_000_000
"""Distance between the phases of a failure on the order scale, in microseconds: beyond any real time, and small
enough that Redis keeps the sums exact (2⁵³)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    id: str
    endpoint: str
    source: str
    kind: str = ""
    """Empty if it could not be told."""
    received_at: int
    """Nanoseconds since the epoch, UTC."""
    delivery: str = ""
    """The vendor's delivery id, empty where it has none."""
    secret: int = 0
    """Position, from 1, of the secret that matched; 0 if none was checked (dry run)."""
    rule: str = ""
    """Which rule of the configuration matched."""
    by: str = ""
    """Who asked for it, where no webhook did but a person."""
    raw: str = ""
    """The place under which the ledger keeps the body; empty: this one's id."""
    trace: str = field(default="", compare=False)
    """The `traceparent` of what received it, where it is traced (`tracing.py`)."""
    state: State = "waiting"
    reason: str = ""
    """Why it is ignored or a dead letter."""

    datadog_id: str = ""
    fact: str = ""
    """What `rank` compares within: the fact's id, or the PATCH of it."""
    rank: str = ""
    """A later statement about one fact has a greater rank (text order); equal means the same statement."""
    key: str = ""
    """Statements of one key go out one after the other."""
    order: int = 0
    """Position within the key, below 2⁵³."""
    method: str = ""
    path: str = ""
    body: Mapping[str, Any] | None = None
    needs_opening: str = ""
    """Not empty: what becomes of it if the ledger knows no opening: `ignored: …` or `dead_lettered: …`."""
    after: tuple[str, ...] = ()
    """Datadog ids of the deployments that Datadog must have first."""
    origins: Mapping[str, str] = field(default_factory=dict)
    history: History | None = field(default=None, compare=False)
    twins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Of each deployment that it names by an id of today's rules: the id it has if it was reported when it concerned
    another number of services. See twins.py."""
    called: Mapping[str, str] = field(default_factory=dict)
    """Of each deployment that was reported under such an id: how the rules at its receipt call it."""
    occurrence: Occurrence | None = field(default=None, compare=False)
    cures: str = field(default="", compare=False)
    """The id of the dead letter that it makes obsolete."""
    concerns: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Of a PATCH that a webhook asks for: `service`, `env`, and `at` (ms) of the failed deployment. Of the DELETE of a
    deployment: its `service`."""

    @property
    def is_catch_up(self) -> bool:
        """Whether it is not what its webhook is about, and reported only where it was not before."""
        return self.history is not None and bool(self.history.role)

    @property
    def said_as(self) -> str:
        """Its id as the rules at its receipt make it; see `called`."""
        return self.called.get(self.datadog_id, self.datadog_id) + self.id[len(self.datadog_id) :]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What Datadog is told: the attributes of the body, empty for a call without one."""
        return self.body["data"]["attributes"] if self.body else {}

    @property
    def services(self) -> tuple[str, ...]:
        attributes = self.attributes
        return tuple(attributes.get("services") or filter(None, [attributes.get("service")]))

    def to_json(self) -> str:
        """Compact JSON without empty fields, and without what the id says; `origins` are kept with the body.

        `history`, `twins`, `occurrence`, `cures` and `concerns` matter only while it is recorded.
        """
        fields: dict[str, Any] = {"v": VERSION}
        fields |= {name: value for name, value in zip(_STORED, _stored_of(self), strict=True) if value}
        if not self.datadog_id or self.datadog_id == _datadog_id(self.id):
            fields.pop("datadog_id", None)
            if self.fact == self.datadog_id:
                fields.pop("fact", None)
        return compact(fields)

    @classmethod
    def from_json(cls, text: str | bytes) -> Envelope:
        """The envelope of its JSON. Fields that a newer version of the code added are left out.

        Raises: ValueError for JSON that is no envelope, or of a version this code cannot read.
        """
        try:
            fields = json.loads(text)
        except RecursionError as error:
            raise ValueError("not an envelope") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("v"), int):
            raise ValueError("not an envelope")
        if fields["v"] > VERSION:
            raise ValueError(f"an envelope of version {fields['v']}; this code reads up to {VERSION}")
        known = {name: value for name, value in fields.items() if name in _STORED}
        try:
            if known.get("method") and known.get("id"):
                known.setdefault("datadog_id", _datadog_id(known["id"]))
                known.setdefault("fact", known["datadog_id"])
            known["after"] = tuple(known.get("after", ()))
            return cls(**known)
        except (TypeError, AttributeError) as error:
            raise ValueError("an envelope without what every one has") from error


_PASSING = ("origins", "history", "twins", "occurrence", "cures", "concerns")
_STORED = tuple(name for name in Envelope.__slots__ if name not in _PASSING)
_stored_of = attrgetter(*_STORED)


def _datadog_id(identifier: str) -> str:
    return identifier.partition("~")[0]


def identity(fact: Fact | ChangeFailureByVersion) -> dict[str, Any]:
    """The fields of an envelope that follow from the fact alone."""
    call: dict[str, Any] = {
        "datadog_id": fact.id,
        "key": fact.key,
        "method": fact.method,
        "path": fact.path,
        "body": fact.body,
    }
    if isinstance(fact, Deployment):
        return call | {
            "id": fact.id,
            "fact": fact.id,
            "rank": "0",
            "order": fact.finished_at // _MICROSECOND,
            "history": fact.history,
            "twins": {fact.id: fact.twin or one_of_several(fact.id, fact.service)},
        }
    if isinstance(fact, ChangeFailure):
        word, rank = ("remedied", "1") if fact.remediation_id else ("change-failure", "0")
        if fact.revision:
            word, rank = f"verdict-{fact.revision}", f"2.{fact.revision:09d}"
        after = tuple(filter(None, (fact.deployment_id, fact.remediation_id)))
        return call | {
            "id": f"{fact.id}~{word}",
            "fact": f"{fact.id}~change-failure",
            "rank": rank,
            "order": fact.revision,
            "after": after,
            "concerns": {} if fact.revision else _concerns(fact),
            "history": fact.history,
            "twins": {} if fact.revision else _twins(fact),
        }
    if isinstance(fact, ChangeFailureByVersion):
        return call | {
            "id": f"{fact.id}~verdict-{fact.revision}",
            "fact": f"{fact.id}~change-failure",
            "rank": f"2.{fact.revision:09d}",
            "order": fact.revision,
            "after": (fact.remediation_id,) if fact.remediation_id else (),
        }
    if isinstance(fact, Failure):
        phase, word = (1, "closed") if fact.finished_at is not None else (0, "open")
        suffix = f"-{fact.revision}" if fact.revision else ""
        return call | {
            "id": f"{fact.id}~{word}{suffix}",
            "fact": fact.id,
            "rank": f"{phase}.{fact.revision:019d}",
            "order": phase * _PHASE + fact.revision // _MICROSECOND,
            "needs_opening": _without_opening(fact),
            "occurrence": fact.occurrence,
        }
    suffix, rank = (f"-{fact.revision}", f"2.{fact.revision:09d}") if fact.revision else ("", "2")
    call |= {
        "id": f"{fact.id}~withdrawn{suffix}",
        "fact": fact.id,
        "rank": rank,
        "order": 2 * _PHASE + _PHASE // 2 + fact.revision,
        "occurrence": fact.occurrence,
    }
    if fact.what == "deployment":
        return call | {"after": (fact.id,), "concerns": {"service": fact.service} if fact.service else {}}
    if fact.uuid:
        return call
    return call | {"needs_opening": "ignored: the incident that was merged away was never reported"}


def _concerns(fact: ChangeFailure) -> dict[str, Any]:
    at = {} if fact.at is None else {"at": fact.at // 1_000_000}
    return {"service": fact.service, "env": fact.env or ""} | at


def _twins(fact: ChangeFailure) -> dict[str, str]:
    named = {fact.deployment_id: fact.twin, fact.remediation_id: fact.remediation_twin}
    return {id_: twin or one_of_several(id_, fact.service) for id_, twin in named.items() if id_}


_TOO_LATE = (
    "the opening of this incident is not in the ledger, and Incident Management takes the time of a call for the "
    "beginning: it would be wrong"
)


OPENED_TOO_LATE = (
    "its end came more than ten minutes before it, and Incident Management takes the time of a call for the "
    "beginning: it would be wrong"
)


def _without_opening(fact: Failure) -> str:
    if fact.only_if_open:
        return f"ignored: {fact.only_if_open}"
    if fact.send_as == "incident" and fact.finished_at is not None:
        return f"dead_lettered: {_TOO_LATE}"
    if fact.started_at is None:
        return "dead_lettered: no start time in the webhook, and the opening of this incident is not in the ledger"
    if not fact.services and not fact.team:
        return "dead_lettered: neither services nor team, and the opening of this incident is not in the ledger"
    return ""


_AS_OPENED = ("env", "services", "team", "started_at")
"""Datadog matches a closing to its opening by these (DORA set-up, API tab), so they are repeated as first sent."""


def as_opened(attributes: Mapping[str, Any], opening: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a later statement about a failure, made to match its opening.

    What Datadog matches by is taken from the opening; the rest from this statement, else from the opening, since
    Datadog replaces the whole record; tags are united.
    """
    merged = {**opening, **attributes}
    for name in _AS_OPENED:
        merged.pop(name, None)
        if name in opening:
            merged[name] = opening[name]
    tags = list(dict.fromkeys([*attributes.get("custom_tags", ()), *opening.get("custom_tags", ())]))[:100]
    return {**merged, "custom_tags": tags} if tags else merged


_SECOND_NS = 1_000_000_000


def adjusted(attributes: Mapping[str, Any], adjustment: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a deployment, with what the ledger decided about it (lua/head.lua), tagged where it changes them.

    `second`: it finished in this second, since another one of its service and env has its own. `anonymous`: it comes
    late, its commit or version was sent before, and no PATCH could say that it is no rollback: without them it cannot
    look like one to Datadog ("Change failure detection": by commit, else by version).
    """
    changed, tags = dict(attributes), []
    if "second" in adjustment:
        changed["finished_at"] = int(adjustment["second"]) * _SECOND_NS
        tags.append("second_adjusted:true")
    if adjustment.get("anonymous"):
        changed.pop("git", None)
        changed.pop("version", None)
        tags.append("late:true")
    if tags:
        changed["custom_tags"] = [*changed.get("custom_tags", ())][: 100 - len(tags)] + tags
    return changed
