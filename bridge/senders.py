"""Posting a body as its sender would: composed headers, real signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx

from bridge.proxies import DIRECT
from bridge.samples import samples
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
    with httpx.Client(timeout=10, mounts=DIRECT) as client:
        return client.post(url, content=body, headers=encoded)


def post_samples(
    url: str, endpoints: Mapping[str, Endpoint], secrets: Mapping[str, bytes]
) -> Iterator[tuple[str, httpx.Response]]:
    """Posts one sample of each sender that has a secret; its endpoint and the answer, as they come.

    Raises: httpx.TransportError when there is no answer.
    """
    for name, (kind, body) in samples().items():
        if name in secrets and name in endpoints:
            yield name, post(f"{url}/webhooks/{name}", endpoints[name], body, kind=kind, secret=secrets[name])
