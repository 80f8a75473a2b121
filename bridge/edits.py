"""Edits of a dead letter by a person: checked like what a source says, since Datadog gets it just the same. Pure.

An edit gives new values for attributes of the call, `null` for one that shall be left out. What the statement is about
stays: its id, and whether it opens or closes an incident.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from bridge.dora import FAILURE_PATHS, MAX_TAGS, Deployment, Fact, Failure, Git
from bridge.envelope import Envelope, identity
from bridge.errors import Invalid, PayloadInvalid
from bridge.intake import truthful
from bridge.times import from_epoch, from_rfc3339

_LONGEST = 1024
_SHA = re.compile(r"[a-fA-F0-9]{40,64}", re.ASCII)
MATCHED = ("env", "services", "team", "started_at")
"""Datadog finds the incident that a closing is about by these."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    if len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"must be at most {_LONGEST} printable characters")
    return value.strip()


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of texts, with at least one")
    return tuple(dict.fromkeys(_text(one) for one in value))


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_TAGS:
        raise ValueError(f"must be a list of at most {MAX_TAGS} tags")
    for tag in value:
        key, colon, rest = str(tag).partition(":")
        if not isinstance(tag, str) or not (key.strip() and colon and rest.strip()):
            raise ValueError("must be a list of key:value texts")
    return _texts(value) if value else ()


def _time(value: object) -> int:
    for convert in (from_epoch, from_rfc3339):
        try:
            return convert(value)
        except ValueError:
            continue
    raise ValueError("must be a time like 2030-01-31T12:00:00Z, or an epoch number of s, ms or ns")


def _git(value: object) -> Git:
    if not isinstance(value, Mapping) or set(value) != {"commit_sha", "repository_url"}:
        raise ValueError("must have commit_sha and repository_url, and nothing else")
    sha, url = _text(value["commit_sha"]), _text(value["repository_url"])
    if not _SHA.fullmatch(sha):
        raise ValueError("must have a commit_sha of 40 hex digits")
    if "://" in url and "@" in urlsplit(url).netloc:
        raise ValueError("must not have a name or password in repository_url")
    return Git(sha, url)


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _remediation(value: object) -> Mapping[str, str]:
    if (
        not isinstance(value, Mapping)
        or set(value) != {"id", "type"}
        or value["type"] not in ("rollback", "rollforward")
    ):
        raise ValueError("must have an id, and the type rollback or rollforward")
    return {"id": _text(value["id"]), "type": str(value["type"])}


Check = Callable[[object], Any]
_COMMON: Mapping[str, Check] = {
    "env": _text,
    "started_at": _time,
    "finished_at": _time,
    "version": _text,
    "team": _text,
    "git": _git,
    "custom_tags": _tags,
}
DEPLOYMENT: Mapping[str, Check] = {"service": _text, **_COMMON}
FAILURE: Mapping[str, Check] = {"services": _texts, **_COMMON, "name": _text, "severity": _text}
PATCH: Mapping[str, Check] = {"change_failure": _yes_or_no, "remediation": _remediation}


def editable(envelope: Envelope) -> Mapping[str, Check]:
    """The attributes that an edit may give, each with what reads its value; empty if nothing can be edited."""
    if envelope.method == "POST" and envelope.path == Deployment.path:
        return DEPLOYMENT
    if envelope.method == "POST" and envelope.path in FAILURE_PATHS.values():
        return FAILURE
    if envelope.method == "PATCH" and envelope.body:
        return PATCH
    return {}


