"""What is remembered of statements for linking."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.dora import ChangeFailure, ChangeFailureByVersion, Deployment, Fact, Failure, Git, Withdrawal, withdrawal
from bridge.envelope import Envelope, identity
from bridge.timeline import Deployed, Incident, Trace, traces_of

NS, T0 = 1_000_000_000, 1_760_000_000
SHA = "ABCDEF0123456789" * 2 + "abcdef01"


def envelope(fact: Fact, source: str = "github") -> Envelope:
    return Envelope(endpoint=source, source=source, kind="k", received_at=(T0 + 99) * NS, **identity(fact))


def deployed(**more: Any) -> Deployment:
    given = {"service": "checkout", "env": "production", "started_at": T0 * NS, "finished_at": (T0 + 60) * NS}
    return Deployment(id="gh-dep-0000000001-000000000001", **(given | more))


def failure(**more: Any) -> Failure:
    given = {"services": ("checkout", "cart"), "env": "production", "started_at": T0 * NS}
    return Failure(id="pagerduty-incident-P1", **(given | more))


def kept(*facts: Fact) -> Incident:
    """The incident as the ledger has it after these statements."""
    texts = [trace.text for fact in facts for trace in traces_of(envelope(fact)) if trace.kind == "incident"]
    withdrawn = {"withdrawn": "merged"} if any(isinstance(fact, Withdrawal) for fact in facts) else {}
    return Incident.from_fields("x", {"first": texts[0], "last": texts[-1]} | withdrawn)


@pytest.mark.parametrize("env", ["production", "", "a|b", "ü"])
def test_a_deployment_survives_its_text(env: str) -> None:
    (trace,) = traces_of(envelope(deployed(env=env or None, git=Git(SHA, "https://x"))))
    assert (trace.kind, trace.service, trace.at) == ("deployment", "checkout", (T0 + 60) * 1000)
    assert Deployed.from_text(trace.id, trace.service, trace.text) == Deployed(
        trace.id, "checkout", env, T0 * 1000, (T0 + 60) * 1000, "abcdef012345"
    )


def test_the_text_of_a_deployment_is_small_enough_for_a_compact_hash() -> None:
    (trace,) = traces_of(envelope(deployed(version="v1.2.3", git=Git(SHA, "https://x"))))
    assert len(trace.text.encode()) <= 64  # hash-max-listpack-value of Redis


def test_commit_and_version_are_both_kept() -> None:
    (trace,) = traces_of(envelope(deployed(version="v1", git=Git(SHA, "https://x"))))
    (other,) = traces_of(envelope(deployed(version="v2", git=Git(SHA.lower(), "https://x"))))
    (bare,) = traces_of(envelope(deployed(version="v1")))
    one, two, three = (Deployed.from_text("d", "checkout", each.text) for each in (trace, other, bare))
    assert one.commit == two.commit == "abcdef012345"
    assert one.version == three.version != two.version
    assert three.commit == ""


def test_a_rollback_of_something_is_a_signal_of_its_own() -> None:
    trace, signal = traces_of(envelope(deployed(custom_tags=("rollback:true",))))
    assert (signal.kind, signal.id) == ("incident", f"{trace.id}~rollback")
    incident = Incident.from_fields(signal.id, {"first": signal.text, "last": signal.text})
    assert (incident.explicit, incident.deployment_id, incident.remediation_id) == (True, "", trace.id)


def test_an_incident_keeps_what_its_opening_said_and_takes_its_end_from_the_closing() -> None:
    closed = failure(services=("other",), env="other", finished_at=(T0 + 600) * NS)
    incident = kept(failure(), closed)
    assert (incident.services, incident.env) == (("checkout", "cart"), "production")
    assert (incident.started_at, incident.finished_at) == (T0 * 1000, (T0 + 600) * 1000)
    bare = kept(failure(), failure(started_at=None, services=(), finished_at=(T0 + 600) * NS))
    assert (bare.started_at, bare.finished_at, bare.services) == (T0 * 1000, (T0 + 600) * 1000, ("checkout", "cart"))


def test_an_incident_is_the_same_wherever_it_is_told() -> None:
    for send_as in ("failure", "legacy_incident", "incident"):
        opened = replace(failure(), send_as=send_as, origins={"id": "x"})
        assert kept(opened) == kept(failure())
        [ended] = traces_of(envelope(withdrawal(opened)))
        assert (ended.kind, ended.id) == ("withdrawn", failure().id)


def test_how_an_incident_may_end() -> None:
    assert kept(failure()).ended == ""
    assert kept(failure(), failure(finished_at=(T0 + 1) * NS, custom_tags=("merged_into:P2",))).ended == "merged"
    assert kept(failure(), Withdrawal(record_id=failure().id)).ended == "merged"
    assert kept(failure(), failure(custom_tags=("not_a_change:true",))).ended == "not_a_change"
    assert kept(failure(custom_tags=("not_a_change:true",)), failure()).ended == "", "the label was taken off"


def test_a_root_cause_is_an_identity() -> None:
    assert kept(failure(git=Git(SHA, "https://x"))).root_cause == "abcdef012345"


def test_a_patch_of_a_webhook_is_a_signal_and_a_verdict() -> None:
    fact = ChangeFailure(deployment_id="argo-x", service="shop", env=None, at=T0 * NS)
    verdict, signal = traces_of(envelope(fact, "argocd"))
    assert json.loads(verdict.text) | {"revision": 0} == {
        "change_failure": True,
        "remediation": {},
        "by": "argocd",
        "revision": 0,
    }
    incident = Incident.from_fields(signal.id, {"first": signal.text, "last": signal.text})
    assert (incident.explicit, incident.deployment_id, incident.started_at) == (True, "argo-x", T0 * 1000)
    assert incident.services == ("shop",)


def test_a_verdict_of_the_bridge_is_no_signal() -> None:
    fact = ChangeFailure(deployment_id="argo-x", service="shop", env="prod", failed=False, revision=3)
    (verdict,) = traces_of(envelope(fact, "bridge"))
    assert (verdict.kind, json.loads(verdict.text)["revision"]) == ("verdict", 3)


def test_a_withdrawn_deployment_leaves_its_history_and_stays_as_it_is() -> None:
    gone = Withdrawal(record_id="argo-x", what="deployment", service="shop")
    history, verdict, *signals = traces_of(envelope(gone, "operator"))
    assert history == Trace("undeployed", "argo-x", 0, "", "shop")
    assert (verdict.kind, verdict.id, json.loads(verdict.text)["by"]) == ("verdict", "argo-x", "operator")
    assert [(one.kind, one.id) for one in signals] == [
        ("withdrawn", "argo-x~rollback"),
        ("withdrawn", "argo-x~change-failure"),
    ]
    unplaced = traces_of(envelope(Withdrawal(record_id="argo-x", what="deployment"), "operator"))
    assert [trace.kind for trace in unplaced] == ["verdict", "withdrawn", "withdrawn"]


def test_what_is_said_by_version_is_not_remembered() -> None:
    fact = ChangeFailureByVersion(service="shop", env="prod", version="v1")
    operator = {"endpoint": "operator", "source": "operator", "received_at": T0 * NS}
    assert traces_of(Envelope(**operator, **identity(fact))) == ()


def test_a_withdrawal_and_a_note() -> None:
    assert traces_of(envelope(Withdrawal(record_id="pagerduty-incident-P1"))) == (
        Trace("withdrawn", "pagerduty-incident-P1", 0, "merged"),
    )
    assert traces_of(Envelope(id="in-0", endpoint="e", source="s", received_at=0, state="ignored")) == ()
