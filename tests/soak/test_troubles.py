"""The account is judged on change failures, withdrawals and Incident Management: what must be told once, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from soak.evidence import Disturbance, Kept, Sent
from soak.example import (
    AT,
    KEPT,
    LISTED,
    MARK,
    OF_ONE,
    OF_OTHER,
    REMEDY,
    REQUESTS,
    SENT,
    VERDICT,
    created,
    deployed,
    failed,
    marked,
    resolved,
    taken,
    there,
    withdrawn,
    wrongs,
)
from soak.naming import is_creation, name_of

ALWAYS = [Disturbance(AT, AT + 99)]
CUT = {"status": None, "note": "script: drop before_reply"}
HALF_SAID = {"status": None, "note": "script: drop mid_reply"}
UNHEARD = {"status": None, "note": "script: drop before_processing"}
REFUSED = {"status": 503, "note": "script: status 503"}


def without(*names: str) -> list[Mapping[str, Any]]:
    return [one for one in REQUESTS if name_of(one) not in names]


def changed(name: str, to: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The requests, with this one otherwise."""
    return [{**one, **to} if name_of(one) == name else one for one in REQUESTS]


def standing(id_: str, **fields: Any) -> list[Kept]:
    """The ledger, with this statement otherwise."""
    return [replace(one, **fields) if one.id == id_ else one for one in KEPT]


def says(id_: str) -> str:
    return next(one.says for one in KEPT if one.id == id_)


# -- change failures


@pytest.mark.parametrize("id_", [MARK, VERDICT, "one~closed", "child~withdrawn", "other~withdrawn", "one~open"])
def test_what_datadog_was_never_told_is_lost(id_: str) -> None:
    for requests in (without(says(id_)), changed(says(id_), REFUSED), changed(says(id_), UNHEARD)):
        one = taken(requests=requests, disturbances=ALWAYS)
        assert f"{id_}: delivered, and Datadog was not told" in one.lost
        assert not one.is_even


@pytest.mark.parametrize("answer", [{"status": 503, "note": "script: status 503"}, UNHEARD, CUT])
def test_a_patch_before_datadog_has_said_that_it_has_the_deployment_is_early(answer: Mapping[str, Any]) -> None:
    assert wrongs(taken(requests=[marked("bad", 5), *REQUESTS], disturbances=ALWAYS))["early"] == [f"{MARK} before bad"]
    requests = [*changed("bad", answer), deployed("bad", 9)]
    one = taken(requests=requests, disturbances=ALWAYS)
    assert wrongs(one) == {"early": [f"{MARK} before bad", f"{VERDICT} before bad"]}


def test_half_an_answer_says_that_it_has_it() -> None:
    assert taken(requests=changed("bad", HALF_SAID)).is_even


def test_a_patch_before_the_remedy_is_early() -> None:
    one = taken(requests=[*without("unheard"), deployed("unheard", 9)])
    assert wrongs(one) == {"early": [f"{VERDICT} before unheard"]}


def test_a_patch_comes_ten_minutes_after_a_202() -> None:
    delayed = without(says(MARK), says(VERDICT))
    delayed[delayed.index(deployed("bad", 6))] = deployed("bad", 6) | {"status": 202}
    early = [*delayed, marked("bad", 605), marked("bad", 606, remediation=REMEDY)]
    assert wrongs(taken(requests=early)) == {"early": [f"{MARK} 1.0 s too early after the 202 of bad"]}
    assert taken(requests=[*delayed, marked("bad", 606), marked("bad", 607, remediation=REMEDY)]).is_even
    heard = [deployed("bad", 5), *delayed, marked("bad", 7), marked("bad", 8, remediation=REMEDY)]
    assert taken(requests=heard, disturbances=ALWAYS).is_even


def test_a_patch_after_a_later_one_is_out_of_order() -> None:
    one = taken(requests=[*REQUESTS, marked("bad", 9)], disturbances=ALWAYS)
    assert wrongs(one) == {"disorder": [f"{MARK} after {VERDICT}"]}


