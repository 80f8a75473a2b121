"""Rules: which one matches, and what it makes of each kind of fact."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.configuration import parse
from bridge.dora import ChangeFailure, Deployment, Fact, Failure, Withdrawal
from bridge.errors import PayloadInvalid
from bridge.intake import Delivery, receive
from bridge.rules import Rule, apply

DEPLOYMENT = Deployment(
    id="gh-dep-0000000001-000000000002",
    service="shop",
    env="production",
    started_at=1_700_000_000_000_000_000,
    finished_at=1_700_000_060_000_000_000,
    custom_tags=("ref:main",),
    origins={"service": "repository.name", "env": "deployment.environment"},
)
FAILURE = Failure(
    id="pagerduty-incident-PXYZ",
    started_at=1_700_000_000_000_000_000,
    services=("shop", "cart"),
    env="production",
    origins={"services": "event.data.service.summary"},
)
CHANGE = ChangeFailure(
    deployment_id="argo-0000-000001",
    service="shop",
    env="production",
    remediation_id="argo-0000-000003",
    remediation_type="rollback",
)
WITHDRAWAL = Withdrawal(record_id="pagerduty-incident-PXYZ")
TRAITS = {
    "endpoint": "github",
    "kind": "deployment_status",
    "repository": "acme/shop",
    "environment": "Prod-EU",
    "team": ("web", "checkout"),
    "workflow": ".github/workflows/deploy.yml",
    "branch": "main",
    "application": None,
    "labels": ("tier=web", "region=eu"),
}


def rule(**fields: Any) -> Rule:
    return Rule.model_validate({"match": {}, **fields})


def matches(match: dict[str, Any], fact: Fact = DEPLOYMENT, **traits: Any) -> bool:
    facts, name, dropped = apply([rule(match=match, drop="it matched")], fact, {**TRAITS, **traits})
    assert (not facts, name, dropped) in [(True, "rule 1", "it matched"), (False, "", "")]
    return not facts


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"repository": "acme/shop"}, True),
        ({"repository": "acme/*"}, True),
        ({"repository": "*"}, True),
        ({"repository": "acme/sho?"}, True),
        ({"repository": "acme/shop?"}, False),
        ({"repository": "acme"}, False),
        ({"repository": "ACME/shop"}, False),  # case counts
        ({"repository": "acme.shop"}, False),  # no regular expression
        ({"repository": "acme/[s]hop"}, False),
        ({"repository": ["x/*", "acme/*"]}, True),
        ({"repository": ["x/*", "y/*"]}, False),
        ({"endpoint": "github", "kind": "deployment_*"}, True),
        ({"endpoint": "github", "kind": "release"}, False),
        ({"endpoint": "git*", "branch": "main", "workflow": "*/deploy.yml"}, True),
        ({"environment": "production"}, True),  # as translated
        ({"environment": "Prod-*"}, True),  # in the vendor's words
        ({"environment": "prod-eu"}, False),
        ({"service": "shop"}, True),
        ({"service": "cart"}, False),
        ({"team": "checkout"}, True),
        ({"labels": "region=eu"}, True),
        ({"labels": "region=*"}, True),
        ({"labels": "region=us"}, False),
        ({"labels": ["tier=db", "region=eu"]}, True),
        ({"application": "*"}, False),  # a star matches no absent value
    ],
)
def test_match(match: dict[str, Any], expected: bool) -> None:
    assert matches(match) is expected


@pytest.mark.parametrize(
    ("fact", "match", "expected"),
    [
        (FAILURE, {"service": "cart"}, True),  # any of its services
        (FAILURE, {"service": "catalogue"}, False),
        (replace(FAILURE, services=()), {"service": "mysql"}, True),  # the vendor's name, of the traits
        (replace(FAILURE, services=("shop",)), {"service": "mysql"}, False),
        (replace(FAILURE, team="sre"), {"team": "sre"}, True),
        (CHANGE, {"service": "shop", "environment": "production"}, True),
        (WITHDRAWAL, {"service": "mysql"}, True),
        (WITHDRAWAL, {"environment": "production"}, False),
    ],
)
def test_match_by_kind_of_fact(fact: Fact, match: dict[str, Any], expected: bool) -> None:
    assert matches(match, fact, service="mysql") is expected


def test_first_match_wins_and_has_a_name() -> None:
    rules = [
        rule(match={"repository": "other/*"}, drop="not this"),
        rule(match={"repository": "acme/*"}, set={"service": "first"}),
        rule(name="named", match={"repository": "acme/shop"}, set={"service": "second"}),
    ]
    (changed,), name, dropped = apply(rules, DEPLOYMENT, TRAITS)
    assert (changed.service, name, dropped) == ("first", "rule 2", "")
    assert apply(rules[2:], DEPLOYMENT, TRAITS)[1] == "named"


def test_without_a_match_nothing_changes() -> None:
    assert apply([rule(match={"branch": "x"}, drop="no")], DEPLOYMENT, TRAITS) == ((DEPLOYMENT,), "", "")
    assert apply([], DEPLOYMENT, TRAITS) == ((DEPLOYMENT,), "", "")


def test_a_rule_that_sets_nothing_exempts_from_later_ones() -> None:
    rules = [rule(match={"service": "shop"}, set={}), rule(drop="everything else")]
    assert apply(rules, DEPLOYMENT, TRAITS) == ((DEPLOYMENT,), "rule 1", "")


def test_deployment_is_renamed() -> None:
    change = {"service": "shopist", "env": "prod", "team": "backend", "version": "1.2.3", "tags": ["region:eu"]}
    (changed,), _, _ = apply([rule(set=change)], DEPLOYMENT, TRAITS)
    assert changed == replace(
        DEPLOYMENT,
        service="shopist",
        env="prod",
        team="backend",
        version="1.2.3",
        custom_tags=("ref:main", "region:eu"),
    )
    assert changed.origins == {"service": "rule", "env": "rule", "team": "rule", "version": "rule"}


def test_deployment_of_several_services() -> None:
    services = ["web", "api"]
    facts, _, _ = apply([rule(set={"services": services, "env": "prod"})], DEPLOYMENT, TRAITS)
    suffixes = [hashlib.sha256(service.encode()).hexdigest()[:8] for service in services]
    assert [(fact.service, fact.id, fact.env) for fact in facts] == [
        (service, f"{DEPLOYMENT.id}-{suffix}", "prod") for service, suffix in zip(services, suffixes, strict=True)
    ]
    (only,), _, _ = apply([rule(set={"services": ["web"]})], DEPLOYMENT, TRAITS)
    assert (only.service, only.id) == ("web", DEPLOYMENT.id)


def test_failure_of_several_services_stays_one() -> None:
    change = {"services": ["web", "api"], "env": "prod", "team": "sre", "tags": ["x:y"]}
    (changed,), _, _ = apply([rule(set=change)], FAILURE, TRAITS)
    assert changed == replace(FAILURE, services=("web", "api"), env="prod", team="sre", custom_tags=("x:y",))
    assert changed.origins == {"services": "rule", "env": "rule", "team": "rule"}
    (kept,), _, _ = apply([rule(set={"env": "prod"})], FAILURE, TRAITS)
    assert kept.services == ("shop", "cart")


def test_change_failure_follows_its_deployment() -> None:
    """A PATCH has the ids that the deployments of the same rule have, or it would change none of them."""
    both = rule(set={"services": ["web", "api"], "env": "prod", "tags": ["x:y"]})
    first = replace(DEPLOYMENT, id=CHANGE.deployment_id)
    remedy = replace(DEPLOYMENT, id=str(CHANGE.remediation_id))
    deployed = [apply([both], one, TRAITS)[0] for one in (first, remedy)]
    patches, _, _ = apply([both], CHANGE, TRAITS)
    assert [(patch.deployment_id, patch.remediation_id) for patch in patches] == [
        (one.id, other.id) for one, other in zip(*deployed, strict=True)
    ]
    assert {(patch.service, patch.env) for patch in patches} == {("web", "prod"), ("api", "prod")}
    (one,), _, _ = apply([rule(set={"service": "web"})], CHANGE, TRAITS)
    assert one == replace(CHANGE, service="web")
    bare = replace(CHANGE, remediation_id=None, remediation_type=None)
    assert [patch.remediation_id for patch in apply([both], bare, TRAITS)[0]] == [None, None]


def test_withdrawal_is_dropped_or_left_alone() -> None:
    assert apply([rule(set={"service": "x"})], WITHDRAWAL, TRAITS)[0] == (WITHDRAWAL,)
    assert apply([rule(drop="no")], WITHDRAWAL, TRAITS) == ((), "rule 1", "no")


# -- $1, $2, …


@pytest.mark.parametrize(
    ("match", "change", "service"),
    [
        ({"repository": "acme/*"}, {"service": "$1"}, "shop"),
        ({"repository": "*/*"}, {"service": "$2-of-$1"}, "shop-of-acme"),
        ({"repository": "acme/*"}, {"service": "$1$1"}, "shopshop"),
        ({"repository": "acme/*"}, {"service": "a$b-$0-$1"}, "a$b-$0-shop"),
        ({"repository": "acme/*"}, {"service": "$10"}, "shop0"),
        # the first key of the file that has stars, whatever the order of the schema
        ({"workflow": "*/deploy.yml", "repository": "acme/*"}, {"service": "$1"}, ".github/workflows"),
        ({"repository": "acme/*", "workflow": "*/deploy.yml"}, {"service": "$1"}, "shop"),
        ({"repository": "acme/shop", "branch": "m*"}, {"service": "$1"}, "ain"),
        # the alternative that matched
        ({"repository": ["x-*", "acme/*"]}, {"service": "$1"}, "shop"),
        ({"labels": "region=*", "repository": "*"}, {"service": "$1"}, "eu"),
    ],
)
def test_placeholders(match: dict[str, Any], change: dict[str, Any], service: str) -> None:
    (changed,), _, _ = apply([rule(match=match, set=change)], DEPLOYMENT, TRAITS)
    assert changed.service == service


def test_placeholders_in_every_value() -> None:
    change = {"services": ["a-$1", "b-$1"], "env": "e-$1", "team": "t-$1", "version": "v-$1", "tags": ["k:$1"]}
    facts, _, _ = apply([rule(match={"branch": "*"}, set=change)], DEPLOYMENT, TRAITS)
    assert [fact.service for fact in facts] == ["a-main", "b-main"]
    assert {(fact.env, fact.team, fact.version, fact.custom_tags[-1]) for fact in facts} == {
        ("e-main", "t-main", "v-main", "k:main")
    }


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ({"branch": "main*"}, {"service": "$1"}),
        ({"branch": "main*"}, {"env": "$1"}),
        ({"branch": "main*"}, {"services": ["$1", "x"]}),
        ({"branch": "main*"}, {"tags": ["$1:x"]}),
    ],
)
def test_a_star_that_matched_nothing_makes_no_value(match: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(PayloadInvalid, match=r"^to be seen makes an empty or malformed value"):
        apply([rule(name="to be seen", match=match, set=change)], DEPLOYMENT, TRAITS)


_ORDER = """
from bridge.rules import Rule, apply
from bridge.dora import Withdrawal, Deployment
match = {"environment": "e-*", "repository": "r-*", "labels": "l-*", "branch": "b-*"}
traits = {"repository": "r-repository", "labels": "l-labels", "branch": "b-branch"}
fact = Deployment(id="x", service="s", env="e-env", started_at=0, finished_at=0)
print(apply([Rule(match=match, set={"service": "$1"})], fact, traits)[0][0].service)
"""


def test_what_a_placeholder_is_does_not_differ_between_processes() -> None:
    """The web process, a redrive and a dry run are processes of their own, with their own order of sets."""
    for seed in "012345":
        done = subprocess.run(
            [sys.executable, "-c", _ORDER], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert done.stdout == "env\n"


# -- what makes no sense is refused at start


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"set": None}, "give either set or drop"),
        ({"set": {"env": "x"}, "drop": "y"}, "give either set or drop"),
        ({"drop": ""}, "at least 1 character"),
        ({"drop": "x", "match": {"environment": []}}, "at least 1 item"),
        ({"drop": "x", "match": {"environment": None}}, "valid tuple"),
        ({"drop": "x", "match": {"environment": 1}}, "valid tuple"),
        ({"drop": "x", "match": None}, "valid dictionary"),
        ({"drop": "x", "match": {"repo": "x"}}, "Extra inputs"),
        ({"drop": "x", "when": {}}, "Extra inputs"),
        ({"set": {"servce": "x"}}, "Extra inputs"),
        ({"set": {"service": ""}}, "at least 1 character"),
        ({"set": {"env": ""}}, "at least 1 character"),
        ({"set": {"services": []}}, "at least 1 item"),
        ({"set": {"services": [""]}}, "at least 1 character"),
        ({"set": {"service": "x", "services": ["y"]}}, "service or services, not both"),
        ({"set": {"version": 1.1}}, "valid string"),
        ({"set": {"tags": ["no-colon"]}}, "key:value"),
        ({"set": {"tags": [":no-key"]}}, "key:value"),
        # nothing that `$1` could stand for: `$1` itself would be reported
        ({"set": {"service": "$1"}}, r"set has \$1"),
        ({"match": {"branch": "main"}, "set": {"service": "$1"}}, r"set has \$1"),
        ({"match": {"branch": "*"}, "set": {"services": ["a", "$2"]}}, r"set has \$2"),
        ({"match": {"branch": "*-*"}, "set": {"tags": ["x:$3"]}}, r"set has \$3"),
        ({"match": {"branch": ["*", "main"]}, "set": {"env": "$1"}}, r"set has \$1"),
        ({"match": {"branch": ["*-*", "*"]}, "set": {"env": "$2"}}, r"set has \$2"),
        ({"match": {"branch": ["*", "x"], "repository": "*/*"}, "set": {"env": "$2"}}, r"set has \$2"),
    ],
)
def test_refused_at_start(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=problem):
        rule(**fields)


def test_accepted_although_an_alternative_has_no_star_since_a_later_key_has() -> None:
    match = {"branch": ["release-*", "main"], "repository": "acme/*"}
    (changed,), _, _ = apply([rule(match=match, set={"service": "$1"})], DEPLOYMENT, TRAITS)
    assert changed.service == "shop"


names = st.text("ab-/.*?[]$1", min_size=1, max_size=6)


@given(
    match=st.dictionaries(st.sampled_from(["repository", "branch", "labels"]), st.lists(names, min_size=1, max_size=3)),
    values=st.fixed_dictionaries({"repository": names, "branch": names}),
    change=names,
)
def test_a_rule_that_loads_either_does_what_it_says_or_names_itself(
    match: dict[str, list[str]], values: dict[str, str], change: str
) -> None:
    try:
        loaded = rule(name="it", match=match, set={"service": change})
    except pydantic.ValidationError:
        assert "$1" in change
        return
    try:
        (changed,), name, _ = apply([loaded], DEPLOYMENT, {**values, "labels": ()})
    except PayloadInvalid:
        assert "$1" in change
        return
    hits = [
        any(as_glob(glob, values[key]) for glob in globs) if key in values else False for key, globs in match.items()
    ]
    assert bool(name) == all(hits)
    if not name:
        assert changed == DEPLOYMENT
    elif "$1" not in change:
        assert changed.service == change


def as_glob(glob: str, text: str) -> bool:
    """Whether the glob matches, the slow and obvious way."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(as_glob(glob[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and (glob[0] in ("?", text[0])) and as_glob(glob[1:], text[1:])


