"""What a GitHub repository tells of its past, as the webhooks about it: deployments, runs, releases and issues.

    deployments    https://docs.github.com/en/rest/deployments/deployments, …/statuses
    workflow runs  https://docs.github.com/en/rest/actions/workflow-runs, …/workflow-jobs
    releases       https://docs.github.com/en/rest/releases/releases
    issues         https://docs.github.com/en/rest/issues/issues

The objects of the API are those of the webhooks. Only a `deployment_status` is put together from more than one: its
`check_run` and `workflow_run` are not in the API's deployment, so they are those that the status links to (Actions
does so: `…/actions/runs/<run>/job/<job>`), and null where they cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bridge.backfill.unit import Unit, composed, ready
from bridge.backfill.vendor_api import Params, VendorApi
from bridge.errors import SenderUnreadable
from bridge.intake import Delivery
from bridge.sources.github import GitHubOptions
from bridge.times import SECOND, from_rfc3339, to_rfc3339

MOST_RUNS = 1000
"""A search for runs finds no more; source: "List workflow runs for a repository"."""
_JOB = re.compile(r"/actions/runs/(\d+)/jobs?/(\d+)")
_MINUTE = 60 * SECOND


class Repository:
    """One repository, `owner/name`, read from `since` to `until` (nanoseconds since the epoch, UTC)."""

    def __init__(self, api: VendorApi, name: str, *, since: int, until: int) -> None:
        self._api = api
        self._path = f"repos/{name}"
        self._since = since
        self._until = until
        self._self: dict[str, Any] = {}
        self._runs: dict[str, dict[str, Any] | None] = {}

    async def units(self, options: GitHubOptions) -> list[Unit]:
        """Units of the events that the endpoint makes something of. Raises: SenderUnreadable."""
        self._self = await self._api.get(self._path)
        if not isinstance(self._self, dict) or "id" not in self._self:
            raise SenderUnreadable(f"GitHub: GET {self._path}: not a repository")
        found: list[Unit] = []
        if "deployment_status" in options.deployments_from:
            found += [unit async for unit in self._deployments()]
        if "workflow_run" in options.deployments_from:
            found += [unit async for unit in self._workflow_runs(self._since, self._until)]
        if "release" in options.deployments_from:
            found += [unit async for unit in self._releases()]
        if "issues" in options.failures_from:
            found += [unit async for unit in self._issues(options.incident_labels)]
        return found

    # -- deployments

    async def _deployments(self) -> AsyncIterator[Unit]:
        """By when they were created: GitHub lists the newest first, and cannot be asked for a time."""
        async for deployment in self._rows("deployments"):
            created = _time(deployment, "created_at")
            if created < self._since:
                return
            if created <= self._until:
                key = f"deployment {self._path} {deployment['id']}"
                yield Unit(key, created, partial(self._deployment_status, deployment))

    async def _deployment_status(self, deployment: dict[str, Any]) -> Sequence[Delivery]:
        """The webhook of its first success; none if it has had none by `until`."""
        path = f"deployments/{deployment['id']}/statuses"
        successes = [row async for row in self._rows(path) if row.get("state") == "success"]
        if not successes:
            return []
        status = min(successes, key=lambda row: _time(row, "created_at"))
        if _time(status, "created_at") > self._until:
            return []
        run, job = await self._run_and_job(status)
        body = {
            "action": "created",
            "deployment": deployment,
            "deployment_status": status,
            "check_run": job and {"id": job.get("id"), "started_at": job.get("started_at")},
            "workflow": run and {"path": run.get("path")},
            "workflow_run": run,
        }
        return [self._composed("deployment_status", f"{deployment['id']}-{status.get('id')}", body)]

    async def _run_and_job(self, status: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The run and the job that set the status, as far as it links to them and they can be read."""
        link = _JOB.search(f"{status.get('log_url') or status.get('target_url') or ''}")
        if link is None:
            return None, None
        run, job = link.groups()
        if run not in self._runs:  # several jobs of one run may deploy
            self._runs[run] = await self._if_there(f"actions/runs/{run}")
        return self._runs[run], await self._if_there(f"actions/jobs/{job}")

    async def _if_there(self, path: str) -> dict[str, Any] | None:
        try:
            found = await self._api.get(f"{self._path}/{path}")
        except SenderUnreadable as error:
            if error.status in (403, 404, 410):  # deleted, or the token may not read Actions
                return None
            raise
        return found if isinstance(found, dict) else None

    # -- the others

    async def _workflow_runs(self, since: int, until: int) -> AsyncIterator[Unit]:
        """Runs that succeeded, by when they were created. Windows with more than a search finds are halved."""
        window = f"{to_rfc3339(since // SECOND * SECOND)}..{to_rfc3339(until // SECOND * SECOND)}"
        params: Params = {"status": "success", "created": window}
        rows: list[Any] = []
        async for page in self._api.pages(f"{self._path}/actions/runs", params):
            if not isinstance(page, dict) or not isinstance(page.get("workflow_runs"), list):
                raise SenderUnreadable(f"GitHub: GET {self._path}/actions/runs: not a list of runs")
            if page.get("total_count", 0) > MOST_RUNS and until - since > _MINUTE:
                middle = (since + until) // 2
                for half in ((since, middle), (middle + SECOND, until)):
                    async for unit in self._workflow_runs(*half):
                        yield unit
                return
            rows += page["workflow_runs"]
        for run in rows:
            number = f"{run['id']}-{run.get('run_attempt')}"
            body = {"action": "completed", "workflow_run": run, "workflow": {"path": run.get("path")}}
            delivery = self._composed("workflow_run", number, body)
            yield ready(f"run {self._path} {number}", _time(run, "updated_at"), delivery)

    async def _releases(self) -> AsyncIterator[Unit]:
        # all pages: they are in the order of their commits
        async for release in self._rows("releases"):
            if release.get("published_at") and self._covers(published := _time(release, "published_at")):
                delivery = self._composed("release", str(release["id"]), {"action": "published", "release": release})
                yield ready(f"release {self._path} {release['id']}", published, delivery)

    async def _issues(self, labels: Sequence[str]) -> AsyncIterator[Unit]:
        """Openings and closings; `since` of this list is about the last change."""
        seen = set()
        for label in labels:
            changed: Params = {"state": "all", "labels": label, "since": to_rfc3339(self._since // SECOND * SECOND)}
            async for issue in self._rows("issues", changed):
                if issue["id"] not in seen and not issue.get("pull_request"):
                    seen.add(issue["id"])
                    for unit in self._phases(issue):
                        yield unit

    def _phases(self, issue: dict[str, Any]) -> Iterator[Unit]:
        for action, name in (("opened", "created_at"), ("closed", "closed_at")):
            if not issue.get(name) or not self._covers(at := _time(issue, name)):
                continue
            then = issue if action == "closed" else {**issue, "state": "open", "closed_at": None}
            number = f"{issue['id']}-{action}-{at // SECOND}"
            delivery = self._composed("issues", number, {"action": action, "issue": then})
            yield ready(f"issue {self._path} {number}", at, delivery)

    # -- what all of them need

    async def _rows(self, path: str, params: Params | None = None) -> AsyncIterator[dict[str, Any]]:
        async for page in self._api.pages(f"{self._path}/{path}", params):
            if not isinstance(page, list) or not all(isinstance(row, dict) and "id" in row for row in page):
                raise SenderUnreadable(f"GitHub: GET {self._path}/{path}: not a list")
            for row in page:
                yield row

    def _covers(self, at: int) -> bool:
        return self._since <= at <= self._until

    def _composed(self, event: str, number: str, body: dict[str, Any]) -> Delivery:
        headers = {"x-github-event": event, "x-github-delivery": f"backfill-{event}-{number}"}
        address = urlsplit(self._api.base_url)
        if address.path.endswith("/api/v3"):
            # an Enterprise Server: its webhooks name it, and ids are made from the name
            headers["x-github-enterprise-host"] = address.hostname or ""
        return composed({**body, "repository": self._self}, headers)


def _time(row: dict[str, Any], name: str) -> int:
    try:
        return from_rfc3339(row[name])
    except (KeyError, ValueError) as error:
        raise SenderUnreadable(f"GitHub: an object without a readable {name}") from error
