"""The traffic is the same for the same seed, has every sender and every kind of badness, and forges nothing real."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bridge.errors import SignatureMismatch, SignatureMissing
from bridge.intake import Delivery, receive, verify
from soak.traffic import Posting, Traffic, headers_of, statements, traffic

NOW = 1_795_000_000
NUMBER, FORTY_SECONDS = 4_000, 1_000
SECRET = b"a secret"


@pytest.fixture(scope="module")
def story() -> Traffic:
    return traffic(5, NUMBER, NOW)


@pytest.fixture(scope="module")
def made(story: Traffic) -> list[tuple[Posting, set[str]]]:
    """Each posting with all statements that it may make."""
    configuration, endpoints = story.parsed()
    rows = []
    for posting in story.postings:
        endpoint = endpoints[posting.webhook.endpoint]
        headers = headers_of(posting, endpoint, SECRET)
        states, may_state = statements(posting, endpoint, configuration, headers, NOW * 10**9)
        rows.append((posting, {*states, *may_state}))
    return rows


def test_a_seed_says_it_all() -> None:
    assert traffic(5, 100, NOW) == traffic(5, 100, NOW)
    assert traffic(5, 100, NOW) != traffic(6, 100, NOW)


def test_every_sender_posts(story: Traffic) -> None:
    assert {posting.webhook.endpoint for posting in story.postings} == {*story.content["endpoints"]}
    assert len(story.postings) > NUMBER


def test_there_are_deployments_of_several_services_and_incidents_of_every_fate(
    made: list[tuple[Posting, set[str]]],
) -> None:
    good = [states for posting, states in made if not posting.bad]
    assert any(len([one for one in states if one.startswith("gh-dep-")]) > 1 for states in good)
    every = set().union(*good)
    for end in ("open", "closed"):
        assert any(one.rpartition("~")[2].startswith(end) for one in every), end
    assert any("-r1" in one and one.startswith("pagerduty-incident-") for one in every), "none is reopened"
    times_stated = Counter(one for states in good for one in states)
    assert max(times_stated.values()) > 1, "nothing is delivered again"


@pytest.mark.parametrize("seed", range(5))
def test_forty_seconds_have_failed_deployments_and_merged_incidents_and_those_of_incident_management(seed: int) -> None:
    story = traffic(seed, FORTY_SECONDS, NOW)
    configuration, endpoints = story.parsed()
    calls: Counter[str] = Counter()
    known: set[str] = set()
    for posting in (one for one in story.postings if not one.is_forged):
        endpoint = endpoints[posting.webhook.endpoint]
        delivery = Delivery(headers_of(posting, endpoint, SECRET), {}, posting.webhook.body)
        rules = configuration.rules
        for one in receive(endpoint, delivery, secret=1, now=NOW * 10**9, rules=rules, application_key=True).envelopes:
            is_reported = one.method != "DELETE" or f"{one.datadog_id}~open" in known
            if one.id not in known and is_reported:
                calls[f"{one.method} {one.key.partition(':')[0]} {one.id.partition('~')[2]}"] += 1
            known.add(one.id)
    for call in (
        "PATCH change change-failure",
        "PATCH change remedied",
        "DELETE failure withdrawn",
        "DELETE incident withdrawn",
        "POST incident open",
        "POST incident closed",
    ):
        assert calls[call] >= 5, (call, calls)


def test_there_is_every_kind_of_badness(story: Traffic) -> None:
    seen = {posting.bad for posting in story.postings}
    assert seen == {"", "wrong secret", "no signature", "no JSON", "cut off", "without what it needs"}


def test_what_is_forged_is_refused_and_would_state_what_nobody_else_does(
    story: Traffic, made: list[tuple[Posting, set[str]]]
) -> None:
    true = set().union(*(states for posting, states in made if not posting.is_forged))
    forged = [(posting, states) for posting, states in made if posting.is_forged]
    _, endpoints = story.parsed()
    for posting, states in forged:
        assert not states & true
        endpoint = endpoints[posting.webhook.endpoint]
        delivery = Delivery(headers_of(posting, endpoint, SECRET), {}, posting.webhook.body)
        with pytest.raises((SignatureMismatch, SignatureMissing)):
            verify(endpoint, delivery, [SECRET])
    assert any(not one.startswith("in-") for _, states in forged for one in states)


def test_broken_bodies_are_authentic_and_state_no_fact(story: Traffic) -> None:
    configuration, endpoints = story.parsed()
    outcomes: Counter[str] = Counter()
    for posting in story.postings:
        if posting.bad not in ("no JSON", "cut off"):
            continue
        endpoint = endpoints[posting.webhook.endpoint]
        delivery = Delivery(headers_of(posting, endpoint, SECRET), {}, posting.webhook.body)
        verify(endpoint, delivery, [SECRET])
        receipt = receive(endpoint, delivery, secret=1, now=NOW * 10**9, rules=configuration.rules)
        outcomes.update(one.state for one in receipt.envelopes)
        with pytest.raises(ValueError, match=r"."):
            json.loads(posting.webhook.body)
    assert outcomes["dead_lettered"] > 0
    assert set(outcomes) <= {"dead_lettered", "ignored"}
