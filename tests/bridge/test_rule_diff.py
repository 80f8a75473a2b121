"""What another configuration changes: exactly the statements that differ, each with what differs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from bridge import configuration
from bridge.differences import Difference
from bridge.dora import Deployment, History
from bridge.envelope import Envelope, identity
from bridge.ids import one_of_several
from bridge.intake import OBSERVED, Delivery, Receipt, receive
from bridge.rule_diff import Comparison, as_text
from bridge.samples import samples

NOW = time.time_ns()


def deployed(number: int = 1, **deployment: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(samples(NOW)["github"][1])
    body["deployment"] |= {"id": number, **deployment}
    return body


def received(body: dict[str, Any], endpoint: str = "github", **content: Any) -> Receipt:
    parsed, endpoints = configuration.parse(content, "bridge.yaml")
    raw = json.dumps(body).encode()
    delivery = Delivery(endpoints[endpoint].source.headers(raw, None), {}, raw)
    return receive(endpoints[endpoint], delivery, secret=1, now=NOW, rules=parsed.rules, application_key=True)


def rule(set_: dict[str, Any] | None = None, drop: str = "", **match: Any) -> dict[str, Any]:
    return {"match": match, **({"set": set_} if set_ else {"drop": drop})}


def compared(bodies: list[dict[str, Any]], before: list[Any], after: list[Any], endpoint: str = "github") -> Comparison:
    comparison = Comparison()
    for body in bodies:
        old, new = (received(body, endpoint, rules=rules) for rules in (before, after))
        comparison.add(old, new, {one.id for one in old.envelopes})
    return comparison


def told(comparison: Comparison) -> list[tuple[str, str]]:
    return [(one.what, one.envelope.id) for one in comparison.changes()]


def id_of(number: int, **fields: Any) -> str:
    return received(deployed(number, **fields)).envelopes[0].id


def test_nothing_changes() -> None:
    rules = [rule({"service": "x"}, environment="prod*")]
    comparison = compared([deployed(1), deployed(2)], rules, rules)
    assert (told(comparison), comparison.unchanged, comparison.deliveries) == ([], 2, 2)
    assert not comparison.differs


def test_a_changed_value_shows_the_attribute_and_no_other_event() -> None:
    before = [rule({"service": "chekout"}, environment="production"), rule({"service": "other"})]
    after = [rule({"service": "checkout", "team": "web"}, environment="production"), rule({"service": "other"})]
    comparison = compared([deployed(1), deployed(2, environment="staging")], before, after)
    (change,) = comparison.changes()
    assert (change.what, change.envelope.id, comparison.unchanged) == ("changed", id_of(1), 1)
    assert Difference("service", "chekout", "checkout") in change.differences
    assert {one.place for one in change.differences} == {"service", "team"}
    assert '         service: "chekout" -> "checkout"' in as_text(change).splitlines()


def test_another_rule_with_the_same_result_changes_nothing() -> None:
    before = [rule({"service": "x"}, environment="production")]
    after = [rule({"service": "y"}, environment="none"), rule({"service": "x"}, environment="prod*")]
    assert not compared([deployed()], before, after).differs


def test_dropped_and_not_dropped_any_more() -> None:
    before = [rule(drop="not ours", environment="staging")]
    after = [rule({"service": "x"}, environment="staging"), rule(drop="why", environment="production")]
    comparison = compared(
        [deployed(1), deployed(2, environment="staging"), deployed(3, environment="qa")], before, after
    )
    removed, added = comparison.changes()
    assert (removed.what, removed.envelope.id, removed.why) == ("removed", id_of(1), "ignored: why (rule 2)")
    assert (added.what, added.envelope.id, added.why) == ("added", id_of(2), "ignored: not ours (rule 1)")
    assert comparison.unchanged == 1
    assert as_text(added).splitlines()[1:] == [
        '         service "x", env "staging", by rule 1',
        "         before ignored: not ours (rule 1)",
    ]
    assert as_text(removed).splitlines()[-1] == "         now ignored: why (rule 2)"


def test_in_the_order_of_receipt() -> None:
    before = [rule(drop="x", environment="staging")]
    after = [rule({"service": "x"}, environment="production"), rule({"service": "x"}, environment="qa")]
    envs = ("staging", "production", "qa", "staging")
    bodies = [deployed(number, environment=env) for number, env in enumerate(envs, start=1)]
    found = [(what, id_[-1]) for what, id_ in told(compared(bodies, before, after))]
    assert found == [("added", "1"), ("changed", "2"), ("changed", "3"), ("added", "4")]


def rolled_back() -> dict[str, Any]:
    return deployed(2, payload={"rollback_of": 1})


def services(*names: str, **more: Any) -> list[Any]:
    return [rule({"services": list(names), **more})]


def about(comparison: Comparison) -> list[tuple[str, str, tuple[str, ...]]]:
    """What changes, in which call, of which service or deployment."""
    return [
        (one.what, one.envelope.method, one.envelope.services or one.envelope.after) for one in comparison.changes()
    ]


@pytest.mark.parametrize(
    ("before", "after", "changes", "unchanged"),
    [
        (["a"], ["a", "b"], [("added", "b")], 1),
        (["a", "b"], ["b"], [("removed", "a")], 1),
        (["a", "b"], ["a", "c"], [("removed", "b"), ("added", "c")], 1),
        (["a"], ["b", "c"], [("removed", "a"), ("added", "b"), ("added", "c")], 0),
        (["a", "b"], ["c"], [("removed", "a"), ("removed", "b"), ("added", "c")], 0),
        (["a"], ["b"], [("changed", "b")], 0),
    ],
)
def test_only_the_services_that_come_or_go_are_added_or_removed(
    before: list[str], after: list[str], changes: list[tuple[str, str]], unchanged: int
) -> None:
    comparison = compared([deployed()], services(*before), services(*after))
    assert [(what, *of) for what, _, of in about(comparison)] == changes
    assert {one.why for one in comparison.changes()} == {""} or not changes
    assert comparison.unchanged == unchanged


@pytest.mark.parametrize(("before", "after"), [(["a"], ["a", "b"]), (["a", "b"], ["a"])])
def test_what_else_changes_is_told_of_the_id_that_datadog_has(before: list[str], after: list[str]) -> None:
    comparison = compared([deployed()], services(*before), services(*after, team="web"))
    [changed] = [one for one in comparison.changes() if one.what == "changed"]
    assert changed.before is not None
    assert changed.envelope.id == changed.before.id
    assert {one.place for one in changed.differences} == {"team"}
    assert changed.json()["id"] == changed.before.id


def test_so_are_change_failures() -> None:
    comparison = compared([deployed(), rolled_back()], services("a"), services("a", "b"))
    undone, back = id_of(1), id_of(2)
    of_b = [one_of_several(undone, "b"), one_of_several(back, "b")]
    assert about(comparison) == [
        ("added", "POST", ("b",)),
        ("added", "POST", ("b",)),
        ("added", "PATCH", tuple(of_b)),
    ]
    assert comparison.unchanged == 3


def test_a_change_failure_that_comes_alone_names_what_datadog_has() -> None:
    """Before, a rule dropped the rollback, and not what it undid."""
    before = [rule(drop="no", kind="deployment_status", branch="hotfix"), *services("a")]
    comparison = compared([deployed(), rolled_back()], before, services("a", "b"))
    assert comparison.unchanged == 3
    rollback = rolled_back()
    rollback["deployment"]["ref"] = "hotfix"
    comparison = compared([deployed(), rollback], before, services("a", "b"))
    patches = [one.envelope for one in comparison.changes() if one.envelope.method == "PATCH"]
    assert [one.datadog_id for one in patches] == [id_of(1), one_of_several(id_of(1), "b")]
    assert patches[0].after == (id_of(1), one_of_several(id_of(2), "a")), "the rollback itself was never reported"


@pytest.mark.parametrize("is_twin", [False, True])
def test_what_was_missed_is_an_event_under_either_id(is_twin: bool) -> None:
    def side(env: str) -> Receipt:
        fact = Deployment(
            id="argo-0000000000-000001",
            service="a",
            env=env,
            started_at=NOW,
            finished_at=NOW,
            history=History("argo-0000000000", 1, "missed"),
        )
        return Receipt([Envelope(endpoint="argocd", source="argocd", received_at=NOW, **identity(fact))], "in-1")

    own = side("x").envelopes[0].id
    comparison = Comparison()
    comparison.add(side("x"), side("y"), {one_of_several(own, "a") if is_twin else own})
    assert [one.what for one in comparison.changes()] == ["changed"]


def test_what_no_event_can_be_made_of() -> None:
    before, after = [rule({"service": "s$1"}, branch="*")], [rule({"service": "$1"}, branch="*x")]
    (removed,) = compared([deployed(ref="x")], before, after).changes()
    assert removed.why.startswith("a dead letter: rule 1 makes an empty or malformed value")


def test_of_webhooks_that_say_the_same_the_last_one_counts() -> None:
    before = [rule({"service": "x"}, environment="production")]
    after = [rule({"service": "y"}, environment="production")]
    first, again = deployed(1), deployed(1, environment="staging", original_environment="staging")
    assert not compared([first, again], before, after).differs
    assert told(compared([again, first], before, after)) == [("changed", id_of(1))]


def test_a_statement_that_another_webhook_makes_is_not_added() -> None:
    """One webhook loses it, another one gains it: Datadog is told the same."""
    before = [rule(drop="x", environment="staging")]
    after = [rule(drop="x", environment="production")]
    bodies = [deployed(1), deployed(1, environment="staging", original_environment="staging")]
    changes = list(compared(bodies, before, after).changes())
    assert [(one.what, [each.place for each in one.differences]) for one in changes] == [
        ("changed", ["env", "custom_tags"])
    ]


def test_both_statements_about_an_incident() -> None:
    opened = json.loads(samples(NOW)["pagerduty"][1])
    closed = {"event": {**opened["event"], "event_type": "incident.resolved"}}
    comparison = compared([opened, closed], [], [rule({"env": "production"})], "pagerduty")
    assert [one.envelope.id.partition("~")[2] for one in comparison.changes()] == ["open", "closed"]


def test_another_path() -> None:
    opened, comparison = json.loads(samples(NOW)["pagerduty"][1]), Comparison()
    legacy = received(opened, "pagerduty", endpoints={"pagerduty": {"send_as": "legacy_incident"}})
    comparison.add(received(opened, "pagerduty"), legacy, set())
    (change,) = comparison.changes()
    assert change.differences == (Difference("path", "/api/v2/dora/failure", "/api/v2/dora/incident"),)


def test_an_endpoint_that_is_only_on_one_side() -> None:
    receipt = received(deployed())
    for sides, what in (((receipt, "no endpoint"), "removed"), (("no endpoint", receipt), "added")):
        comparison = Comparison()
        comparison.add(*sides, set())
        assert [(one.what, one.why) for one in comparison.changes()] == [(what, "no endpoint")]


@pytest.mark.parametrize(("recorded", "expected"), [(set(), []), ({"missed"}, ["changed"])])
def test_what_came_before_in_a_history_is_an_event_only_where_it_was_missed(
    recorded: set[str], expected: list[str]
) -> None:
    def side(service: str) -> Receipt:
        fact = Deployment(
            id="argo-0000000000-000001",
            service=service,
            started_at=NOW,
            finished_at=NOW,
            history=History("argo-0000000000", 1, "missed"),
        )
        return Receipt([Envelope(endpoint="argocd", source="argocd", received_at=NOW, **identity(fact))], "in-1")

    comparison = Comparison()
    comparison.add(side("a"), side("b"), {"argo-0000000000-000001"} if recorded else set())
    assert [one.what for one in comparison.changes()] == expected


def test_what_only_a_person_would_send_is_no_event() -> None:
    receipt = received(deployed())
    observed = Receipt([replace(receipt.envelopes[0], method="PATCH", state="ignored", reason=OBSERVED)], "in-1")
    comparison = Comparison()
    comparison.add(observed, "no endpoint", set())
    assert not comparison.differs


def test_json() -> None:
    (change,) = compared([deployed()], [], [rule({"service": "x"})]).changes()
    whole = change.json()
    assert json.loads(json.dumps(whole)) == whole
    assert (whole["change"], whole["id"], whole["rule"]) == ("changed", id_of(1), {"before": "", "after": "rule 1"})
    assert whole["differences"] == [{"place": "service", "before": "checkout", "after": "x"}]
    assert whole["event"]["body"]["data"]["attributes"]["service"] == "x"
