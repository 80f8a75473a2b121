"""Each measurement once, as small as it can be: so that they still run when somebody wants figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import backlog, delivery, intake, load, rate_limit
from bench.__main__ import main
from bench.deliveries import BODY_BYTES, signed, write
from bench.upstream import upstream
from bench.waiting import calls


def test_deliveries_are_of_one_length_and_no_two_alike(tmp_path: Path) -> None:
    deliveries = write(tmp_path / "deliveries", 700)
    requests = deliveries.read()
    assert len(requests) == len(set(requests)) == deliveries.count == 700
    assert {len(one) for one in requests} == {deliveries.length}
    assert {len(body) for _, body in signed(3)} == {BODY_BYTES}


def test_each_is_one_deployment_that_datadog_would_take(tmp_path: Path) -> None:
    bodies = [json.loads(line) for line in calls(tmp_path / "calls", 650).read_text().splitlines()]
    attributes = [one["data"]["attributes"] for one in bodies]
    assert len({one["id"] for one in attributes}) == 650
    assert len({(one["service"], one["finished_at"]) for one in attributes}) == 650, "no two share a second"
    assert {one["env"] for one in attributes} == {"production"}


@pytest.mark.integration
def test_the_intake_is_measured_with_the_product_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "has_wrk", lambda: False)  # the fallback: it is there everywhere
    result = intake.measure(tmp_path, rounds=1, seconds=1, routes=["hmac", "durable"], steady_s=0)
    assert [row[0] for row in result.rows] == ["(b) HMAC check alone", "(d) the bridge"]
    assert [target.what for target in result.targets] == ["accepted webhooks/s, durable ÷ HMAC check alone"]
    assert result.targets[0].measured > 0


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="CPU times are read from /proc")
def test_everything_that_waits_is_delivered_once_despite_a_limit(tmp_path: Path) -> None:
    with upstream(tmp_path) as datadog:
        done = delivery.bridge(datadog, 150, 1, tmp_path, limit=100)
        ids = datadog.got(ids=True).ids
    assert len(ids) == len(set(ids)) == 150
    assert done.per_second > 0
    assert done.cpu_s_per_1000 > 0


@pytest.mark.integration
def test_memory_of_a_body_is_seen(tmp_path: Path) -> None:
    bare, with_body = (backlog.memory(tmp_path, 200, raw=raw) for raw in (False, True))
    assert 300 < bare < 4000
    assert with_body > bare + BODY_BYTES


def test_the_best_that_a_limit_allows() -> None:
    assert rate_limit.best_s(2000) == 19
    assert rate_limit.best_s(2001) == 20


def test_a_part_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "no such part: nothing; there are intake" in capsys.readouterr().err
