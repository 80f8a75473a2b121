"""The listener of a worker: whether it is alive, and its metrics; of one process, or of several under a supervisor.

It runs in a thread of its own and asks neither Redis nor Datadog: an outage of theirs is no reason to start a worker
anew. What it looks at is the *beat*, which each process gives every few seconds from the very loop that sends.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

BEAT_S = 5.0
BEAT = "dora_bridge_heartbeat_timestamp_seconds"
DRAINS = "drains"
"""The thread that beats."""
_MISSED = 3


def is_alive(registry: CollectorRegistry, now: float) -> bool:
    """Whether the last beat, of several processes the oldest of their last ones, is younger than three intervals.

    `now`: seconds since the epoch.
    """
    beat = registry.get_sample_value(BEAT, {"thread": DRAINS})
    return beat is not None and now - beat < _MISSED * BEAT_S


class WorkerListener:
    """Answers `GET /livez` and `GET /metrics` on HOST:PORT between enter and exit. Raises: OSError if it is in use."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        host, _, port = address.rpartition(":")
        self._server = _Server((host.strip("[]"), int(port)), registry)
        self._thread = threading.Thread(target=self._server.serve_forever, name="listener", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    # http.server's own class asks DNS for the name of this machine when it starts
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5
    """For whoever connects and says nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            if is_alive(self.server.registry, time.time()):
                self._answer(200, "application/json", b'{"status":"alive"}')
            else:
                self._answer(503, "application/json", b'{"status":"stuck"}')
        elif path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
        else:
            body = b'{"error":{"reason":"not_found","detail":"a worker answers /livez and /metrics"}}'
            self._answer(404, "application/json", body)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes and probes are no news."""
