"""What the sandbox is told to do for each harm to Datadog, as `bridge/sandbox/script.py` takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

USUALLY: Mapping[str, Any] = {"delay_ms": 30, "times": "forever"}
"""What Datadog needs for an answer, so that some calls are always under way."""
_TO_INCIDENTS = [{"method": method, "path": "/api/v2/incidents"} for method in ("POST", "PATCH", "DELETE")]
SCRIPTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "429": [{"rate_limit": {"limit": 15, "period_s": 1}}, USUALLY],
    "503": [{"status": 503, "times": "forever"}],
    "500": [{"status": 500, "delay_ms": 200, "times": "forever"}],
    "202": [{"status": 202, "delay_ms": 30, "times": "forever"}],
    "401": [{"status": 401, "times": "forever"}],
    "422": [{"status": 422, "times": 5}, USUALLY],
    "cuts before it hears": [{"drop": "before_processing", "times": "forever"}],
    "cuts before it answers": [{"drop": "before_reply", "times": "forever"}],
    "cuts within the answer": [{"drop": "mid_reply", "times": "forever"}],
    "slow": [{"delay_ms": 2_500, "times": "forever"}],
    "hangs": [{"delay_ms": 15_000, "times": 20}, USUALLY],
    # lists are answered: by them the bridge finds what it may have created
    "cuts before it answers about incidents": [
        *({"drop": "before_reply", "times": "forever", "match": match} for match in _TO_INCIDENTS),
        USUALLY,
    ],
    "slow about incidents": [
        *({"delay_ms": 5_000, "times": "forever", "match": match} for match in _TO_INCIDENTS),
        USUALLY,
    ],
}
UNHEARD = (
    "cuts before it answers",
    "cuts before it answers about incidents",
    "cuts within the answer",
    "hangs",
    "refuses connections",
)
"""What may keep an answer of Datadog's from being heard."""
