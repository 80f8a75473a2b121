"""Requests and judgements: all that is known about the Datadog API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dora import ChangeFailure, Deployment, Failure, Git, Withdrawal
from bridge.envelope import Envelope, identity
from workers.datadog import (
    LONGEST_WAIT_S,
    Reason,
    Verdict,
    build_request,
    incidents_request,
    judge,
    judge_creation,
)

NS = 10**9
T = 1_717_585_400 * NS


def envelope(fact: Any) -> Envelope:
    return Envelope(endpoint="github", source="github", kind="k", received_at=T, **identity(fact))


def request(fact: Any, opening: Any = None, adjustment: Any = None) -> httpx.Request:
    return build_request(
        envelope(fact),
        opening=opening or {},
        adjustment=adjustment or {},
        base_url="https://api.datadoghq.eu",
        api_key="the-key",
        app_key="the-app-key",
    )


DEPLOYMENT = Deployment(
    id="gh-dep-0000000001-000000000002",
    service="checkout",
    env="production",
    started_at=T,
    finished_at=T + 60 * NS,
    version="1.2.3",
    git=Git("a" * 40, "https://github.com/acme/checkout"),
    custom_tags=("ref:main",),
)
OPEN = Failure(id="pagerduty-incident-P1", started_at=T, services=("checkout",), env="production", name="Slow")


def test_a_deployment_is_posted_with_the_api_key_alone() -> None:
    sent = request(DEPLOYMENT)
    assert (sent.method, str(sent.url)) == ("POST", "https://api.datadoghq.eu/api/v2/dora/deployment")
    assert sent.headers["dd-api-key"] == "the-key"
    assert "dd-application-key" not in sent.headers
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.content) == {
        "data": {
            "attributes": {
                "id": "gh-dep-0000000001-000000000002",
                "service": "checkout",
                "env": "production",
                "started_at": 1_717_585_400_000_000_000,
                "finished_at": 1_717_585_460_000_000_000,
                "version": "1.2.3",
                "git": {"commit_sha": "a" * 40, "repository_url": "https://github.com/acme/checkout"},
                "custom_tags": ["ref:main"],
            }
        }
    }


def test_a_change_failure_is_a_patch_with_both_keys() -> None:
    fact = ChangeFailure(
        deployment_id="argo-x-000001",
        service="s",
        env=None,
        remediation_id="argo-x-000002",
        remediation_type="rollback",
    )
    sent = request(fact)
    assert (sent.method, sent.url.path) == ("PATCH", "/api/v2/dora/deployments/argo-x-000001")
    assert sent.headers["dd-application-key"] == "the-app-key"
    assert json.loads(sent.content)["data"] == {
        "id": "argo-x-000001",
        "type": "dora_deployment_patch_request",
        "attributes": {"change_failure": True, "remediation": {"id": "argo-x-000002", "type": "rollback"}},
    }


def test_a_withdrawal_is_a_delete_without_a_body() -> None:
    sent = request(Withdrawal(record_id="pagerduty-incident-P1"))
    assert (sent.method, sent.url.path, sent.content) == ("DELETE", "/api/v2/dora/failure/pagerduty-incident-P1", b"")
    assert sent.headers["dd-application-key"] == "the-app-key"


def test_a_closing_repeats_what_was_sent_at_the_opening() -> None:
    opening = envelope(OPEN).attributes
    closing = Failure(
        id=OPEN.id,
        started_at=T + 5,
        finished_at=T + 600 * NS,
        services=("renamed",),
        env="elsewhere",
        team="new",
        severity="SEV-1",
        custom_tags=("resolved_by:user",),
    )
    sent = json.loads(request(closing, opening=opening).content)["data"]["attributes"]
    assert sent == {
        "id": "pagerduty-incident-P1",
        "services": ["checkout"],
        "env": "production",
        "started_at": T,
        "finished_at": T + 600 * NS,
        "name": "Slow",
        "severity": "SEV-1",
        "custom_tags": ["resolved_by:user"],
    }


def test_a_deployment_in_a_taken_second_gets_the_one_it_was_given() -> None:
    second = (T + 61 * NS) // NS
    sent = json.loads(request(DEPLOYMENT, adjustment={"second": second}).content)["data"]["attributes"]
    assert sent["finished_at"] == second * NS
    assert sent["custom_tags"] == ["ref:main", "second_adjusted:true"]
    assert sent["version"] == "1.2.3"


def test_a_late_deployment_of_a_known_commit_goes_without_what_looks_like_a_rollback() -> None:
    sent = json.loads(request(DEPLOYMENT, adjustment={"late": True, "anonymous": True}).content)["data"]["attributes"]
    assert "git" not in sent
    assert "version" not in sent
    assert sent["finished_at"] == DEPLOYMENT.finished_at
    assert sent["custom_tags"] == ["ref:main", "late:true"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_meaning(method: str, status: int) -> None:
    expected: tuple[Verdict, Reason]
    if status in (200, 201, 204) or (status == 202 and method != "POST"):
        expected = (Verdict.DELIVERED, Reason.OK)
    elif status == 202:
        expected = (Verdict.DELIVERED, Reason.DELAYED)
    elif status in (401, 403):
        expected = (Verdict.ERRORED, Reason.AUTH)
    elif status == 429:
        expected = (Verdict.ERRORED, Reason.RATE_LIMITED)
    elif 300 <= status < 400:
        expected = (Verdict.ERRORED, Reason.REDIRECTED)
    elif status in (408, 425) or status >= 500:
        expected = (Verdict.ERRORED, Reason.SERVER_ERROR)
    elif status == 404 and method != "POST":
        expected = (Verdict.ERRORED, Reason.NOT_FOUND)
    else:
        expected = (Verdict.REJECTED, Reason.INVALID)
    outcome = judge(method, httpx.Response(status))
    assert (outcome.verdict, outcome.reason, outcome.status) == (*expected, status)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ReadTimeout("x"), Reason.TIMEOUT),
        (httpx.ConnectTimeout("x"), Reason.TIMEOUT),
        (httpx.PoolTimeout("x"), Reason.TIMEOUT),
        (httpx.ConnectError("x"), Reason.NETWORK),
        (httpx.ReadError("x"), Reason.NETWORK),
        (httpx.RemoteProtocolError("x"), Reason.NETWORK),
    ],
)
def test_no_answer_may_pass_another_time(error: httpx.TransportError, reason: Reason) -> None:
    outcome = judge("POST", error)
    assert (outcome.verdict, outcome.reason, outcome.status) == (Verdict.ERRORED, reason, 0)


@pytest.mark.parametrize(
    ("headers", "reset_s"),
    [
        ({"X-RateLimit-Reset": "7", "Retry-After": "99"}, 7.0),
        ({"X-RateLimit-Reset": "0"}, 0.0),
        ({"Retry-After": "9"}, 9.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"X-RateLimit-Reset": "soon", "Retry-After": "3"}, 3.0),
        ({"X-RateLimit-Reset": "999999999"}, LONGEST_WAIT_S),
        ({"X-RateLimit-Reset": "-5"}, None),
        ({"X-RateLimit-Reset": "nan"}, None),
        ({"X-RateLimit-Reset": "inf"}, None),
        ({}, None),
    ],
)
def test_how_long_datadog_asks_to_wait(headers: dict[str, str], reset_s: float | None) -> None:
    assert judge("POST", httpx.Response(429, headers=headers)).reset_s == reset_s


@given(
    st.dictionaries(
        st.sampled_from(["X-RateLimit-Reset", "X-RateLimit-Remaining", "Retry-After"]),
        st.text("0123456789abc.-+ ²", max_size=9),
    )
)
def test_odd_headers_never_break_the_judgement(headers: dict[str, str]) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    for status in (200, 429, 503):
        outcome = judge("POST", httpx.Response(status, headers=encoded))
        assert outcome.remaining is None or outcome.remaining >= 0
        assert outcome.reset_s is None or 0 <= outcome.reset_s <= LONGEST_WAIT_S


@pytest.mark.parametrize("body", [b"\xff\xfe", b"", b'{"errors":["x"]}', b"x" * 10_000])
def test_what_datadog_said_is_kept_within_bounds(body: bytes) -> None:
    assert len(judge("POST", httpx.Response(400, content=body)).answer) <= 2048


# -- Incident Management

INCIDENT = replace(OPEN, send_as="incident")


def test_an_incident_is_created_with_both_keys() -> None:
    sent = request(INCIDENT)
    assert (sent.method, str(sent.url)) == ("POST", "https://api.datadoghq.eu/api/v2/incidents")
    assert sent.headers["dd-application-key"] == "the-app-key"
    assert json.loads(sent.content)["data"]["type"] == "incidents"


def test_what_comes_later_is_a_patch_of_the_id_that_datadog_gave() -> None:
    sent = build_request(
        envelope(replace(INCIDENT, finished_at=T + 1)),
        opening=envelope(INCIDENT).attributes,
        adjustment={},
        uuid="a6250371",
        base_url="https://api.datadoghq.eu",
        api_key="the-key",
        app_key="the-app-key",
    )
    assert (sent.method, sent.url.path) == ("PATCH", "/api/v2/incidents/a6250371")
    assert json.loads(sent.content) == {
        "data": {
            "id": "a6250371",
            "type": "incidents",
            "attributes": {"fields": {"state": {"type": "dropdown", "value": "resolved"}}},
        }
    }


def test_a_page_of_the_list_is_asked_for_with_both_keys() -> None:
    sent = incidents_request(200, base_url="https://api.datadoghq.eu", api_key="the-key", app_key="the-app-key")
    assert (sent.method, sent.url.path) == ("GET", "/api/v2/incidents")
    assert dict(sent.url.params) == {"page[size]": "100", "page[offset]": "200"}
    assert (sent.headers["dd-api-key"], sent.headers["dd-application-key"]) == ("the-key", "the-app-key")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(201, json={"data": {"id": "u"}}), (Verdict.DELIVERED, Reason.OK, "u")),
        (httpx.Response(202, json={"data": {"id": "u"}}), (Verdict.DELIVERED, Reason.OK, "u")),
        (httpx.Response(201, content=b'{"data": {"id'), (Verdict.ERRORED, Reason.UNNAMED, "")),
        (httpx.Response(201, json={"data": None}), (Verdict.ERRORED, Reason.UNNAMED, "")),
        (httpx.Response(201, json={"data": {"id": 7}}), (Verdict.ERRORED, Reason.UNNAMED, "")),
        (httpx.Response(201, json=[]), (Verdict.ERRORED, Reason.UNNAMED, "")),
        (httpx.Response(400, json={"data": {"id": "u"}}), (Verdict.REJECTED, Reason.INVALID, "")),
        (httpx.Response(503), (Verdict.ERRORED, Reason.SERVER_ERROR, "")),
        (httpx.ReadTimeout("x"), (Verdict.ERRORED, Reason.TIMEOUT, "")),
    ],
)
def test_a_creation_tells_the_id(
    answer: httpx.Response | httpx.TransportError, expected: tuple[Verdict, Reason, str]
) -> None:
    outcome = judge_creation(answer)
    assert (outcome.verdict, outcome.reason, outcome.uuid) == expected
