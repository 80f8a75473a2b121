"""What the sandbox remembers of deployments and failures, and how Datadog would read it back.

An event keeps the bytes of its request and is parsed when somebody reads it, so that taking one is cheap and
a hundred thousand of them fit in memory. Only the newest `keep` are remembered.

Where Datadog's view of something is not documented, the event is taken and a note says what is doubtful about
it: the notes end in the recorded request, never in the answer.
"""

from __future__ import annotations

import fnmatch
import json
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from bridge.sandbox.rules import to_nanoseconds
from bridge.times import SECOND, from_rfc3339, to_rfc3339

_MILLISECOND = 1_000_000
_DEFAULT_LIMIT = 10
_TERM = re.compile(r'(-?)([@\w.-]+):(?:\(([^()]*)\)|"([^"]*)"|(\S+))|(\S+)')
_REMOTE = re.compile(r"(?:\w[\w+.-]*://(?:[^@/]*@)?|[^@/:]+@)?([^:/]+)(?::\d+/|[:/])(.+?)(?:\.git)?/?")

V = TypeVar("V")


class Recent(OrderedDict[Hashable, V]):
    """A mapping of the newest entries. An OrderedDict, because taking the oldest out of a dict is slow."""

    def __init__(self, keep: int) -> None:
        super().__init__()
        self._keep = keep

    def put(self, key: Hashable, value: V) -> None:
        """Sets the value, makes the key the newest, forgets the oldest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._keep:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Event:
    """A deployment or failure as it was sent; times in nanoseconds since the epoch."""

    id: str
    started: int
    finished: int | None
    body: bytes

    def attributes(self) -> dict[str, Any]:
        """The attributes of the request."""
        attributes: dict[str, Any] = json.loads(self.body)["data"]["attributes"]
        return attributes


class Deployments:
    """The deployments, by id."""

    def __init__(self, keep: int) -> None:
        self.events: Recent[Event] = Recent(keep)
        self._seconds: Recent[str] = Recent(keep)
        self._versions: Recent[Event] = Recent(keep)

    def add(self, attributes: dict[str, Any], body: bytes) -> tuple[str, list[str]]:
        """Keeps a checked deployment; gives back its id and the doubts about it."""
        event, notes = _new_event(attributes, body)
        if event.id in self.events:
            notes.append(f"id {event.id} was sent before: Datadog documents no update of deployments, both may count")
        service, finished = attributes["service"], self.moment(event)
        second = (service, finished // SECOND)
        other = self._seconds.get(second)
        if other is not None and other != event.id:
            notes.append(f"finished in the same second as {other} of this service: Datadog may keep only one of them")
        self._seconds.put(second, event.id)
        version = (service, attributes.get("env"), attributes.get("version"))
        before = self._versions.get(version)
        if before is None or before.id == event.id or self.moment(before) <= finished:
            self._versions.put(version, event)
        self.events.put(event.id, event)
        return event.id, notes

    def doubts_about_id(self, deployment_id: str) -> list[str]:
        """The doubts about a PATCH or DELETE by id."""
        return [] if deployment_id in self.events else [f"no deployment {deployment_id}: Datadog's answer is not known"]

    def doubts_about_version(self, service: str, env: str, version: str) -> list[str]:
        """Which deployment a PATCH by version means, or that there is none."""
        event = self._versions.get((service, env, version))
        if event is None or event.id not in self.events:
            return [f"no deployment of {service} {version} in {env}: Datadog's answer is not known"]
        return [f"meant deployment {event.id}"]

    def read(self, event: Event) -> dict[str, Any]:
        """The resource object of a read answer."""
        attributes = _read_attributes(event)
        if "git" in attributes:
            git = attributes["git"]
            attributes["git"] = {
                "commit_sha": git["commit_sha"],
                "repository_id": repository_id(git["repository_url"]),
            }
        return {"id": event.id, "type": "dora_deployment", "attributes": attributes}

    def moment(self, event: Event) -> int:
        """The time that `from` and `to` of a list mean. Datadog does not say which: here the end."""
        return event.finished or event.started


class Failures:
    """The failures (incidents of DORA), by id."""

    def __init__(self, keep: int) -> None:
        self.events: Recent[Event] = Recent(keep)
        self._identities: Recent[str] = Recent(keep)

    def add(self, attributes: dict[str, Any], body: bytes) -> tuple[str, list[str]]:
        """Keeps a checked failure; gives back its id and the doubts about it.

        Datadog matches by id and by env, services and started_at: sent twice, all four must agree.
        """
        event, notes = _new_event(attributes, body)
        identity = _identity(attributes)
        before = self.events.get(event.id)
        if before is not None and _identity(before.attributes()) != identity:
            notes.append(f"id {event.id} had another env, services or started_at before: Datadog may see two failures")
        if before is not None and before.finished is not None and event.finished is None:
            notes.append(f"id {event.id} was closed before: whether Datadog opens it again is not known")
        other = self._identities.get(identity)
        if other is not None and other != event.id:
            notes.append(f"same env, services and started_at as {other}: Datadog may take both for one failure")
        self._identities.put(identity, event.id)
        self.events.put(event.id, event)
        return event.id, notes

    def read(self, event: Event) -> dict[str, Any]:
        """The resource object of a read answer."""
        return {"id": event.id, "type": "dora_failure", "attributes": _read_attributes(event)}

    def moment(self, event: Event) -> int:
        """The time that `from` and `to` of a list mean. Datadog does not say which: here the start."""
        return event.started


def listed(kept: Deployments | Failures, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The read answers that checked list attributes ask for; the newest first unless sorted otherwise.

    Raises: ValueError when the query is more than the sandbox understands.
    """
    earliest = from_rfc3339(asked["from"]) if "from" in asked else None
    latest = from_rfc3339(asked["to"]) if "to" in asked else None
    fits = compile_query(asked.get("query", ""))
    sort = asked.get("sort")
    key = kept.moment if sort is None else _sort_key(sort.removeprefix("-"))
    in_time = [
        event
        for event in kept.events.values()
        if (earliest is None or kept.moment(event) >= earliest) and (latest is None or kept.moment(event) <= latest)
    ]
    in_time.sort(key=key, reverse=sort is None or sort.startswith("-"))
    found: list[dict[str, Any]] = []
    for event in in_time:
        if len(found) == asked.get("limit", _DEFAULT_LIMIT):
            break
        if fits(_values_of(event)):
            found.append(kept.read(event))
    return found


