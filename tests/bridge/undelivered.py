"""Dead letters for tests: recorded, refused and settled as the drain does it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from bridge import configuration
from bridge.dora import Deployment, Fact, Failure
from bridge.envelope import Envelope, identity
from bridge.intake import Delivery, receive
from bridge.ledger import LANES, Entry, Head, Ledger, Settlement, entries_of
from bridge.rules import Rule
from bridge.samples import samples
from bridge.settings import Settings, read

SECOND = 10**9
NOW = time.time_ns() // SECOND * SECOND
ENDPOINTS = configuration.parse({}, "bridge.yaml")[1]


def deployed(number: int = 1, **fields: Any) -> Deployment:
    values: dict[str, Any] = {
        "id": f"gh-dep-0000000001-{number:012d}",
        "service": "chekout",
        "env": "production",
        "started_at": NOW - 3600 * SECOND,
        "finished_at": NOW - 3500 * SECOND + number * SECOND,
        "version": f"v{number}",
    }
    return Deployment(**{**values, **fields})


def failed(number: int = 1, **fields: Any) -> Failure:
    values: dict[str, Any] = {
        "id": f"pagerduty-incident-P{number:06d}",
        "started_at": NOW - 3600 * SECOND,
        "services": ("chekout",),
        "env": "production",
    }
    return Failure(**{**values, **fields})


def closed(number: int = 1, **fields: Any) -> Failure:
    return failed(number, finished_at=NOW - 60 * SECOND, **fields)


def envelope(fact: Fact, **fields: Any) -> Envelope:
    source = "github" if isinstance(fact, Deployment) else "pagerduty"
    values = {"endpoint": source, "source": source, "kind": "k", "received_at": NOW, "secret": 1}
    return Envelope(**{**values, **identity(fact), **fields})


async def record(ledger: Ledger, *facts: Fact, **fields: Any) -> list[str]:
    answers, _ = await ledger.record([Entry(envelope(fact, **fields)) for fact in facts])
    return answers


async def heads(ledger: Ledger) -> list[Head]:
    lanes, _ = await ledger.take("t", 1)
    _, found, _ = await ledger.fetch("t", lanes, wanted=1000, each=1000)
    return found


async def settle(ledger: Ledger, *, verdict: str = "rejected", reason: str = "invalid", **line: Any) -> list[Head]:
    """One attempt of all that waits, each with this outcome; what was sent, in order."""
    states = {"delivered": "delivered", "rejected": "dead_lettered", "errored": "dead_lettered"}
    status = {"delivered": 200, "rejected": 400, "errored": 0}[verdict]
    whole = {"state": states[verdict], "verdict": verdict, "status": status, "n": 1, **line}
    if verdict != "delivered":
        whole |= {"reason": reason}
    sent = []
    found = await heads(ledger)
    while found:
        head = found.pop(0)
        sent.append(head)
        whole["at"] = time.time_ns() // 1_000_000
        _, more = await ledger.settle("t", [Settlement(head.lane, head.key, head.envelope.id, whole["state"], whole)])
        found += more
    await ledger.release("t", range(LANES))
    await ledger.hush()
    return sent


async def refused(ledger: Ledger, *facts: Fact, **line: Any) -> None:
    """These facts as dead letters, refused by Datadog."""
    assert set(await record(ledger, *facts)) == {"accepted"}
    await settle(ledger, **{"answer": '{"errors":["Invalid service"]}', **line})


def settings(environ: Mapping[str, str] | None = None, rules: list[dict[str, Any]] | None = None) -> Settings:
    from dataclasses import replace

    made = read(
        {"DD_APP_KEY": "k", "DORA_BRIDGE_ADMIN_TOKEN": '["ada:token-of-ada-1234", "a-token-without-name"]'}
        | dict(environ or {})
    )
    rules_ = tuple(Rule.model_validate(rule) for rule in rules or ())
    return replace(made, configuration=made.configuration.model_copy(update={"rules": rules_}))


def github(**deployment: Any) -> Delivery:
    """A successful GitHub deployment."""
    kind, body = samples(NOW)["github"]
    parsed = json.loads(body)
    parsed["deployment"] |= deployment
    headers = {"x-github-event": str(kind), "x-github-delivery": "d-1", "x-hub-signature-256": "sha256=secret"}
    return Delivery(headers, {}, json.dumps(parsed).encode())


async def received(ledger: Ledger, delivery: Delivery, endpoint: str = "github", **options: Any) -> list[str]:
    """The ids of what a delivery became."""
    receipt = receive(ENDPOINTS[endpoint], delivery, secret=1, now=NOW, application_key=True, **options)
    await ledger.record(entries_of(receipt, delivery))
    return [one.id for one in receipt.envelopes]
