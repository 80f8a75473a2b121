"""Argo CD: what the fixtures cannot show. The facts themselves are in `tests/fixtures/argocd/`."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bridge.dora import ChangeFailure, Deployment, Git
from bridge.errors import PayloadInvalid, SignatureMismatch, SignatureMissing
from bridge.source import Context, Translation
from bridge.sources.argocd import SCHEMA, SOURCE, ArgoCDOptions

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "argocd"
DEPLOYED: dict[str, Any] = json.loads((FIXTURES / "deployed.single-source" / "body.json").read_bytes())
ROLLBACK: dict[str, Any] = json.loads((FIXTURES / "deployed.rollback" / "body.json").read_bytes())
DATADOG: dict[str, Any] = json.loads((FIXTURES / "deployed.datadog-template" / "body.json").read_bytes())
BODIES = [json.loads(path.read_bytes()) for path in sorted(FIXTURES.glob("*.*/body.json"))]

UID = "5f0c2a4e-7d1b-4c39-9a86-2e4b1f7d0c53"
SHA = "0f" * 20
ODD: list[Any] = [None, "", " ", "odd", 0, -1, 3.5, 10**400, True, [], ["odd"], [None], {}, {"odd": 5}, [{"id": {}}]]


def translate(body: Any, **options: Any) -> Translation:
    raw = json.dumps(body).encode()
    model = SOURCE.models[SOURCE.kind({}, raw)]
    return SOURCE.translate(model.model_validate_json(raw), Context(ArgoCDOptions(**options)))


def deployment(body: Any, **options: Any) -> Deployment:
    """The deployment that the notification is about, without what came before it."""
    fact, *earlier = translate(body, **options).facts
    assert isinstance(fact, Deployment)
    assert all(one.history and one.history.role == "missed" for one in earlier)
    return fact


def changed(body: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The body with other values at paths like `application__uid`."""
    body = copy.deepcopy(body)
    for path, value in values.items():
        *way, last = path.split("__")
        place = body
        for name in way:
            place = place[name]
        place[last] = value
    return body


def test_the_token_may_be_a_bearer_or_the_password_of_basic_auth() -> None:
    # echo -n 'argocd:s3cret-of-argocd' | base64
    for header in ("Bearer s3cret-of-argocd", "Basic YXJnb2NkOnMzY3JldC1vZi1hcmdvY2Q="):
        assert SOURCE.scheme.verify({"authorization": header}, b"", [b"new", b"s3cret-of-argocd"]) == 2
        with pytest.raises(SignatureMismatch):
            SOURCE.scheme.verify({"authorization": header}, b"", [b"new"])
    with pytest.raises(SignatureMissing):
        SOURCE.scheme.verify({}, b"", [b"s3cret-of-argocd"])


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://git.example.com/acme/checkout", "https://git.example.com/acme/checkout"),
        ("https://git.example.com/acme/checkout.git/", "https://git.example.com/acme/checkout"),
        ("http://git.example.com:8080/acme/checkout.git", "https://git.example.com:8080/acme/checkout"),
        ("https://jo:p@ss@git.example.com/acme/checkout.git", "https://git.example.com/acme/checkout"),
        ("https://token@git.example.com/a/b/checkout", "https://git.example.com/a/b/checkout"),
        ("ssh://git@git.example.com:2222/acme/checkout.git", "https://git.example.com/acme/checkout"),
        ("git@git.example.com:acme/checkout.git", "https://git.example.com/acme/checkout"),
        ("git@git.example.com:/acme/checkout", "https://git.example.com/acme/checkout"),
        # what cannot be told for sure is left out, above all where a password could be taken for a path
        ("https://jo:12/34@git.example.com/acme/checkout", None),
        ("https://git.example.com/acme/checkout?token=1", None),
        ("oci://git.example.com/acme/checkout", None),
        ("/srv/git/checkout.git", None),
        ("https://git.example.com", None),
    ],
)
def test_repository_urls_are_https_and_without_credentials(written: str, sent: str | None) -> None:
    said = {"dora-bridge/commit-sha": SHA, "dora-bridge/repository-url": written}
    git = deployment(changed(DEPLOYED, application__annotations=said)).git
    assert git == (Git(SHA, sent) if sent else None)