def compile_query(query: str) -> Callable[[Callable[[str], list[str]]], bool]:
    """A test for a query such as `service:(shop OR cart) env:prod* -team:x`: terms are joined by AND.

    The test is given a function from a key to the values a record has under it.
    Raises: ValueError for anything else, since a query that is quietly misread proves nothing.
    """
    terms: list[tuple[bool, str, list[str]]] = []
    for minus, key, group, quoted, word, stray in _TERM.findall(query):
        if stray == "AND" and terms:
            continue
        if stray:
            raise ValueError(f'the sandbox understands only key:value terms in a query, not "{stray}"')
        wanted = [part.strip() for part in group.split(" OR ")] if group else [quoted or word]
        terms.append((minus == "-", key, wanted))

    def fits(values_of: Callable[[str], list[str]]) -> bool:
        return all(
            negated is not any(fnmatch.fnmatchcase(value, pattern) for value in values_of(key) for pattern in wanted)
            for negated, key, wanted in terms
        )

    return fits


def repository_id(url: str) -> str:
    """`github.com/organization/repo` of any form of remote: without scheme, user, port and `.git`."""
    match = _REMOTE.fullmatch(url)
    return f"{match[1]}/{match[2]}" if match else url


def _new_event(attributes: dict[str, Any], body: bytes) -> tuple[Event, list[str]]:
    notes = [] if "id" in attributes else ["sent without id: sent again, it would be another event"]
    started = to_nanoseconds(attributes["started_at"])
    assert started is not None  # noqa: S101  # checked by the rules
    return Event(
        attributes.get("id") or str(uuid.uuid4()),
        started,
        to_nanoseconds(attributes.get("finished_at")),
        body,
    ), notes


def _identity(attributes: dict[str, Any]) -> Hashable:
    services = tuple(sorted(attributes.get("services", ()))) or attributes.get("team")
    return attributes.get("env"), services, to_nanoseconds(attributes["started_at"])


def _read_attributes(event: Event) -> dict[str, Any]:
    """As sent, without id, times as RFC 3339 in milliseconds (what Datadog keeps below is not documented)."""
    attributes = event.attributes()
    attributes.pop("id", None)
    attributes["started_at"] = to_rfc3339(event.started // _MILLISECOND * _MILLISECOND)
    if event.finished is not None:
        attributes["finished_at"] = to_rfc3339(event.finished // _MILLISECOND * _MILLISECOND)
    return attributes


def _sort_key(name: str) -> Callable[[Event], int]:
    return lambda event: event.started if name == "started_at" else event.finished or 0


def _values_of(event: Event) -> Callable[[str], list[str]]:
    attributes = event.attributes()

    def values() -> Iterator[tuple[str, str]]:
        for key in ("service", "env", "team", "version", "name", "severity"):
            if isinstance(attributes.get(key), str):
                yield key, attributes[key]
        for service in attributes.get("services", ()):
            yield "service", service
        for tag in attributes.get("custom_tags") or ():
            key, _, value = tag.partition(":")
            yield f"@{key}", value

    pairs = list(values())
    return lambda key: [value for name, value in pairs if name == key]
