"""Courier: sends requests, each over one of N connections that live as long as the process.

httpx's pool collapses with concurrency, since httpcore scans all connections for every request (measured: 152
requests/s over one client of 50 connections, 691 over 50 clients of one). So each transport here has one
connection; they share one TLS context. What `httpx.AsyncClient` adds to a transport (redirects, cookies, auth) is
not wanted here, and costs a tenth of the rate.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import httpx

READ_S = 8.0
CONNECT_S = 4.0
"""Above what Datadog needs, and short enough that a hanging call does not outlive a drain by much."""
_TIMEOUT = httpx.Timeout(READ_S, connect=CONNECT_S).as_dict()


def _one_connection() -> Callable[[], httpx.AsyncBaseTransport]:
    context = ssl.create_default_context()
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30)
    return lambda: httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=True)


class NoLongerOurs(Exception):
    """Another process may be sending this event: the lease of its lane has run out."""


class Courier:
    """Must be used within one event loop. `transport` makes each of the connections."""

    def __init__(self, concurrency: int, transport: Callable[[], httpx.AsyncBaseTransport] | None = None) -> None:
        make = transport or _one_connection()
        self._idle = [make() for _ in range(concurrency)]
        self._free = asyncio.Semaphore(concurrency)

    async def send(
        self, request: httpx.Request, may_send: Callable[[], bool] = lambda: True
    ) -> httpx.Response | httpx.TransportError:
        """The answer with its body read, or the error that came instead of one.

        Raises: NoLongerOurs, with nothing sent, if `may_send` says no at the moment of writing. The process may have
        been frozen between any two instructions, so it is asked as late as httpcore lets us.
        """

        async def trace(event: str, _: object) -> None:
            if event == "http11.send_request_headers.started" and not may_send():
                raise NoLongerOurs

        request.extensions |= {"timeout": _TIMEOUT, "trace": trace}
        async with self._free:
            connection = self._idle.pop()
            try:
                # the whole exchange has a bound too: httpx's are for each read and write
                async with asyncio.timeout(READ_S + CONNECT_S):
                    answer = await connection.handle_async_request(request)
                    answer.request = request
                    await answer.aread()
                    return answer
            except TimeoutError:
                return httpx.ReadTimeout("the whole exchange took too long", request=request)
            except httpx.TransportError as error:
                return error
            except httpx.DecodingError as error:
                return httpx.ReadError(str(error), request=request)
            finally:
                self._idle.append(connection)

    async def close(self) -> None:
        """Closes the connections that are not in use."""
        for connection in self._idle:
            await connection.aclose()
