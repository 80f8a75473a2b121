"""Traces: off unless asked for, one from a webhook to its attempt, nothing of payloads; over an exporter in memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from bridge import tracing

pytest.importorskip("opentelemetry.sdk", reason="the extra otel: pip install 'dora-bridge[otel]'")
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


class Kept(SpanExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.fixture
def stopping() -> Iterator[list[Callable[[], None]]]:
    """What is put in is called at the end, whatever happened."""
    calls: list[Callable[[], None]] = []
    yield calls
    for stop in calls:
        stop()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ON, "OTEL_SDK_DISABLED": "true"},
        {**ON, "OTEL_TRACES_EXPORTER": "none"},
        {**ON, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_off_leaves_no_trace(environ: dict[str, str], stopping: list[Callable[[], None]]) -> None:
    stopping.append(tracing.start(environ, "web"))
    span = tracing.webhook("github")
    assert span.traceparent == ""
    assert span is tracing.attempt("deployment", "")
    span.end(failed=True, status=500, source="github")


def test_a_missing_extra_is_told_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING, "dora-bridge"):
        tracing.start(ON, "web")()
    [record] = caplog.records
    assert record.getMessage() == "tracing.off"
    assert "dora-bridge[otel]" in record.fields["reason"]


def test_webhook_and_attempt_are_one_trace(stopping: list[Callable[[], None]]) -> None:
    web, worker = Kept(), Kept()
    stop = tracing.start_with(web, {}, "web")
    root = tracing.webhook("github")
    traceparent = root.traceparent
    root.end(failed=False, status=202, source="github", kind="deployment_status", outcome="accepted", reason="")
    stop()
    assert tracing.webhook("github").traceparent == "", "off again"

    stopping.append(tracing.start_with(worker, {}, "worker"))
    below = tracing.attempt("deployment", traceparent)
    below.end(failed=True, status=503, verdict="errored", reason="server_error")
    tracing.attempt("deployment", traceparent)  # not ended: nothing was sent
    tracing.attempt("deployment", "").end(failed=False)  # recorded while tracing was off
    stopping.pop()()

    [received] = web.spans
    sent, alone = worker.spans
    assert received.parent is None
    assert received.kind is SpanKind.SERVER
    assert dict(received.attributes) == {
        "http.response.status_code": 202,
        "dora_bridge.source": "github",
        "dora_bridge.kind": "deployment_status",
        "dora_bridge.outcome": "accepted",
    }
    assert sent.context.trace_id == received.context.trace_id
    assert sent.parent.span_id == received.context.span_id
    assert (sent.kind, sent.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    assert alone.parent is None
    assert sent.resource.attributes["service.name"] == "dora-bridge"
    assert sent.resource.attributes["dora_bridge.process"] == "worker"


def test_a_name_of_yours_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "hooks")
    kept = Kept()
    stop = tracing.start_with(kept, {"OTEL_SERVICE_NAME": "hooks"}, "web")
    tracing.webhook("github").end(failed=False)
    stop()
    assert kept.spans[0].resource.attributes["service.name"] == "hooks"
