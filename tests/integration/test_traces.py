"""One trace from the webhook to Datadog's answer: real processes, and a stand-in that takes what they export."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from system import System, deployment, unique, until

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel: pip install 'dora-bridge[otel]'"
)

pytestmark = pytest.mark.integration


class Collector:
    """Takes OTLP over HTTP; keeps each span with the attributes of the process that sent it."""

    def __init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(trace_service.ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.spans: list[tuple[dict[str, Any], Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, request: Any) -> None:
        for resource in request.resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [(about, span) for scope in resource.scope_spans for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


async def test_one_trace_from_the_webhook_to_the_answer(system: System, collector: Collector) -> None:
    system.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    system.start_web()
    system.start_worker()
    system.script({"status": 503, "times": 1})
    async with httpx.AsyncClient(timeout=20) as client:
        # what a sender says of traces is not believed
        parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        body = deployment(unique(), service="a-secret-service")
        assert (await system.post(client, "github", body, **parent)).status_code == 202
    await system.until_drained()
    until(lambda: len(collector.spans) >= 3, 20, "a webhook and two attempts")

    (about_web, webhook), *attempts = sorted(collector.spans, key=lambda one: one[1].start_time_unix_nano)
    assert webhook.name == "webhook github"
    assert not webhook.parent_span_id
    assert about_web["dora_bridge.process"] == "web"
    assert webhook.trace_id.hex() != "0af7651916cd43dd8448eb211c80319c"
    statuses = []
    for about, attempt in attempts:
        assert about["dora_bridge.process"] == "worker"
        assert (attempt.name, attempt.trace_id) == ("deliver deployment", webhook.trace_id)
        assert attempt.parent_span_id == webhook.span_id
        statuses += [one.value.int_value for one in attempt.attributes if one.key == "http.response.status_code"]
    assert statuses == [503, 200]
    assert b"a-secret-service" not in b"".join(span.SerializeToString() for _, span in collector.spans)


async def test_a_collector_that_is_away_holds_up_nothing(system: System) -> None:
    system.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    system.start_web()
    system.start_worker()
    async with httpx.AsyncClient(timeout=20) as client:
        assert (await system.post(client, "github", deployment(unique()))).status_code == 202
    await system.until_drained()
    assert [system.kill("web", 15), system.kill("worker", 15)] == [0, 0]
