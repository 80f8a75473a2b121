"""The table of senders. A new one is its file, its line here, and its fixtures."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.source import Source
from bridge.sources import argocd, github, opsgenie, pagerduty

SOURCES: Mapping[str, Source] = {
    source.name: source for source in (github.SOURCE, argocd.SOURCE, pagerduty.SOURCE, opsgenie.SOURCE)
}
"""kind, as in `bridge.yaml`, -> what that sender is."""

DEFAULT_ENDPOINTS: Mapping[str, str] = {**{name: name for name in SOURCES}, "jsm": "opsgenie"}
"""endpoint, the last part of `/webhooks/{endpoint}`, -> kind. Jira Service Management posts Opsgenie's bodies."""
