"""What must hold whatever comes in: each target takes bytes, and fails if the documented outcomes are left.

The ordinary suite runs them over bytes of hypothesis and over what was found before (`findings/`), `make fuzz` over
what a coverage-guided run comes upon. The bytes are meant to be read by people: a line of JSON or text with what
surrounds the input, then the input.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from fuzz import datadogs_checks

from bridge import configuration, search, settings
from bridge.backfill.vendor_api import ARGOCD, GITHUB, PAGERDUTY, pause_s, until_reset_s
from bridge.call import call_of
from bridge.datadog_lists import records_of
from bridge.envelope import Envelope
from bridge.errors import ConfigurationError, Invalid, SignatureMismatch, SignatureMissing
from bridge.intake import Delivery, Receipt, receive
from bridge.ledger import Record
from bridge.signatures import SharedToken
from bridge.source import Endpoint
from bridge.sources import SOURCES
from bridge.times import SECOND, from_epoch, from_rfc3339
from workers.datadog import LONGEST_WAIT_S, Reason, Verdict, judge, judge_creation
from workers.incidents import rows_of

Target = Callable[[bytes], None]
NOW = 1_741_090_000 * SECOND
EVERYTHING: Mapping[str, dict[str, Any]] = {
    "github": {
        "deployments_from": ["deployment_status", "workflow_run", "release"],
        "failures_from": ["issues"],
        "priority_updates": "send",
        "title_updates": "send",
    },
    "argocd": {"git": "config", "redeploys": "send", "ignore_older_than_hours": 0},
    "pagerduty": {"priority_updates": "send"},
    "opsgenie": {"priority_updates": "send", "title_updates": "send"},
}
_ID = re.compile(r"[A-Za-z0-9_.:-]{16,128}", re.ASCII)
_LEDGER_ID = re.compile(r"[A-Za-z0-9_.:-]{16,128}(~[a-z0-9-]+)?", re.ASCII)


def _says_why(detail: str, without: Sequence[str] = ()) -> None:
    assert detail
    assert not [one for one in without if one in detail], "it repeats what it must not"


# -- webhooks


def translation(source: str, data: bytes) -> None:
    """A line with `headers`, `query` and `options`, then the body, as it is posted to this source.

    Whatever it is, it comes to events, or is ignored or a dead letter with a reason; every call is one that Datadog
    takes; the same comes of it each time, and whatever the order of its keys.
    """
    line, _, body = data.partition(b"\n")
    try:
        about = json.loads(line)
        headers, query = _texts(about.get("headers", {})), _texts(about.get("query", {}))
        endpoints = [_endpoint(source, json.dumps(one)) for one in ({}, EVERYTHING[source], about.get("options", {}))]
    except (ValueError, AttributeError, ConfigurationError, RecursionError):
        return  # nothing that could be configured, or be a header
    for endpoint in endpoints:
        for application_key in (False, True):
            receipt = _receipt(endpoint, Delivery(headers, query, body), application_key)
            _ends_well(receipt)
            assert _receipt(endpoint, Delivery(headers, query, body), application_key) == receipt
    _is_the_same_in_any_order(endpoints, headers, query, body)


def _texts(given: Any) -> dict[str, str]:
    """Names in lower case, and values as a listener hands them on: decoded as latin-1."""
    return {str(name).lower(): str(value).encode("utf-8", "replace").decode("latin-1") for name, value in given.items()}


@cache
def _endpoint(source: str, options: str) -> Endpoint:
    return configuration.parse({"endpoints": {source: json.loads(options)}}, "bridge.yaml")[1][source]


_RULES = configuration.parse(
    {"rules": [{"match": {"environment": "*", "kind": ["*s", "*"]}, "set": {"team": "$1"}}]}, "bridge.yaml"
)[0].rules


def _receipt(endpoint: Endpoint, delivery: Delivery, application_key: bool) -> Receipt:
    return receive(endpoint, delivery, secret=1, now=NOW, rules=_RULES, application_key=application_key)


def _ends_well(receipt: Receipt) -> None:
    assert receipt.envelopes
    for one in receipt.envelopes:
        assert one.state in ("waiting", "ignored", "dead_lettered")
        assert one.state == "waiting" or one.reason
        assert Envelope.from_json(one.to_json()) == replace(one, origins={})
        assert _LEDGER_ID.fullmatch(one.id)
        assert type(one.order) is int
        assert 0 <= one.order < 2**53, "Redis keeps it exactly"
        if not one.method:
            continue
        assert _ID.fullmatch(one.datadog_id)
        for name in ("started_at", "finished_at"):
            assert type(one.attributes.get(name, 0)) is int, "nanoseconds are whole"
        # what needs an opening goes out with one, or not at all
        opening = _OPENING if one.needs_opening else {}
        uuid = "a6250371-3453-5a56-b302-93500bfb7e41" if one.path.startswith("/api/v2/incidents") else ""
        assert datadogs_checks.problems(call_of(one, opening=opening, uuid=uuid)) == []


_OPENING = {"services": ["checkout"], "started_at": 1_262_304_001 * SECOND}


def _is_the_same_in_any_order(
    endpoints: list[Endpoint], headers: Mapping[str, str], query: Mapping[str, str], body: bytes
) -> None:
    try:
        value = json.loads(body)
        straight, turned = (json.dumps(one).encode() for one in (value, _turned(value)))
    except (ValueError, RecursionError):
        return
    for endpoint in endpoints:
        one, other = (_receipt(endpoint, Delivery(headers, query, body), True) for body in (straight, turned))
        # a note's id, and the delivery id where the vendor has none, are made of the bytes
        assert [_but_for_its_bytes(each) for each in one.envelopes] == [
            _but_for_its_bytes(each) for each in other.envelopes
        ]


def _turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _turned(inner) for key, inner in reversed(value.items())}
    return [_turned(inner) for inner in value] if isinstance(value, list) else value


def _but_for_its_bytes(envelope: Envelope) -> Envelope:
    return envelope if envelope.method else replace(envelope, id="", raw="")


# -- signatures

SECRETS = (b"first-secret", "zweites Geheimnis à".encode(), b"\x00\xff")


def signature(data: bytes) -> None:
    """Name of the source, its header's value (latin-1) and the body, in a line each: verified, missing or no match.

    What is verified was made of the secret: with another secret it is refused.
    """
    name, _, rest = data.partition(b"\n")
    value, _, body = rest.partition(b"\n")
    source = SOURCES.get(name.decode("latin-1"))
    if source is None:
        return
    headers = {source.scheme.header: value.decode("latin-1")}
    try:
        position = source.scheme.verify(headers, body, SECRETS)
    except (SignatureMissing, SignatureMismatch) as refused:
        _says_why(refused.detail, without=[secret.decode("latin-1") for secret in SECRETS])
        return
    secret = SECRETS[position - 1]
    if isinstance(source.scheme, SharedToken):
        assert secret in value or value.lstrip(b" \t")[:5].lower() == b"basic"
    else:
        assert source.scheme.sign(body, secret)[source.scheme.header].encode() in value.lower()
    with contextlib.suppress(SignatureMissing, SignatureMismatch):
        source.scheme.verify(headers, body, [secret + b"x", secret[:-1]])
        raise AssertionError("a secret that was not used is taken for the one that was")


# -- times


def time(data: bytes) -> None:
    """Text of a time: whole nanoseconds, or a ValueError that does not repeat it."""
    text = data.decode("utf-8", "replace")
    candidates: list[object] = [text]
    with contextlib.suppress(ValueError, RecursionError):
        candidates.append(json.loads(text))
    for candidate in candidates:
        for convert in (from_rfc3339, from_epoch):
            try:
                assert type(convert(candidate)) is int
            except ValueError as error:
                _says_why(str(error), without=[text] if len(text) > 20 else [])


# -- configuration


def configured(data: bytes) -> None:
    """The configuration file: it loads, or one error says what is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.yaml"
        path.write_bytes(data)
        try:
            read, endpoints = configuration.load(path)
        except ConfigurationError as error:
            _says_why(error.detail)
            return
    assert all(name == endpoint.name for name, endpoint in endpoints.items())
    assert {"github", "argocd", "pagerduty", "opsgenie", "jsm"} <= set(endpoints)
    for rule in read.rules:
        assert (rule.set_ is None) != (rule.drop is None)
    # what loads is what the shipped schema describes, but for what only YAML can write
    with contextlib.suppress(ConfigurationError):
        assert configuration.parse(yaml.safe_load(data) or {}, "again")[0] == read


