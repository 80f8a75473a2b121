"""The chart's alerts as a plain rule file, for a Prometheus without the operator: `make alerts` writes it.

Rendered by Helm's own engine with the values of the chart, but without a selector, which names a namespace there.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "dora-bridge"
PLAIN = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
SILENT_HOURS = 24
_COMMENT = "#~ "
_SILENCE = f"""

      # Off, since only you know how often a source sends. Take the "#~ " away, and copy both rules for each source with
      # its own hours: here {SILENT_HOURS}, in seconds in the first, and in its `for` in the second.
"""
_HEAD = "# Written by `make alerts` from helm/dora-bridge/files/rules.yaml. Change thresholds in a copy of yours.\n"


def defaults() -> dict[str, Any]:
    """`metrics.prometheusRule` of the chart's values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    section: dict[str, Any] = values["metrics"]["prometheusRule"]
    return section


def rendered(values: Mapping[str, Any]) -> str:
    """The template under these values of `metrics.prometheusRule`; its comments stay, but for those at its head."""
    from helm_python import Chart

    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder)
        (alone / "templates").mkdir()
        (alone / "Chart.yaml").write_text("{apiVersion: v2, name: rules, version: 0.0.0}\n")
        template = (CHART / "files" / "rules.yaml").read_text("utf-8")
        (alone / "templates" / "rules.yaml").write_text(template, "utf-8")
        with Chart.load(alone) as chart:
            made = chart.render(values={"metrics": {"prometheusRule": dict(values)}}, name="rules")
    return next(text for path, text in made.items() if path.endswith("rules.yaml"))


def plain() -> str:
    """The file, as it has to be: what is off by default stands at its end, as comments."""
    values = {**defaults(), "selector": ""}
    text = rendered(values)
    with_silence = rendered({**values, "sourceSilentHours": {"github": SILENT_HOURS}})
    assert with_silence.startswith(text.rstrip())
    silence = with_silence[len(text.rstrip()) :].strip("\n").splitlines()
    commented = [f"{_COMMENT}{line}".rstrip() + "\n" for line in silence]
    return _HEAD + text[text.index("#\n# Gauges") + 2 :].rstrip() + _SILENCE + "".join(commented)


def uncommented(text: str) -> str:
    """The plain file with what is off switched on, as a reader does it."""
    return re.sub(f"^{_COMMENT.rstrip()} ?", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
    PLAIN.write_text(plain(), "utf-8")
    sys.stdout.write(f"{PLAIN}\n")
