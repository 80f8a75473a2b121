"""A finding: one line of what `dora-bridge check` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `problem` would lose events or keep them from Datadog, `warning` may, `ok` does not."""

    level: Literal["ok", "warning", "problem"]
    what: str
    detail: str
