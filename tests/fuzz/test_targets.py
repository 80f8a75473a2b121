"""Every target over what is known to be odd, over what hypothesis makes of it, and over what was found before."""

from __future__ import annotations

import pytest
from fuzz.seeds import FINDINGS, another, seeds
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_known_to_be_odd(target: str) -> None:
    for data in seeds(target):
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=150)
@given(data=st.data())
def test_what_can_be_made_of_it(target: str, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from(seeds(target)))
    TARGETS[target](another(target, start, lambda several: data.draw(st.sampled_from(several))))


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=100)
@given(data=st.binary() | st.text().map(str.encode))
def test_whatever_bytes(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("path", sorted(FINDINGS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_before(path: object) -> None:
    TARGETS[path.parent.name](path.read_bytes())  # type: ignore[attr-defined]
