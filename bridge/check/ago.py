"""How long ago something was, in words."""

from __future__ import annotations

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def length(seconds: float) -> str:
    """As in "3 d" or "12 min": whole units, rounded down, of the largest that fits."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
