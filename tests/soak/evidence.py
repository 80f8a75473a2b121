"""What an account is made of: what senders were told, what the ledger keeps, when something was disturbed.

Times are seconds since the epoch. A *statement* is what the ledger calls one (`bridge/envelope.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

NO_ANSWER = "no answer"
ON_PURPOSE = "waiting_on_purpose"
"""The state of a statement that still waits when all is drained, for good reason; see `waits.py`."""
MARGIN_S = 5.0
"""So long before and after a disturbance an answer of Datadog's may not have been heard, or not put down."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One webhook as its sender knows it, all its tries included."""

    endpoint: str
    states: tuple[str, ...]
    """Ids of the statements that it makes; of a forged one, those that it would make."""
    may_state: tuple[str, ...] = ()
    """Of those that it makes only if they were missed before."""
    said: str = ""
    """The word of the answer it got at last: `accepted`, `ignored`, …, a status like `401`, or NO_ANSWER."""
    acknowledged_at: float | None = None
    """When a 202 came."""
    is_forged: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """One statement as the ledger knows it."""

    id: str
    state: str
    says: str = ""
    """`name_of` its request; empty if it makes none."""
    key: str = ""
    order: int = 0
    rank: str = ""
    """Decides between statements of one order."""
    received_at: float = 0.0
    after: tuple[str, ...] = ()
    """Ids of the deployments that Datadog has to have first."""
    was_dead: bool = False
    """It was a dead letter at some time; sent again, it may come after what is newer."""

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands among those of its key."""
        return self.order, self.rank

    @property
    def needs_incident(self) -> bool:
        """Whether it changes, ends or withdraws an incident of Incident Management, which has to be created first."""
        return self.key.startswith("incident:") and not self.id.endswith("~open")

    @property
    def is_concluded(self) -> bool:
        """Whether no webhook says it, but the bridge concludes it."""
        return "~verdict-" in self.id


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From when to when a worker, Redis or the way to Datadog was disturbed."""

    begin: float
    end: float

    def covers(self, moment: float) -> bool:
        return self.begin - MARGIN_S <= moment <= self.end + MARGIN_S
