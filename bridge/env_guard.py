"""Deployments and failures without an environment. None is guessed, so somebody has to see that one is missing.

Datadog keeps such events apart from those of every environment, and no incident is linked to such a deployment, unless
`linking.environments` says that anything will do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WithoutEnv:
    """How many events name no environment, neither by their payload nor by a rule."""

    deployments: int
    failures: int
    days: float
    """Of the last so many days."""

    def __bool__(self) -> bool:
        return bool(self.deployments or self.failures)

    def json(self) -> dict[str, int]:
        return {"deployments": self.deployments, "failures": self.failures}

    @property
    def said(self) -> str:
        """As in "3 deployments and 1 failure without env in the last 7 days"."""
        counts = [
            f"{count:,} {word}{'s' * (count != 1)}"
            for word, count in (("deployment", self.deployments), ("failure", self.failures))
            if count
        ]
        last = "the last day" if self.days == 1 else f"the last {self.days:g} days"
        return f"{' and '.join(counts) or 'nothing'} without env in {last}"
