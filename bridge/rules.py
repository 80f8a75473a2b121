"""Rules of the configuration file: rename, map or drop what a source translated, and say which rule it was. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from bridge.dora import ChangeFailure, Deployment, Fact, Failure
from bridge.errors import PayloadInvalid
from bridge.ids import one_of_several

_STRICT = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
_PLACEHOLDER = re.compile(r"\$([1-9])", re.ASCII)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_SEVERAL = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Globs = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, _SEVERAL]}),
]
Value = Annotated[str, Field(min_length=1)]


class Match(BaseModel):
    """Globs (`*`, `?`; case counts), one or a list of alternatives for each; all that are given must match."""

    model_config = _STRICT

    _order: tuple[str, ...] = ()

    endpoint: Globs = Field((), description="Name of the endpoint, the last part of its URL")
    kind: Globs = Field((), description="Kind of event, e.g. deployment_status or incident.triggered")
    repository: Globs = Field((), description="GitHub's owner/name")
    environment: Globs = Field((), description="Environment, in the vendor's words or as translated")
    service: Globs = Field((), description="Service as translated")
    team: Globs = Field((), description="Team as translated, or the vendor's name of it")
    workflow: Globs = Field((), description="Path of the GitHub workflow")
    branch: Globs = Field((), description="Branch or target revision")
    application: Globs = Field((), description="Name of the Argo CD application")
    labels: Globs = Field((), description="Any one label, e.g. tier=web or pagerduty_service:PXYZ")

    @model_validator(mode="wrap")
    @classmethod
    def _in_order(cls, value: Any, build: ModelWrapValidatorHandler[Match]) -> Match:
        match = build(value)
        match._order = tuple(value) if isinstance(value, dict) else ()
        return match

    @property
    def given(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Its keys with their globs, in the order of the file, which decides what `$1` is."""
        return [(name, getattr(self, name)) for name in self._order]

    @property
    def stars(self) -> int:
        """How many of `$1`, `$2`, … always have something to stand for."""
        counts: list[int] = []
        for _, globs in self.given:
            counts += [glob.count("*") for glob in globs if "*" in glob]
            if all("*" in glob for glob in globs):
                return min(counts)
        return 0


class Set(BaseModel):
    """New values. `$1`, `$2`, … stand for what the stars of the first `match` glob that has stars matched."""

    model_config = _STRICT

    service: Value | None = Field(None, description="The one service")
    services: tuple[Value, ...] | None = Field(
        None, min_length=1, description="Several services: one event for each deployment"
    )
    env: Value | None = None
    team: Value | None = None
    version: Value | None = None
    tags: tuple[str, ...] = Field((), description="Added to custom_tags, each key:value")

    @model_validator(mode="after")
    def _check(self) -> Set:
        if self.service is not None and self.services is not None:
            raise ValueError("give service or services, not both")
        if any(not key or not colon for key, colon, _ in (tag.partition(":") for tag in self.tags)):
            raise ValueError("each of tags is key:value")
        return self


class Rule(BaseModel):
    model_config = _STRICT

    name: str = Field("", description="Shown where the rule applied; its number in the file otherwise")
    match: Match
    set_: Set | None = Field(None, alias="set")
    drop: str | None = Field(None, min_length=1, description="Why such events are not reported")

    @model_validator(mode="after")
    def _check(self) -> Rule:
        if (self.set_ is None) == (self.drop is None):
            raise ValueError("give either set or drop")
        wanted = max(map(int, _PLACEHOLDER.findall(repr(self.set_))), default=0)
        if wanted > self.match.stars:
            raise ValueError(f"set has ${wanted}, for which match has no star in each case")
        return self

    def called(self, position: int) -> str:
        """Its name; without one its position in the file, from 1."""
        return self.name or f"rule {position}"

    @property
    def named_services(self) -> tuple[str, ...]:
        """The services that it names itself, whatever its stars match."""
        services = () if self.set_ is None else (self.set_.service, *(self.set_.services or ()))
        return tuple(one for one in services if one and not _PLACEHOLDER.search(one))


