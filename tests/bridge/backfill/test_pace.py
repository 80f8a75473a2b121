"""Turns come at intervals; a pause moves all of them."""

from __future__ import annotations

import pytest

from bridge.backfill.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_turns_are_an_interval_apart() -> None:
    clock = Clock()
    pace = Pace(4, sleep=clock.sleep, clock=clock)
    moments = []
    for _ in range(4):
        await pace.turn()
        moments.append(clock.now)
    assert moments == pytest.approx([100, 100.25, 100.5, 100.75])
    clock.now += 10
    await pace.turn()
    assert clock.now == pytest.approx(110.75), "whoever is late need not wait"


async def test_a_pause_is_for_everybody() -> None:
    clock = Clock()
    pace = Pace(1, sleep=clock.sleep, clock=clock)
    await pace.turn()
    await pace.pause(30)
    await pace.turn()
    assert clock.now == pytest.approx(130)