def test_ids_of_several_services_differ() -> None:
    services = [f"service-{number}" for number in range(50)]
    facts, _, _ = apply([rule(set={"services": services})], DEPLOYMENT, TRAITS)
    assert all(one.id != other.id for one, other in itertools.combinations(facts, 2))


def test_a_service_that_a_rule_names_has_the_version_of_its_own_image() -> None:
    body = json.loads(
        (Path(__file__).parents[1] / "fixtures" / "argocd" / "deployed.single-source" / "body.json").read_bytes()
    )
    body["application"] |= {"name": "loyalty-prod", "annotations": {}, "labels": {}}
    body["images"] = ["registry.example.com/loyalty:1.13.0", "registry.example.com/envoy:2.0.0"]
    raw = json.dumps(body).encode()
    for rules, version in (
        ([], None),
        ([{"match": {"application": "*-prod"}, "set": {"service": "$1"}}], "1.13.0"),
        ([{"match": {"application": "*-prod"}, "set": {"services": ["$1", "envoy"]}}], "1.13.0"),
        ([{"match": {"application": "*-prod"}, "set": {"service": "$1", "version": "9"}}], "9"),
    ):
        delivery = Delivery({}, {}, raw)
        endpoint = parse({"endpoints": {"argocd": {"ignore_older_than_hours": 0}}}, "bridge.yaml")[1]["argocd"]
        receipt = receive(endpoint, delivery, secret=1, now=time.time_ns(), rules=[Rule(**rule) for rule in rules])
        assert receipt.envelopes[0].attributes.get("version") == version
