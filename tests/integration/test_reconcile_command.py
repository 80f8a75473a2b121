"""`dora-bridge reconcile` over a real system: webhooks in, a Datadog that lost and gained records, and the report."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from system import System, deployment, unique

from bridge.samples import samples

pytestmark = pytest.mark.integration

KEYS = {"DD-API-KEY": "key", "DD-APPLICATION-KEY": "key"}
MINUTE = 60


def reconcile(system: System, *arguments: str, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "reconcile", *arguments],
        env={**system.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def datadog(system: System, method: str, path: str, **attributes: Any) -> None:
    """What somebody else does to Datadog."""
    body = {"data": {"attributes": attributes}} if attributes else None
    answer = httpx.request(method, f"http://{system.datadog}/api/v2/dora/{path}", headers=KEYS, json=body, timeout=10)
    assert answer.status_code < 300, answer.text


async def test_the_report(system: System) -> None:
    system.start_web()
    system.start_worker()
    start, first = int(time.time()) - 10 * MINUTE, unique()
    bodies = [deployment(first + n, at=start + n * MINUTE) for n in range(4)]
    async with httpx.AsyncClient(timeout=10) as client:
        for body in bodies:
            assert (await system.post(client, "github", body, "deployment_status")).status_code == 202
        assert (await system.post(client, "pagerduty", samples()["pagerduty"][1])).status_code == 202
    await system.until_drained()
    sent = {one["body"]["data"]["attributes"]["id"]: one["body"]["data"]["attributes"] for one in system.requests()}
    ids = [id_ for id_ in sent if id_.startswith("gh-dep-")]
    ours = sorted(ids, key=lambda id_: sent[id_]["finished_at"])

    # all is well
    code, out, err = reconcile(system, "--since", "2d", "--grace", "0s", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["findings"] == []
    assert {name: number for name, number in report["totals"].items() if number} == {"matched": 5}

    # Datadog loses one, and others send one of their own, one of ours again, and the oldest version as the newest
    datadog(system, "DELETE", f"deployment/{ours[2]}")
    copied = {name: sent[ours[3]][name] for name in ("service", "env", "git", "version", "started_at", "finished_at")}
    datadog(system, "POST", "deployment", id="a-copy-of-somebody-else", **copied)
    other = {"service": "legacy", "env": "production", "started_at": start, "finished_at": start + 5, "version": "9"}
    datadog(system, "POST", "deployment", id="a-deployment-of-somebody-else", **other)
    late = {**copied, "git": sent[ours[0]]["git"], "finished_at": start + 9 * MINUTE, "started_at": start}
    datadog(system, "POST", "deployment", id="an-old-version-too-late", **late)

    code, out, _ = reconcile(system, "--since", "2d", "--grace", "0s", "--json")
    assert code == 1
    report = json.loads(out)
    assert [(one["verdict"], one["id"]) for one in report["findings"]] == [
        ("missing", ours[2]),
        ("unknown", "a-deployment-of-somebody-else"),
        ("unknown", "a-copy-of-somebody-else"),
        ("unknown", "an-old-version-too-late"),
        ("duplicate", "a-copy-of-somebody-else"),
        ("phantom", ours[1]),
    ]
    rows = {(row["service"], row["env"]): row for row in report["rows"]}
    assert rows["checkout", "production"]["missing"] == 1
    assert rows["legacy", "production"]["unknown"] == 1

    # in words, and within the grace nothing is missing yet
    code, out, _ = reconcile(system, "--since", "2d", "--grace", "0s")
    assert code == 1
    assert f"missing    {time.strftime('%Y', time.gmtime())}" in out
    assert "Datadog has 4 of 5 events" in out
    assert reconcile(system, "--since", "2d", "--service", "checkout")[0] == 0
    assert reconcile(system, "--since", "2d", "--grace", "0s", "--service", "legacy")[0] == 0


async def test_datadogs_limits_are_obeyed_and_its_refusals_told(system: System) -> None:
    limit = {"X-RateLimit-Reset": "1", "X-RateLimit-Remaining": "0"}
    system.script({"match": {"path": "/api/v2/dora/deployments"}, "status": 429, "headers": limit})
    code, out, err = reconcile(system)
    assert (code, err) == (0, "")
    assert "Datadog has 0 of 0 events" in out
    paths = [one["path"] for one in system.requests()]
    assert paths == ["/api/v2/dora/deployments", "/api/v2/dora/deployments", "/api/v2/dora/failures"]

    system.script({"match": {"path": "/api/v2/dora/failures"}, "status": 403})
    code, out, err = reconcile(system)
    assert (code, out) == (1, "")
    assert err.startswith("dora-bridge: Datadog refuses to give its list of failures: 403 (DD_API_KEY, DD_APP_KEY;")

    code, out, err = reconcile(system, DD_APP_KEY="")
    assert (code, out) == (2, "")
    assert err.startswith("dora-bridge: DD_APP_KEY: ")
    assert reconcile(system, "--since", "whenever")[0] == 2