def environment(data: bytes) -> None:
    """`NAME=value` in a line each: they are settings, or an error names the variable that is wrong."""
    lines = [line.partition("=") for line in data.decode("utf-8", "surrogateescape").split("\n")]
    environ = {name: value for name, equals, value in lines if name and equals and "\0" not in name + value}
    # no file of this machine is read
    environ = {name: value for name, value in environ.items() if not name.endswith(("_FILE", "_CONFIG", "_CA"))}
    try:
        read = settings.read(environ)
    except ConfigurationError as error:
        _says_why(error.detail)
        return
    for secrets in (*read.secrets.values(), *read.sender_tokens.values()):
        assert secrets()
        assert all(secret.strip() for secret in secrets()), "anybody could sign with an empty one"
    for key in (read.api_key, read.app_key):
        assert key is None or ((key.isascii() and key.isprintable()) or not key)


# -- envelopes


def envelope(data: bytes) -> None:
    """JSON from Redis: an envelope, or a ValueError, upon which it waits for code that can read it."""
    with contextlib.suppress(ValueError):
        Envelope.from_json(data)


# -- answers of Datadog, and of the vendors


def answer(data: bytes) -> None:
    """Method and status, then headers, in a line each, an empty line, and the body: always one judgement.

    What was taken is never sent again, what the key is refused for is never given up, and waits are bounded.
    """
    start, _, body = data.partition(b"\n\n")
    first, *lines = start.split(b"\n")
    method, _, number = first.decode("latin-1").partition(" ")
    if method not in ("POST", "PATCH", "DELETE") or not (number.isascii() and number.isdigit() and len(number) == 3):
        return
    status = int(number)
    if not 100 <= status < 600:
        return
    headers = [(name.strip(b" \t:"), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    headers = [one for one in headers if one[0].lower() not in (b"content-encoding", b"transfer-encoding")]
    reply = httpx.Response(status, headers=headers, content=body)
    for outcome in (judge(method, reply), judge_creation(reply)):
        assert isinstance(outcome.verdict, Verdict)
        assert isinstance(outcome.reason, Reason)
        assert outcome.status == status
        assert outcome.remaining is None or 0 <= outcome.remaining < 2**53, "Redis counts it down"
        assert outcome.reset_s is None or 0 <= outcome.reset_s <= LONGEST_WAIT_S
        assert len(outcome.answer.encode("utf-8", "replace")) <= 3 * 2048
        assert isinstance(outcome.uuid, str)
        search.said(outcome.answer)
    taken = judge(method, reply).verdict is Verdict.DELIVERED
    assert taken == (status in (200, 201, 202, 204))
    assert (judge(method, reply).reason is Reason.AUTH) == (status in (401, 403))
    for kind in ("deployment", "failure"):
        with contextlib.suppress(ValueError):
            records_of(reply, kind)
    rows = rows_of(reply)
    assert rows is None or all(isinstance(row, dict) for row in rows)
    for vendor in (GITHUB, PAGERDUTY, ARGOCD):
        for wait_s in (pause_s(vendor, reply, tries=1, now_s=1.7e9), until_reset_s(vendor, reply, now_s=1.7e9)):
            assert wait_s is None or wait_s >= 0


# -- what people ask for


def question(data: bytes) -> None:
    """A JSON object of filters and cursors: a filter that can be used, or Invalid."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    record = Record(Envelope(id="in-" + "0" * 32, endpoint="e", source="s", received_at=NOW))
    try:
        asked = search.parse({name: value for name, value in given.items() if name not in ("limit", "cursor")}, NOW)
        assert isinstance(asked.matches(record), bool)
        for moment in (asked.since, asked.until):
            assert moment is None or abs(moment) < 2**53, "Redis keeps it exactly"
    except Invalid as error:
        _says_why(error.detail)
    for read in (search.place_of, search.audit_cursor, search.rows_wanted):
        with contextlib.suppress(Invalid):
            place = read(str(given.get("cursor", "")))
            if isinstance(place, tuple):
                assert abs(place[0]) < 2**53
                assert search.place_of(search.cursor_of(place)) == place


TARGETS: Mapping[str, Target] = {
    **{f"translation-{source}": partial(translation, source) for source in SOURCES},
    "signature": signature,
    "time": time,
    "configuration": configured,
    "environment": environment,
    "envelope": envelope,
    "answer": answer,
    "question": question,
}
