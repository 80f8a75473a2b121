"""The dashboard: in step with the metrics, complete, and the same for every Grafana."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from plain_rules import CHART
from told import told_metrics

BOARD: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_it_is_one_dashboard_wherever_it_is_put() -> None:
    assert BOARD["uid"] == "dora-bridge"
    assert "id" not in BOARD, "that of the database it was exported from"
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Is it working?", "Intake by source", "Queue and workers", "Datadog", "Processes"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"]
    for one in (panel, *panel["targets"]):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("query", QUERIES)
def test_queries_ask_for_what_there_is(query: str) -> None:
    told = told_metrics()
    selections = re.findall(r"\b((?:dora_bridge|process)_\w+)\{([^}]*)\}", query)
    assert selections
    for name, matchers in selections:
        assert name in told, name
        assert set(re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', "", matchers))) - {"namespace", "job"} <= told[name]
        assert 'namespace=~"$namespace",job=~"$job"' in matchers
    for labels in re.findall(r"by \(([^)]*)\)", query):
        known = set().union(*(told[name] for name, _ in selections))
        assert {label.strip() for label in labels.split(",")} <= known
    assert set(re.findall(r"\[([^]]*)\]", query)) <= {"$__rate_interval", "$__range"}


def test_one_installation_of_several_can_be_looked_at() -> None:
    """By namespace, then by the jobs of that; in Compose, and on one machine, there is no namespace to ask for."""
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job"]
    assert variables["namespace"]["allValue"] == ".*", "which fits series without the label too"
    for name, query in {
        "namespace": "label_values(dora_bridge_build_info, namespace)",
        "job": 'label_values(dora_bridge_build_info{namespace=~"$namespace"}, job)',
    }.items():
        one = variables[name]
        assert one["definition"] == one["query"]["query"] == query
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert one["includeAll"]
        assert one["multi"]


def test_every_metric_is_shown() -> None:
    shown = set(re.findall(r"\bdora_bridge_\w+", " ".join(QUERIES)))
    of_histograms = re.compile("_(count|sum)$")
    assert {
        name for name in told_metrics() if name.startswith("dora_bridge_") and not of_histograms.search(name)
    } == shown


def test_gauges_of_redis_are_never_summed_over_pods() -> None:
    """Every pod tells the same: the sum would grow with the pods."""
    shared = "redis_up|events_waiting|oldest_waiting_age_seconds|lanes_overdue|destination_state|dead_letters|workers"
    for query in QUERIES:
        for name in re.findall(rf"\b(?:sum|avg)(?: by \([^)]*\))? ?\((dora_bridge_(?:{shared})\{{)", query):
            pytest.fail(f"{name}: {query}")


def test_queries_are_promql(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing, which reads the queries: apt install prometheus")
    plain = [re.sub(r"\$__(rate_interval|range)", "5m", query) for query in QUERIES]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(plain)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
