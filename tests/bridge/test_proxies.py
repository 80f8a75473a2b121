"""Which calls go by a proxy of the environment: httpx's clients and the couriers agree, and none to this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from bridge import senders
from bridge.check import findings
from bridge.errors import ConfigurationError
from bridge.proxies import DIRECT, is_loopback, proxy_for
from bridge.settings import read
from bridge.source import Endpoint

PROXY = "http://proxy.example.com:3128"
ALL = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, "https://api.datadoghq.com", None),
        ({"HTTPS_PROXY": PROXY}, "https://api.datadoghq.com", PROXY),
        ({"https_proxy": PROXY}, "https://api.datadoghq.com", PROXY),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "https://api.datadoghq.com", PROXY),
        ({"HTTP_PROXY": PROXY}, "https://api.datadoghq.com", None),
        ({"HTTP_PROXY": PROXY}, "http://datadog.internal:8080", PROXY),
        ({"ALL_PROXY": PROXY}, "https://api.datadoghq.com", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "datadoghq.com"}, "https://api.datadoghq.com", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://api.datadoghq.com", None),
        ({"ALL_PROXY": PROXY}, "http://127.0.0.1:8126", None),
        ({"ALL_PROXY": PROXY}, "http://localhost:8126", None),
        ({"ALL_PROXY": PROXY}, "http://[::1]:8126", None),
    ],
)
def test_which_proxy_is_on_the_way(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str, expected: str | None
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == expected
    with httpx.Client(mounts=DIRECT) as client:  # what check, reconcile and backfill do
        by_proxy = client._transport_for_url(httpx.URL(url)) is not client._transport
    assert by_proxy is (expected is not None)


def test_a_proxy_that_cannot_be_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hidden@proxy.example.com:1080")
    with pytest.raises(ConfigurationError) as caught:
        proxy_for("https://api.datadoghq.com")
    assert "hidden" not in str(caught.value)
    assert proxy_for("http://127.0.0.1:8126") is None


def test_loopback() -> None:
    assert [is_loopback(one) for one in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]")] == [True] * 5
    assert [is_loopback(one) for one in ("", "10.0.0.1", "redis", "[::]")] == [False] * 4


@pytest.fixture
def here() -> Iterator[str]:
    """A server of this machine, which answers everything with 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_check_and_send_reach_this_machine_past_a_proxy(monkeypatch: pytest.MonkeyPatch, here: str) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # where nobody is
    environ = {"DORA_BRIDGE_REDIS_URL": "redis://127.0.0.1:1/0", "DORA_BRIDGE_LISTEN": here}
    some = await findings(read(environ), environ)
    assert [(one.level, one.detail) for one in some if one.what == "web"] == [
        ("ok", f"a web process answers at http://{here}")
    ]
    endpoint: Endpoint = read({}).endpoints["argocd"]
    assert senders.post(f"http://{here}/", endpoint, b"{}", kind=None, secret=b"x").status_code == 200
