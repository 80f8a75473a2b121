"""Where a run begins: for each target, inputs that people would come upon, and how more are made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from fuzz import payloads
from fuzz.payloads import Choose
from fuzz.targets import NOW, SECRETS, TARGETS

from bridge import configuration
from bridge.intake import Delivery, receive
from bridge.sources import SOURCES

ROOT = Path(__file__).parents[2]
FINDINGS = Path(__file__).parent / "findings"
"""<target>/<name>: inputs that once broke something. The ordinary suite tries them all."""


@cache
def seeds(target: str) -> Sequence[bytes]:
    """Inputs of this target, what was found before included."""
    found = sorted((FINDINGS / target).glob("*"))
    return [*_MADE[target](), *(path.read_bytes() for path in found)]


def _webhooks(source: str) -> Sequence[bytes]:
    return [
        _line(headers, {name: context[name] for name in ("query", "options") if name in context}) + body
        for headers, body, context in payloads.fixtures(source)
    ]


def _line(headers: Mapping[str, str], more: Mapping[str, object]) -> bytes:
    return json.dumps({"headers": dict(headers), **more}).encode() + b"\n"


def _signatures() -> Sequence[bytes]:
    body = b'{"zen":"Approachable is better than simple."}'
    signed = [
        (name, value.encode("latin-1"))
        for name, source in SOURCES.items()
        for secret in SECRETS
        for value in source.scheme.sign(body, secret).values()
    ]
    one, other = (value for name, value in signed[:2])
    more = [
        ("github", one + b"," + other),
        ("pagerduty", b",".join(value for name, value in signed if name == "pagerduty")),
        ("pagerduty", b"v1=" + b"0" * 64 + b", v2=00ff,,v1=" + b"\xd9\xa3" * 32),
        ("argocd", b"Basic YnJpZGdlOmZpcnN0LXNlY3JldA=="),
        ("argocd", b"basic Onp3ZWl0ZXM="),
        ("opsgenie", b"Bearer  first-secret\t"),
        ("opsgenie", b""),
    ]
    return [name.encode() + b"\n" + value + b"\n" + body for name, value in (*signed, *more)]


def _times() -> Sequence[bytes]:
    return [literal.strip('"').encode() for literal in payloads.LITERALS] + [b"2025-03-04T09:12:40.207+05:30"]


def _configurations() -> Sequence[bytes]:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    odd = (
        "",
        "a",
        "1: 2",
        "? [a]\n: b",
        "&a [*a]",
        "rules: &a [*a]",
        "endpoints: &a {github: *a}",
        "retention: {events_days: .inf, raw_days: .nan}",
        "retention: {dead_letters_max: 1e999}",
        "endpoints: {1: {kind: github}, true: {}, null: {}}",
        "endpoints: {github: {linking: {mod: off}}}",
        "endpoints: {github: {linking: {environments: {a: 1}}}}",
        "endpoints: {opsgenie: {failures_from: {prioritys: [P1]}}}",
        "endpoints: {opsgenie: {integrations: {a: {servic: b}}}}",
        "endpoints: {argocd: {config_source: {a: b}, config_sorce: 1}}",
        "rules: [{match: {team: '*'}, set: {team: '$1', tags: ['a:b']}}, {match: {}, drop: x, name: 1}]",
        "rules: [{match: {servce: a}, sett: {}}]",
        "x: " + "9" * 5_000,
        "!!python/object/apply:os.system [true]",
        "a: !!int x",
        "a: !!binary ä",
        "a: !!float x",
        "a: 0b2",
        "a: 1:99:99",
        "\x01",
    )
    return [text.encode() for text in (*blocks, *odd)]


def _environments() -> Sequence[bytes]:
    texts = (
        'DD_API_KEY=\ufeffkey\nDORA_BRIDGE_SECRETS__GITHUB=["a", "b "]\nDORA_BRIDGE_LISTEN=[::1]:8080',
        "DORA_BRIDGE_ADMIN_TOKEN=name:token",
        "DORA_BRIDGE_REDIS_URL=redis://[::1\nDORA_BRIDGE_CONCURRENCY=" + "9" * 5_000,
        "DORA_BRIDGE_REDIS_URL=redis+sentinel://a:b@h:1,h2/name/2?x=y",
        "DORA_BRIDGE_LISTEN=x:" + "9" * 5_000,
        "DORA_BRIDGE_DATADOG_URL=http://[::1",
        "DORA_BRIDGE_DATADOG_URL=http://example.com:99999",
        "DD_SITE=EU",
    )
    return [text.encode() for text in texts]


def _envelopes() -> Sequence[bytes]:
    found = [b"{}", b'{"v":1}']
    for name in SOURCES:
        endpoint = configuration.parse({}, "bridge.yaml")[1][name]
        for headers, body, context in payloads.fixtures(name):
            delivery = Delivery(headers, context.get("query", {}), body)
            receipt = receive(endpoint, delivery, secret=1, now=NOW, application_key=True)
            found += [one.to_json().encode() for one in receipt.envelopes]
    return found


def _answers() -> Sequence[bytes]:
    bodies = (
        b"",
        b'{"data":{"id":"u"}}',
        b'{"data":null}',
        b'{"errors":["x"]}',
        b'{"errors":[{"detail":null,"title":1}]}',
        b"\xff\xfe",
        b'{"data":[{"id":1}]}',
        b'{"data":[{"id":"x","attributes":{"id":"x","service":"s","started_at":1.5e9,"finished_at":1e999,"custom_tags":1,"git":[]}}]}',
        b'{"data":{"id":"\\ud800"}}',
        b"9" * 5_000,
    )
    headers = (
        b"",
        b"X-RateLimit-Reset: 7\nX-RateLimit-Remaining: 0\nRetry-After: 9",
        b"X-RateLimit-Reset: " + b"9" * 5_000,
        b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT",
        b"ratelimit-remaining: 0\nratelimit-reset: 1e5\nretry-after: \xb2",
        b"content-type: application/json; charset=utf-7\nretry-after: inf",
        b"content-type: text/plain; charset=idna",
    )
    statuses = (*range(100, 600, 25), 201, 202, 204, 401, 403, 404, 408, 409, 413, 422, 425, 429, 503)
    made = []
    for number, status in enumerate(statuses):
        method = (b"POST", b"PATCH", b"DELETE")[number % 3]
        start = b"%s %d\n%s" % (method, status, headers[number % len(headers)])
        made.append(start + b"\n\n" + bodies[number % len(bodies)])
    return made + [b"POST 201\n" + one + b"\n\n" + body for one in headers for body in bodies]


def _questions() -> Sequence[bytes]:
    asked = (
        {},
        {"since": "2h", "until": "2025-03-04", "q": "X", "without_env": "1", "state": "waiting"},
        {"since": 1741079560, "until": 10**30, "without_env": []},
        {"since": "999999w", "service": None, "serivce": "x"},
        {"since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31"},
        {"cursor": "MTox"},
        {"cursor": "1741079560207-0"},
        {"cursor": "99999999999999999999999-0"},
        {"cursor": "5-"},
        {"cursor": "-5"},
    )
    return [json.dumps(one).encode() for one in asked]


_MADE: Mapping[str, Callable[[], Sequence[bytes]]] = {
    **{f"translation-{source}": partial(_webhooks, source) for source in SOURCES},
    "signature": _signatures,
    "time": _times,
    "configuration": _configurations,
    "environment": _environments,
    "envelope": _envelopes,
    "answer": _answers,
    "question": _questions,
}
assert list(_MADE) == list(TARGETS)


def another(target: str, data: bytes, choose: Choose) -> bytes:
    """An input made of another one: of a webhook, one with odd values; of anything else, one with odd bytes."""
    try:
        return _another(target, data, choose)
    except (ValueError, RecursionError):  # no JSON, or nested too deeply to be walked through
        return _edited(data, choose)


def _another(target: str, data: bytes, choose: Choose) -> bytes:
    if target.startswith("translation-"):
        line, _, raw = data.partition(b"\n")
        about, body = json.loads(line), json.loads(raw)
        if choose(range(5)) == 0:
            line = payloads.spoiled(about, choose).replace(b"\n", b" ")
        return line + b"\n" + payloads.spoiled(body, choose)
    if target in ("envelope", "question") and choose((True, True, False)):
        return payloads.spoiled(json.loads(data), choose)
    return _edited(data, choose)


_BITS = (
    *(b"\x00", b"\xff", b"\xc3", b"\xa0", b"\x85", b"\n", b"\r", b"\t", b" ", b",", b":", b"=", b"-", b'"', b"0", b"9"),
    *(b"[", b"]", b"{", b"}", b"&a", b"*a", b"!!int ", b"$1", b"$9", b"%", b"?", b"#", b"v1=", b"sha256=", b"Basic "),
    *(literal.encode() for literal in payloads.LITERALS),
)


def _edited(data: bytes, choose: Choose) -> bytes:
    for _ in range(choose((1, 1, 2, 3))):
        at, to = sorted(choose(range(len(data) + 1)) for _ in range(2))
        how = choose(("insert", "replace", "cut", "repeat"))
        if how == "insert":
            data = data[:at] + choose(_BITS) + data[at:]
        elif how == "replace":
            data = data[:at] + choose(_BITS) + data[min(to, at + 8) :]
        elif how == "cut":
            data = data[:at] + data[min(to, at + 40) :]
        else:
            data = data[:to] + data[at : min(to, at + 200)] + data[to:]
    return data
