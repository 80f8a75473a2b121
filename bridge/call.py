"""The call that states an envelope, as it is really made: the worker, `translate` and explanations ask here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.envelope import Envelope, adjusted, as_opened
from bridge.incident_management import call_of_incident, is_incident

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    body: Mapping[str, Any] | None


def call_of(
    envelope: Envelope,
    *,
    opening: Mapping[str, Any] = _NOTHING,
    adjustment: Mapping[str, Any] = _NOTHING,
    uuid: str = "",
) -> Call:
    """The call, with what the ledger knows of the fact.

    A failure is made to match its `opening`, a deployment gets its `adjustment`, and the call about an incident in
    Incident Management is made of its `uuid`: Datadog's id, for which `{uuid}` stands as long as there is none.
    """
    if is_incident(envelope) or (uuid and not envelope.by):
        # also if `send_as` was changed since: what was opened in Incident Management ends there
        return Call(*call_of_incident(envelope, opening=opening, uuid=uuid))
    body = envelope.body
    if body is not None and envelope.method == "POST" and (opening or adjustment):
        attributes = as_opened(envelope.attributes, opening) if opening else adjusted(envelope.attributes, adjustment)
        body = {**body, "data": {**body["data"], "attributes": attributes}}
    return Call(envelope.method, envelope.path, body)
