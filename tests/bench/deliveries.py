"""Signed GitHub deliveries, no two alike, as the bytes that go over the wire: all of one length, in one file.

The body is composed in the shape that GitHub documents for `deployment_status`, 10 KB with all its addresses. Each
delivery has an id of its own, a deployment of its own, one of 300 services in turn, and a second of its own within its
service: nothing in it is a duplicate, late, or in need of an adjustment.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "a secret of the benchmark"
BODY_BYTES = 10_240
SERVICES = 300
PATH = "/webhooks/github"

_ID, _SERVICE, _FINISHED = "7777777777", "service-000", "2025-03-04T09:31:52Z"
_API = "https://api.github.com"


@dataclass(frozen=True, slots=True)
class Deliveries:
    """A file of `count` requests of `length` bytes each."""

    path: Path
    length: int
    count: int

    def read(self) -> list[bytes]:
        data = self.path.read_bytes()
        return [data[at : at + self.length] for at in range(0, len(data), self.length)]


def write(path: Path, count: int, *, first: int = 1) -> Deliveries:
    """Writes the deliveries number `first` and following."""
    length = 0
    with path.open("wb") as file:
        for request in requests(count, first=first):
            length = len(request)
            file.write(request)
    return Deliveries(path, length, count)


def requests(count: int, *, first: int = 1) -> Iterator[bytes]:
    """Whole requests, signed."""
    for headers, body in signed(count, first=first):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def signed(count: int, *, first: int = 1) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and body of each delivery."""
    template = _template()
    base = int(time.time()) - 86_400  # the last day: nothing is too old, nothing in the future
    for number in range(first, first + count):
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(base + number // SERVICES))
        body = (
            template.replace(_ID.encode(), b"%010d" % (2_000_000_000 + number))
            .replace(_SERVICE.encode(), b"service-%03d" % (number % SERVICES))
            .replace(_FINISHED.encode(), finished.encode())
        )
        yield (
            {
                "User-Agent": "GitHub-Hookshot/bench",
                "Accept": "*/*",
                "Content-Type": "application/json",
                "X-GitHub-Delivery": f"00000000-0000-4000-8000-{number:012d}",
                "X-GitHub-Event": "deployment_status",
                "X-GitHub-Hook-ID": "512340087",
                "X-GitHub-Hook-Installation-Target-ID": "98120455",
                "X-GitHub-Hook-Installation-Target-Type": "organization",
                "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
            },
            body,
        )


def _template() -> bytes:
    body = _body()
    missing = BODY_BYTES - len(json.dumps(body))
    if not 0 <= missing < 800:
        raise AssertionError(f"the body has {BODY_BYTES - missing} bytes before its description is filled up")
    words = "Takes the basket to the order, with everything that can go wrong on the way. "
    body["repository"]["description"] = (words * 12)[:missing]
    return json.dumps(body).encode()


def _body() -> dict[str, Any]:
    commit = "3b9f1c7e2a4d6058b1e7c90f8d2a6b4c5e3f7081"
    repository = f"{_API}/repos/northwind-labs/checkout"
    run = "https://github.com/northwind-labs/checkout/actions/runs/13650271844"
    bot = _account("github-actions[bot]", 41898282, "Bot")
    return {
        "action": "created",
        "deployment_status": {
            "url": f"{repository}/deployments/{_ID}/statuses/4127730912",
            "id": 4127730912,
            "node_id": "DES_kwDOHomLd82DwN4hzuzO3iA",
            "state": "success",
            "creator": bot,
            "description": "",
            "environment": "production",
            "target_url": f"{run}/job/38158022417",
            "created_at": _FINISHED,
            "updated_at": _FINISHED,
            "deployment_url": f"{repository}/deployments/{_ID}",
            "repository_url": repository,
            "environment_url": "",
            "log_url": f"{run}/job/38158022417",
            "performed_via_github_app": None,
        },
        "deployment": {
            "url": f"{repository}/deployments/{_ID}",
            "id": int(_ID),
            "node_id": "DE_kwDOHomLd82DwN4h",
            "task": "deploy",
            "original_environment": "production",
            "environment": "production",
            "description": None,
            "created_at": "2025-03-04T09:02:15Z",
            "updated_at": _FINISHED,
            "statuses_url": f"{repository}/deployments/{_ID}/statuses",
            "repository_url": repository,
            "creator": bot,
            "sha": commit,
            "ref": "main",
            "payload": {"service": _SERVICE, "version": "v2.14.3", "team": "checkout"},
            "transient_environment": False,
            "production_environment": True,
            "performed_via_github_app": None,
        },
        "check_run": {
            "id": 38158022417,
            "name": "deploy",
            "node_id": "CR_kwDOHomLd88AAAAI4mpSEQ",
            "head_sha": commit,
            "external_id": "5b1f8f0e-6c0b-5d4e-8f0a-2f2d9f7c1a11",
            "url": f"{repository}/check-runs/38158022417",
            "html_url": f"{run}/job/38158022417",
            "details_url": f"{run}/job/38158022417",
            "status": "completed",
            "conclusion": "success",
            "started_at": "2025-03-04T09:28:40Z",
            "completed_at": _FINISHED,
        },
        "workflow": {
            "id": 61120785,
            "node_id": "W_kwDOHomLd84DpJ_R",
            "name": "Deploy",
            "path": ".github/workflows/deploy.yml",
            "state": "active",
            "created_at": "2023-06-27T12:30:11.000Z",
            "updated_at": "2023-06-27T12:30:11.000Z",
            "url": f"{repository}/actions/workflows/61120785",
            "html_url": "https://github.com/northwind-labs/checkout/blob/main/.github/workflows/deploy.yml",
            "badge_url": "https://github.com/northwind-labs/checkout/workflows/Deploy/badge.svg",
        },
        "workflow_run": {
            "id": 13650271844,
            "name": "Deploy",
            "node_id": "WFR_kwLOHomLd88AAAADLaLqZA",
            "head_branch": "main",
            "head_sha": commit,
            "path": ".github/workflows/deploy.yml@main",
            "display_title": "Take the basket to the order (#1882)",
            "run_number": 4211,
            "event": "push",
            "status": "in_progress",
            "conclusion": None,
            "workflow_id": 61120785,
            "url": f"{repository}/actions/runs/13650271844",
            "html_url": run,
            "pull_requests": [],
            "created_at": "2025-03-04T09:02:01Z",
            "updated_at": _FINISHED,
            "actor": _account("k-lindqvist", 5102277, "User"),
            "run_attempt": 1,
            "run_started_at": "2025-03-04T09:02:01Z",
        },
        "repository": {
            "id": 512340087,
            "node_id": "R_kgDOHomLdw",
            "name": "checkout",
            "full_name": "northwind-labs/checkout",
            "private": True,
            "owner": _account("northwind-labs", 98120455, "Organization"),
            "html_url": "https://github.com/northwind-labs/checkout",
            "description": "",
            "fork": False,
            "url": repository,
            **{
                f"{name}_url": f"{repository}/{name.replace('_', '/')}{{/sha}}"
                for name in (
                    *("forks", "keys", "teams", "hooks", "events", "tags", "blobs", "git_tags", "git_refs", "trees"),
                    *("statuses", "languages", "commits", "compare", "merges", "deployments"),
                )
            },
            "clone_url": "https://github.com/northwind-labs/checkout.git",
            "homepage": None,
            "size": 48210,
            "stargazers_count": 3,
            "language": "Go",
            "visibility": "private",
            "created_at": "2022-07-09T08:12:44Z",
            "pushed_at": "2025-03-04T09:01:10Z",
            "default_branch": "main",
        },
        "organization": {
            "login": "northwind-labs",
            "id": 98120455,
            "url": f"{_API}/orgs/northwind-labs",
            "hooks_url": f"{_API}/orgs/northwind-labs/hooks",
            "members_url": f"{_API}/orgs/northwind-labs/members{{/member}}",
        },
        "sender": bot,
        "installation": {"id": 45190233, "node_id": "MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9uNDUxOTAyMzM="},
    }


def _account(login: str, number: int, kind: str) -> dict[str, Any]:
    user = f"{_API}/users/{login}"
    return {
        "login": login,
        "id": number,
        "node_id": "MDM6Qm90NDE4OTgyODI=",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{number}?v=4",
        "gravatar_id": "",
        "url": user,
        "html_url": f"https://github.com/{login}",
        **{
            f"{name}_url": f"{user}/{name}"
            for name in ("followers", "following", "gists", "starred", "subscriptions", "repos", "events")
        },
        "type": kind,
        "site_admin": False,
    }
