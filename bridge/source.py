"""Source: what one sender is, as a frozen value, and what its translation may know and say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from bridge.dora import Fact
from bridge.signatures import Scheme

API_URL = r"^https?://[^\s/?#@]+(/[^\s?#]*[^\s?#/])?$"
"""The address of a vendor's API: no credentials, no query, no slash at its end."""


def _off(value: object) -> object:
    return "off" if value is False else value


LinkingMode = Annotated[Literal["off", "observe", "auto"], BeforeValidator(_off)]
"""To YAML 1.1, which PyYAML reads, a bare `off` is false."""


class EndpointLinking(BaseModel):
    """What differs from the section `linking` for one endpoint; None where nothing does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: LinkingMode | None = None
    window_hours: float | None = Field(None, gt=0, allow_inf_nan=False)
    environments: tuple[str, ...] | None = None


def _mode_alone(value: object) -> object:
    return {"mode": value} if isinstance(value, str | bool) else value


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
    linking: Annotated[
        EndpointLinking | None,
        BeforeValidator(_mode_alone),
        WithJsonSchema({"anyOf": [{"enum": ["off", "observe", "auto"]}, EndpointLinking.model_json_schema()]}),
    ] = Field(
        None,
        description="off, observe or auto, or a mapping like the section linking: how its incidents, and what it says"
        " itself of failed deployments, become change failures. By default as the section says for incidents, and auto"
        " for what it says itself",
    )

    @property
    def linking_mode(self) -> LinkingMode | None:
        """The mode of this endpoint, if it has one of its own."""
        return self.linking.mode if self.linking else None

    max_body_bytes: int = Field(25 * 1024 * 1024, gt=0, description="Larger bodies are answered with 413")

    @property
    def named_services(self) -> tuple[tuple[str, str], ...]:
        """The services that the options name, each with the option that does."""
        return ()


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


NOT_A_CHANGE = "not-a-change"
"""A label, or tag, with which people say at the source that an incident comes from no change; case is ignored."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Somebody labelled an incident as not-a-change, or took the label off. Datadog has no call for it."""

    failure_id: str
    is_set: bool
    at: int
    """Nanoseconds since the epoch: of two words the later one counts."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What one webhook says: facts, or why there is nothing to report."""

    facts: Sequence[Fact] = ()
    ignored: str = ""
    """Why there is nothing to report; there may be facts that were missed before all the same."""
    traits: Traits = field(default_factory=dict)
    mark: Mark | None = None


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
    matchable: Callable[[Any], Mapping[str, frozenset[str]]]
    """Options -> each kind of which facts are made, with the keys of `match`, apart from `endpoint` and `kind`, that
    it can have values for. Rules that want anything else never match; `dora-bridge check` says so."""
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