@pytest.mark.parametrize(
    ("images", "version"),
    [
        (["checkout:1.2.3"], "1.2.3"),
        (["registry.example.com:5000/acme/Checkout:1.2.3@sha256:" + "0" * 64], "1.2.3"),
        (["registry.example.com:5000/checkout"], None),
        (["acme/checkout@sha256:" + "0" * 64], None),
        (["acme/checkout:latest"], None),
        (["acme/envoy:1.33.0"], None),
        (["checkout/envoy:1.33.0"], None),  # the last part of the name is the image's own
        (["acme/checkout-server:1.2.3", "acme/envoy:1.33.0"], "1.2.3"),
        (["acme/checkout-migrations:7", "acme/checkout:1.2.3"], "1.2.3"),
        (["acme/checkout-migrations:1.2.3", "acme/checkout-server:1.2.3"], "1.2.3"),
        (["acme/checkout-migrations:7", "acme/checkout-server:1.2.3"], None),
        (["acme/checkout:1.2.2", "acme/checkout:1.2.3"], None),  # the old pods are still there
        (["acme/checkout@sha256:" + "0" * 64, "acme/checkout-migrations:7"], None),
        ("", None),
    ],
)
def test_the_version_is_the_tag_of_the_image_named_like_the_service(images: Any, version: str | None) -> None:
    assert deployment(changed(DEPLOYED, images=images)).version == version


@pytest.mark.parametrize(
    ("revision", "target", "version"),
    [
        ("4.29.0", "4.*", "4.29.0"),
        ("v4.29.0-rc.1+build.5", "", "v4.29.0-rc.1+build.5"),
        ("sha256:" + "0" * 64, "4.29.0", "4.29.0"),
        ("sha256:" + "0" * 64, "4.x", None),
        ("sha256:" + "0" * 64, "4.29", None),
    ],
)
def test_without_an_image_of_its_own_the_version_is_the_charts(revision: str, target: str, version: str | None) -> None:
    body = changed(DEPLOYED, images=[])
    source = {"repoURL": "https://charts.example.com", "chart": "web-app", "targetRevision": target}
    body["history"][-1] |= {"revision": revision, "sources": [source]}
    assert deployment(body).version == version


def test_two_charts_have_no_common_version() -> None:
    body = changed(DEPLOYED, images=[])
    sources = [{"repoURL": "https://charts.example.com", "chart": name} for name in ("redis", "web-app")]
    body["history"][-1] |= {"revision": "", "revisions": ["4.29.0", "1.9.4"], "sources": sources}
    assert deployment(body).version is None
    sources[0]["chart"] = "checkout"
    assert deployment(body).version == "4.29.0"


def test_a_rollback_blames_the_first_deployment_after_the_one_that_is_back() -> None:
    def blamed(*revisions: str, **options: Any) -> list[str]:
        entries = [ROLLBACK["history"][-1] | {"id": i, "revision": r * 40} for i, r in enumerate(revisions)]
        facts = translate(changed(ROLLBACK, history=entries, images=[]), **options).facts
        return [fact.deployment_id[-1:] for fact in facts if isinstance(fact, ChangeFailure) and not fact.history]

    assert blamed("1", "2", "3", "1") == ["1"]
    assert blamed("1", "2", "1") == ["1"]
    assert blamed("1", "2", "1", "3", "1") == ["3"]
    assert blamed("1", "1", "2", "2", "1") == ["2"]
    assert blamed("1", "1", "2", "2", "1", redeploys="send") == ["2"]
    assert blamed("2", "2", "2", redeploys="send") == []
    assert blamed("1", "2", "1", "1", redeploys="send") == []
    assert blamed("1", "2", "3") == []
    assert blamed("1", "2") == []
    assert blamed("1") == []


def test_what_a_rule_can_match() -> None:
    body = changed(DEPLOYED, application__labels={"tier": "web"}, application__destination={"name": "eu-1"})
    assert translate(body).traits == {
        "application": "checkout-production",
        "service": ("checkout",),
        "environment": "production",
        "team": "payments",
        "repository": "acme/deploy-config",
        "branch": "main",
        "labels": ("tier=web", "project=payments", "cluster=eu-1"),
    }
    ignored = changed(body, operation__phase="Failed")
    assert translate(ignored).traits == translate(body).traits


