"""How urgent an incident is, in Datadog's words, from what vendors and people write."""

from __future__ import annotations

import re

_NUMBERED = re.compile(r"(?<![A-Za-z])(?:P|SEV)[\s_-]*([1-5])(?!\d)", re.IGNORECASE)


def severity(name: str | int | None) -> str | None:
    """`SEV-1` … `SEV-5` for P1, SEV1, sev 1, "Sev1 - critical", 1 and "1"; other names as they are; None if absent."""
    if name is None or isinstance(name, bool):
        return None
    text = str(name).strip()
    if text in {"1", "2", "3", "4", "5"}:
        return f"SEV-{text}"
    match = _NUMBERED.search(text)
    return f"SEV-{match[1]}" if match else text or None


_OF_INCIDENTS = {"high": "SEV-2", "low": "SEV-4", **{f"sev-{number}": f"SEV-{number}" for number in range(6)}}


def incident_severity(text: str | None) -> str:
    """The severity in Incident Management: `SEV-0` … `SEV-5`, or `UNKNOWN` for what says nothing like it.

    High and Low are PagerDuty's urgencies, of incidents without a priority. Source: API reference, "Create an
    incident".
    """
    return _OF_INCIDENTS.get((text or "").lower(), "UNKNOWN")
