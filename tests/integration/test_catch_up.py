"""An outage, and what is done about it without anybody's doing: GitHub is asked for what it could not deliver."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from stand_ins.github import GitHub
from stand_ins.serving import serving
from system import ENDPOINTS, SECRET, System, deployment, unique, until

from bridge.senders import signed
from bridge.times import SECOND, to_rfc3339

pytestmark = pytest.mark.integration
HOOK = "repos/acme/shop/hooks/123"


def test_what_an_outage_cost_comes_by_itself(system: System) -> None:
    github = GitHub()
    number = unique()
    hour_ago = to_rfc3339(int(time.time() - 3600) * SECOND)
    github.deliver(HOOK, 1, "guid-1", hour_ago, 502, payload=json.loads(deployment(number)))

    def post(row: dict[str, Any], payload: dict[str, Any]) -> int:
        body = json.dumps(payload).encode()
        headers = signed(ENDPOINTS["github"], body, kind=row["event"], secret=SECRET)
        headers["x-github-delivery"] = row["guid"]
        return httpx.post(f"http://{system.public}/webhooks/github", content=body, headers=headers).status_code

    github.repeat = post
    with serving(github.app) as url:
        configuration = system.folder / "bridge.yaml"
        configuration.write_text(f"endpoints: {{github: {{hooks: [{HOOK}], api_url: '{url}'}}}}\n")
        system.environ |= {"DORA_BRIDGE_CONFIG": str(configuration), "DORA_BRIDGE_GITHUB_TOKEN": "ghs_token"}
        system.start_web()
        system.start_worker()
        until(lambda: bool(system.sent_ids()), 30, f"nothing was delivered; see {system.folder}")
        until(lambda: len(github.deliveries[HOOK]) == 2, 10, "nothing was answered")
    assert [one.rpartition("-")[2] for one in system.sent_ids()] == [f"{number:012d}"]
    assert github.asked == [1]
    assert [(row["redelivery"], row["status_code"]) for row in github.deliveries[HOOK]] == [(True, 202), (False, 502)]
    log = (system.folder / "worker.log").read_text()
    assert "redelivery.gap" in log
    assert "ghs_token" not in log
