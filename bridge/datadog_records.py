"""Deployments and failures as Datadog reads them back. Pure.

Source: API reference, "Get a list of deployment events", "Get a list of failure events". Times are documented as
integers and come as RFC 3339 text; both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.times import from_epoch, from_rfc3339

Kind = Literal["deployment", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatadogRecord:
    """One record of a list. Times are nanoseconds since the epoch, UTC; None where Datadog gives none."""

    kind: Kind
    id: str
    services: tuple[str, ...] = ()
    """One of a deployment."""
    env: str = ""
    identity: str = ""
    """What Datadog recognises a version by: the commit, else the version; empty if it has neither."""
    started_at: int | None = None
    finished_at: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """All of them, as Datadog gave them."""

    @property
    def moment(self) -> int | None:
        """When it happened: the end of a deployment, the start of a failure."""
        return self.finished_at if self.kind == "deployment" else self.started_at


def record_of(row: Mapping[str, Any], kind: Kind) -> DatadogRecord:
    """The record of one object of `data`. Raises: ValueError if it is not one."""
    attributes = row.get("attributes")
    identifier = row.get("id") or (attributes or {}).get("id")
    if not isinstance(attributes, Mapping) or not isinstance(identifier, str):
        raise ValueError("a record without id or attributes")
    return DatadogRecord(
        kind=kind,
        id=identifier,
        services=services_of(attributes),
        env=str(attributes.get("env") or ""),
        identity=identity_of(attributes),
        started_at=time_of(attributes.get("started_at")),
        finished_at=time_of(attributes.get("finished_at")),
        attributes=attributes,
    )


def services_of(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The services of a deployment or failure; `team:<handle>` for a failure that names only a team."""
    services = attributes.get("services") or [attributes.get("service")]
    named = tuple(str(one) for one in services if one) if isinstance(services, list) else ()
    return named or ((f"team:{attributes['team']}",) if attributes.get("team") else ())


def identity_of(attributes: Mapping[str, Any]) -> str:
    """By what Datadog's change failure detection recognises a version: the commit, else the version, else ''.

    Source: "Change failure detection", Rollback: by commit SHA if there is git metadata, else by version.
    """
    git = attributes.get("git")
    commit = git.get("commit_sha") if isinstance(git, Mapping) else None
    return str(commit).lower() if commit else str(attributes.get("version") or "")


def time_of(value: object) -> int | None:
    """Nanoseconds since the epoch of a time as Datadog gives it; None if it is none."""
    for convert in (from_rfc3339, from_epoch):
        try:
            return convert(value)
        except ValueError:
            continue
    return None
