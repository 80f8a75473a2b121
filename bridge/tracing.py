"""Traces: one from the webhook to Datadog's answer, for whoever runs OpenTelemetry. Off, it costs a comparison.

It is on if a variable of OpenTelemetry names where traces go, and the extra `otel` is installed. The trace goes with
the event: its envelope carries the `traceparent` (W3C Trace Context) from the web process to the worker, for however
long it waits. Spans tell what logs tell, and nothing of payloads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.logs import log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

_WHERE_TO = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOL = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_FLUSH_S = 3.0
"""How long the end of a process may be held up by a collector that does not answer."""

_tracer: Tracer | None = None


class Span:
    """One span under way; nothing at all where tracing is off."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: OtelSpan | None = None) -> None:
        self._span = span
        self.traceparent = _traceparent(span) if span is not None else ""
        """For what follows from it, in W3C's text form; empty where tracing is off."""

    def end(self, *, failed: bool, status: int = 0, **attributes: str | int) -> None:
        """Ends it, with an HTTP status (0: none) and our own attributes; empty ones are left out."""
        if self._span is None:
            return
        if status:
            self._span.set_attribute("http.response.status_code", status)
        for name, value in attributes.items():
            if value != "":
                self._span.set_attribute(f"dora_bridge.{name}", value)
        if failed:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)
        self._span.end()


_OFF = Span()


def webhook(endpoint: str) -> Span:
    """The span of one webhook, from its first byte to our answer; the root of a trace."""
    if _tracer is None:
        return _OFF
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

    # what the sender says of traces is not believed: anybody could put spans into yours
    return Span(_tracer.start_span(f"webhook {endpoint}", Context(), SpanKind.SERVER))


def attempt(family: str, traceparent: str) -> Span:
    """The span of one attempt to deliver, below the webhook's. One that is not ended is never told."""
    if _tracer is None:
        return _OFF
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    above = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    return Span(_tracer.start_span(f"deliver {family}", above, SpanKind.CLIENT))


def start(environ: Mapping[str, str], process: str) -> Callable[[], None]:
    """Begins tracing if the variables ask for it; what has to be called before the process ends."""
    if not _is_wanted(environ):
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log("tracing.off", logging.WARNING, reason="the extra is missing: pip install 'dora-bridge[otel]'")
        return lambda: None
    if next((environ[name] for name in _PROTOCOL if environ.get(name)), "http/protobuf") != "http/protobuf":
        log("tracing.off", logging.WARNING, reason="only OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf is spoken here")
        return lambda: None
    return start_with(OTLPSpanExporter(), environ, process)


def start_with(exporter: SpanExporter, environ: Mapping[str, str], process: str) -> Callable[[], None]:
    """Begins tracing to this exporter; what has to be called before the process ends. Samplers, limits and resource
    attributes are read by the SDK from its own variables."""
    global _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"dora_bridge.process": process, "service.version": __version__}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        about["service.name"] = "dora-bridge"
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("dora-bridge", __version__)
    log("tracing.on", process=process)

    def stop() -> None:
        global _tracer
        _tracer = None
        last = threading.Thread(target=provider.shutdown, daemon=True)  # the SDK would wait for half a minute
        last.start()
        last.join(_FLUSH_S)

    return stop


def _is_wanted(environ: Mapping[str, str]) -> bool:
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not is_off and any(environ.get(name) for name in _WHERE_TO)


def _traceparent(span: OtelSpan) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
