"""The history of Argo CD Applications, each entry as the notification that told of it, or would have.

Applications come from a file (`kubectl get applications.argoproj.io -A -o json`, `argocd app list -o json`), or from
`GET /api/v1/applications` of the API server (https://argo-cd.readthedocs.io/en/stable/developer-guide/api-docs/).

An entry says which revision was synced and when. What an Application says besides is true of its last entry only:
images, health, and annotations about a version are left out of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bridge.backfill.unit import Unit, composed, ready
from bridge.backfill.vendor_api import VendorApi
from bridge.errors import SenderUnreadable
from bridge.times import SECOND, from_rfc3339

SAID_OF_A_VERSION = ("dora-bridge/version", "dora-bridge/commit-sha", "dora-bridge/repository-url")

Application = Mapping[str, Any]


async def fetched(api: VendorApi) -> list[Application]:
    """All Applications that the token may see. Raises: SenderUnreadable."""
    return applications_in(await api.get("api/v1/applications"), "Argo CD: GET api/v1/applications")


def applications_in(document: object, where: str) -> list[Application]:
    """The Applications of a list, of an array, or the only one.

    Raises: SenderUnreadable, which names `where`, for anything else.
    """
    if isinstance(document, dict) and ("items" in document or str(document.get("kind", "")).endswith("List")):
        document = document.get("items") or []
    rows = document if isinstance(document, list) else [document]
    found: list[Application] = [one for one in rows if isinstance(one, dict) and isinstance(one.get("metadata"), dict)]
    if len(found) < len(rows):
        raise SenderUnreadable(f"{where}: neither an Application nor a list of them, as JSON")
    return found


def units(applications: Iterable[Application], *, since: int, until: int) -> list[Unit]:
    """A unit for each history entry of that time (nanoseconds since the epoch, UTC)."""
    return [unit for one in applications for unit in _units_of(one, since, until)]


def _units_of(application: Application, since: int, until: int) -> Iterator[Unit]:
    uid = application["metadata"].get("uid")
    history = _list(_dict(application.get("status")).get("history"))
    for position, entry in enumerate(history):
        at = _moment(entry.get("deployedAt"))
        if at is not None and since <= at <= until:
            delivery = composed({"app": _as_it_was(application, history, position)})
            yield ready(f"entry {uid} {entry.get('id')} {at // SECOND}", at, delivery)


def _as_it_was(application: Application, history: Sequence[Mapping[str, Any]], position: int) -> Application:
    """The Application when this entry was the last one of its history."""
    entry, status = history[position], _dict(application.get("status"))
    if position == len(history) - 1:
        if _is_last_operation(_dict(status.get("operationState")), entry):
            return application
        # another operation came later, and failed: the health may be its doing
        return {**application, "status": {**status, "operationState": _operation(entry), "health": _HEALTHY}}
    metadata = dict(application["metadata"])
    annotations = _dict(metadata.get("annotations"))
    metadata["annotations"] = {name: text for name, text in annotations.items() if name not in SAID_OF_A_VERSION}
    then = {"history": list(history[: position + 1]), "operationState": _operation(entry), "health": _HEALTHY}
    return {**application, "metadata": metadata, "status": then}


_HEALTHY = {"status": "Healthy"}
"""Without a time: the end of the sync is the end of the deployment."""


def _operation(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "phase": "Succeeded",
        "startedAt": entry.get("deployStartedAt"),
        "finishedAt": entry.get("deployedAt"),
        "operation": {"initiatedBy": entry.get("initiatedBy")},
        "syncResult": {"revision": entry.get("revision"), "revisions": entry.get("revisions")},
    }


def _is_last_operation(operation: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return operation.get("phase") == "Succeeded" and operation.get("startedAt") == entry.get("deployStartedAt")


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _moment(text: object) -> int | None:
    try:
        return from_rfc3339(text)
    except ValueError:
        return None