def test_what_is_said_several_times_is_one_after_the_other() -> None:
    stable, again = marked("bad", 9, change_failure=False), marked("bad", 10)
    more = [
        Kept("bad~verdict-2", "delivered", name_of(stable) or "", "change:bad", 2, "2.2", after=("bad",)),
        Kept("bad~verdict-3", "delivered", name_of(again) or "", "change:bad", 3, "2.3", after=("bad",)),
    ]
    assert taken(kept=[*KEPT, *more], requests=[*REQUESTS, stable, again]).is_even
    one = taken(kept=[*KEPT, *more], requests=[*REQUESTS, stable])
    assert wrongs(one) == {"lost": ["bad~verdict-3: delivered, and Datadog was not told"]}


def test_what_is_concluded_of_a_deployment_that_nobody_names_is_invented() -> None:
    of_nothing = Kept("bad~verdict-2", "superseded", key="change:bad", order=2, after=("nobody's",))
    assert wrongs(taken(kept=[*KEPT, of_nothing])) == {"invented": ["bad~verdict-2"]}


# -- what may wait


def _delayed(requests: list[Mapping[str, Any]]) -> None:
    requests[requests.index(deployed("bad", 6))] = deployed("bad", 6) | {"status": 202}


def test_a_patch_may_wait_for_ten_minutes_after_a_202_and_so_does_what_comes_after_it() -> None:
    kept = [replace(one, state="waiting") if one.id in (MARK, VERDICT) else one for one in KEPT]
    requests = without(says(MARK), says(VERDICT))
    assert wrongs(taken(kept=kept, requests=requests)) == {"lost": [f"{MARK}: waiting", f"{VERDICT}: waiting"]}
    _delayed(requests)
    one = taken(kept=kept, requests=requests)
    assert one.is_even
    assert one.accepted["waiting_on_purpose"] == 1
    assert one.concluded == {"waiting_on_purpose": 1}
    long_ago = [{**request, "at": request["at"] - 600} for request in requests]
    assert wrongs(taken(kept=kept, requests=long_ago)) == {"lost": [f"{MARK}: waiting", f"{VERDICT}: waiting"]}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_patch_may_wait_for_a_deployment_that_is_not_there(is_there: bool) -> None:
    kept = [replace(one, state="waiting") if one.id in (MARK, VERDICT) else one for one in KEPT if one.id != "bad"]
    sent = [one for one in SENT if one.states != ("bad",)]
    if is_there:
        kept.append(Kept("bad", "dead_lettered", "bad", "deployment:bad/production", was_dead=True))
        sent.append(Sent("argocd", ("bad",), said="accepted", acknowledged_at=AT + 1))
    assert taken(sent, kept, without("bad", says(MARK), says(VERDICT))).is_even


def test_the_end_of_an_incident_may_wait_for_one_that_is_a_dead_letter() -> None:
    kept = [
        replace(one, state="dead_lettered", was_dead=True) if one.id == "one~open" else one
        for one in standing("one~closed", state="waiting", says="{uuid} changed")
    ]
    requests = without("one created", says("one~closed"))
    assert taken(kept=kept, requests=requests, listed=[]).is_even
    one = taken(kept=standing("one~closed", state="waiting"), requests=without(says("one~closed")))
    assert one.lost == ["one~closed: waiting"]


def test_a_withdrawal_that_datadog_took_may_wait_and_no_other() -> None:
    kept = standing("other~withdrawn", state="waiting")
    one = taken(kept=kept)
    assert one.is_even
    assert one.accepted["waiting_on_purpose"] == 1
    withheld = taken(kept=kept, requests=without(says("other~withdrawn")))
    assert withheld.lost == ["other~withdrawn: waiting"]
    assert taken(kept=kept, listed=[*LISTED, there("other", "active")]).incidents


# -- withdrawals


@pytest.mark.parametrize(
    ("gone", "opened"),
    [("dora/failure/child", failed(None, 8, "child")), (f"incidents/{OF_OTHER}", created("other", 8))],
)
def test_a_withdrawal_before_what_it_withdraws_is_seen(gone: str, opened: Mapping[str, Any]) -> None:
    requests = without(name_of(opened) or "", name_of(withdrawn(gone, 0)) or "")
    one = taken(requests=[*requests, withdrawn(gone, 7), opened], disturbances=ALWAYS)
    assert set(wrongs(one)) == {"early", "disorder"}
    assert not one.is_even
    assert "early" in wrongs(taken(requests=[*requests, withdrawn(gone, 7)], disturbances=ALWAYS))


