"""Who there is in the company: services and how they are deployed and paged, and what is known of each deployment.

All times are seconds since the epoch, UTC.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from year.facts import SECOND

MINUTE, HOUR, DAY = 60, 3600, 86_400

Way = Literal["environment", "platform", "payload", "repository", "workflow", "argocd"]
"""How the webhook names the service: by environment (monorepo), by rule for three at once, in the payload, by the
repository's name, by a workflow, by an Argo CD application."""
Pager = Literal["pagerduty", "pagerduty-ops", "opsgenie", "jsm", "issues"]
PAGERDUTY: Sequence[Pager] = ("pagerduty", "pagerduty-ops")
"""Two accounts; what the second one says goes to Incident Management."""
LOW = 4
"""Priority of alerts that are no failures."""
NO_CHANGE = "not-a-change"
Label = Literal["", "not-a-change", "taken off"]
"""Whether people found that no deployment caused an incident, and labelled it so, or took that back."""
Undo = Literal["plain", "payload", "rollback_of", "task", "history"]
"""How a rollback shows: only by its commit or version; by `payload.rollback`; by naming what it undoes; by `task`;
by the revision in the history of Argo CD."""


@dataclass(frozen=True, slots=True)
class Repository:
    name: str
    number: int

    @property
    def url(self) -> str:
        return f"https://github.com/acme/{self.name}"


@dataclass(frozen=True, slots=True)
class Unit:
    """What is deployed as one: a service, or several together."""

    name: str
    services: tuple[str, ...]
    repository: Repository
    way: Way
    pager: Pager
    per_week: float
    environment: str = "production"
    """Of production, in the vendor's words."""
    has_staging: bool = False
    names_version: bool = True
    names_commit: bool = True
    names_env: bool = True
    """Whether its incidents say in which env they are."""

    @property
    def page_id(self) -> str:
        return "P" + hashlib.sha256(self.name.encode()).hexdigest()[:6].upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One deployment as the company made it."""

    unit: Unit
    number: int
    env: str
    started: int
    finished: int
    commit: str
    version: str
    synced: int = 0
    """Argo CD: when its history says it was deployed; `finished` is when it was healthy."""
    revision: str = ""
    """Argo CD: commit of the configuration repository."""
    notified: int = 0
    """Argo CD: when it tells of it."""
    is_lost: bool = False
    """Argo CD told of it while nobody listened, and never tells again."""
    undo: Undo | None = None
    undoes: int = 0
    """Number of the rollout that a rollback is about."""
    is_again: bool = False
    """The version that was live was deployed again."""
    fails_first: bool = False
    """A first try failed and changed nothing."""
    degraded: int | None = None
    """Argo CD: when it was seen degraded; at `synced` if it never was healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One incident as the company's pager knows it."""

    unit: Unit
    number: int
    pager: Pager
    services: tuple[str, ...]
    env: str | None
    spans: tuple[tuple[int, int | None], ...]
    """From when to when; a second one if it was reopened. The end is None while it is open."""
    priority: int | None
    raised_to: int | None = None
    """Its priority was changed while it was open."""
    merged_into: int | None = None
    label: Label = ""

    @property
    def counts(self) -> bool:
        """Alerts of low priority are no failures."""
        return self.priority != LOW

    @property
    def nanoseconds(self) -> Sequence[tuple[int, int | None]]:
        """The spans as precisely as this pager tells them."""
        begin, end = FRACTIONS[self.pager]
        return [
            (start * SECOND + begin, None if finish is None else finish * SECOND + end) for start, finish in self.spans
        ]


FRACTIONS: Mapping[Pager, tuple[int, int]] = {
    "pagerduty": (0, 413_000_000),
    "pagerduty-ops": (0, 413_000_000),
    "opsgenie": (207_000_000, 391_000_123),
    "jsm": (207_000_000, 391_000_123),
    "issues": (0, 0),
}
"""Nanoseconds of an incident's start and end: PagerDuty's end has milliseconds, Opsgenie's nanoseconds."""


def units_of(dice: random.Random) -> list[Unit]:
    """40 services in 12 repositories."""
    alone = ("storefront", "gateway", "mailer", "invoices", "warehouse")
    names = ("monorepo", "shop", *alone, "mobile-api", "payments", "logistics", "data", "growth")
    repositories = {name: Repository(name, 70_000_000 + 1_013 * n) for n, name in enumerate(names)}
    monorepo, shop = repositories["monorepo"], repositories["shop"]
    units: list[Unit] = []

    def add(name: str, repository: Repository, way: Way, *services: str, **more: object) -> None:
        pagers: list[Pager] = ["pagerduty", "pagerduty-ops", "opsgenie", "issues", "pagerduty", "jsm"]
        pager = pagers[len(units) % len(pagers)]
        per_week = dice.uniform(1.5, 7)
        units.append(Unit(name, services or (name,), repository, way, pager, per_week, **more))  # type: ignore[arg-type]

    for name in ("catalog", "basket", "pricing", "reviews", "search", "media", "wishlist"):
        add(name, monorepo, "environment", environment=f"prod/{name}", names_version=False)
    add(
        "platform",
        monorepo,
        "platform",
        "auth",
        "sessions",
        "profiles",
        environment="prod/platform",
        names_version=False,
        names_env=False,
    )
    for name in ("checkout", "orders", "returns", "vouchers"):
        add(name, shop, "payload", has_staging=name != "returns", names_env=name not in ("orders", "returns"))
    for name in alone:
        named = "Prod-EU" if name in ("storefront", "gateway", "mailer") else "production"
        add(name, repositories[name], "repository", environment=named, has_staging=name == "gateway")
    add("mobile-api", repositories["mobile-api"], "workflow", names_version=False)
    for repository, applications in {
        "payments": ("payments", "ledger", "fraud", "payouts"),
        "logistics": ("shipping", "routing", "tracking", "couriers", "depots"),
        "data": ("events", "reports", "exports", "models", "features"),
        "growth": ("campaigns", "referrals", "loyalty", "recommendations"),
    }.items():
        for name in applications:
            add(name, repositories[repository], "argocd", names_commit=repository != "data")
    add("risk", repositories["payments"], "argocd", "risk-api", "risk-worker")
    return units
