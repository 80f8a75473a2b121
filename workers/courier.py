"""Courier: sends requests, each over one of N connections that live as long as the process.

httpx's pool collapses with concurrency, since httpcore scans all connections for every request (measured: 152
requests/s over one client of 50 connections, 691 over 50 clients of one). So each transport here has one
connection (`connection.py`; httpx's own where a proxy is on the way); they share one TLS context. What
`httpx.AsyncClient` adds to a transport (redirects, cookies, auth) is not wanted here, and costs a tenth of the rate.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import httpx

from workers.connection import KEPT_S, Connection

READ_S = 8.0
CONNECT_S = 4.0
"""Above what Datadog needs, and short enough that a hanging call does not outlive a drain by much."""
MOST_BYTES = 64 * 1024
"""More of an answer is not read: its status decides, and 2 KiB of it are kept."""
_TIMEOUT = httpx.Timeout(READ_S, connect=CONNECT_S).as_dict()
_ABOUT_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")
_CUT = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class NoLongerOurs(Exception):
    """Another process may be sending this event: the lease of its lane has run out."""


def _one_connection(proxy: str | None) -> Callable[[], httpx.AsyncBaseTransport]:
    context = ssl.create_default_context()
    if proxy is None:
        return lambda: Connection(context)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEPT_S)
    return lambda: httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=True, proxy=proxy)


class Courier:
    """Must be used within one event loop. `transport` makes each of the connections.

    `proxy` is the URL of the one on the way, if there is one: a bare transport, other than a client of httpx, looks
    for none in the environment.
    """

    def __init__(
        self,
        concurrency: int,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        *,
        proxy: str | None = None,
    ) -> None:
        make = transport or _one_connection(proxy)
        self._idle = [make() for _ in range(concurrency)]
        self._free = asyncio.Semaphore(concurrency)

    async def send(
        self,
        request: httpx.Request,
        may_send: Callable[[], bool] = lambda: True,
        *,
        most_bytes: int = MOST_BYTES,
        repeatable: bool = True,
    ) -> httpx.Response | httpx.TransportError:
        """The answer, with as much of its body as came; or the error that came instead of a status.

        A connection that was kept open may be cut just when it is used again: then the request is sent once more,
        at once, over a new one, if it is `repeatable`: if nothing becomes another thing by being said twice.

        Raises: NoLongerOurs, with nothing sent, if `may_send` says no at the moment of writing. The process may have
        been frozen between any two instructions, so it is asked as late as httpcore lets us.
        """
        async with self._free:
            connection = self._idle.pop()
            try:
                answer, was_kept_open = await _exchange(connection, request, may_send, most_bytes)
                if repeatable and was_kept_open and isinstance(answer, _CUT):
                    answer, _ = await _exchange(connection, request, may_send, most_bytes)
                return answer
            finally:
                self._idle.append(connection)

    async def close(self) -> None:
        """Closes the connections that are not in use."""
        for connection in self._idle:
            await connection.aclose()


async def _exchange(
    connection: httpx.AsyncBaseTransport, request: httpx.Request, may_send: Callable[[], bool], most_bytes: int
) -> tuple[httpx.Response | httpx.TransportError, bool]:
    """The answer, or the error that came instead; and whether the connection had been used before."""
    was_kept_open = True
    answer: httpx.Response | None = None
    body = b""

    async def trace(event: str, _: object) -> None:
        nonlocal was_kept_open
        if event == "connection.connect_tcp.started":
            was_kept_open = False
        elif event == "http11.send_request_headers.started" and not may_send():
            raise NoLongerOurs

    request.extensions |= {"timeout": _TIMEOUT, "trace": trace}
    try:
        # the whole exchange has a bound too: httpx's are for each read and write
        async with asyncio.timeout(READ_S + CONNECT_S):
            answer = await connection.handle_async_request(request)
            async for part in answer.aiter_raw():
                body += part
                if len(body) >= most_bytes:
                    break
    except TimeoutError:
        if answer is None:
            return httpx.ReadTimeout("the whole exchange took too long", request=request), was_kept_open
    except httpx.TransportError as error:
        if answer is None:
            return error, was_kept_open
        # the status is there: it decides, whatever became of the body
    finally:
        if answer is not None:
            with contextlib.suppress(httpx.TransportError):
                await answer.aclose()
    headers = [
        (name, value) for name, value in answer.headers.raw if name.decode("latin-1").lower() not in _ABOUT_THE_BODY
    ]
    return httpx.Response(
        answer.status_code, headers=headers, content=body[:most_bytes], request=request
    ), was_kept_open