def apply(rules: Sequence[Rule], fact: Fact, traits: Mapping[str, Any]) -> tuple[Sequence[Fact], str, str]:
    """The facts that the first matching rule makes of this one, the rule's name, and why it drops (else empty).

    A PATCH or DELETE names a record by its id, so only its service and env, which order it, follow the rule.
    Raises: PayloadInvalid when what a star matched makes no legal value.
    """
    if not rules:
        return (fact,), "", ""
    values = _values(fact, traits)
    for number, rule in enumerate(rules, start=1):
        captured = _matches(rule.match, values)
        if captured is None:
            continue
        name = rule.called(number)
        if rule.drop is not None:
            return (), name, rule.drop
        try:
            return _changed(fact, _filled(rule.set_, captured)), name, ""
        except ValidationError as error:
            raise PayloadInvalid(f"{name} makes an empty or malformed value of what its stars matched") from error
    return (fact,), "", ""


def _values(fact: Fact, traits: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What each key of `match` is compared with."""
    values = {name: _tuple(value) for name, value in traits.items()}
    if isinstance(fact, Failure):
        services: tuple[str, ...] = fact.services
    else:
        services = _tuple(getattr(fact, "service", None))
    values["service"] = services or values.get("service", ())
    values["environment"] = (*_tuple(getattr(fact, "env", None)), *values.get("environment", ()))
    values["team"] = (*_tuple(getattr(fact, "team", None)), *values.get("team", ()))
    return values


def _tuple(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) if value else ()


def _matches(match: Match, values: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    captured: tuple[str, ...] = ()
    for name, globs in match.given:
        found = next(
            (hit for glob in globs for value in values.get(name, ()) if (hit := glob_regex(glob).fullmatch(value))),
            None,
        )
        if found is None:
            return None
        captured = captured or found.groups()
    return captured


@cache
def glob_regex(glob: str) -> re.Pattern[str]:
    """What a glob matches as a whole, with a group for each star."""
    parts = {"*": "(.*)", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in glob), re.DOTALL)


def _filled(change: Set | None, captured: tuple[str, ...]) -> Set:
    if change is None or not captured:
        return change or Set()

    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(lambda hit: captured[int(hit[1]) - 1], text)

    values = change.model_dump(exclude_none=True)
    return Set(
        **{name: fill(value) if isinstance(value, str) else tuple(map(fill, value)) for name, value in values.items()}
    )


def _changed(fact: Fact, change: Set) -> Sequence[Fact]:
    services = change.services or ((change.service,) if change.service else None)
    if isinstance(fact, Failure):
        new = {name: value for name in ("env", "team", "version") if (value := getattr(change, name)) is not None}
        origins = {**fact.origins, **dict.fromkeys(new, "rule"), **({"services": "rule"} if services else {})}
        return (
            replace(
                fact,
                **new,
                services=services or fact.services,
                custom_tags=(*fact.custom_tags, *change.tags),
                origins=origins,
            ),
        )
    if isinstance(fact, Deployment):
        new = {name: value for name in ("env", "team", "version") if (value := getattr(change, name)) is not None}
        origins = {**fact.origins, **dict.fromkeys(new, "rule"), **({"service": "rule"} if services else {})}
        whole = replace(fact, **new, custom_tags=(*fact.custom_tags, *change.tags), origins=origins)
        if change.version is not None:
            whole = replace(whole, version_as=None)
        if not services:
            return (whole,)
        if len(services) == 1:
            return (whole.named(services[0]),)
        return tuple(replace(whole.named(one), id=one_of_several(fact.id, one), twin=fact.id) for one in services)
    if isinstance(fact, ChangeFailure):
        env = change.env if change.env is not None else fact.env
        if not services or len(services) == 1:
            return (replace(fact, env=env, service=services[0] if services else fact.service),)
        return tuple(
            replace(
                fact,
                env=env,
                service=one,
                deployment_id=one_of_several(fact.deployment_id, one),
                remediation_id=one_of_several(fact.remediation_id, one) if fact.remediation_id else None,
                twin=fact.deployment_id,
                remediation_twin=fact.remediation_id or "",
            )
            for one in services
        )
    return (fact,)
