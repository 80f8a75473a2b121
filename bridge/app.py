"""The public listener: one ASGI endpoint for webhooks, the probes, and the table from errors to statuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge import metrics, tracing
from bridge.compact import compact
from bridge.envelope import OPENED_TOO_LATE, Envelope
from bridge.errors import BridgeError, LedgerUnavailable, SignatureMismatch, SignatureMissing, UnknownEndpoint
from bridge.intake import Delivery, Receipt, receive, verify
from bridge.ledger import Entry, entries_of
from bridge.logs import log
from bridge.probes import Check, always, passes, verbose
from bridge.settings import Settings
from bridge.source import Endpoint

STATUSES: Mapping[type[BridgeError], int] = {
    UnknownEndpoint: 404,
    SignatureMissing: 401,
    SignatureMismatch: 401,
    LedgerUnavailable: 503,
}
RETRY_AFTER_S = "20"
"""Argo CD sleeps in its only processor for as long as we say, so not more; see operations of each sender."""

Record = Callable[[Sequence[Entry]], Awaitable[list[str]]]
"""Makes entries durable and says what became of each (`GroupCommit.record`). Raises LedgerUnavailable."""
Place = Callable[[Receipt], Awaitable[Receipt]]
"""Finds which time of an incident is meant (`GroupCommit.place`). Raises LedgerUnavailable."""
Hear = Callable[[str, bytes, bool], None]
"""Is told of each authentic webhook: endpoint, the secret that matched, and whether it became an event."""


class _TooLarge(Exception):
    pass


class _Gone(Exception):
    """The sender closed the connection before it had sent everything."""


class Webhooks:
    """`POST /webhooks/{endpoint}`. Bare ASGI: Starlette's request and response objects cost a fifth of the rate."""

    def __init__(
        self,
        settings: Settings,
        record: Record,
        hear: Hear,
        place: Place,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._endpoints = {name: settings.endpoints[name] for name in settings.secrets}
        self._secrets = settings.secrets
        self._rules = settings.configuration.rules
        self._application_key = settings.application_key
        self._record = record
        self._hear = hear
        self._place = place
        self._clock_ns = clock_ns
        for endpoint in self._endpoints.values():
            metrics.webhooks_from_zero(endpoint.source.name, endpoint.source.models)

    async def __call__(self, scope: Scope, receive_: Receive, send: Send) -> None:
        started = time.perf_counter()
        endpoint = self._endpoints.get(scope["path_params"]["endpoint"])
        source = endpoint.source.name if endpoint else ""
        kind = reason = ""
        span = tracing.webhook(endpoint.name if endpoint else "unknown")
        try:
            if endpoint is None:
                raise UnknownEndpoint("no such endpoint, or it has no secret configured")
            if scope["method"] != "POST":
                outcome, reason, status, answer = "refused", "method", 405, _wrong_method(endpoint)
            else:
                delivery = await _read(scope, receive_, endpoint.options.max_body_bytes)
                outcome, reason, kind, answer = await self._accept(endpoint, delivery, span.traceparent)
                status = 202
        except _Gone:
            return
        except _TooLarge:
            outcome, reason, status = "refused", "too_large", 413
            answer = _error(reason, "the body is larger than max_body_bytes of this endpoint")
        except BridgeError as error:
            outcome, reason = (
                "unavailable" if isinstance(error, LedgerUnavailable) else "refused",
                error.reason,
            )
            status, answer = STATUSES[type(error)], _error(error.reason, error.detail)
            if isinstance(error, SignatureMismatch) and endpoint is not None and endpoint.source.retries_mismatch:
                status = 503
        await _answer(send, status, answer)
        span.end(failed=status >= 500, status=status, source=source, kind=kind, outcome=outcome, reason=reason)
        took = time.perf_counter() - started
        if source:
            metrics.webhooks(source, kind, outcome, reason).inc()
            metrics.webhook_duration(source, outcome).observe(took)
        level = logging.INFO if status == 202 else logging.WARNING
        log(
            f"webhook.{outcome}",
            level,
            endpoint=endpoint.name if endpoint else None,
            kind=kind,
            reason=reason,
            status=status,
            duration_ms=round(took * 1000, 1),
        )

    async def _accept(self, endpoint: Endpoint, delivery: Delivery, trace: str) -> tuple[str, str, str, dict[str, Any]]:
        """Outcome, its reason for metrics, kind, and the answer of an authentic delivery."""
        secrets = self._secrets[endpoint.name]()
        secret = verify(endpoint, delivery, secrets)
        metrics.signature_matches(endpoint.source.name, secret).inc()
        receipt = receive(
            endpoint,
            delivery,
            secret=secret,
            now=self._clock_ns(),
            rules=self._rules,
            application_key=self._application_key,
            trace=trace,
        )
        receipt = await self._place(receipt)
        became = await self._record(entries_of(receipt, delivery))
        kind = receipt.envelopes[0].kind
        if kind and kind not in endpoint.source.models:
            kind = "other"  # it is whatever the sender wrote there, and no name for logs and metrics
        outcome, answer = answer_for(receipt.envelopes, became)
        self._hear(endpoint.name, secrets[secret - 1], outcome == "accepted")
        return outcome, "", kind, answer


def answer_for(envelopes: Sequence[Envelope], became: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Outcome and answer for what became of the envelopes of one delivery."""
    told = [
        {
            "id": envelope.datadog_id,
            "path": envelope.path,
            "service": ", ".join(envelope.services) or None,
            "env": envelope.attributes.get("env"),
        }
        for envelope, word in zip(envelopes, became, strict=True)
        if word in ("accepted", "redriven", "duplicate")
    ]
    if "accepted" in became or "redriven" in became:
        return "accepted", {"status": "accepted", "events": told}
    if "duplicate" in became:
        return "duplicate", {"status": "duplicate", "events": told}
    first, word = envelopes[0], became[0]
    reason = first.reason or first.needs_opening.partition(": ")[2]
    if word == "dead_lettered":
        reason = reason or OPENED_TOO_LATE
        return "dead_lettered", {"status": "dead_lettered", "id": first.id, "reason": reason}
    if word == "superseded":
        reason = "a later statement about it came first"
    return "ignored", {"status": "ignored", "reason": reason}


async def _read(scope: Scope, receive_: Receive, limit: int) -> Delivery:
    """The delivery; its body is counted while it is read, whatever its Content-Length says."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise _TooLarge
    body = b""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive_()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _TooLarge
        if not message.get("more_body"):
            body = part if not parts else b"".join((*parts, part))
            break
        parts.append(part)
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"))) if scope["query_string"] else {}
    return Delivery(headers, query, body)


async def _answer(send: Send, status: int, answer: Mapping[str, Any]) -> None:
    body = compact(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", RETRY_AFTER_S.encode()))
    if status == 405:
        headers.append((b"allow", b"POST"))
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _error(reason: str, detail: str) -> dict[str, Any]:
    return {"error": {"reason": reason, "detail": detail}}


def _wrong_method(endpoint: Endpoint) -> dict[str, Any]:
    detail = "webhooks are posted"
    if endpoint.source.name == "argocd":
        detail += "; Argo CD sends GET when the notification template has no webhook section named like the service"
    return _error("method_not_allowed", detail)


def _to_nobody(endpoint: str, secret: bytes, accepted: bool) -> None:
    """Nobody wants to hear of it."""


async def _as_it_is(receipt: Receipt) -> Receipt:
    """Nothing is known of any incident."""
    return receipt


def create_app(
    settings: Settings,
    record: Record,
    *,
    hear: Hear = _to_nobody,
    place: Place = _as_it_is,
    draining: Callable[[], bool] = lambda: False,
    redis_failed: Callable[[], Awaitable[str]] = always,
) -> Starlette:
    """The application of the public listener. `redis_failed` says why Redis does not answer, empty if it does."""

    async def livez(request: Request) -> Response:
        if "verbose" in request.query_params:
            return PlainTextResponse(verbose("livez", [Check("ping")]))
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        """Ready as long as requests are answered, 503 for a dead Redis included: the answer is ours to give."""
        checks = [Check("shutdown", "draining" if draining() else "")]
        status = 200 if passes(checks) else 503
        if "verbose" in request.query_params:
            redis = Check("redis", await redis_failed(), counted=False)
            return PlainTextResponse(verbose("readyz", [*checks, redis]), status)
        return JSONResponse({"status": "ready" if status == 200 else "draining"}, status)

    async def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        reason = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        return JSONResponse(_error(reason, error.detail), error.status_code, headers=error.headers)

    async def failed(request: Request, error: Exception) -> Response:
        log("webhook.failed", logging.ERROR, reason=type(error).__name__)
        return JSONResponse(_error("internal", "an error of the bridge; its log names the place"), 500)

    app = Starlette(
        routes=[
            Route("/webhooks/{endpoint}", Webhooks(settings, record, hear, place)),
            Route("/livez", livez, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
        ],
        exception_handlers={HTTPException: refused, Exception: failed},
    )
    # a redirect to the address without its last slash would make senders repeat the token to wherever Host said
    app.router.redirect_slashes = False
    return app