def test_nothing_is_said_of_a_failure_after_its_withdrawal() -> None:
    one = taken(requests=[*REQUESTS, failed(None, 8, "child")], disturbances=ALWAYS)
    assert wrongs(one) == {"disorder": ["child~open after child~withdrawn"]}


def test_what_was_refused_is_withdrawn_all_the_same() -> None:
    kept = standing("child~open", state="dead_lettered", was_dead=True)
    refusal = {"status": 422, "note": "script: status 422, delay_ms 30"}
    assert taken(kept=kept, requests=changed("child opened", refusal)).is_even


def test_what_is_gone_already_is_not_refused() -> None:
    gone = withdrawn(f"incidents/{OF_OTHER}", 8) | {"status": 404, "note": "script: delay_ms 30; not found"}
    requests = [*changed(f"{OF_OTHER} withdrawn", CUT), gone]
    assert taken(requests=requests).is_even
    one = taken(requests=[*without(f"{OF_OTHER} withdrawn"), gone])
    assert one.refused == ["other~withdrawn: 404 script: delay_ms 30; not found"]


# -- Incident Management


@pytest.mark.parametrize("answer", [CUT, HALF_SAID, {"status": 201}, {"status": 202, "note": "script: status 202"}])
def test_an_incident_that_is_created_twice_is_seen_whatever_was_disturbed(answer: Mapping[str, Any]) -> None:
    twice = [{**one, **answer} for one in REQUESTS if is_creation(one)]
    one = taken(requests=[*twice, *REQUESTS], disturbances=ALWAYS)
    assert wrongs(one) == {"doubled": ["one~open", "other~open"]}
    assert not one.is_even


@pytest.mark.parametrize("answer", [UNHEARD, REFUSED])
def test_what_created_nothing_is_repeated(answer: Mapping[str, Any]) -> None:
    again = [{**one, **answer} for one in REQUESTS if is_creation(one)]
    assert taken(requests=[*again, *REQUESTS]).is_even


def test_an_incident_whose_creation_was_not_answered_is_created() -> None:
    assert taken(requests=changed("one created", CUT)).is_even


def test_an_incident_that_ends_before_it_was_created_is_early() -> None:
    one = taken(requests=[*without("one created"), created("one", 8)])
    assert wrongs(one)["early"] == ["one~closed before what it is about"]


def _twice(listed: list[Any]) -> None:
    listed.append(LISTED[0])


def _not_there(listed: list[Any]) -> None:
    listed.clear()


def _still_open(listed: list[Any]) -> None:
    listed[0] = there("one", "active")


def _still_there(listed: list[Any]) -> None:
    listed.append(there("other", "active"))


def _somebody_elses(listed: list[Any]) -> None:
    listed.append(there("nobody's", "active"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_twice, "one: 2 times there instead of 1"),
        (_not_there, "one: 0 times there instead of 1"),
        (_still_open, "one: active instead of resolved"),
        (_still_there, "other: 1 times there instead of 0"),
        (_somebody_elses, "nobody's: 1 times there instead of 0"),
    ],
)
def test_incidents_that_stand_otherwise_are_seen(spoil: Callable[[list[Any]], None], said: str) -> None:
    listed = list(LISTED)
    spoil(listed)
    one = taken(listed=listed, disturbances=ALWAYS)
    assert wrongs(one) == {"incidents": [said]}
    assert not one.is_even


def test_a_call_to_another_incident_is_invented() -> None:
    requests: Sequence[Mapping[str, Any]] = [*without(says("one~closed")), resolved(OF_OTHER, 6.5)]
    one = taken(requests=requests, disturbances=ALWAYS)
    assert one.invented == [name_of(resolved(OF_OTHER, 0))]
    assert name_of(resolved(OF_ONE, 0)) == says("one~closed")