def test_both_bodies_say_the_same() -> None:
    ours, theirs = translate(DEPLOYED).facts[0], translate(DATADOG).facts[0]
    assert isinstance(ours, Deployment)
    assert isinstance(theirs, Deployment)
    for field in ("id", "key", "started_at", "finished_at", "version"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert delivery_id(DEPLOYED) == delivery_id(DATADOG)


def delivery_id(body: Any) -> str | None:
    return SOURCE.delivery_id({}, json.dumps(body).encode())


def test_the_delivery_id_names_the_condition_of_a_deployment() -> None:
    assert delivery_id(DEPLOYED) == f"{UID}-42-deployed-2026-03-17T09:14:05Z"
    assert delivery_id(changed(DEPLOYED, sent_at="2026-03-17T09:16:00Z")) == delivery_id(DEPLOYED)
    assert delivery_id(changed(DEPLOYED, health__status="Degraded")) != delivery_id(DEPLOYED)
    assert delivery_id(changed(DEPLOYED, application__uid=None)) is None
    assert delivery_id({"schema": "dora-bridge.argocd/v2"}) is None
    assert SOURCE.delivery_id({}, b"checkout is healthy") is None


@pytest.mark.parametrize("absent", [None, "", {}, [], "missing"])
@pytest.mark.parametrize(
    "path",
    [
        "sent_at",
        "argocd_url",
        "sync_status",
        "application__namespace",
        "application__labels",
        "application__deleting",
        "application__destination",
        "operation__message",
        "operation__finished_at",
        "operation__retry_count",
        "operation__initiated_by",
        "operation__revision",
        "operation__revisions",
        "operation__partial",
        "dry_source",
        "hydrated",
    ],
)
def test_however_a_template_prints_nothing_it_is_absent(path: str, absent: Any) -> None:
    body = changed(DEPLOYED, **{path: absent})
    if absent == "missing":
        *way, last = path.split("__")
        del (body[way[0]] if way else body)[last]
    assert deployment(body).body == deployment(DEPLOYED).body


# ---- whatever comes, it is a fact, a reason, or a dead letter


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in _paths(item, (*path, key)))]


def test_entries_that_came_before_are_told_as_of_then_newest_first() -> None:
    history = [entry(1, "a"), entry(2, "b"), entry(3, "b"), entry(4, "c")]
    annotations = {"dd_service": "checkout", "dora-bridge/version": "9.9.9"}
    body = changed(DEPLOYED, history=history, application__annotations=annotations)
    last, *earlier = translate(body).facts
    told = [(one.id[-6:], one.started_at, one.finished_at, one.version, one.history.role) for one in earlier]
    assert told == [  # 3 is the same as 2: redeploys are skipped
        ("000002", 2_000 * NS, 2_060 * NS, None, "missed"),
        ("000001", 1_000 * NS, 1_060 * NS, None, "missed"),
    ]
    assert (last.version, last.history.number, last.history.role) == ("9.9.9", 4, "")
    assert [one.id[-6:] for one in translate(body, redeploys="send").facts] == ["000004", "000003", "000002", "000001"]


def test_a_rollback_that_was_missed_blames_what_it_undid() -> None:
    body = changed(DEPLOYED, history=[entry(1, "a"), entry(2, "b"), entry(3, "a"), entry(4, "c")])
    [failed] = [one for one in translate(body).facts if isinstance(one, ChangeFailure)]
    assert (failed.deployment_id[-6:], (failed.remediation_id or "")[-6:]) == ("000002", "000003")
    assert (failed.remediation_type, failed.history.number, failed.history.role) == ("rollback", 3, "missed")


def test_a_health_that_is_not_healthy_is_no_end() -> None:
    body = changed(DEPLOYED, health=DEPLOYED["health"] | {"status": "Degraded"})
    implied = translate(body).facts[0]
    assert implied.origins["finished_at"] == "history[-1].deployed_at"


def test_a_redeploy_still_tells_what_came_before_it() -> None:
    body = changed(DEPLOYED, history=[entry(1, "a"), entry(2, "b"), entry(3, "b")])
    translation = translate(body)
    assert "same revision" in translation.ignored
    assert [one.id[-6:] for one in translation.facts] == ["000002", "000001"]


def test_an_entry_without_times_is_no_deployment_to_tell() -> None:
    body = changed(DEPLOYED, history=[entry(1, "a") | {"deployed_at": None}, entry(2, "b")])
    assert [one.id[-6:] for one in translate(body).facts] == ["000002"]


def test_what_degrades_days_later_is_not_blamed_on_the_deployment() -> None:
    history = [entry(1, "a")]  # which ends 1,060 s after the epoch
    for at, told in (("1970-01-02T00:17:40Z", True), ("1970-01-02T00:17:41Z", False)):
        body = changed(DEPLOYED, history=history, health={"status": "Degraded", "lastTransitionTime": at})
        assert bool(translate(body).facts) == told, at


def test_what_is_degraded_was_deployed() -> None:
    body = changed(DEPLOYED, history=[entry(1, "a"), entry(2, "b")], health={"status": "Degraded"})
    deployed, failed, missed = translate(body).facts
    assert (type(deployed), deployed.id[-6:], deployed.history.role) == (Deployment, "000002", "implied")
    assert (type(failed), failed.deployment_id, failed.at) == (ChangeFailure, deployed.id, 2_060 * NS)
    assert (missed.id[-6:], missed.history.role) == ("000001", "missed")


NS = 1_000_000_000


