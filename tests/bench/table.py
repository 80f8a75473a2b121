"""Tables and targets of a run, as text that is Markdown too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Target:
    """One number that is to be reached."""

    what: str
    measured: float
    bound: float
    side: Literal["at least", "at most"]

    @property
    def is_met(self) -> bool:
        return self.measured >= self.bound if self.side == "at least" else self.measured <= self.bound

    @property
    def cells(self) -> list[Cell]:
        return [self.what, self.measured, f"{self.side} {self.bound:g}", "yes" if self.is_met else "**no**"]


@dataclass(frozen=True, slots=True)
class Result:
    """What one measurement came to."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    targets: Sequence[Target] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """All numbers behind the rows, for the JSON."""

    def text(self) -> str:
        lines = [f"## {self.title}", "", *table(self.head, self.rows)]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [dict(zip(self.head, row, strict=True)) for row in self.rows],
            "notes": list(self.notes),
            "targets": [
                {"what": one.what, "measured": one.measured, one.side: one.bound, "met": one.is_met}
                for one in self.targets
            ],
            "data": dict(self.data),
        }


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Lines of a Markdown table, with the columns under each other; numbers stand at the right."""
    texts = [[shown(cell) for cell in row] for row in rows]
    numeric = [all(not isinstance(row[at], str) for row in rows) for at in range(len(head))]
    widths = [max(3, *(len(row[at]) for row in [list(head), *texts])) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    return [line(head), line(rule), *(line(row) for row in texts)]


def shown(cell: Cell) -> str:
    """Three digits that count, and no more of a number than was measured."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}" if abs(cell) < 1 else f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"


def targets(results: Sequence[Result]) -> Result:
    """The targets of all results, and whether each is met."""
    return Result(
        "Numbers to reach",
        ["what", "measured", "target", "met"],
        [one.cells for result in results for one in result.targets],
    )
