"""Line charts as SVG, by hand: a few lines need no library. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 28, 64, 48
_COLOURS = ("#1f5fbf", "#c2410c", "#0f766e", "#7c3aed", "#6b7280", "#be185d")
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 4", "1 2")
"""Lines are told apart without colours too."""

_FEW = 20
"""Of so many points each is seen: a line of one would be none."""

Points = Sequence[tuple[float, float]]


def chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Points], *, lowest: float = 0) -> str:
    """An SVG document with these lines, from zero on; with a `lowest` y above zero that axis is logarithmic.

    Raises: ValueError without a point.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("a chart of nothing")
    x_most, y_most = (max(point[axis] for point in points) or 1.0 for axis in (0, 1))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x_of(value: float) -> float:
        return round(_LEFT + (right - _LEFT) * value / x_most, 1)

    def y_of(value: float) -> float:
        share = math.log(max(value, lowest) / lowest) / math.log(y_most / lowest) if lowest else value / y_most
        return round(bottom - (bottom - _TOP) * share, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="#1f2328">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for value in powers(lowest, y_most) if lowest else ticks(y_most):
        y = y_of(value)
        parts.append(f'<path d="M{_LEFT} {y}H{right}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{value:,g}</text>')
    for value in ticks(x_most):
        x = x_of(value)
        parts.append(f'<path d="M{x} {bottom}v5" stroke="#57606a"/>')
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{value:,g}</text>')
    parts.append(f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text transform="translate(14 {_TOP}) rotate(-90)" text-anchor="end">{escape(y_label)}</text>')
    at = float(_LEFT)
    for number, (name, line) in enumerate(lines.items()):
        look = f'stroke="{_COLOURS[number % 6]}" stroke-width="2" stroke-dasharray="{_DASHES[number % 6]}" fill="none"'
        path = " ".join(f"{x_of(x)},{y_of(y)}" for x, y in line)
        parts.append(f'<polyline points="{path}" {look}/>')
        if len(line) <= _FEW:
            parts += [f'<circle cx="{x_of(x)}" cy="{y_of(y)}" r="3" fill="{_COLOURS[number % 6]}"/>' for x, y in line]
        parts.append(f'<path d="M{at} 44h24" {look}/><text x="{at + 30}" y="48">{escape(name)}</text>')
        at += 46 + 6.4 * len(name)
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(most: float, about: int = 5) -> list[float]:
    """Round numbers from 0 up to `most`, about so many."""
    rough = most / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [round(step * number, 10) for number in range(int(most / step + 1e-9) + 1)]


def powers(lowest: float, most: float) -> list[float]:
    """The powers of ten in this range."""
    first = math.ceil(math.log10(lowest) - 1e-9)
    return [10.0**power for power in range(first, math.floor(math.log10(most) + 1e-9) + 1)]


def thinned(points: Points, most: int = 400) -> Points:
    """At most about so many of the points, the first and the last among them."""
    every = max(1, math.ceil(len(points) / most))
    return [*points[:-1:every], points[-1]] if points else []
