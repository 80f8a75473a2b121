"""One connection to Datadog, as a transport of httpx.

`httpx.AsyncHTTPTransport` has a pool of connections, which is asked and told about each call: a seventh of its time.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpcore
import httpx

from workers.sockets import Sockets

KEPT_S = 30.0
"""How long an idle connection is used again."""


class Connection(httpx.AsyncBaseTransport):
    """For one call after the other. It is opened when it has to be: at first, after it was closed, for another host."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._connection: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is still to be read. Raises: httpx.TransportError."""
        url = request.url
        call = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        if not self._can_take(call.url.origin):
            await self.aclose()
            self._connection = httpcore.AsyncHTTPConnection(
                call.url.origin, self._context, keepalive_expiry=KEPT_S, network_backend=Sockets()
            )
        with _errors_of_httpx():
            answer = await self._connection.handle_async_request(call)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def _can_take(self, origin: httpcore.Origin) -> bool:
        """Whether the connection is still good for a call to there; a server may have closed it meanwhile."""
        one = self._connection
        return one is not None and one.can_handle_request(origin) and one.is_available() and not one.has_expired()

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        with _errors_of_httpx():
            await self._stream.aclose()


@contextlib.contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """The errors of httpcore as those of httpx, which have the same names."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
