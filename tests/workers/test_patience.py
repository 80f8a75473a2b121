"""When to try again, and when to stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.datadog import Outcome, Reason, Verdict
from workers.patience import DELAYED_S, MOST_TRIES, PATIENCE_S, SCHEDULE_S, next_try_s, untouchable_s

FAILED = Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, 500)
MISSING = Outcome(Verdict.ERRORED, Reason.NOT_FOUND, 404)
PENDING = Outcome(Verdict.ERRORED, Reason.DEPLOYMENT_PENDING)
NOT_CREATED = Outcome(Verdict.ERRORED, Reason.INCIDENT_PENDING)


@pytest.mark.parametrize(
    ("outcome", "tries", "wait_s"),
    [
        (FAILED, 1, 1.0),  # the first wait of the schedule
        (FAILED, 2, 2.0),
        (FAILED, 9, 900.0),  # its last one
        (FAILED, 29, 900.0),  # which repeats
        (FAILED, 30, None),  # many tries while others pass
        (MISSING, 1, 2.0),
        (MISSING, 4, 300.0),
        (MISSING, 5, None),  # a few delayed tries only
        (PENDING, 1, 5.0),
        (PENDING, 200, 540.0),  # for as long as it takes
        (NOT_CREATED, 200, 540.0),
        (replace(PENDING, wait_s=421.5), 200, 421.5),  # known
    ],
)
def test_waits(outcome: Outcome, tries: int, wait_s: float | None) -> None:
    assert next_try_s(outcome, tries=tries, age_s=0, jitter=0) == wait_s


@pytest.mark.parametrize("outcome", [FAILED, MISSING, PENDING, NOT_CREATED])
def test_patience_ends_by_age(outcome: Outcome) -> None:
    assert next_try_s(outcome, tries=1, age_s=PATIENCE_S - 1, jitter=0) is not None
    assert next_try_s(outcome, tries=1, age_s=PATIENCE_S, jitter=0) is None


@given(st.integers(1, MOST_TRIES - 1), st.floats(0, 1))
def test_jitter_lengthens_a_wait_by_a_tenth_at_most(tries: int, jitter: float) -> None:
    wait_s = next_try_s(FAILED, tries=tries, age_s=0, jitter=jitter)
    assert wait_s is not None
    assert SCHEDULE_S[0] <= wait_s <= SCHEDULE_S[-1] * 1.1


@pytest.mark.parametrize(
    ("delivered", "wait_s"),
    [
        ([(1_000_000, False)], 0),
        ([(1_000_000, True)], 600),
        ([(400_001, True)], 0.001),
        ([(400_000, True)], 0),
        ([(900_000, True), (950_000, True), (999_000, False)], 550),
        ([(1_000_200, False)], 0),  # by a clock that is ahead
        ([(1_000_000, True), (None, False)], None),
    ],
)
def test_how_long_deployments_are_left_alone(delivered: list[tuple[int | None, bool]], wait_s: float | None) -> None:
    assert untouchable_s(delivered, 1_000_000) == wait_s


@given(st.integers(0, 10**7), st.floats(0, 1))
def test_after_a_202_it_goes_just_when_it_may(delivered_ms: int, jitter: float) -> None:
    """Tried from 0 on, of a deployment that was answered with 202 at some time, maybe hours later."""
    now_ms = tries = 0
    while (wait_s := untouchable_s([(delivered_ms if now_ms >= delivered_ms else None, True)], now_ms)) != 0:
        tries += 1
        next_s = next_try_s(replace(PENDING, wait_s=wait_s), tries=tries, age_s=now_ms / 1000, jitter=jitter)
        assert next_s is not None
        now_ms += round(next_s * 1000)
    assert now_ms == delivered_ms + DELAYED_S * 1000
