"""Envelopes: the identities of a statement, its place in the order, and its JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dora import ChangeFailure, ChangeFailureByVersion, Deployment, Fact, Failure, Git, Withdrawal
from bridge.envelope import VERSION, Envelope, as_opened, identity

SECOND = 10**9
T0 = 1_700_000_000 * SECOND
DEPLOYMENT = Deployment(
    id="gh-dep-0000000001-000000000002",
    service="shop",
    env="production",
    started_at=T0,
    finished_at=T0 + 60 * SECOND + 123_456_789,
    git=Git("a" * 40, "https://github.com/acme/shop"),
)
OPEN = Failure(id="pagerduty-incident-PXYZ", started_at=T0, services=("shop",))
CLOSED = replace(OPEN, finished_at=T0 + SECOND)
CHANGE = ChangeFailure(deployment_id="argo-0000-000001", service="shop", env=None)
REMEDIED = replace(CHANGE, remediation_id="argo-0000-000002", remediation_type="rollback")
WITHDRAWN = Withdrawal(record_id="pagerduty-incident-PXYZ")
BY_VERSION = ChangeFailureByVersion(service="shop", env="production", version="v1", revision=3)


def envelope(fact: Fact, **more: Any) -> Envelope:
    return Envelope(endpoint="e", source="s", kind="k", received_at=T0, **identity(fact), **more)


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (
            DEPLOYMENT,
            {
                "id": DEPLOYMENT.id,
                "datadog_id": DEPLOYMENT.id,
                "fact": DEPLOYMENT.id,
                "key": "deployment:shop:production",
                "order": 1_700_000_060_123_456,
                "method": "POST",
                "path": "/api/v2/dora/deployment",
                "needs_opening": "",
            },
        ),
        (replace(DEPLOYMENT, env=None), {"key": "deployment:shop:"}),
        (
            OPEN,
            {
                "id": "pagerduty-incident-PXYZ~open",
                "datadog_id": "pagerduty-incident-PXYZ",
                "fact": "pagerduty-incident-PXYZ",
                "key": "failure:pagerduty-incident-PXYZ",
                "method": "POST",
                "path": "/api/v2/dora/failure",
                "needs_opening": "",
            },
        ),
        (CLOSED, {"id": "pagerduty-incident-PXYZ~closed", "fact": "pagerduty-incident-PXYZ", "needs_opening": ""}),
        (replace(OPEN, revision=T0), {"id": f"pagerduty-incident-PXYZ~open-{T0}"}),
        (replace(OPEN, send_as="legacy_incident"), {"path": "/api/v2/dora/incident"}),
        (
            replace(CLOSED, only_if_open="it does not count"),
            {"needs_opening": "ignored: it does not count"},
        ),
        (
            replace(CLOSED, started_at=None),
            {
                "needs_opening": "dead_lettered: no start time in the webhook, "
                "and the opening of this incident is not in the ledger"
            },
        ),
        (
            replace(CLOSED, services=()),
            {
                "needs_opening": "dead_lettered: neither services nor team, "
                "and the opening of this incident is not in the ledger"
            },
        ),
        (replace(CLOSED, services=(), team="sre"), {"needs_opening": ""}),
        (
            CHANGE,
            {
                "id": "argo-0000-000001~change-failure",
                "datadog_id": "argo-0000-000001",
                "fact": "argo-0000-000001~change-failure",
                "key": "change:argo-0000-000001",
                "method": "PATCH",
                "path": "/api/v2/dora/deployments/argo-0000-000001",
            },
        ),
        (
            WITHDRAWN,
            {
                "id": "pagerduty-incident-PXYZ~withdrawn",
                "fact": "pagerduty-incident-PXYZ",
                "key": "failure:pagerduty-incident-PXYZ",
                "method": "DELETE",
                "path": "/api/v2/dora/failure/pagerduty-incident-PXYZ",
                "body": None,
                "needs_opening": "ignored: the incident that was merged away was never reported",
            },
        ),
        (
            Withdrawal(record_id="argo-0000-000001", what="deployment", service="checkout"),
            {
                "id": "argo-0000-000001~withdrawn",
                "fact": "argo-0000-000001",
                "key": "change:argo-0000-000001",
                "rank": "2",
                "path": "/api/v2/dora/deployment/argo-0000-000001",
                "after": ("argo-0000-000001",),
                "concerns": {"service": "checkout"},
            },
        ),
        (
            BY_VERSION,
            {
                "id": f"{BY_VERSION.id}~verdict-3",
                "fact": f"{BY_VERSION.id}~change-failure",
                "rank": "2.000000003",
                "key": f"change:{BY_VERSION.id}",
                "method": "PATCH",
                "path": "/api/v2/dora/deployments",
            },
        ),
    ],
)
def test_identity(fact: Fact | ChangeFailureByVersion, expected: dict[str, Any]) -> None:
    found = identity(fact)
    assert {name: found.get(name, "") for name in expected} == expected


@pytest.mark.parametrize(
    "statements",
    [
        # about one incident: whatever comes late must not undo what stands
        [
            OPEN,
            replace(OPEN, revision=T0),
            replace(OPEN, revision=T0 + 1),
            CLOSED,
            replace(CLOSED, revision=T0),
            replace(CLOSED, revision=T0 + SECOND),
            WITHDRAWN,
            replace(WITHDRAWN, revision=1),
            replace(WITHDRAWN, revision=2),
        ],
        # the rollback that remedied it says more than that it failed
        [CHANGE, REMEDIED, replace(CHANGE, revision=1), replace(REMEDIED, revision=2), replace(CHANGE, revision=10)],
        [replace(BY_VERSION, revision=1), BY_VERSION, replace(BY_VERSION, failed=False, revision=10)],
    ],
)
def test_later_statements_have_greater_ranks_and_places_and_ids_of_their_own(
    statements: list[Fact | ChangeFailureByVersion],
) -> None:
    found = [identity(statement) for statement in statements]
    ranks = [one["rank"] for one in found]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks) == len({one["id"] for one in found})
    assert len({one["fact"] for one in found}) == len({one["key"] for one in found}) == 1
    orders = [one.get("order", 0) for one in found]
    assert orders == sorted(orders)
    assert all(0 <= order < 2**53 for order in orders), "Redis keeps scores as doubles"


@given(st.lists(st.integers(1_262_304_000 * SECOND, 3_000_000_000 * SECOND - 1), min_size=2, max_size=2))
def test_rank_and_order_follow_the_revision(revisions: list[int]) -> None:
    one, other = (identity(replace(OPEN, revision=revision)) for revision in sorted(revisions))
    assert one["rank"] <= other["rank"]
    assert one["order"] <= other["order"] < identity(CLOSED)["order"]
    assert (one["rank"] == other["rank"]) == (revisions[0] == revisions[1])
    closed = identity(replace(CLOSED, revision=revisions[0]))
    assert other["rank"] < closed["rank"] < identity(WITHDRAWN)["rank"]
    assert other["order"] < closed["order"] < identity(WITHDRAWN)["order"] < 2**53


@given(st.lists(st.integers(1_262_304_000 * SECOND, 3_000_000_000 * SECOND - 1), min_size=2, max_size=2))
def test_deployments_are_ordered_by_their_end(ends: list[int]) -> None:
    one, other = (identity(replace(DEPLOYMENT, finished_at=end))["order"] for end in sorted(ends))
    assert one <= other < 2**53


texts = st.text(max_size=20)
facts: st.SearchStrategy[Fact] = st.one_of(
    st.builds(
        Deployment,
        id=st.just("gh-dep-0000000001-000000000002"),
        service=texts,
        started_at=st.integers(0, 2**62),
        finished_at=st.integers(0, 2**62),
        env=st.none() | texts,
        version=st.none() | texts,
        git=st.none() | st.builds(Git, texts, texts),
        custom_tags=st.lists(texts, max_size=3).map(tuple),
    ),
    st.builds(
        Failure,
        id=st.just("opsgenie-alert-0123456789"),
        started_at=st.none() | st.integers(0, 2**62),
        finished_at=st.none() | st.integers(0, 2**62),
        services=st.lists(texts, max_size=3).map(tuple),
        revision=st.integers(0, 2**62),
        only_if_open=texts,
    ),
    st.just(CHANGE),
    st.just(REMEDIED),
    st.just(WITHDRAWN),
)


@given(
    fact=facts,
    more=st.fixed_dictionaries(
        {},
        optional={
            "delivery": texts,
            "secret": st.integers(0, 3),
            "rule": texts,
            "raw": texts,
            "state": st.sampled_from(["waiting", "ignored", "dead_lettered"]),
            "reason": texts,
        },
    ),
)
def test_survives_json(fact: Fact, more: dict[str, Any]) -> None:
    first = envelope(fact, **more)
    text = first.to_json()
    again = Envelope.from_json(text.encode())
    assert again == first
    assert again.to_json() == text


def test_a_note_survives_json() -> None:
    note = Envelope(id="in-00", endpoint="e", source="s", kind="", received_at=1, state="ignored", reason="why")
    assert Envelope.from_json(note.to_json()) == note


def test_origins_are_not_in_the_json() -> None:
    assert "secret origin" not in envelope(DEPLOYMENT, origins={"env": "secret origin"}).to_json()


def test_json_is_small() -> None:
    """A waiting event may cost 1.5 KB in Redis, keys and lists included."""
    assert len(envelope(DEPLOYMENT, delivery="0" * 36, secret=1).to_json()) < 700


def test_fields_of_a_newer_version_of_the_code_are_left_out() -> None:
    text = json.dumps({**json.loads(envelope(OPEN).to_json()), "colour": "blue", "origins": {"x": "y"}})
    assert Envelope.from_json(text) == envelope(OPEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"text"',
        "{}",
        '{"id":"x"}',
        '{"v":"1","id":"x","endpoint":"e","source":"s","kind":"k","received_at":1}',
        '{"v":1}',
        '{"v":1,"method":"POST"}',
        '{"v":1,"id":"x","endpoint":"e","source":"s","kind":"k"}',
        json.dumps({**json.loads(envelope(OPEN).to_json()), "v": VERSION + 1}),
        b"\xff\xfe",
    ],
)
def test_what_is_no_envelope_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own errors are such, too
        Envelope.from_json(text)


@pytest.mark.parametrize(
    ("fact", "services"),
    [(DEPLOYMENT, ("shop",)), (replace(OPEN, services=("a", "b")), ("a", "b")), (CHANGE, ()), (WITHDRAWN, ())],
)
def test_services(fact: Fact, services: tuple[str, ...]) -> None:
    assert envelope(fact).services == services


def test_closing_repeats_what_datadog_matches_by() -> None:
    opening = {
        "id": "x",
        "services": ["shop"],
        "env": "production",
        "started_at": T0,
        "name": "slow",
        "severity": "SEV-2",
        "custom_tags": ["a:1", "b:2"],
    }
    closing = {
        "id": "x",
        "services": ["cart"],
        "env": "staging",
        "team": "new",
        "started_at": T0 + 1,
        "finished_at": T0 + 2,
        "severity": "SEV-1",
        "custom_tags": ["b:2", "c:3"],
    }
    assert as_opened(closing, opening) == {
        "id": "x",
        "services": ["shop"],
        "env": "production",
        "started_at": T0,  # and no team: the opening had none
        "finished_at": T0 + 2,
        "name": "slow",
        "severity": "SEV-1",
        "custom_tags": ["b:2", "c:3", "a:1"],
    }


def test_closing_without_env_gets_that_of_its_opening_and_the_other_way_round() -> None:
    assert as_opened({"id": "x"}, {"id": "x", "env": "prod"}) == {"id": "x", "env": "prod"}
    assert as_opened({"id": "x", "env": "prod"}, {"id": "x"}) == {"id": "x"}


def test_no_more_tags_than_datadog_takes() -> None:
    tags = [f"k:{number}" for number in range(90)]
    others = [f"o:{number}" for number in range(90)]
    assert as_opened({"custom_tags": tags}, {"custom_tags": others})["custom_tags"] == [*tags, *others[:10]]
