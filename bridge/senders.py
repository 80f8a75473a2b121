"""Posting a body as its sender would: composed headers, real signature."""

from __future__ import annotations

import httpx

from bridge.source import Endpoint


def signed(endpoint: Endpoint, body: bytes, *, kind: str | None, secret: bytes) -> dict[str, str]:
    """All headers that the sender would post the body with."""
    source = endpoint.source
    return {**source.headers(body, kind), **source.scheme.sign(body, secret)}


def post(url: str, endpoint: Endpoint, body: bytes, *, kind: str | None, secret: bytes) -> httpx.Response:
    """The answer to the signed body. Raises: httpx.TransportError when there is none."""
    headers = signed(endpoint, body, kind=kind, secret=secret)
    # as bytes, since httpx takes text for ASCII
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    return httpx.post(url, content=body, headers=encoded, timeout=10)
