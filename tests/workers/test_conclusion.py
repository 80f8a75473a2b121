"""What becomes of an event after an attempt: of which it is looked for whether Datadog has it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dora import ChangeFailure, Deployment, Fact, Failure, Withdrawal
from bridge.envelope import Envelope, identity
from bridge.ledger import Head
from workers.conclusion import conclude, is_sampled
from workers.datadog import Outcome, Reason, Verdict, judge
from workers.destination import Standing
from workers.patience import NOT_FOUND_S, PATIENCE_S, SCHEDULE_S

TAKEN = Outcome(Verdict.DELIVERED, status=200)
DEPLOYMENT = Deployment(id="gh-dep-0000000001-000000000001", service="s", started_at=10**18, finished_at=10**18)
FAILURE = Failure(id="pagerduty-incident-P1", started_at=10**18, services=("s",))
PATCH = ChangeFailure(deployment_id=DEPLOYMENT.id, service="s", env=None)


def line_of(fact: Fact, outcome: Outcome, percent: float) -> Any:
    envelope = Envelope(endpoint="e", source="github", received_at=10**18, **identity(fact))
    head = Head(0, envelope.key, envelope, {}, {}, {})
    more = {"took_ms": 1.0, "now_ms": 10**12, "jitter": 0.5}
    return conclude(head, outcome, standing=Standing(), sample_percent=percent, **more).line


@pytest.mark.parametrize(
    ("fact", "outcome", "percent", "expected"),
    [
        (DEPLOYMENT, TAKEN, 100, True),
        (FAILURE, TAKEN, 100, True),
        (DEPLOYMENT, TAKEN, 0, False),
        (PATCH, TAKEN, 100, False),  # what it changed is in no list
        (DEPLOYMENT, Outcome(Verdict.REJECTED, Reason.INVALID, 400), 100, False),
        (DEPLOYMENT, Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, 500), 100, False),
    ],
)
def test_what_the_sample_is_of(fact: Fact, outcome: Outcome, percent: float, expected: bool) -> None:
    assert line_of(fact, outcome, percent).get("sampled", False) is expected


def test_without_a_sample_nothing_is_said_of_it() -> None:
    assert "sampled" not in line_of(DEPLOYMENT, TAKEN, 0)


@given(st.text(min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_a_greater_sample_has_the_smaller_one(identifier: str, one: float, other: float) -> None:
    small, great = sorted((one, other))
    assert is_sampled(identifier, great) or not is_sampled(identifier, small)
    assert is_sampled(identifier, 100)
    assert not is_sampled(identifier, 0)


def test_the_sample_is_about_as_large_as_asked_for() -> None:
    sampled = sum(is_sampled(f"gh-dep-0000000001-{n:012}", 5) for n in range(10_000))
    assert 400 < sampled < 600


GONE = Outcome(Verdict.ERRORED, Reason.NOT_FOUND, 404)


@pytest.mark.parametrize(
    ("fact", "before", "state"),
    [
        (Withdrawal(record_id=FAILURE.id), "network", "delivered"),
        (Withdrawal(record_id=FAILURE.id), "timeout", "delivered"),
        (Withdrawal(record_id=FAILURE.id), "", "waiting"),  # it may not be there yet
        (Withdrawal(record_id=FAILURE.id), "rate_limited", "waiting"),
        (PATCH, "network", "waiting"),
        (Withdrawal(record_id=FAILURE.id, revision=1), "", "delivered"),  # it was deleted before
        (Withdrawal(record_id="i", what="incident"), "", "waiting"),
    ],
)
def test_what_a_delete_without_an_answer_deleted_is_not_there_any_more(fact: Fact, before: str, state: str) -> None:
    envelope = Envelope(endpoint="e", source="pagerduty", received_at=10**18, **identity(fact))
    head = Head(0, envelope.key, envelope, {"reason": before, "n": 1}, {}, {})
    settlement = conclude(head, GONE, standing=Standing(), took_ms=1.0, now_ms=10**12, jitter=0.5)
    assert settlement.state == state


@pytest.mark.parametrize(
    ("by", "tries", "state"), [("ada", 0, "delivered"), ("", 0, "waiting"), ("", 3, "waiting"), ("", 4, "delivered")]
)
def test_an_incident_that_is_not_there_is_gone(by: str, tries: int, state: str) -> None:
    """At once for a person; a webhook may have come right after it was created."""
    fact = Withdrawal(record_id="i", what="incident", uuid="a6250371")
    envelope = Envelope(endpoint="e", source="s", by=by, received_at=10**18, **identity(fact))
    head = Head(0, envelope.key, envelope, {"reason": "not_found", "n": tries} if tries else {}, {}, {})
    settlement = conclude(head, GONE, standing=Standing(), took_ms=1.0, now_ms=10**12, jitter=0.5)
    assert (settlement.state, settlement.line["reason"] == "gone") == (state, state == "delivered")


def test_the_id_of_a_created_incident_is_kept() -> None:
    envelope = Envelope(endpoint="e", source="pagerduty", received_at=10**18, **identity(FAILURE))
    head = Head(0, envelope.key, envelope, {}, {}, {})
    created = Outcome(Verdict.DELIVERED, status=201, uuid="a6250371")
    settlement = conclude(head, created, standing=Standing(), took_ms=1.0, now_ms=10**12, jitter=0.5)
    assert (settlement.state, settlement.uuid) == ("delivered", "a6250371")


def test_when_it_was_put_back_is_kept_from_try_to_try() -> None:
    envelope = Envelope(endpoint="e", source="github", received_at=10**18, **identity(DEPLOYMENT))
    last: Any = {"at": 7, "state": "waiting", "by": "someone"}
    for _ in range(2):
        head = Head(0, envelope.key, envelope, last, {}, {})
        failing = Outcome(Verdict.ERRORED, Reason.SERVER_ERROR, 500)
        last = conclude(head, failing, standing=Standing(), took_ms=1.0, now_ms=10**12, jitter=0.5).line
        assert last["put_back"] == 7


NETWORK = [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.WriteError, httpx.PoolTimeout]
HEADERS = st.dictionaries(
    st.sampled_from(["X-RateLimit-Reset", "X-RateLimit-Remaining", "Retry-After", "Content-Type"]),
    st.text("0123456789.e-+ ²", max_size=30) | st.sampled_from(["9" * 5_000, "inf", "nan", "-1", "application/json"]),
)
STATEMENTS: list[Fact] = [DEPLOYMENT, FAILURE, PATCH, Withdrawal(record_id=FAILURE.id)]


@given(
    fact=st.sampled_from(STATEMENTS),
    answered=st.integers(100, 599) | st.sampled_from(NETWORK),
    headers=HEADERS,
    body=st.binary(max_size=50) | st.sampled_from([b"[" * 5_000, b'{"data":{"id":"u"}}', b'{"errors":["x"]}']),
    is_open=st.booleans(),
    worked_at_ms=st.sampled_from([0, 2 * 10**12]),
    last=st.fixed_dictionaries(
        {},
        optional={
            "n": st.integers(0, 100),
            "since": st.integers(0, 10**12),
            "reason": st.sampled_from(["", "network", "not_found", "server_error"]),
        },
    ),
    jitter=st.floats(0, 1),
)
def test_whatever_datadog_answers_there_is_one_decision(
    fact: Fact,
    answered: Any,
    headers: dict[str, str],
    body: bytes,
    is_open: bool,
    worked_at_ms: int,
    last: dict[str, Any],
    jitter: float,
) -> None:
    envelope = Envelope(endpoint="e", source="github", received_at=10**18, **identity(fact))
    raw = {name: value.encode() for name, value in headers.items()}
    answer = httpx.Response(answered, headers=raw, content=body) if isinstance(answered, int) else answered("x")
    outcome = judge(envelope.method, answer)
    settlement = conclude(
        Head(0, envelope.key, envelope, last, {}, {}),
        outcome,
        standing=Standing(is_open, worked_at_ms),
        took_ms=1.0,
        now_ms=10**12,
        jitter=jitter,
    )
    assert settlement.state in ("delivered", "waiting", "dead_lettered")
    assert json.loads(json.dumps(settlement.line, allow_nan=False)) == settlement.line
    assert (settlement.line.get("due", 0) > 0) == (settlement.wait_ms > 0)
    assert 0 <= settlement.wait_ms <= 1.1 * 1000 * max(*SCHEDULE_S, *NOT_FOUND_S)
    assert settlement.state == "waiting" or settlement.wait_ms == 0
    if answered in (200, 201, 202, 204):
        assert settlement.state == "delivered", "never again"
    elif answered in (401, 403, 429):
        assert (settlement.state, settlement.wait_ms) == ("waiting", 0), "however old: the destination waits for all"
    elif settlement.state == "delivered":
        assert (fact, answered) == (STATEMENTS[-1], 404), "it is gone: the one before did it"
    elif settlement.state == "dead_lettered":
        is_old = 10**12 - last.get("since", 10**12) >= PATIENCE_S * 1000
        assert outcome.verdict is Verdict.REJECTED or is_old or last.get("n", 0) >= len(NOT_FOUND_S)
    may_have_it = outcome.status in (0, 200, 201, 202, 204, 408, 425) or outcome.status >= 500
    assert (settlement.told is not None) == (fact is DEPLOYMENT and may_have_it)
