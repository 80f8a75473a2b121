"""The account is judged: it comes out even for a run in which all is well, and does not for each thing that is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from soak.account import account
from soak.evidence import Disturbance, Kept, Sent
from soak.example import AT, CLOSED, KEPT, OPEN, REQUESTS, SENT, deployed, failed, marked, request, taken, wrongs
from soak.naming import name_of


def test_it_comes_out_even() -> None:
    one = taken()
    assert one.is_even
    assert one.accepted == {"delivered": 12, "ignored": 1, "dead_lettered": 1}
    assert one.may_be == {"delivered": 1, "not recorded": 1}
    assert one.concluded == {"delivered": 1}
    assert one.requests == {"200": 10, "201": 2, "202": 1, "204": 1, "503": 1}
    assert one.told == {
        "POST deployment": 4,
        "POST failure": 3,
        "POST incidents": 2,
        "PATCH deployments": 2,
        "PATCH incidents": 1,
        "DELETE failure": 1,
        "DELETE incidents": 1,
    }
    assert one.webhooks["duplicate"] == 1


def test_nothing_at_all_is_not_even() -> None:
    assert not account((), (), (), listed=(), now=AT).is_even


def test_an_event_that_is_not_in_the_ledger_is_lost() -> None:
    one = taken(kept=[kept for kept in KEPT if kept.id != "in-note"])
    assert wrongs(one) == {"lost": ["in-note: not in the ledger"]}
    assert one.accepted["lost"] == 1
    assert not one.is_even


def test_an_event_that_datadog_was_never_told_is_lost() -> None:
    one = taken(requests=[request for request in REQUESTS if name_of(request) != "second"])
    assert wrongs(one) == {"lost": ["second: delivered, and Datadog was not told"]}
    assert not one.is_even


@pytest.mark.parametrize(("status", "said"), [(503, "status 503"), (None, "drop before_processing")])
def test_an_event_that_datadog_did_not_take_is_lost(status: int | None, said: str) -> None:
    refused = {"status": status, "note": f"script: {said}"}
    one = taken(requests=[*REQUESTS[:4], REQUESTS[4] | refused, *REQUESTS[5:]])
    assert wrongs(one) == {"lost": ["second: delivered, and Datadog was not told"]}


@pytest.mark.parametrize("drop", ["before_reply", "mid_reply"])
def test_an_event_that_datadog_took_before_it_cut_the_connection_is_told(drop: str) -> None:
    cut = {"status": None, "note": f"script: drop {drop}"}
    assert taken(requests=[*REQUESTS[:4], REQUESTS[4] | cut, *REQUESTS[5:]]).is_even


@pytest.mark.parametrize("state", ["waiting", "unreadable"])
def test_an_event_that_came_to_no_end_is_lost(state: str) -> None:
    one = taken(kept=[replace(kept, state=state) if kept.id == "second" else kept for kept in KEPT])
    assert wrongs(one) == {"lost": [f"second: {state}"]}
    assert not one.is_even


def test_what_may_have_been_missed_is_accepted_only_if_it_is_there() -> None:
    sent = [*SENT, Sent("argocd", (), ("known before", "first"), "accepted", AT + 5)]
    one = taken(sent=sent)
    assert one.is_even
    assert sum(one.accepted.values()) == 14


def test_a_webhook_that_named_it_in_passing_before_the_ledger_had_it_makes_it_not_known() -> None:
    in_passing = Sent("argocd", (), ("first",), "accepted", AT + 0.5)
    late = [in_passing, replace(SENT[0], acknowledged_at=AT + 4), *SENT[1:]]
    kept = [replace(KEPT[0], received_at=AT + 3.9), *KEPT[1:]]
    requests = [*REQUESTS[2:5], deployed("first", 5), *REQUESTS[5:]]
    assert taken(sent=late, kept=kept, requests=requests).is_even
    known = replace(in_passing, acknowledged_at=AT + 1)
    kept = [replace(KEPT[0], received_at=AT + 0.9), *KEPT[1:]]
    assert wrongs(taken(sent=[known, *late[1:]], kept=kept, requests=requests)) == {"disorder": ["first after second"]}


def test_one_id_with_two_bodies_is_seen() -> None:
    other = deployed("first", 3.5, version="v2")
    one = taken(requests=[*REQUESTS, other], disturbances=[Disturbance(AT, AT + 9)])
    assert wrongs(one)["changed"] == ["first"]
    assert not one.is_even


def test_what_takes_the_place_of_a_refused_one_may_know_more() -> None:
    refused = deployed("first", 0.5, version="v2") | {"status": 422, "note": "script: status 422"}
    assert taken(requests=[refused, *REQUESTS]).changed == []
    doubtful = refused | {"status": 503, "note": "script: status 503"}
    assert taken(requests=[doubtful, *REQUESTS]).changed == ["first"]


def test_a_closing_with_another_end_is_invented() -> None:
    one = taken(requests=[*REQUESTS, failed(6, 4.5)])
    assert wrongs(one) == {"invented": ["incident closed at 6"]}


def test_an_older_one_repeated_after_a_newer_one_is_out_of_order() -> None:
    one = taken(requests=[*REQUESTS, deployed("first", 5)], disturbances=[Disturbance(AT, AT + 9)])
    assert wrongs(one) == {"disorder": ["first after second"]}
    assert not one.is_even


def test_an_older_one_that_was_known_and_comes_after_a_newer_one_is_out_of_order() -> None:
    one = taken(requests=[*REQUESTS[2:5], deployed("first", 5), *REQUESTS[5:]])
    assert wrongs(one) == {"disorder": ["first after second"]}


def test_a_deployment_that_became_known_late_comes_late() -> None:
    late = (replace(SENT[0], acknowledged_at=AT + 4), *SENT[1:])
    assert taken(sent=late, requests=[*REQUESTS[2:5], deployed("first", 5), *REQUESTS[5:]]).is_even


def test_a_deployment_that_came_late_is_repeated_late() -> None:
    late = (replace(SENT[0], acknowledged_at=AT + 4), *SENT[1:])
    refused = deployed("first", 5) | {"status": 503, "note": "script: status 503"}
    assert taken(sent=late, requests=[*REQUESTS[2:5], refused, deployed("first", 6), *REQUESTS[5:]]).is_even


def test_a_newer_one_between_two_tries_of_an_older_one_is_out_of_order() -> None:
    late = (replace(SENT[0], acknowledged_at=AT + 4), *SENT[1:])
    one = taken(sent=late, requests=[REQUESTS[0], *REQUESTS[2:], deployed("first", 6)])
    assert wrongs(one) == {"disorder": ["first after second"]}


def test_a_deployment_that_was_a_dead_letter_comes_when_it_is_mended() -> None:
    mended = (replace(KEPT[0], was_dead=True), *KEPT[1:])
    assert taken(kept=mended, requests=[*REQUESTS[2:5], deployed("first", 5), *REQUESTS[5:]]).is_even


def test_an_incident_is_never_opened_after_it_was_closed() -> None:
    late = [replace(one, acknowledged_at=AT + 4) if one.states == (OPEN,) else one for one in SENT]
    one = taken(sent=late, requests=[*REQUESTS[:2], *REQUESTS[3:], failed(None, 5)])
    assert wrongs(one) == {"disorder": [f"{OPEN} after {CLOSED}"]}


def test_a_repetition_that_nothing_explains_is_seen() -> None:
    one = taken(requests=[*REQUESTS, deployed("second", 60)], disturbances=[Disturbance(AT + 20, AT + 60)])
    assert wrongs(one) == {"again": ["second"]}
    assert not one.is_even


def test_a_repetition_is_explained_by_what_was_disturbed_when_the_answer_came() -> None:
    one = taken(requests=[*REQUESTS, deployed("second", 60)], disturbances=[Disturbance(AT + 5, AT + 6)])
    assert one.is_even
    assert one.repeated == 1


@pytest.mark.parametrize(
    ("kept", "requests"),
    [
        ([*KEPT, Kept("forged", "waiting")], REQUESTS),
        ([*KEPT, Kept("nobody's", "delivered", "nobody's")], [*REQUESTS, deployed("nobody's", 5)]),
        (KEPT, [*REQUESTS, deployed("forged", 5)]),
        (KEPT, [*REQUESTS, marked("first", 5)]),
        (KEPT, [*REQUESTS, marked("bad", 9, remediation={"id": "second", "type": "rollback"})]),
        (KEPT, [*REQUESTS, request("DELETE", "/api/v2/dora/failure/incident", None, 5)]),
    ],
)
def test_what_no_authentic_webhook_states_is_invented(
    kept: Sequence[Kept], requests: Sequence[Mapping[str, Any]]
) -> None:
    one = taken(kept=kept, requests=requests)
    assert one.invented
    assert not one.is_even


def test_what_datadog_itself_would_refuse_is_seen() -> None:
    for note in ("finished_at is before started_at", "script: delay_ms 30; finished_at is before started_at"):
        refusal = deployed("first", 2.5) | {"status": 400, "note": note}
        one = taken(requests=[refusal, *REQUESTS])
        assert wrongs(one) == {"refused": [f"first: 400 {note}"]}
    limited = deployed("first", 2.5) | {"status": 429, "note": "above the rate limit"}
    assert taken(requests=[limited, *REQUESTS]).is_even


@pytest.mark.parametrize("said", ["401", "413", "500"])
def test_an_authentic_webhook_that_is_turned_away_is_seen(said: str) -> None:
    one = taken(sent=[*SENT, Sent("github", ("third",), said=said)])
    assert wrongs(one) == {"turned_away": [f"github: {said}"]}
    assert not one.is_even
    assert taken(sent=[*SENT, Sent("github", ("third",), said="503")]).is_even


def _withhold(requests: list[Any]) -> None:
    del requests[4]


def _double_with_another_body(requests: list[Any]) -> None:
    requests.append(deployed("second", 4.5, version="v2"))


def _swap(requests: list[Any]) -> None:
    requests[2], requests[5] = requests[5], requests[2]


@pytest.mark.parametrize("spoil", [_withhold, _double_with_another_body, _swap])
def test_whatever_is_disturbed_excuses_nothing_of_it(spoil: Callable[[list[Any]], None]) -> None:
    requests = list(REQUESTS)
    spoil(requests)
    assert not taken(requests=requests, disturbances=[Disturbance(AT, AT + 99)]).is_even
