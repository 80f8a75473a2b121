"""The listener of a worker: whether it is alive, and its metrics; of one process, or of several under a supervisor.

It runs in a thread of its own and asks neither Redis nor Datadog: an outage of theirs is no reason to start a worker
anew. What it looks at is the *beat*, which each process gives every few seconds from the very loop that sends.
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from bridge.probes import Check, verbose

BEAT_S = 5.0
BEAT = "dora_bridge_heartbeat_timestamp_seconds"
DRAINS = "drains"
"""The thread that beats."""
_MISSED = 3


def beats(registry: CollectorRegistry, now: float) -> Check:
    """Whether the last beat, of several processes the oldest of their last ones, is younger than three intervals.

    `now`: seconds since the epoch.
    """
    beat = registry.get_sample_value(BEAT, {"thread": DRAINS})
    if beat is None:
        return Check("loop", "has not begun")
    return Check("loop", "" if now - beat < _MISSED * BEAT_S else f"stands still for {now - beat:.0f} s")


class WorkerListener:
    """Answers GET and HEAD of `/livez` and `/metrics` on HOST:PORT between enter and exit.

    Raises: OSError if it is in use.
    """

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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5
    """For whoever connects and says nothing."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/livez":
            self._livez(is_verbose="verbose" in dict(parse_qsl(query, keep_blank_values=True)))
        elif path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
        else:
            self._refuse(404, "not_found", "a worker answers /livez and /metrics")

    def do_HEAD(self) -> None:
        """As GET; `_answer` leaves the body out."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Any other method, and what is hardly HTTP, is refused: not with 501 or 505, as if the fault were ours."""
        self.close_connection = True
        if code == 501:
            self._refuse(405, "method_not_allowed", "a worker answers GET and HEAD")
        else:
            self._refuse(code if code < 500 else 400, "refused", "this is no HTTP request that a worker understands")

    def _livez(self, *, is_verbose: bool) -> None:
        check = beats(self.server.registry, time.time())
        status = 503 if check.failed else 200
        if is_verbose:
            self._answer(status, "text/plain; charset=utf-8", verbose("livez", [check]).encode())
        else:
            word = b"stuck" if check.failed else b"alive"
            self._answer(status, "application/json", b'{"status":"%b"}' % word)

    def _refuse(self, status: int, reason: str, detail: str) -> None:
        body = json.dumps({"error": {"reason": reason, "detail": detail}}, separators=(",", ":")).encode()
        self._answer(status, "application/json", body)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        if status == 405:
            self.send_header("allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes and probes are no news."""
