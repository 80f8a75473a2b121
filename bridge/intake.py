"""The whole inbound story: verify, parse, translate, apply the rules, check, wrap. Pure.

The web process, `dora-bridge translate`, a redrive of a dead letter and the tests all call the same `receive`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import pydantic
import pydantic_core

from bridge import rules as rules_
from bridge.dora import ChangeFailure, Deployment, Fact, Failure, Withdrawal
from bridge.envelope import Envelope, identity
from bridge.errors import PayloadInvalid
from bridge.rules import Rule
from bridge.source import Context, Endpoint, LinkingMode, Translation
from bridge.times import SECOND

_TOO_OLD = 1_262_304_000 * SECOND  # 2010-01-01: before any of the four senders; such a time is a wrong unit
_FUTURE = 5 * 60 * SECOND  # clocks of senders are allowed to be ahead of ours by this much
_CLOCK_STEP = 2 * SECOND  # GitHub and Argo CD note seconds on several machines: an end may seem before its start

OBSERVED = "linking of this endpoint is observe: a person has to apply it"
_KEPT_HEADERS = (
    "content-type",
    "user-agent",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-github-hook-installation-target-type",
    "x-github-hook-installation-target-id",
    "x-github-enterprise-host",
    "x-github-enterprise-version",
    "x-webhook-id",
    "x-webhook-subscription",
    "dd_env",
)
"""What is kept of a delivery's headers: what a translation reads and what a person asks for; never credentials."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One posted webhook, as it came. Header names are in lower case."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    @property
    def kept_headers(self) -> dict[str, str]:
        return {name: self.headers[name] for name in _KEPT_HEADERS if name in self.headers}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one delivery came to: envelopes to deliver, or one note that says why there is none."""

    envelopes: Sequence[Envelope]
    note_id: str
    """The id a note about this very delivery has: if an earlier one was a dead letter, this receipt cures it."""


def verify(endpoint: Endpoint, delivery: Delivery, secrets: Sequence[bytes]) -> int:
    """Position, from 1, of the secret that authenticates the delivery.

    Raises: SignatureMissing, SignatureMismatch.
    """
    return endpoint.source.scheme.verify(delivery.headers, delivery.body, secrets)


def receive(
    endpoint: Endpoint,
    delivery: Delivery,
    *,
    secret: int,
    now: int,
    rules: Sequence[Rule] = (),
    application_key: bool = False,
    trace: str = "",
) -> Receipt:
    """What an authentic delivery comes to. Never raises for what a sender may post.

    `secret` is the position that `verify` returned (0 in a dry run); `now` is nanoseconds since the epoch, UTC;
    `trace` is the traceparent that its envelopes carry.
    """
    source = endpoint.source
    vendor_id = source.delivery_id(delivery.headers, delivery.body) or ""
    note_id = _note_id(endpoint, vendor_id, delivery.body)
    kind = ""

    def wrap(**fields: Any) -> Envelope:
        return Envelope(
            endpoint=endpoint.name,
            source=source.name,
            kind=kind,
            received_at=now,
            delivery=vendor_id,
            secret=secret,
            trace=trace,
            **fields,
        )

    try:
        body = _json_of(delivery)
        kind = source.kind(delivery.headers, body)
        model = source.models.get(kind)
        if model is None:
            pydantic_core.from_json(body)
            return Receipt([wrap(id=note_id, state="ignored", reason="this kind of event is not reported")], note_id)
        event = model.model_validate_json(body)
        context = Context(endpoint.options, delivery.headers, delivery.query, application_key)
        translation = source.translate(event, context)
        notes = _notes(wrap, note_id, translation)
        if not translation.facts:
            return Receipt(notes, note_id)
        ruled, rule, dropped = _ruled(
            rules,
            translation.facts,
            {
                **translation.traits,
                "endpoint": endpoint.name,
                "kind": kind,
            },
        )
        if not ruled:
            return Receipt([wrap(id=note_id, state="ignored", reason=dropped, rule=rule)], note_id)
        linking = endpoint.options.linking_mode or "auto"
        if linking == "off":
            ruled = [fact for fact in ruled if not isinstance(fact, ChangeFailure)]
        if not ruled:
            reason = "linking of this endpoint is off"
            return Receipt([wrap(id=note_id, state="ignored", reason=reason, rule=rule)], note_id)
        facts = [true for fact in ruled if (true := _truthful_or_missed(fact, now)) is not None]
        if _are_all_older_than(facts, endpoint.options.ignore_older_than_hours, now):
            reason = "it finished longer ago than ignore_older_than_hours"
            return Receipt([wrap(id=note_id, state="ignored", reason=reason, rule=rule)], note_id)
    except (PayloadInvalid, pydantic.ValidationError, ValueError) as error:
        return Receipt([wrap(id=note_id, state="dead_lettered", reason=_why(error))], note_id)

    envelopes = [wrap(rule=rule, origins=fact.origins, **identity(fact)) for fact in facts]
    # of several, any may be known already, with the body of another webhook: so they share a place of their own
    place = note_id if len(envelopes) > 1 else ""
    settled = [_settled_here(envelope, application_key, linking, place) for envelope in envelopes]
    return Receipt([*notes, *settled], note_id)


def _notes(wrap: Callable[..., Envelope], note_id: str, translation: Translation) -> list[Envelope]:
    """A note of why there is nothing to report, or about a label; none if the facts are all."""
    mark, reason = translation.mark, translation.ignored
    if mark is None:
        return [wrap(id=note_id, state="ignored", reason=reason)] if reason else []
    concerns = {"incident": mark.failure_id, "label": "set" if mark.is_set else "off", "at": mark.at // 1_000_000}
    return [wrap(id=note_id, state="ignored", reason=reason or "noted for linking", concerns=concerns)]


def truthful(fact: Fact, now: int) -> Fact:
    """The fact, if its times can be true; its start moved to its end where two clocks differ by a step.

    Raises: PayloadInvalid naming the field.
    """
    if isinstance(fact, ChangeFailure | Withdrawal):
        return fact
    times = {"started_at": fact.started_at, "finished_at": fact.finished_at}
    if isinstance(fact, Failure) and fact.revision:
        times["the time of the event"] = fact.revision
    for name, time in times.items():
        if time is not None and time < _TOO_OLD:
            raise PayloadInvalid(f"{name} is before 2010: a wrong unit?")
        if time is not None and time > now + _FUTURE:
            raise PayloadInvalid(f"{name} is more than 5 minutes in the future")
    if fact.started_at is None or fact.finished_at is None or fact.started_at <= fact.finished_at:
        return fact
    if isinstance(fact, Deployment) and fact.started_at - fact.finished_at <= _CLOCK_STEP:
        tags = (*fact.custom_tags, "clock_adjusted:true")
        return replace(fact, started_at=fact.finished_at, custom_tags=tags)
    raise PayloadInvalid("finished_at is before started_at")


def _truthful_or_missed(fact: Fact, now: int) -> Fact | None:
    """The same; None for what is only told besides, and cannot be true: it must not hold up the rest."""
    try:
        return truthful(fact, now)
    except PayloadInvalid:
        if isinstance(fact, Deployment) and fact.history is not None and fact.history.role == "missed":
            return None
        raise


def _ruled(rules: Sequence[Rule], facts: Sequence[Fact], traits: Mapping[str, Any]) -> tuple[list[Fact], str, str]:
    """All facts after the rules, the name of the rule that matched, and why the last one was dropped."""
    kept: list[Fact] = []
    name = dropped = ""
    for fact in facts:
        results, rule, drop = rules_.apply(rules, fact, traits)
        kept += results
        name, dropped = name or rule, drop or dropped
    return kept, name, dropped


def _are_all_older_than(facts: Sequence[Fact], hours: float, now: int) -> bool:
    """Whether all that is told of deployments is of longer ago. What came before in a history does not count."""
    times = [time for fact in facts if (time := _time_of(fact)) is not None]
    return bool(hours and times) and all(now - time > hours * 3600 * SECOND for time in times)


def _time_of(fact: Fact) -> int | None:
    if isinstance(fact, Deployment):
        return None if fact.history and fact.history.role else fact.finished_at
    return fact.at if isinstance(fact, ChangeFailure) else None


def _settled_here(envelope: Envelope, application_key: bool, linking: LinkingMode, raw: str) -> Envelope:
    """With the place of its body; and ignored at once where it is not to be sent, or needs a key that is not there."""
    reason = ""
    if envelope.method == "PATCH" and linking == "observe":
        reason = OBSERVED
    elif envelope.method != "POST" and not application_key:
        reason = "this call needs an application key (DD_APP_KEY is not set)"
    if reason:
        return replace(envelope, raw=raw, state="ignored", reason=reason)
    return replace(envelope, raw=raw) if raw else envelope


def _json_of(delivery: Delivery) -> bytes:
    """The JSON: the body itself, or the field `payload` of a form (GitHub's second content type).

    A body that begins like an object is no form, whatever its type says: curl calls everything a form.
    """
    if delivery.body.lstrip()[:1] == b"{":
        return delivery.body
    if delivery.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        fields = parse_qs(delivery.body.decode("utf-8", "replace"))
        if len(fields.get("payload", ())) != 1:
            raise PayloadInvalid("a form without exactly one field `payload`")
        return fields["payload"][0].encode()
    return delivery.body


def _note_id(endpoint: Endpoint, vendor_id: str, body: bytes) -> str:
    digest = hashlib.sha256(body)
    digest.update(f"\0{endpoint.name}\0{vendor_id}".encode("utf-8", "surrogatepass"))
    return f"in-{digest.hexdigest()[:32]}"


def _why(error: Exception) -> str:
    """A sentence that names fields but repeats nothing of the payload."""
    if isinstance(error, pydantic.ValidationError):
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {_plain(problem)}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        return "; ".join(problems[:5])
    if isinstance(error, PayloadInvalid):
        return error.detail
    return "the body is not JSON"


def _plain(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "json_invalid":
        return "not JSON"
    return json.dumps(problem["msg"])[1:-1].removeprefix("Value error, ")