def entry(number: int, letter: str) -> dict[str, Any]:
    """A history entry of one minute, `number` thousand seconds after the epoch."""
    times = {
        name: f"1970-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        for name, second in {"started_at": number * 1000, "deployed_at": number * 1000 + 60}.items()
    }
    return {"id": number, "revision": letter * 40, "sources": DEPLOYED["history"][-1]["sources"], **times}


@st.composite
def mutilated(draw: st.DrawFn) -> Any:
    body = copy.deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        paths = [path for path in _paths(body) if path]
        if not paths:
            break
        *way, last = draw(st.sampled_from(paths))
        place = body
        for key in way:
            place = place[key]
        if draw(st.booleans()):
            del place[last]
        else:
            place[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return body


@given(mutilated(), st.sampled_from(["app", "config", "none"]), st.sampled_from(["skip", "send"]))
def test_a_mutilated_body_is_never_a_crash(body: Any, git: str, redeploys: str) -> None:
    delivery_id(body)
    try:
        translation = translate(body, git=git, redeploys=redeploys)
    except (PayloadInvalid, pydantic.ValidationError):
        return
    about = [fact for fact in translation.facts if not (fact.history and fact.history.role == "missed")]
    assert bool(about) != bool(translation.ignored)
    for fact in translation.facts:
        assert re.fullmatch(r"[A-Za-z0-9_-]{16,128}", fact.id, re.ASCII)
        json.dumps(fact.body)
        if isinstance(fact, Deployment):
            assert isinstance(fact.started_at, int)
            assert isinstance(fact.finished_at, int)
            assert all(re.fullmatch(r"[^:]+:.+", tag, re.DOTALL) for tag in fact.custom_tags)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_a_body_that_is_no_json_is_never_a_crash(body: bytes) -> None:
    assert SOURCE.delivery_id({}, body) is None
    with pytest.raises(PayloadInvalid):
        SOURCE.kind({}, body)


def test_messages_do_not_repeat_the_payload() -> None:
    for body in ({"schema": "hunter2"}, {"app": "hunter2"}, "hunter2"):
        with pytest.raises(PayloadInvalid) as refused:
            SOURCE.kind({}, json.dumps(body).encode())
        assert "hunter2" not in refused.value.detail


# ---- deploy/argocd


def _plain() -> dict[str, str]:
    text = (ROOT / "deploy/argocd/argocd-notifications.yaml").read_text("utf-8")
    (data,) = [document["data"] for document in yaml.safe_load_all(text) if document["kind"] == "ConfigMap"]
    return dict(data)


def test_the_chart_values_are_the_plain_config_map() -> None:
    text = (ROOT / "deploy/argocd/argo-cd-values.yaml").read_text("utf-8")
    values = yaml.safe_load(text)["notifications"]
    assert values["notifiers"] | values["triggers"] | values["templates"] == _plain()


def test_names_token_and_retries_fit_together() -> None:
    config = {name: yaml.safe_load(text) for name, text in _plain().items()}
    service = config["service.webhook.dora-bridge"]
    assert service["url"].endswith("/webhooks/argocd")
    headers = {header["name"]: header["value"] for header in service["headers"]}
    assert headers == {"Content-Type": "application/json", "Authorization": "Bearer $dora-bridge-token"}
    assert (service["retryMax"], service["retryWaitMax"]) == (5, 10 * 10**9)  # nanoseconds
    assert [condition["send"] for condition in config["trigger.dora-bridge"]] == [["dora-bridge"]] * 3
    assert all(condition["oncePer"] for condition in config["trigger.dora-bridge"])
    assert config["template.dora-bridge"]["webhook"]["dora-bridge"]["method"] == "POST"

    secret = next(yaml.safe_load_all((ROOT / "deploy/argocd/argocd-notifications.yaml").read_text("utf-8")))
    assert (secret["kind"], list(secret["stringData"])) == ("Secret", ["dora-bridge-token"])


def test_the_fixtures_have_the_fields_of_the_template() -> None:
    body = yaml.safe_load(_plain()["template.dora-bridge"])["webhook"]["dora-bridge"]["body"]
    assert f'"schema": "{SCHEMA}"' in body
    rendered = {*DEPLOYED, *DEPLOYED["application"], *DEPLOYED["operation"], *DEPLOYED["history"][-1]}
    assert set(re.findall(r'"(\w+)": ', body)) == rendered
    # nothing is escaped by itself, so whatever is printed goes through toJson or is a constant
    printed = re.findall(r"\{\{-? ?(.*?) ?-?\}\}", body)
    silent = ("if ", "else", "end", "range ", "$")
    assert [action for action in printed if not action.startswith((*silent, "toJson "))] == []