def edited(
    envelope: Envelope, edits: Mapping[str, Any], *, now: int, opening: Mapping[str, Any], opening_is_known: bool
) -> tuple[Envelope, Mapping[str, Any]]:
    """The envelope with the new values, and the `opening` that later statements have to repeat.

    `opening_is_known`: Datadog has, or may have, the opening of this incident as it is. Raises: Invalid, naming the
    attribute.
    """
    checks = editable(envelope)
    if not checks:
        raise Invalid("this call has no attributes that could be edited")
    if "service" in edits and "services" in checks and "services" not in edits:
        edits = {("services" if name == "service" else name): value for name, value in edits.items()}
        if isinstance(edits["services"], str):
            edits["services"] = [edits["services"]]
    values: dict[str, Any] = {}
    for name, value in edits.items():
        if name not in checks:
            raise Invalid(f"{name}: {_not_editable(name, checks)}", name)
        try:
            values[name] = None if value is None else checks[name](value)
        except ValueError as error:
            raise Invalid(f"{name}: {error}", name) from error
    if checks is PATCH:
        return _patch(envelope, values), {}
    fact: Fact = (_deployment if checks is DEPLOYMENT else _failure)(envelope, values, opening)
    try:
        fact = truthful(fact, now)
    except PayloadInvalid as error:
        raise Invalid(error.detail, error.detail.partition(" ")[0]) from error
    if checks is DEPLOYMENT:
        return replace(envelope, **identity(fact)), {}
    changed = {name: _as_sent(value) for name, value in values.items()}
    if opening_is_known and envelope.rank[:1] != "0":
        for name in MATCHED:
            if name in changed and changed[name] != opening.get(name):
                raise Invalid(f"{name}: Datadog has the opening of this incident with another value", name)
    base = opening or {name: value for name, value in envelope.attributes.items() if name != "finished_at"}
    new_opening = {**base, **{name: value for name, value in changed.items() if name != "finished_at"}}
    return replace(envelope, **identity(fact)), {name: value for name, value in new_opening.items() if value}


def changes(before: Envelope, after: Envelope) -> dict[str, dict[str, Any]]:
    """attribute -> what it was and what it is now, of those that differ."""
    names = [*before.attributes, *(name for name in after.attributes if name not in before.attributes)]
    return {
        name: {"from": before.attributes.get(name), "to": after.attributes.get(name)}
        for name in names
        if before.attributes.get(name) != after.attributes.get(name)
    }


def _not_editable(name: str, checks: Mapping[str, Check]) -> str:
    if name == "id":
        return "it says what this is about, and cannot be changed"
    near = difflib.get_close_matches(name, checks, n=1)
    return f"no attribute of this call{f'; did you mean {near[0]}?' if near else ''}"


def _deployment(envelope: Envelope, values: Mapping[str, Any], opening: Mapping[str, Any]) -> Deployment:
    attributes = _merged(envelope.attributes, values)
    for name in ("service", "started_at", "finished_at"):
        if attributes.get(name) is None:
            raise Invalid(f"{name}: must not be empty, a deployment needs it", name)
    return Deployment(**attributes)


def _failure(envelope: Envelope, values: Mapping[str, Any], opening: Mapping[str, Any]) -> Failure:
    # a closing takes what it does not say from the opening
    attributes = _merged(envelope.attributes, values)
    whole = {**_merged(opening, {}), **{name: value for name, value in attributes.items() if value is not None}}
    whole |= {name: None for name, value in values.items() if value is None}
    closes = envelope.rank[:1] != "0"
    if whole.get("started_at") is None:
        raise Invalid("started_at: must not be empty, an incident needs it", "started_at")
    if not whole.get("services") and not whole.get("team"):
        raise Invalid("services: an incident needs services or a team", "services")
    if closes != (attributes.get("finished_at") is not None):
        raise Invalid(f"finished_at: this statement {'closes' if closes else 'opens'} the incident", "finished_at")
    attributes["services"] = attributes.get("services") or ()
    attributes.setdefault("started_at", None)
    revision = envelope.rank.partition(".")[2]
    return Failure(
        **attributes,
        revision=int(revision) if revision else 0,
        only_if_open=envelope.needs_opening.partition("ignored: ")[2],
        send_as=next(send_as for send_as, path in FAILURE_PATHS.items() if path == envelope.path),
    )


def _merged(attributes: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as the facts have them."""
    merged = dict(attributes)
    if merged.get("git"):
        merged["git"] = Git(**merged["git"])
    for name in ("services", "custom_tags"):
        if name in merged:
            merged[name] = tuple(merged[name])
    merged |= values
    if merged.get("custom_tags") is None:
        merged.pop("custom_tags", None)
    return merged


def _as_sent(value: Any) -> Any:
    if isinstance(value, Git):
        return {"commit_sha": value.commit_sha, "repository_url": value.repository_url}
    return list(value) if isinstance(value, tuple) else value


def _patch(envelope: Envelope, values: Mapping[str, Any]) -> Envelope:
    body = dict(envelope.body or {})
    attributes = {**envelope.attributes, **values}
    attributes = {name: value for name, value in attributes.items() if value is not None}
    if "change_failure" not in attributes:
        raise Invalid("change_failure: the call is about it", "change_failure")
    body["data"] = {**body["data"], "attributes": attributes}
    return replace(envelope, body=body)
