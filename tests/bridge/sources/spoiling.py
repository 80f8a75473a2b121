"""Bodies as no vendor has sent them yet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st


def spoil(body: Any, data: st.DataObject, odd: Sequence[Any]) -> None:
    """Takes away one value somewhere in the body, or puts an odd one in its place."""
    parent: Any = body
    while True:
        places = list(range(len(parent))) if isinstance(parent, list) else list(parent)
        if not places:
            return
        place = data.draw(st.sampled_from(places))
        child = parent[place]
        if not isinstance(child, dict | list) or data.draw(st.integers(0, 3)) == 0:
            break
        parent = child
    if data.draw(st.booleans()):
        del parent[place]
    else:
        parent[place] = copy.deepcopy(data.draw(st.sampled_from(odd) | st.text() | st.integers()))
