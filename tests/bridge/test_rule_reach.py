"""Rules that can never match: named with the reason, and only if it is certain."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import configuration, rules
from bridge.dora import Deployment, Failure
from bridge.rule_reach import dead_rules, is_within
from bridge.rules import Rule, glob_regex

DROP = {"drop": "why not"}


def dead(*matches: dict[str, Any], **endpoints: Any) -> dict[str, str]:
    content = {"endpoints": endpoints, "rules": [{"match": match, **DROP} for match in matches]}
    parsed, known = configuration.parse(content, "bridge.yaml")
    return {one.rule: one.why for one in dead_rules(parsed.rules, known)}


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"endpoint": "gihtub"}, "there is no such endpoint as its match.endpoint; did you mean github?"),
        ({"endpoint": "Github"}, "there is no such endpoint as its match.endpoint; did you mean github?"),
        ({"endpoint": "zzz*"}, "there is no such endpoint as its match.endpoint"),
        (
            {"endpoint": "github", "kind": "incident.triggered"},
            "match.kind: what it can match reports only deployment_status",
        ),
        (
            {"kind": "incident.trigered"},
            "match.kind: what it can match reports only deployment_status, deployed, degraded, incident.triggered,"
            " incident.resolved, incident.reopened, Create, Close, Delete; did you mean incident.triggered?",
        ),
        # a kind that this endpoint does not report by its options
        (
            {"endpoint": "github", "kind": "workflow_run"},
            "match.kind: what it can match reports only deployment_status",
        ),
        ({"kind": "incident.priority_updated"}, "match.kind: "),
        ({"kind": "failed", "endpoint": "argocd"}, "match.kind: what it can match reports only deployed, degraded"),
        (
            {"endpoint": "github", "application": "*"},
            "match.application: events of github (deployment_status) have none",
        ),
        ({"kind": ["Create", "Close"], "repository": "a/b"}, "match.repository: events of opsgenie (Create), opsgenie"),
        # each of the keys is there somewhere, but not together
        ({"application": "shop", "workflow": "*"}, "no event of github (deployment_status), argocd (deployed), "),
    ],
)
def test_out_of_reach(match: dict[str, Any], why: str) -> None:
    (found,) = dead(match).values()
    assert found.startswith(why)


@pytest.mark.parametrize(
    ("match", "endpoints"),
    [
        ({}, {}),
        ({"endpoint": "*"}, {}),
        ({"endpoint": ["gihtub", "github"]}, {}),
        ({"endpoint": "mobile", "repository": "acme/app"}, {"mobile": {"kind": "github"}}),
        ({"endpoint": "git*", "kind": "workflow_run"}, {"github": {"deployments_from": ["workflow_run"]}}),
        ({"kind": "issues", "labels": "x"}, {"github": {"failures_from": ["issues"]}}),
        ({"kind": "incident.priority_updated"}, {"pagerduty": {"priority_updates": "send"}}),
        ({"kind": "Update*"}, {"jsm": {"priority_updates": "send"}}),
        ({"application": "*-prod", "labels": "tier=web", "repository": "acme/*"}, {}),
        ({"service": "a", "team": "b", "environment": "c"}, {}),
    ],
)
def test_within_reach(match: dict[str, Any], endpoints: Any) -> None:
    assert dead(match, **endpoints) == {}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({}, {"repository": "a/b"}),
        ({"environment": "prod*"}, {"environment": "production", "repository": "a/b"}),
        ({"environment": ["prod*", "live"]}, {"environment": ["production", "live"]}),
        ({"endpoint": "*"}, {"service": "x"}),
        ({"kind": "*"}, {"service": "x"}),
        # the earlier one names all that the later one can mean
        ({"kind": "deployment_status"}, {"endpoint": "github", "environment": "x"}),
        ({"endpoint": "github"}, {"workflow": "deploy.yml"}),
        ({"endpoint": ["opsgenie", "jsm"], "service": "*"}, {"kind": "Cr?ate", "service": "x", "team": "y"}),
    ],
)
def test_shadowed(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    assert dead(earlier, later) == {"rule 2": "rule 1 comes first and matches all of it"}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"environment": "prod*"}, {"environment": "*"}),
        ({"environment": "production", "repository": "a/b"}, {"environment": "production"}),
        ({"environment": "prod*"}, {"environment": ["prod", "live"]}),
        ({"environment": "PROD"}, {"environment": "prod"}),
        # `*` wants a value, and not every event has a team
        ({"team": "*"}, {"service": "x"}),
        ({"kind": "deployment_status"}, {"repository": "a/b"}),
        ({"labels": "a"}, {"labels": "b"}),
    ],
)
def test_not_shadowed(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    assert dead(earlier, later) == {}


def test_shadowed_by_several_together() -> None:
    found = dead({"endpoint": "github"}, {"endpoint": "argocd"}, {"repository": "acme/shop"})
    assert found == {"rule 3": "rule 1 and rule 2 come first and match all of it"}


def test_rules_are_called_by_their_names() -> None:
    first, second = ({"name": name, "match": {"service": "x"}, **DROP} for name in ("shop", "again"))
    parsed, known = configuration.parse({"rules": [first, second]}, "bridge.yaml")
    (found,) = dead_rules(parsed.rules, known)
    assert (found.rule, found.why) == ("again", "shop comes first and matches all of it")


GLOBS = st.text(alphabet="ab*?", max_size=5)


@given(GLOBS, GLOBS)
def test_a_glob_within_another_matches_nothing_else(special: str, general: str) -> None:
    texts = ["".join(letters) for size in range(5) for letters in product("ab", repeat=size)]
    if is_within(special, general):
        assert all(glob_regex(general).fullmatch(text) for text in texts if glob_regex(special).fullmatch(text))


@pytest.mark.parametrize(
    ("special", "general", "expected"),
    [
        ("a", "a", True),
        ("a", "*", True),
        ("*", "*", True),
        ("a*", "a*", True),
        ("ab*", "a*", True),
        ("a*b*c", "a*c", True),
        ("?", "*", True),
        ("a?", "??", True),
        ("*", "?", False),
        ("a*", "a?", False),
        ("?", "a", False),
        ("", "*", True),
        (".", "?", True),
        ("x", ".", False),
    ],
)
def test_globs(special: str, general: str, expected: bool) -> None:
    assert is_within(special, general) == expected


MATCHES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "endpoint": st.sampled_from(["github", "*", "argo*", "pagerduty"]),
            "kind": st.sampled_from(["deployment_status", "de*", "incident.*", "incident.resolved"]),
            "environment": st.sampled_from(["prod*", "*", "production", "?"]),
            "repository": st.sampled_from(["a/*", "a/b"]),
            "team": st.sampled_from(["*", "t"]),
            "labels": st.sampled_from(["x", "*"]),
        },
    ),
    min_size=1,
    max_size=4,
)


@given(MATCHES)
def test_what_is_named_never_applies(matches: list[dict[str, Any]]) -> None:
    parsed, endpoints = configuration.parse({"rules": [{"match": one, **DROP} for one in matches]}, "bridge.yaml")
    named = {one.rule for one in dead_rules(parsed.rules, endpoints)}
    applied = {rules.apply(parsed.rules, fact, traits)[1] for fact, traits in facts()}
    assert not named & applied


def facts() -> list[tuple[Any, dict[str, Any]]]:
    """Facts as the sources make them, with and without what can be missing."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for env, team, repository, labels in product((None, "production", "x"), (None, "t"), (None, "a/b"), ((), ("x",))):
        deployed = Deployment(id="i" * 16, service="s", env=env, team=team, started_at=1, finished_at=1)
        failed = Failure(id="i" * 16, services=("s",), env=env, team=team, started_at=1)
        shared = {"environment": env, "team": team}
        github = {**shared, "endpoint": "github", "kind": "deployment_status", "repository": repository}
        argocd = {**shared, "endpoint": "argocd", "kind": "deployed", "repository": repository, "labels": labels}
        pagerduty = {**shared, "endpoint": "pagerduty", "kind": "incident.resolved", "labels": labels}
        found += [(deployed, github), (deployed, argocd), (failed, pagerduty)]
    return found


def test_a_rule_with_stars_is_not_dead() -> None:
    rule = Rule.model_validate({"match": {"application": "*-prod"}, "set": {"service": "$1"}})
    assert not list(dead_rules([rule], configuration.parse(json.loads("{}"), "bridge.yaml")[1]))
