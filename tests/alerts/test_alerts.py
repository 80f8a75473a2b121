"""The alerts: in step with the code, the chart's values and the plain file; each fires once and stays quiet once."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from plain_rules import CHART, PLAIN, SILENT_HOURS, defaults, plain, rendered, uncommented
from told import told_metrics

HERE = Path(__file__).parent
CASES: dict[str, Any] = yaml.safe_load((HERE / "alerts.yaml").read_text("utf-8"))
RUNBOOKS = HERE.parents[1] / "deploy" / "runbooks"


@pytest.fixture(scope="session")
def everything() -> str:
    """All alerts, those that are off by default included."""
    pytest.importorskip("helm_python", reason="helm-python-sdk renders the rules: pip install helm-python-sdk")
    return rendered({**defaults(), "selector": "", "sourceSilentHours": {"github": SILENT_HOURS}})


def rules_of(text: str) -> list[dict[str, Any]]:
    [group] = yaml.safe_load(text)["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_the_plain_file_is_the_chart_with_its_defaults(everything: str) -> None:
    assert PLAIN.read_text("utf-8") == plain(), "make alerts"


def test_alerts_are_those_of_the_design(everything: str) -> None:
    assert {
        (rule["alert"].removeprefix("DoraBridge"), rule["labels"]["severity"]) for rule in rules_of(everything)
    } == {
        ("Down", "critical"),
        ("RedisDown", "critical"),
        ("NoWorkers", "critical"),
        ("CredentialsRefused", "critical"),
        ("EventsOld", "warning"),
        ("EventsOld", "critical"),
        ("LanesStuck", "warning"),
        ("DeadLetters", "warning"),
        ("SignatureFailures", "warning"),
        ("Unavailable", "critical"),
        ("RateLimited", "warning"),
        ("Late", "warning"),
        ("SourceSilent", "info"),
    }
    assert "DoraBridgeSourceSilent" not in {rule["alert"] for rule in rules_of(PLAIN.read_text("utf-8"))}, "off"


def test_what_is_off_in_the_plain_file_can_be_switched_on(everything: str) -> None:
    assert rules_of(uncommented(PLAIN.read_text("utf-8"))) == rules_of(everything)


def test_every_alert_says_what_to_do(everything: str) -> None:
    for rule in rules_of(everything):
        assert {"severity", "service"} <= set(rule["labels"])
        assert {"summary", "description", "runbook_url"} <= set(rule["annotations"])
        name = rule["annotations"]["runbook_url"].rpartition("/")[2]
        assert name == f"{rule['alert']}.md"
        assert (RUNBOOKS / name).is_file()


def test_metrics_in_alerts_exist_with_these_labels(everything: str) -> None:
    """Also those of the cases, which would prove nothing about metrics that nobody tells."""
    told = told_metrics()
    series = [one["series"] for case in CASES["tests"] for one in case["input_series"]]
    expressions = [rule["expr"] for rule in rules_of(everything)]
    selections = re.findall(r"\b(dora_bridge_\w+)(?:\{([^}]*)\})?", " ".join([*series, *expressions]))
    assert len(selections) > 40
    for name, matchers in selections:
        assert name in told, name
        labels = set(re.findall(r"(\w+)\s*=", re.sub(r'"[^"]*"', "", matchers))) - {"pod"}
        assert labels <= told[name], (name, labels)


def test_every_metric_of_an_alert_is_limited_to_the_installation() -> None:
    pytest.importorskip("helm_python")
    text = rendered({**defaults(), "selector": 'namespace="here"', "sourceSilentHours": {"github": 24}})
    for rule in rules_of(text):
        selections = re.findall(r"\bdora_bridge_\w+(\{[^}]*\})?", rule["expr"])
        assert selections
        assert all('namespace="here"' in one for one in selections), rule["expr"]


def test_thresholds_are_values() -> None:
    pytest.importorskip("helm_python")
    template = (CHART / "files" / "rules.yaml").read_text("utf-8")
    assert set(re.findall(r"\$limit\.(\w+)", template)) == set(defaults()["thresholds"])
    values = {**defaults(), "thresholds": {**defaults()["thresholds"], "eventsOldSeconds": 77}}
    assert "dora_bridge_oldest_waiting_age_seconds) > 77" in rendered({**values, "selector": ""})


def test_every_alert_has_a_case_that_fires_and_one_that_does_not(everything: str) -> None:
    fires, quiet = set(), set()
    for case in CASES["tests"]:
        for one in case.get("promql_expr_test", ()):
            [name] = re.findall(r'alertname="(\w+)"', one["expr"])
            (fires if one["exp_samples"] else quiet).add(name)
        for one in case.get("alert_rule_test", ()):
            (fires if one.get("exp_alerts") else quiet).add(one["alertname"])
    alerts = {rule["alert"] for rule in rules_of(everything)}
    assert fires == alerts
    assert quiet == alerts


def test_cases(everything: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing, which tries the alerts: apt install prometheus")
    (tmp_path / "rules.yaml").write_text(everything, "utf-8")
    shutil.copy(HERE / "alerts.yaml", tmp_path)
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]):
        done = subprocess.run([promtool, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
