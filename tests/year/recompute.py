"""What Datadog comes to, from the requests it answered: its store, and what it makes of it by its own rules. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.times import from_rfc3339
from year.facts import Deployed, Facts, Incident, Managed, Place, Remedy

Request = Mapping[str, Any]
"""One of `GET /sandbox/requests`."""
_DORA = "/api/v2/dora"


@dataclass
class Store:
    """Datadog's records by id, as they stand after a list of requests."""

    deployments: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    marks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Deployment -> its last PATCH that said something of a change failure."""
    incidents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)
    """Requests that no client should have made."""

    @classmethod
    def after(cls, requests: Iterable[Request]) -> Store:
        """The store after these requests, oldest first."""
        store = cls()
        for request in requests:
            if request["note"]:  # what the sandbox finds doubtful about it
                store.wrongs.append(f"{request['method']} {request['path']}: {request['note']}")
            if request["status"] is not None and 200 <= request["status"] < 300:
                store._take(request["method"], request["path"].removeprefix(_DORA), request["body"])
            else:
                store.wrongs.append(f"{request['method']} {request['path']}: answered with {request['status']}")
        return store

    def _take(self, method: str, path: str, body: Any) -> None:
        head, _, identifier = path.rpartition("/")
        match method, head or path:
            case "POST", "/deployment":
                self._post_deployment(body["data"]["attributes"])
            case "POST", "/failure" | "/incident":
                attributes = body["data"]["attributes"]
                self.incidents[attributes["id"]] = attributes
            case "PATCH", "/deployments":
                if identifier not in self.deployments:
                    self.wrongs.append(f"a PATCH of {identifier} before its POST")
                remedy = body["data"]["attributes"].get("remediation", {}).get("id")
                if remedy and remedy not in self.deployments:
                    self.wrongs.append(f"a PATCH of {identifier} before the POST of its remediation {remedy}")
                self.marks[identifier] = body["data"]["attributes"]
            case "DELETE", "/failure":
                if self.incidents.pop(identifier, None) is None:
                    self.wrongs.append(f"a DELETE of {identifier}, which is not there")
            case "POST", "/deployments" | "/failures":
                pass  # lists
            case _, _ if path.startswith("/api/v2/incidents"):
                pass  # of Incident Management, whose answers have the ids: its list tells how they stand
            case _:
                self.wrongs.append(f"{method} {path} is no call of the bridge")

    def _post_deployment(self, attributes: Mapping[str, Any]) -> None:
        if self.deployments.get(attributes["id"], attributes) != attributes:
            self.wrongs.append(f"deployment {attributes['id']} was sent with two bodies")
        self.deployments[attributes["id"]] = attributes

    def facts(self, managed: Iterable[Mapping[str, Any]] = ()) -> Facts:
        """What Datadog shows: marks, and where there is none what it detects by itself.

        `managed`: the incidents that Incident Management lists.
        """
        known = {identifier: _deployed(one) for identifier, one in self.deployments.items()}
        failures: dict[Place, Remedy | None] = dict(rollbacks(known.values()))
        for identifier, mark in self.marks.items():
            if identifier not in known:
                continue
            place = known[identifier].place
            if not mark.get("change_failure"):
                failures.pop(place, None)
                continue
            remediation = mark.get("remediation")
            if remediation is None:
                failures.setdefault(place, None)
            elif remediation["id"] in known:
                failures[place] = Remedy(remediation["type"], known[remediation["id"]].place.finished)
        incidents = [_incident(one) for one in self.incidents.values()]
        return Facts(list(known.values()), failures, incidents, [_managed(one) for one in managed])


def _deployed(attributes: Mapping[str, Any]) -> Deployed:
    git = attributes.get("git", {})
    return Deployed(
        Place(attributes["service"], attributes.get("env", ""), attributes["finished_at"]),
        attributes["started_at"],
        git.get("commit_sha"),
        git.get("repository_url"),
        attributes.get("version"),
    )


def _incident(attributes: Mapping[str, Any]) -> Incident:
    return Incident(
        tuple(sorted(attributes.get("services", ()))),
        attributes.get("env"),
        attributes["started_at"],
        attributes.get("finished_at"),
        attributes.get("severity"),
    )


def _managed(incident: Mapping[str, Any]) -> Managed:
    fields = {name: one["value"] for name, one in incident["attributes"]["fields"].items()}
    told = dict(line.partition(": ")[::2] for line in fields["summary"].splitlines())
    services = tuple(sorted(fields["services"] or ()))
    return Managed(services, from_rfc3339(told["started_at"]), fields["state"], fields["severity"])


def rollbacks(deployments: Iterable[Deployed]) -> Iterator[tuple[Place, Remedy]]:
    """Datadog's own detection: of V1, V2, V3, V1 the second failed, and the last remedied it.

    Source: https://docs.datadoghq.com/delivery_performance/dora_metrics/change_failure_detection/
    """
    by_key: defaultdict[tuple[str, str], list[Deployed]] = defaultdict(list)
    for one in deployments:
        by_key[one.place.service, one.place.env].append(one)
    for several in by_key.values():
        several.sort(key=lambda one: one.place.finished)
        for position, one in enumerate(several):
            failed = _first_after_return(several[: position + 1])
            if failed is not None:
                yield failed.place, Remedy("rollback", one.place.finished)


def _first_after_return(line: Sequence[Deployed]) -> Deployed | None:
    """What the last of the line rolled back; None if it brought something new, or the same again."""
    *before, last = line
    if not before or last.is_the_same_as(before[-1]):
        return None
    for position in range(len(before) - 2, -1, -1):
        if last.is_the_same_as(before[position]):
            return before[position + 1]
    return None
