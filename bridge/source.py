"""Source: what one sender is, as a frozen value, and what its translation may know and say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.dora import Fact
from bridge.signatures import Scheme


class Options(BaseModel):
    """What every endpoint of the configuration file may set, whatever its kind. Sources add their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,24}$",
        description="Put into every id, for two accounts of one vendor whose ids could be equal",
    )
    ignore_older_than_hours: float = Field(
        0, ge=0, description="Ignore deployments that finished longer ago; 0 never ignores"
    )
    max_body_bytes: int = Field(25 * 1024 * 1024, gt=0, description="Larger bodies are answered with 413")


@dataclass(frozen=True, slots=True)
class Context:
    """What a translation may know besides the payload. No clock: a fact does not depend on when it is read."""

    options: Any
    """An instance of the source's own `Source.options`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Of the URL the sender was given, e.g. `?env=production`."""
    application_key: bool = False
    """Whether calls that need a Datadog application key can be made."""


Traits = Mapping[str, str | tuple[str, ...] | None]
"""What rules can match besides the facts: repository, workflow, branch, application, labels, environment."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What one webhook says: facts, or why there is nothing to report."""

    facts: Sequence[Fact] = ()
    ignored: str = ""
    """Why there is nothing to report; empty when there are facts."""
    traits: Traits = field(default_factory=dict)


def nothing(reason: str, traits: Traits | None = None) -> Translation:
    """Seen and understood, and nothing to report, for this reason (a sentence without payload values)."""
    return Translation(ignored=reason, traits=traits or {})


@dataclass(frozen=True, slots=True)
class Source:
    """One sender. `bridge/sources/` has one file for each; `SOURCES` is the table of them."""

    name: str
    scheme: Scheme
    kind: Callable[[Mapping[str, str], bytes], str]
    """Names the event from headers and JSON body. Raises PayloadInvalid when it cannot be told."""
    models: Mapping[str, type[BaseModel]]
    """kind -> what we read of it. A kind that is not listed is acknowledged and ignored."""
    translate: Callable[[Any, Context], Translation]
    """A model and the context -> what it says. Raises PayloadInvalid when a fact cannot be stated truthfully."""
    delivery_id: Callable[[Mapping[str, str], bytes], str | None]
    """The vendor's id of this delivery, the same on each redelivery; None where there is none."""
    headers: Callable[[bytes, str | None], dict[str, str]]
    """The headers, but for the signature, with which this sender would post the body; the kind may be given."""
    options: type[Options] = Options
    retries_mismatch: bool = False
    """Whether a signature that matches no secret is answered with 503, since the sender keeps the event then."""


def first(*candidates: tuple[str | None, str]) -> tuple[str | None, str]:
    """The first candidate with a value, with the place it came from; `(None, "")` if there is none.

    Blank strings count as absent and values are stripped.
    """
    for value, origin in candidates:
        if value is not None and value.strip():
            return value.strip(), origin
    return None, ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that one sender posts to: `/webhooks/{name}`."""

    name: str
    source: Source
    options: Options
