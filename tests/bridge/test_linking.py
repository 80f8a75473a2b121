"""Which deployment an incident belongs to: every rule of `bridge/linking.py` by example, and what must always hold."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.configuration import Linking
from bridge.linking import (
    Decision,
    Detected,
    Place,
    Policy,
    Remedy,
    Verdict,
    decide,
    detected,
    differs,
    told,
    verdicts,
)
from bridge.source import LinkingMode
from bridge.timeline import Deployed, Incident

MINUTE, HOUR = 60_000, 3_600_000
T0 = 1_760_000_000_000


def at(minutes: float) -> int:
    return T0 + int(minutes * MINUTE)


def deployed(
    id_: str, finished: float, commit: str = "", version: str = "", *, env: str = "production", took: float = 5
) -> Deployed:
    return Deployed(
        id_, "checkout", env, at(finished - took), at(finished), commit or ("" if version else id_), version
    )


def incident(id_: str = "inc", started: float | None = 100, until: float | None = None, **more: Any) -> Incident:
    given_ = {"services": ("checkout",), "env": "production", "endpoint": "pagerduty"} | more
    started_at = at(started) if started is not None else None
    return Incident(id=id_, started_at=started_at, finished_at=at(until) if until is not None else None, **given_)


def one(
    incident_: Incident, *deployments: Deployed, mode: LinkingMode = "auto", why: str = "", **linking: Any
) -> Decision:
    (decision,) = decide("checkout", [incident_], deployments, lambda _: Policy(mode, Linking(**linking), why))
    return decision


A, B, C = deployed("a", 10), deployed("b", 50), deployed("c", 150)


def test_it_is_the_latest_deployment_that_had_finished_before() -> None:
    assert one(incident(), B, A, C).deployment == "b"
    assert one(incident(started=50), A, B).deployment == "b", "in the very moment counts"
    assert one(incident(started=49), A, B).deployment == "a"


def test_only_of_its_env() -> None:
    assert one(incident(), A, deployed("s", 60, env="staging")).deployment == "a"
    assert one(incident(env="Production"), A).status == "no_link", "names are compared as they are"


@pytest.mark.parametrize(
    ("env", "links"), [("production", True), ("prod-eu", True), ("staging", False), ("preprod", False), ("", False)]
)
def test_an_incident_without_env_is_looked_for_in_the_environments_of_linking(env: str, links: bool) -> None:
    decision = one(incident(env=""), deployed("x", 60, env=env))
    assert (decision.status == "applied") == links
    assert one(incident(env=""), deployed("x", 60, env="live"), environments=("live",)).deployment == "x"


def test_not_longer_ago_than_the_window() -> None:
    assert one(incident(started=50 + 120), B, window_hours=2).deployment == "b"
    decision = one(incident(started=50 + 121), A, B, window_hours=2)
    assert (decision.status, decision.deployment) == ("no_link", "")
    assert "window_hours" in decision.reasons[0]


def test_no_link_is_a_result_with_a_reason() -> None:
    decision = one(incident())
    assert (decision.status, decision.score) == ("no_link", 0)
    assert decision.reasons
    assert one(incident(started=None), A).reasons == ("the start of the incident is not known",)


def test_a_named_root_cause_beats_the_latest() -> None:
    decision = one(incident(root_cause="a"), A, B)
    assert (decision.deployment, decision.score) == ("a", 0.95)
    assert one(incident(root_cause="unknown"), A, B).deployment == "b"


def test_the_score_falls_with_the_time_between_and_without_env() -> None:
    soon, later = one(incident(started=51), B), one(incident(started=50 + 600), B)
    assert 0.5 < later.score < soon.score < 0.95
    assert one(incident(started=51, env=""), B).score < soon.score


def test_modes() -> None:
    assert one(incident(), B, mode="auto").status == "applied"
    assert one(incident(), B, mode="observe").status == "suggested"
    assert decide("checkout", [incident()], [B], lambda _: Policy("off", Linking())) == []
    assert decide("other", [incident()], [B], lambda _: Policy("auto", Linking())) == []
    assert "no key" in one(incident(), B, mode="observe", why="no key").reasons


def test_people_and_labels_have_the_last_word() -> None:
    assert one(incident(override="apply"), B, mode="observe").status == "applied"
    assert one(incident(override="apply"), B, mode="observe", why="no key").status == "suggested"
    assert one(incident(override="reject"), B).status == "rejected"
    assert one(incident(ended="merged"), B).status == "rejected"
    assert one(incident(ended="not_a_change"), B).status == "rejected"
    assert one(incident(ended="not_a_change", override="apply"), B).status == "applied"


# ---- remedies


def test_a_rollback_is_a_remedy_even_if_the_incident_was_over() -> None:
    back = deployed("r", 150, "a")
    assert one(incident(), A, B, back).remedy == Remedy("r", "rollback")
    assert one(incident(until=120), A, B, back).remedy == Remedy("r", "rollback")
    long_after = deployed("r", 100 + 25 * 60, "a")
    assert one(incident(until=120), A, B, long_after).remedy is None


def test_what_goes_forward_is_a_remedy_if_it_began_before_the_end() -> None:
    assert one(incident(), A, B, C).remedy == Remedy("c", "rollforward")
    assert one(incident(until=145), A, B, C).remedy == Remedy("c", "rollforward")
    assert one(incident(until=144), A, B, C).remedy is None


def test_a_repetition_of_the_culprit_is_no_remedy() -> None:
    again = deployed("again", 120, "b")
    assert one(incident(), A, B, again).remedy is None
    assert one(incident(), A, B, again, C).remedy == Remedy("c", "rollforward")


def test_a_remedy_is_of_the_same_env_and_after_the_beginning() -> None:
    assert one(incident(), A, B, deployed("s", 150, env="staging")).remedy is None
    assert one(incident(started=50), A, B, deployed("x", 49.5)).remedy is None


def test_versions_are_compared_where_one_has_no_commit() -> None:
    first, second = deployed("x", 10, "a", "v1"), deployed("y", 50, "b", "v2")
    by_hand = deployed("r", 150, version="v1")
    assert one(incident(), first, second, by_hand).remedy == Remedy("r", "rollback")
    assert one(incident(), first, second, deployed("r", 150, "c", "v1")).remedy == Remedy("r", "rollforward"), (
        "by commit"
    )
    assert one(incident(), deployed("x", 10, version="v1"), second, deployed("r", 150, "c", "v1")).remedy == Remedy(
        "r", "rollback"
    )
    assert one(incident(), first, second, deployed("again", 150, version="v2")).remedy is None


def test_of_unknown_versions_the_remedy_goes_forward() -> None:
    unknown = [Deployed(name, "checkout", "production", at(end - 1), at(end)) for name, end in (("x", 50), ("y", 150))]
    assert one(incident(), *unknown).remedy == Remedy("y", "rollforward")


# ---- what webhooks say themselves


def said(**more: Any) -> Incident:
    return incident("d~change-failure", started=None, explicit=True, endpoint="argocd", **more)


def test_a_named_deployment_needs_no_window() -> None:
    decision = one(said(deployment_id="a"), A, C)
    assert (decision.deployment, decision.score, decision.remedy) == ("a", 1.0, Remedy("c", "rollforward"))
    assert one(said(deployment_id="unknown"), A).deployment == "unknown"
    assert one(said(deployment_id="a", remediation_id="z"), A, C).remedy == Remedy("z", "rollback")


def test_a_rollback_undoes_what_followed_the_version_that_returned() -> None:
    back = deployed("r", 200, "a")
    assert one(said(remediation_id="r"), A, B, C, back).deployment == "b"
    assert one(said(remediation_id="r"), A, deployed("a2", 20, "a"), B, C, back).deployment == "b"
    assert one(said(remediation_id="r"), B, C, deployed("r", 200)).deployment == "c", "to what was never seen"
    assert one(said(remediation_id="r"), back).status == "no_link"
    assert one(said(remediation_id="unseen"), A).status == "no_link"


def test_a_rollback_that_is_named_too_counts_once() -> None:
    named, found = said(deployment_id="b", remediation_id="r"), said(remediation_id="r")
    decisions = decide(
        "checkout", [found, named], [A, B, C, deployed("r", 200, "a")], lambda _: Policy("auto", Linking())
    )
    assert [decision.deployment for decision in decisions] == ["b"]


# ---- what Datadog is told


def test_what_datadog_detects_is_clear_where_both_orders_say_the_same() -> None:
    first, second, back = deployed("one", 0, "a"), deployed("two", 10, "b"), deployed("three", 20, "a")
    undone = Verdict(True, Remedy("three", "rollback"))
    assert detected([first, second, back], {}) == {"two": Detected(undone, is_clear=True)}
    # the second came last: by arrival nothing was undone
    assert detected([first, second, back], {"two": Place(at(20), 1)}) == {"two": Detected(undone, is_clear=False)}
    # a, b, and then a that had finished in between: by the ends nothing was undone
    between = deployed("late", 5, "a")
    assert detected([first, second, between], {"late": Place(at(10), 1)}) == {
        "two": Detected(Verdict(False), is_clear=False)
    }
    # the late ones, in the order in which they came
    places = {"late": Place(at(20), 2), "two": Place(at(20), 1)}
    assert detected([first, second, back, between], places) == {
        "two": Detected(undone, is_clear=False),
    }


def test_several_incidents_are_one_failure_with_one_remedy() -> None:
    incidents = [incident("i", 100, 120), incident("j", 101), incident("k", 102, override="reject")]
    decisions = decide("checkout", incidents, [A, B, C], lambda _: Policy("auto", Linking()))
    assert verdicts(decisions, {}, [A, B, C]) == {"b": Verdict(True, Remedy("c", "rollforward"))}


def test_what_is_taken_back_is_stable_and_what_is_suggested_stays_as_it_is() -> None:
    rejected, suggested = one(incident(override="reject"), B), one(incident(), B, mode="observe")
    assert verdicts([rejected], {}, [B]) == {"b": Verdict(False)}
    assert verdicts([suggested], {"inc": "a"}, [A, B]) == {}
    assert verdicts([one(incident(), A, B)], {"inc": "a"}, [A, B]) == {"a": Verdict(False), "b": Verdict(True)}
    assert verdicts([one(incident())], {"inc": "a"}, [A]) == {"a": Verdict(False)}


def test_what_a_rollback_undid_is_not_called_stable() -> None:
    """Datadog detects it by itself; our own mark is only taken back where that leaves nothing."""
    known = [A, B, C, deployed("r", 200, "a")]
    rejected = one(incident(override="reject"), *known)
    assert verdicts([rejected], {}, known) == {"b": Verdict(True, Remedy("r", "rollback"))}
    assert verdicts([rejected], {}, known[:-1]) == {"b": Verdict(False)}


@pytest.mark.parametrize(
    ("wanted", "said_", "tell"),
    [
        (Verdict(False), None, False),
        (Verdict(True), None, True),
        (Verdict(True), Verdict(True), False),
        (Verdict(False), Verdict(True), True),
        (Verdict(True, Remedy("c", "rollback")), Verdict(True), True),
        (Verdict(True), Verdict(True, Remedy("c", "rollback")), False),
        (Verdict(True, Remedy("d", "rollback")), Verdict(True, Remedy("c", "rollback")), True),
    ],
)
def test_only_news_is_told(wanted: Verdict, said_: Verdict | None, tell: bool) -> None:
    assert differs(wanted, said_) == tell


def test_what_was_told_is_read_back() -> None:
    assert told({"change_failure": True, "remediation": {"id": "c", "type": "rollback"}}) == Verdict(
        True, Remedy("c", "rollback")
    )
    assert told({"change_failure": False, "remediation": {}}) == Verdict(False)


times = st.integers(0, 3000)
deployments = st.lists(
    st.builds(
        lambda number, end, took, identity, env: Deployed(
            f"d{number}", "checkout", env, at(end - took), at(end), identity
        ),
        st.integers(0, 10**6),
        times,
        st.integers(0, 30),
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from(["production", "prod-eu", "staging", ""]),
    ),
    max_size=12,
    unique_by=lambda each: each.id,
)
incidents = st.lists(
    st.builds(
        lambda number, began, lasted, env, ended, override: Incident(
            id=f"i{number}",
            endpoint="e",
            services=("checkout",),
            env=env,
            started_at=at(began),
            finished_at=None if lasted is None else at(began + lasted),
            ended=ended,
            override=override,
        ),
        st.integers(0, 10**6),
        times,
        st.none() | st.integers(0, 300),
        st.sampled_from(["production", ""]),
        st.sampled_from(["", "", "merged", "not_a_change"]),
        st.sampled_from(["", "", "apply", "reject"]),
    ),
    max_size=8,
    unique_by=lambda each: each.id,
)


@given(deployments, incidents, st.randoms(use_true_random=False))
def test_what_must_always_hold(known: list[Deployed], paged: list[Incident], chance: random.Random) -> None:
    decisions = decide("checkout", paged, known, lambda _: Policy("auto", Linking()))
    shuffled_known, shuffled_paged = chance.sample(known, len(known)), chance.sample(paged, len(paged))
    again = decide("checkout", shuffled_paged, shuffled_known, lambda _: Policy("auto", Linking()))
    assert sorted(decisions, key=str) == sorted(again, key=str), "the order in which webhooks came plays no part"
    assert verdicts(decisions, {}, known) == verdicts(again, {}, shuffled_known)
    by_id, began = {each.id: each for each in known}, {each.id: each.started_at or 0 for each in paged}
    assert sorted(decision.incident for decision in decisions) == sorted(began), "one decision an incident"
    for decision in decisions:
        assert 0 <= decision.score <= 1
        assert decision.reasons
        assert bool(decision.deployment) == (decision.status != "no_link")
        if decision.deployment:
            assert by_id[decision.deployment].finished_at <= began[decision.incident]
            assert began[decision.incident] - by_id[decision.deployment].finished_at <= 24 * HOUR
        if decision.remedy:
            assert by_id[decision.remedy.id].finished_at > began[decision.incident]
            assert by_id[decision.remedy.id].env == by_id[decision.deployment].env
